"""The scheduler: claims due jobs in the ledger and hands them out over Celery. Any number may run, without a leader."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import structlog
from celery import Celery

from rushes.shared import heap, logs
from rushes.shared.domain import schedule, start_deadline
from rushes.shared.ledger.store import LaneRoom, LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.operations import doctor
from rushes.shared.providers import PROVIDERS
from rushes.shared.services import Services
from rushes.worker import audit_loop, background_turns, broker_watch, retirement_loop
from rushes.worker.broker_sender import BrokerSender, BrokerUnavailable
from rushes.worker.failover_guard import FailoverGuard
from rushes.worker.lane_capacity import SHARES, lane_limits, more_tickets
from rushes.worker.outage_log import OutageLog
from rushes.worker.step_rates import StepRates

log = structlog.get_logger()

# A job that is due now wakes the scheduler. One that missed the wake-up checks again after this long.
MAX_WAIT_S = 1.0
RETRY_S = 1.0
# After a turn that handed out jobs the next one is delayed, so that jobs that come due meanwhile share its message: a
# message costs more than the poll that it asks for. The delay grows with the load, up to a limit.
BATCH_DELAY_S, BATCH_DELAY_PER_TICKET_S, BATCH_DELAY_MAX_S = 0.06, 0.003, 0.2
LOOK_MS = 5_000

# Work that stops while the ledger may not know of calls that were paid: a job that ends now may have one.
HELD = frozenset({"submit", start_deadline.LANE})

HandOut = Callable[[Sequence[tuple[str, str, int]]], None]


class Scheduler:
    """Makes one turn at a time: claim what is due, hand it out, and say how long to wait for the next turn."""

    def __init__(
        self,
        services: Services,
        hand_out: HandOut,
        may_submit: Callable[[], bool] = lambda: True,
        rates: Callable[[int], Mapping[str, float]] = lambda now: {},
    ) -> None:
        """`rates` gives the steps a second of each kind that the workers end (step_rates.py)."""
        self._services = services
        self._hand_out = hand_out
        self._may_submit = may_submit
        self._rates = rates
        self._limits: list[LaneRoom] = []
        self._workers, self._without_jobs = 1, set[str]()
        self._more: Mapping[str, int] = {}
        self._looked_at = 0
        self.batch_delay_s = 0.0
        """How long to wait after the last turn even if a wake-up comes."""

    def turn(self, now: int) -> float:
        """Hand out what is due; returns the seconds until the next job is due. Raises LedgerUnavailable."""
        if now - self._looked_at >= LOOK_MS:
            self._look(now)
        if (more := more_tickets(self._rates(now))) != self._more:
            self._more = more
            self._set_limits()
        limits = self._limits
        if not self._may_submit():
            limits = [limit for limit in limits if schedule.kind_of(limit.lane) not in HELD]
        soonest, tickets = self._services.ledger.claim(limits, now)
        delay_s = min(BATCH_DELAY_S + len(tickets) * BATCH_DELAY_PER_TICKET_S, BATCH_DELAY_MAX_S)
        self.batch_delay_s = delay_s if tickets else 0.0
        for message in messages(tickets, self._workers):
            self._hand_out([(ticket.lane, ticket.job_id, ticket.lease) for ticket in message])
        return MAX_WAIT_S if soonest is None else min(max((soonest - now) / 1000, 0), MAX_WAIT_S)

    def _look(self, now: int) -> None:
        """Look at what changes rarely: the number of workers, the terms of tenants, which gateways have no jobs."""
        ledger, gateways = self._services.ledger, self._services.settings.gateways
        ledger.tenant_terms.keep(self._services.settings.tenants.terms())
        # No turn asks for a gateway that is not enabled, unless it has jobs: they must not be forgotten.
        self._without_jobs = ledger.overview.without_jobs(name for name in PROVIDERS if name not in gateways)
        self._workers = max(ledger.workers(now), 1)
        self._set_limits()
        self._looked_at = now

    def _set_limits(self) -> None:
        gateways = self._services.settings.gateways
        self._limits = lane_limits(gateways, self._workers, self._without_jobs, self._more)


def messages(tickets: Sequence[Ticket], workers: int = 1) -> list[list[Ticket]]:
    """Group tickets into messages: all kinds together, of each at most its batch, so that workers share the load.

    Where there are more than two batches for each worker, a batch is up to twice as large: a message costs more than a
    ticket.
    """
    groups: list[list[Ticket]] = []
    in_all = Counter(schedule.kind_of(ticket.lane) for ticket in tickets)
    batches = {kind: SHARES[kind].batch_of(count, workers) for kind, count in in_all.items()}
    counts: Counter[str] = Counter()
    for ticket in tickets:
        kind = schedule.kind_of(ticket.lane)
        number = counts[kind] // batches[kind]
        counts[kind] += 1
        if number == len(groups):
            groups.append([])
        groups[number].append(ticket)
    return groups


# A turn takes milliseconds, and each of its calls ends within seconds, by its timeout.
STALLED_S, EXIT_STALLED = 60, 70


def end_process() -> None:
    """End at once: nothing is under way that would be lost."""
    os._exit(EXIT_STALLED)


class Watchdog(threading.Thread):
    """Ends the process if the scheduler makes no turn for STALLED_S; it is then started again."""

    def __init__(self, end: Callable[[], None] = end_process) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._end, self._stopped = end, threading.Event()
        self._last_turn_at = time.monotonic()

    def record_turn(self) -> None:
        """Record that the scheduler is alive."""
        self._last_turn_at = time.monotonic()

    def stop(self) -> None:
        """Watch no longer: no more turns are to be made."""
        self._stopped.set()

    def run(self) -> None:
        self.record_turn()
        while time.monotonic() - self._last_turn_at < STALLED_S:
            if self._stopped.wait(1):
                return
        log.critical("the scheduler has stalled: its process ends, to be started again")
        self._end()


def run(scheduler: Scheduler, services: Services, stopping: Callable[[], bool], watchdog: Watchdog) -> None:
    """Make turns until `stopping`; if ledger or broker are out of reach, wait and try again."""
    outages = {LedgerUnavailable: OutageLog("ledger out of reach"), BrokerUnavailable: OutageLog("broker out of reach")}
    while not stopping():
        watchdog.record_turn()
        try:
            wait_s = scheduler.turn(services.now())
        except (LedgerUnavailable, BrokerUnavailable) as outage:  # jobs that were claimed are handed out again
            outages[type(outage)].record(str(outage))
            services.ledger.listen(RETRY_S)
            continue
        outages[LedgerUnavailable].clear()
        if scheduler.batch_delay_s:  # something was handed out
            outages[BrokerUnavailable].clear()
        time.sleep(scheduler.batch_delay_s)
        services.ledger.listen(max(wait_s - scheduler.batch_delay_s, 0))


def start_background_work(services: Services) -> None:
    """Start all that goes on beside the turns, for as long as the process lives."""
    for work in (audit_loop, background_turns, broker_watch, retirement_loop):
        work.start(services)


def serve(app: Celery, services: Services, stopping: Callable[[], bool], watchdog: Watchdog) -> None:
    """Schedule until `stopping`. What goes on beside the turns ends with the process."""
    log.info("scheduler started")
    guard = FailoverGuard(services)
    guard.start()
    start_background_work(services)
    watchdog.start()
    scheduler = Scheduler(services, BrokerSender(app).send, lambda: guard.open, StepRates(services.ledger))
    run(scheduler, services, stopping, watchdog)


def main() -> None:
    heap.tune()
    from rushes.worker.app import app, services

    logs.configure_process()
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.append(received))
    doctor.warn_of_redis(services().settings)
    serve(app, services(), lambda: bool(signals), Watchdog())
    sys.exit(0)


if __name__ == "__main__":
    main()
