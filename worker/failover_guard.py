"""Holds submits from the moment the ledger may have lost something until the journal was held against it.

A server that answers under another run id or replication id may be a replica that became master, a restart, or a new
Redis with nothing in it. `rushes:mark` names the server on which the ledger was last whole, and when; it is lost
together with the rest, so what is left of it tells how far back the journal has to be read. The gate itself stands
where a submit is written down (Ledger.engage); here is who opens it.

Calls that were out when the ledger was lost are answered after the journal was read. So it is read a second time, and
that this is still to be done stands in the ledger (`rushes:afterlooks`): whichever scheduler lives then does it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

import structlog

from rushes.shared.domain import schedule
from rushes.shared.ledger.ledger import IDEMPOTENCY_S
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations.recovery import Report, recover
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchiveUnavailable

log = structlog.get_logger()

LOOK_S = 2
# Clocks differ, and a line is stored some time after its moment.
MARGIN_S = 120
# Calls that were out when the ledger was lost are answered by then: their answers are looked for once more.
AFTERLOOK_S = 90


class FailoverGuard:
    """One in each scheduler; whoever is first opens for all."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._announced = ""
        self.open = False

    def look(self, now: int) -> Report | None:
        """Hold or open; what was put back, if the journal had to be asked.

        Raises LedgerUnavailable, and ArchiveUnavailable where the journal cannot be read: then submits stay held.
        """
        ledger = self._services.ledger
        server, mark = ledger.continuity.server(), ledger.continuity.mark()
        if not self._services.settings.journal:
            self._give_up(mark)
            return None
        if mark.get("server") == server:
            self._pass(server, now)
            return self._look_again(now)
        since = self._whole_until(mark, now)
        self.open = False
        self._announce(server, mark)
        report = recover(self._services, since)
        # Before the mark: whoever dies between the two leaves a ledger that is compared anew, not one nobody looks at.
        ledger.continuity.plan_afterlook(schedule.after(now, AFTERLOOK_S), since)
        self._pass(server, now)
        log.info("submits go on: the ledger was compared with the journal", put_back=len(report.put_back))
        return report

    def _announce(self, server: str, mark: Mapping[str, str]) -> None:
        """Say once, not at each look, why submits are held."""
        if server == self._announced:
            return
        self._announced = server
        if mark:
            log.warning("submits held: the ledger's server is another one", was=mark.get("server"), now=server)
        else:
            log.info("a ledger without a mark is compared with the journal: a first start, or a lost Redis")

    def _whole_until(self, mark: Mapping[str, str], now: int) -> int:
        """Since when the ledger may lack something."""
        patience = self._services.settings.policy
        if "server" in mark:
            return schedule.after(int(mark["at"]), -MARGIN_S)
        return schedule.after(now, -max(patience.job_timeout_s + patience.result_ttl_s, IDEMPOTENCY_S))

    def _pass(self, server: str, now: int) -> None:
        self._services.ledger.continuity.set_mark(server, now)
        if not self.open:
            self.open, self._announced = True, ""
            self._services.ledger.wake()

    def _look_again(self, now: int) -> Report | None:
        due = {at: since for at, since in self._services.ledger.continuity.afterlooks().items() if at <= now}
        if not due:
            return None
        report = recover(self._services, min(due.values()))
        # Only after the journal was read: where it cannot be, the next look tries again.
        self._services.ledger.continuity.drop_afterlooks(due)
        return report

    def _give_up(self, mark: Mapping[str, str]) -> None:
        """Without a journal there is nothing to compare with, and nothing to wait for."""
        self.open = True
        if mark:
            self._services.ledger.continuity.unmark()

    def start(self) -> None:
        """Look in the background for as long as the process lives."""
        threading.Thread(target=self._go_on, name="watch", daemon=True).start()

    def _go_on(self) -> None:
        while True:
            try:
                self.look(self._services.now())
            except (LedgerUnavailable, ArchiveUnavailable) as lost:
                log.warning("the ledger cannot be compared with the journal now", reason=str(lost))
            except Exception:
                log.exception("watch broke")
            time.sleep(LOOK_S)
