"""Holds submits while the ledger may have lost data, until it was compared with the journal.

A server with another run id or replication id may be a promoted replica, a restarted server, or a new and empty Redis.
`{rushes}:mark` holds the server on which the ledger was last complete, and when. It is lost together with the data, so
what is left of it says how far back the journal has to be read. Ledger.engage holds submits without a valid mark; this
class sets the mark.

Paid calls that were out when the ledger was lost return after the journal was read. So the journal is read a second
time; this task is stored in the ledger (`{rushes}:afterlooks`), and any scheduler that lives then does it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import structlog

from rushes.shared.domain import schedule
from rushes.shared.ledger.idempotency import IDEMPOTENCY_S
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations.recovery import Report, recover
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.worker.outage_log import OutageLog

log = structlog.get_logger()

CHECK_S = 2
# Clocks differ, and a line is stored some time after its event.
MARGIN_S = 120
# Calls that were out when the ledger was lost have returned by then: the journal is read again for their outcomes.
AFTERLOOK_S = 90


class FailoverGuard:
    """One runs in each scheduler; the first one that compares ledger and journal releases submits for all."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._announced = ""
        self.open = False

    def check(self, now: int) -> Report | None:
        """Hold or release submits; returns the report if the journal was read.

        Raises LedgerUnavailable, and ArchiveUnavailable if the journal cannot be read; then submits stay held.
        """
        ledger = self._services.ledger
        server, mark = ledger.continuity.server(), ledger.continuity.mark()
        if not self._services.settings.journal:
            self._release_without_journal(mark)
            return None
        if mark.get("server") == server:
            self._release(server, now)
            return self._read_again(now)
        since = self._complete_until(mark, now)
        self.open = False
        self._announce(server, mark)
        report = recover(self._services, since)
        # Before the mark: after a crash in between the ledger is compared again; the other way round the second reading
        # would be lost.
        ledger.continuity.plan_afterlook(schedule.after(now, AFTERLOOK_S), since)
        self._release(server, now)
        log.info("submits go on: the ledger was compared with the journal", put_back=len(report.put_back))
        return report

    def _announce(self, server: str, mark: Mapping[str, str]) -> None:
        """Log once per server, not at each check, why submits are held."""
        if server == self._announced:
            return
        self._announced = server
        if mark:
            log.warning("submits held: the ledger's server is another one", was=mark.get("server"), now=server)
        else:
            log.info("a ledger without a mark is compared with the journal: a first start, or a lost Redis")

    def _complete_until(self, mark: Mapping[str, str], now: int) -> int:
        """The time up to which the ledger is surely complete."""
        policy = self._services.settings.policy
        if "server" in mark:
            return schedule.after(int(mark["at"]), -MARGIN_S)
        return schedule.after(now, -max(policy.job_timeout_s + policy.result_ttl_s, IDEMPOTENCY_S))

    def _release(self, server: str, now: int) -> None:
        self._services.ledger.continuity.set_mark(server, now)
        if not self.open:
            self.open, self._announced = True, ""
            self._services.ledger.wake()

    def _read_again(self, now: int) -> Report | None:
        due = {at: since for at, since in self._services.ledger.continuity.afterlooks().items() if at <= now}
        if not due:
            return None
        report = recover(self._services, min(due.values()))
        # Only after the journal was read: if that fails, the next check tries again.
        self._services.ledger.continuity.drop_afterlooks(due)
        return report

    def _release_without_journal(self, mark: Mapping[str, str]) -> None:
        """Without a journal (RUSHES_JOURNAL=false) there is nothing to compare, so submits are never held."""
        self.open = True
        if mark:
            self._services.ledger.continuity.unmark()

    def start(self) -> None:
        """Check in the background for as long as the process lives."""
        threading.Thread(target=self._run, name="failover-guard", daemon=True).start()

    def _run(self) -> None:
        outage = OutageLog("the ledger cannot be compared with the journal")
        while True:
            try:
                self.check(self._services.now())
                outage.clear()
            except (LedgerUnavailable, ArchiveUnavailable) as lost:
                outage.record(str(lost))
            except Exception:
                log.exception("failover guard broke")
            time.sleep(CHECK_S)
