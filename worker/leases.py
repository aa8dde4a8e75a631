"""Leases of jobs and the worker's heartbeat, which renews them and the worker's share of the lanes."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import structlog

from rushes.shared.domain import schedule
from rushes.shared.domain.job import Job
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.services import Services
from rushes.worker.lane_capacity import lanes
from rushes.worker.step_rates import PERIOD_S, EndedSteps

log = structlog.get_logger()
EXIT_NO_WORK = 70
# A lease that was renewed less than this ago cannot have been taken over by another worker.
FRESH_S = 2


class Lease:
    """This worker's lease of a job. The lock separates a renewal from a write that needs the lease."""

    def __init__(self, ticket: Ticket, since: int) -> None:
        self.kind, _, self.gateway = ticket.lane.partition(":")
        self._ticket: Ticket | None = ticket
        self._since = since
        self._lock = threading.Lock()

    def release(self) -> None:
        """Stop renewing the lease: the step is done. Again, it does nothing."""
        with suppress(KeyError):
            ACTIVE.remove(self)
            ENDED.add(self.kind)

    def renew(self, services: Services) -> None:
        """Renew the lease if the job has been held long enough to need it."""
        now = services.now()
        with self._lock:
            if self._ticket and now >= schedule.after(self._since, schedule.RENEW_S):
                self._ticket = services.ledger.renew(self._ticket, now)

    def is_fresh(self, now: int) -> bool:
        """Whether the lease was renewed less than FRESH_S ago."""
        ticket = self._ticket
        return ticket is not None and ticket.lease >= schedule.after(now, schedule.LEASE_S - FRESH_S)

    @contextmanager
    def locked(self) -> Iterator[Ticket | None]:
        """The current ticket, which no renewal changes meanwhile; None if the lease is lost."""
        with self._lock:
            yield self._ticket

    def replace_ticket(self, ticket: Ticket | None) -> None:
        """Set the ticket; call it only inside `locked`."""
        self._ticket = ticket


ACTIVE: set[Lease] = set()
ENDED = EndedSteps()


def acquire(ticket: Ticket, services: Services) -> Lease:
    """A lease that the heartbeat renews until it is released."""
    lease = Lease(ticket, services.now())
    ACTIVE.add(lease)
    return lease


def active_leases(kind: str) -> int:
    """How many jobs this worker has under lease for this kind of step."""
    return sum(lease.kind == kind for lease in list(ACTIVE))


def write_with_leases(
    leases: Sequence[Lease], write: Callable[[Sequence[Ticket]], Sequence[Job | Exception]], now: int
) -> list[Job | Exception | None]:
    """Do a write that needs the leases, and renews those of the jobs that it returns; None for a lost lease."""
    with ExitStack() as locks:
        tickets = [locks.enter_context(lease.locked()) for lease in leases]
        valid = [ticket for ticket in tickets if ticket]
        results = dict(zip(valid, write(valid) if valid else (), strict=True))
        for lease, ticket in zip(leases, tickets, strict=True):
            if ticket and isinstance(results[ticket], Job):
                lease.replace_ticket(replace(ticket, lease=schedule.after(now, schedule.LEASE_S)))
        return [results[ticket] if ticket else None for ticket in tickets]


def renew_all(leases: Sequence[Lease], services: Services) -> list[bool]:
    """Renew leases in the ledger; whether this worker still has each. Raises LedgerUnavailable."""
    with ExitStack() as locks:
        tickets = [locks.enter_context(lease.locked()) for lease in leases]
        valid = [ticket for ticket in tickets if ticket]
        renewed = dict(zip(valid, services.ledger.renew_many(valid, services.now()) if valid else (), strict=True))
        for lease, ticket in zip(leases, tickets, strict=True):
            if ticket:
                lease.replace_ticket(renewed[ticket])
        return [ticket is not None and renewed[ticket] is not None for ticket in tickets]


def start_heartbeat(services: Services) -> None:
    """Renew leases in the background for as long as the process lives."""
    record_work()  # this module may be older than the process: workers are forks of their launcher
    for name, beat in (("heartbeat", _beat), ("step rates", _tell_steps)):
        threading.Thread(target=beat, args=(services,), name=name, daemon=True).start()


def record_work() -> None:
    """Record that this worker received work."""
    HEARTBEAT.received_at = time.monotonic()


def record_broker_outage() -> None:
    """Record that this worker waits for the broker: it receives no work, but its consumer is not broken."""
    HEARTBEAT.received_at = time.monotonic()


class Heartbeat:
    """When this worker last received work."""

    received_at = time.monotonic()


HEARTBEAT = Heartbeat()
# If tickets stay unopened for this long while this worker receives none, its consumer is broken (celery #10302).
NO_WORK_S = 60


def _beat(services: Services) -> None:
    name, launcher = f"{socket.gethostname()}:{os.getpid()}", os.environ.get("RUSHES_LAUNCHER")
    while True:
        with suppress(LedgerUnavailable):
            services.ledger.record_heartbeat(name, services.now())
            for lease in list(ACTIVE):
                lease.renew(services)
            if receives_nothing(services):
                log.critical("this worker receives no work although work waits: it ends, to be started again")
                os._exit(EXIT_NO_WORK)
        if launcher and os.getppid() != int(launcher):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(schedule.RENEW_S)


def _tell_steps(services: Services) -> None:
    while True:
        time.sleep(PERIOD_S)
        with suppress(LedgerUnavailable):
            ENDED.tell(services.ledger)


def receives_nothing(services: Services) -> bool:
    """Whether tickets have been unopened for NO_WORK_S while this worker received none and has no lease."""
    if ACTIVE or time.monotonic() - HEARTBEAT.received_at < NO_WORK_S:
        return False
    now = services.now()
    unopened = services.ledger.overview.unopened_since(lanes(), now)
    return bool(unopened) and now - min(unopened.values()) > NO_WORK_S * schedule.SECOND
