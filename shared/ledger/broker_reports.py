"""Whether the schedulers reach the broker: `web` has no broker of its own, and tells what they found."""

from __future__ import annotations

from rushes.shared.domain import schedule
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store

# A scheduler that has reported nothing for so long has ended or stands still.
FRESH_S = 45
FORGOTTEN_S = 3600


class BrokerReports:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, scheduler: str, problem: str, now: int) -> None:
        """A scheduler has tried the broker; `problem` is empty where a message got through."""
        self._store.remember(keys.BROKER, {scheduler: f"{now} {problem}"})
        reports = self._store.counters(keys.BROKER)
        ended = [name for name, report in reports.items() if _at(report) < schedule.after(now, -FORGOTTEN_S)]
        if ended:
            self._store.forget(keys.BROKER, ended)

    def problem(self, now: int) -> str:
        """Why no scheduler reaches the broker; "" if one does, or none has reported lately."""
        reports = self._store.counters(keys.BROKER).values()
        problems = [report.partition(" ")[2] for report in reports if _at(report) >= schedule.after(now, -FRESH_S)]
        return problems[0] if problems and all(problems) else ""


def _at(report: str) -> int:
    return int(report.partition(" ")[0])
