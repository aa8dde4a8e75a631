"""Claims what is due in the ledger and hands it to Celery. Any number may run; none of them leads."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import structlog

from rushes.shared import logs
from rushes.shared.domain import schedule
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.operations import doctor
from rushes.shared.services import Services
from rushes.worker import audit_loop
from rushes.worker.failover_guard import FailoverGuard
from rushes.worker.lane_capacity import QUEUE, SHARES, rooms

log = structlog.get_logger()

# The bell rings for what is due now; a scheduler that missed it looks again after this long.
NAP_S = 1.0
AGAIN_S = 1.0
# After a turn that handed something out the next one waits: what comes due meanwhile travels in the same message, for a
# message costs more than the poll that it asks for. The more is going on the longer, at most so long: somebody waits.
BREATH_S, BREATH_PER_TICKET_S, BREATH_MAX_S = 0.06, 0.003, 0.15
CENSUS_MS = 5_000

Hand = Callable[[Sequence[tuple[str, str, int]]], None]


class Scheduler:
    """One turn at a time: claim, hand out, sleep until the next due time or the bell."""

    def __init__(self, services: Services, hand: Hand, may_submit: Callable[[], bool] = lambda: True) -> None:
        self._services = services
        self._hand = hand
        self._may_submit = may_submit
        self._workers = 1
        self._counted_at = 0
        self.breath_s = 0.0
        """How long to wait after the last turn, also where the bell rings."""

    def turn(self, now: int) -> float:
        """Hand out what is due; answers for how many seconds there is nothing to do. Raises LedgerUnavailable."""
        self._count_workers(now)
        given = rooms(self._services.settings.gateways, self._workers)
        if not self._may_submit():
            given = [room for room in given if schedule.kind_of(room.lane) != "submit"]
        soonest, tickets = self._services.ledger.claim(given, now)
        self.breath_s = min(BREATH_S + len(tickets) * BREATH_PER_TICKET_S, BREATH_MAX_S) if tickets else 0.0
        for message in messages(tickets):
            self._hand([(t.lane, t.job_id, t.lease) for t in message])
        return NAP_S if soonest is None else min(max((soonest - now) / 1000, 0), NAP_S)

    def _count_workers(self, now: int) -> None:
        if now - self._counted_at >= CENSUS_MS:
            self._workers = self._services.ledger.workers(now)
            self._counted_at = now


def messages(tickets: Iterable[Ticket]) -> list[list[Ticket]]:
    """Tickets in messages: all kinds travel together, and of each no more than its batch, so that workers share."""
    made: list[list[Ticket]] = []
    seen: Counter[str] = Counter()
    for ticket in tickets:
        kind = schedule.kind_of(ticket.lane)
        number = seen[kind] // SHARES[kind].batch
        seen[kind] += 1
        if number == len(made):
            made.append([])
        made[number].append(ticket)
    return made


# A turn takes milliseconds, and what it waits for ends by itself within seconds.
STALLED_S, EXIT_STALLED = 60, 70


class Watchdog(threading.Thread):
    """Ends the process when the scheduler has not turned for long: started again, it is of use."""

    def __init__(self) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._turned_at = time.monotonic()

    def turned(self) -> None:
        """The scheduler is alive."""
        self._turned_at = time.monotonic()

    def run(self) -> None:
        while time.monotonic() - self._turned_at < STALLED_S:
            time.sleep(1)
        log.critical("the scheduler has stalled: it ends, to be started again")
        os._exit(EXIT_STALLED)


def run(scheduler: Scheduler, services: Services, stopping: Callable[[], bool], watchdog: Watchdog) -> None:
    """Turn until told to stop; a ledger or broker out of reach is waited for."""
    while not stopping():
        watchdog.turned()
        try:
            nap_s = scheduler.turn(services.now())
            time.sleep(scheduler.breath_s)
            services.ledger.listen(max(nap_s - scheduler.breath_s, 0))
        except LedgerUnavailable as lost:
            log.warning("ledger out of reach", reason=str(lost))
            services.ledger.listen(AGAIN_S)
        except OSError as lost:  # kombu's own errors are OSErrors: what was claimed is offered again
            log.warning("broker out of reach", reason=str(lost))
            services.ledger.listen(AGAIN_S)


def main() -> None:
    from rushes.worker.app import app, services

    logs.configure_process()
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: stop.append(caught))
    producer = app.amqp.producer_pool.acquire(block=True)

    def hand(tickets: Sequence[tuple[str, str, int]]) -> None:
        app.send_task("rushes.work", args=[tickets], queue=QUEUE, producer=producer, retry=False, ignore_result=True)

    doctor.warn_of_redis(services().settings)
    log.info("scheduler started")
    watch = FailoverGuard(services())
    watch.start()
    audit_loop.start(services())
    watchdog = Watchdog()
    watchdog.start()
    run(Scheduler(services(), hand, lambda: watch.open), services(), lambda: bool(stop), watchdog)
    sys.exit(0)


if __name__ == "__main__":
    main()
