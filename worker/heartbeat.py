"""A worker shows every few seconds that it lives: it keeps its share of the lanes, and the jobs that it holds."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import structlog

from shared.domain import pace
from shared.ledger.ledger import Ticket
from shared.ledger.store import LedgerUnavailable
from shared.wiring import Services
from worker.lanes import lanes

T = TypeVar("T")
log = structlog.get_logger()
EXIT_DEAF = 70


class Hold:
    """A job in a worker's hands. The lock keeps a renewal and a write that needs the lease apart."""

    def __init__(self, ticket: Ticket, since: int) -> None:
        self.kind = pace.kind_of(ticket.lane)
        self._ticket: Ticket | None = ticket
        self._since = since
        self._lock = threading.Lock()

    def engage(self, write: Callable[[Ticket], T], now: int) -> T | None:
        """Do a write that needs the lease, which it renews; None where the job is no longer ours."""
        with self._lock:
            if self._ticket is None:
                return None
            done = write(self._ticket)
            self._ticket = replace(self._ticket, lease=pace.after(now, pace.LEASE_S))
            return done

    def still(self, services: Services) -> bool:
        """Whether the job is ours at this moment, by the ledger's word; renews the lease. Raises LedgerUnavailable."""
        with self._lock:
            if self._ticket:
                self._ticket = services.ledger.renew(self._ticket, services.now())
            return self._ticket is not None

    def let_go(self) -> None:
        """The step is done; the lease is not renewed any more."""
        HELD.discard(self)

    def renew(self, services: Services) -> None:
        """Hold on to the job, if it has been held for long enough to need it."""
        now = services.now()
        with self._lock:
            if self._ticket and now >= pace.after(self._since, pace.RENEW_S):
                self._ticket = services.ledger.renew(self._ticket, now)


HELD: set[Hold] = set()


def hold(ticket: Ticket, services: Services) -> Hold:
    """Keep a job from now on, until it is let go."""
    held = Hold(ticket, services.now())
    HELD.add(held)
    return held


def start(services: Services) -> None:
    """Beat in the background for as long as the process lives."""
    threading.Thread(target=_beat, args=(services,), name="heartbeat", daemon=True).start()


def heard() -> None:
    """Something was handed to this worker."""
    PULSE.heard_at = time.monotonic()


class Pulse:
    """When this worker last was handed something."""

    heard_at = time.monotonic()


PULSE = Pulse()
# Work was handed out for so long, and none of it reached this worker: it hears nothing any more (celery #10302).
DEAF_S = 60
LAUNCHER = os.environ.get("RUSHES_LAUNCHER")


def _beat(services: Services) -> None:
    name = f"{socket.gethostname()}:{os.getpid()}"
    while True:
        with suppress(LedgerUnavailable):
            services.ledger.alive(name, services.now())
            for held in list(HELD):
                held.renew(services)
            if deaf(services):
                log.critical("this worker is handed nothing, although work waits: it ends, to be started again")
                os._exit(EXIT_DEAF)
        if LAUNCHER and os.getppid() != int(LAUNCHER):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(pace.RENEW_S)


def deaf(services: Services) -> bool:
    """Whether tickets have been lying about for long while this worker was handed none, and holds nothing."""
    if HELD or time.monotonic() - PULSE.heard_at < DEAF_S:
        return False
    now = services.now()
    lying = services.ledger.unopened(lanes(), now)
    return bool(lying) and now - min(lying.values()) > DEAF_S * pace.SECOND
