"""Claims what is due in the ledger and hands it to Celery. Any number may run; none of them leads."""

from __future__ import annotations

import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from shared import logs
from shared.domain import pace
from shared.ledger.ledger import Ticket
from shared.ledger.store import LedgerUnavailable
from shared.wiring import Services
from worker.lanes import SHARES, rooms

log = structlog.get_logger()

# The bell rings for what is due now; a scheduler that missed it looks again after this long.
NAP_S = 1.0
AGAIN_S = 1.0
CENSUS_MS = 5_000

Hand = Callable[[str, str, Sequence[tuple[str, str, int]]], None]


class Scheduler:
    """One turn at a time: claim, hand out, sleep until the next due time or the bell."""

    def __init__(self, services: Services, hand: Hand) -> None:
        self._services = services
        self._hand = hand
        self._workers = 1
        self._counted_at = 0

    def turn(self, now: int) -> float:
        """Hand out what is due; answers for how many seconds there is nothing to do. Raises LedgerUnavailable."""
        self._count_workers(now)
        given = rooms(self._services.settings.gateways, self._workers)
        soonest, tickets = self._services.ledger.claim(given, now)
        for kind, batch in batches(tickets):
            share = SHARES[kind]
            self._hand(f"rushes.{kind}", share.queue, [(t.lane, t.job_id, t.lease) for t in batch])
        return NAP_S if soonest is None else min(max((soonest - now) / 1000, 0), NAP_S)

    def _count_workers(self, now: int) -> None:
        if now - self._counted_at >= CENSUS_MS:
            self._workers = self._services.ledger.workers(now)
            self._counted_at = now


def batches(tickets: Iterable[Ticket]) -> Iterator[tuple[str, list[Ticket]]]:
    """Tickets in messages: of one lane, so that a gateway that hangs holds up nobody else's."""
    by_lane: defaultdict[str, list[Ticket]] = defaultdict(list)
    for ticket in tickets:
        by_lane[ticket.lane].append(ticket)
    for lane, held in by_lane.items():
        kind = pace.kind_of(lane)
        size = SHARES[kind].batch
        for start in range(0, len(held), size):
            yield kind, held[start : start + size]


def run(scheduler: Scheduler, services: Services, stopping: Callable[[], bool]) -> None:
    """Turn until told to stop; a ledger or broker out of reach is waited for."""
    while not stopping():
        try:
            services.ledger.listen(scheduler.turn(services.now()))
        except LedgerUnavailable as lost:
            log.warning("ledger out of reach", reason=str(lost))
            services.ledger.listen(AGAIN_S)
        except OSError as lost:  # kombu's own errors are OSErrors: what was claimed is offered again
            log.warning("broker out of reach", reason=str(lost))
            services.ledger.listen(AGAIN_S)


def main() -> None:
    from worker.app import app, services

    logs.configure()
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: stop.append(caught))
    producer = app.amqp.producer_pool.acquire(block=True)

    def hand(task: str, queue: str, tickets: Sequence[tuple[str, str, int]]) -> None:
        app.send_task(task, args=[tickets], queue=queue, producer=producer, retry=False, ignore_result=True)

    log.info("scheduler started")
    run(Scheduler(services(), hand), services(), lambda: bool(stop))
    sys.exit(0)


if __name__ == "__main__":
    main()
