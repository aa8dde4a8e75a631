"""How many steps of each kind all workers end in a second: so many more tickets may wait for them.

What bounds the work is so what the machine and the network can do, and no constant: where steps are slow, few tickets
wait for a worker that has no time for them; where they are fast, none has to wait for a turn of the scheduler.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock

from rushes.shared.domain.schedule import SECOND
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LedgerUnavailable

# A worker tells how many it has ended, and a scheduler looks, this often.
PERIOD_S = 1.0


class EndedSteps:
    """What this process has ended since it told last; for all its threads."""

    def __init__(self) -> None:
        self._counts, self._lock = Counter[str](), Lock()

    def add(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] += 1

    def tell(self, ledger: Ledger) -> None:
        """Add them to the ledger's; raises LedgerUnavailable, and then they are not told again."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if counts:
            ledger.record_steps(counts)


class StepRates:
    """Steps a second by kind, as a scheduler sees them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counts: Mapping[str, int] | None = None
        self._counted_at = 0
        self._rates: dict[str, float] = {}

    def __call__(self, now: int) -> Mapping[str, float]:
        """The rates, counted anew if that is PERIOD_S ago. An outage leaves them as they are."""
        if now - self._counted_at < PERIOD_S * SECOND:
            return self._rates
        try:
            counts = self._ledger.steps()
        except LedgerUnavailable:
            return self._rates
        if self._counts is not None:
            seconds = (now - self._counted_at) / SECOND
            # Never below none: a ledger that was lost counts from the beginning.
            self._rates = {kind: max(0, count - self._counts.get(kind, 0)) / seconds for kind, count in counts.items()}
        self._counts, self._counted_at = counts, now
        return self._rates
