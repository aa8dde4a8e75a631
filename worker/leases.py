"""A worker shows every few seconds that it lives: it keeps its share of the lanes, and the jobs that it holds."""

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

log = structlog.get_logger()
EXIT_DEAF = 70
# Nobody else can have taken a job up whose lease was renewed so short a time ago.
SURE_S = 2


class Lease:
    """A job in a worker's hands. The lock keeps a renewal and a write that needs the lease apart."""

    def __init__(self, ticket: Ticket, since: int) -> None:
        self.kind, _, self.gateway = ticket.lane.partition(":")
        self._ticket: Ticket | None = ticket
        self._since = since
        self._lock = threading.Lock()

    def let_go(self) -> None:
        """The step is done; the lease is not renewed any more."""
        HELD.discard(self)

    def renew(self, services: Services) -> None:
        """Hold on to the job, if it has been held for long enough to need it."""
        now = services.now()
        with self._lock:
            if self._ticket and now >= schedule.after(self._since, schedule.RENEW_S):
                self._ticket = services.ledger.renew(self._ticket, now)

    def sure(self, now: int) -> bool:
        """Whether the lease was renewed a moment ago."""
        ticket = self._ticket
        return ticket is not None and ticket.lease >= schedule.after(now, schedule.LEASE_S - SURE_S)

    @contextmanager
    def kept(self) -> Iterator[Ticket | None]:
        """The ticket as it is, and as it stays meanwhile; None where the job is no longer ours."""
        with self._lock:
            yield self._ticket

    def have(self, ticket: Ticket | None) -> None:
        """The ticket is another from now on; for whoever keeps it."""
        self._ticket = ticket


HELD: set[Lease] = set()


def hold(ticket: Ticket, services: Services) -> Lease:
    """Keep a job from now on, until it is let go."""
    held = Lease(ticket, services.now())
    HELD.add(held)
    return held


def engage(
    holds: Sequence[Lease], write: Callable[[Sequence[Ticket]], Sequence[Job | Exception]], now: int
) -> list[Job | Exception | None]:
    """Do a write that needs the leases, and renews those of the jobs that it gives; None for one no longer ours."""
    with ExitStack() as kept:
        tickets = [kept.enter_context(hold.kept()) for hold in holds]
        ours = [ticket for ticket in tickets if ticket]
        done = dict(zip(ours, write(ours) if ours else (), strict=True))
        for hold, ticket in zip(holds, tickets, strict=True):
            if ticket and isinstance(done[ticket], Job):
                hold.have(replace(ticket, lease=schedule.after(now, schedule.LEASE_S)))
        return [done[ticket] if ticket else None for ticket in tickets]


def still(holds: Sequence[Lease], services: Services) -> list[bool]:
    """Which jobs are ours at this moment, by the ledger's word; renews their leases. Raises LedgerUnavailable."""
    with ExitStack() as kept:
        tickets = [kept.enter_context(hold.kept()) for hold in holds]
        ours = [ticket for ticket in tickets if ticket]
        renewed = dict(zip(ours, services.ledger.renew_many(ours, services.now()) if ours else (), strict=True))
        for hold, ticket in zip(holds, tickets, strict=True):
            if ticket:
                hold.have(renewed[ticket])
        return [ticket is not None and renewed[ticket] is not None for ticket in tickets]


def start(services: Services) -> None:
    """Beat in the background for as long as the process lives."""
    threading.Thread(target=_beat, args=(services,), name="heartbeat", daemon=True).start()


def heard() -> None:
    """Something was handed to this worker."""
    PULSE.heard_at = time.monotonic()


class Heartbeat:
    """When this worker last was handed something."""

    heard_at = time.monotonic()


PULSE = Heartbeat()
# Work was handed out for so long, and none of it reached this worker: it hears nothing any more (celery #10302).
DEAF_S = 60
LAUNCHER = os.environ.get("RUSHES_LAUNCHER")


def _beat(services: Services) -> None:
    name = f"{socket.gethostname()}:{os.getpid()}"
    while True:
        with suppress(LedgerUnavailable):
            services.ledger.record_heartbeat(name, services.now())
            for held in list(HELD):
                held.renew(services)
            if deaf(services):
                log.critical("this worker is handed nothing, although work waits: it ends, to be started again")
                os._exit(EXIT_DEAF)
        if LAUNCHER and os.getppid() != int(LAUNCHER):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(schedule.RENEW_S)


def deaf(services: Services) -> bool:
    """Whether tickets have been lying about for long while this worker was handed none, and holds nothing."""
    if HELD or time.monotonic() - PULSE.heard_at < DEAF_S:
        return False
    now = services.now()
    lying = services.ledger.overview.unopened_since(lanes(), now)
    return bool(lying) and now - min(lying.values()) > DEAF_S * schedule.SECOND
