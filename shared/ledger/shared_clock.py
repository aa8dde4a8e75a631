"""One clock for every process, that of the ledger's server: hosts whose clocks differ agree on what is due."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from rushes.shared.ledger.store import LedgerUnavailable

# Clocks drift by some seconds a day at most; one that is set by hand is followed within this long.
MEASURE_S = 30
# A difference below this is the network's or chance; then our own clock is as good.
TOLERANCE_MS = 500

log = structlog.get_logger()


def wall_clock() -> int:
    """This host's wall clock, in ms since the epoch."""
    return time.time_ns() // 1_000_000


class SharedClock:
    """Says what time it is at the ledger's server (`server_time`, ms). Safe for threads.

    A moment that one process writes is compared with the clock of another: what is due at 12:00 by the worker's clock
    would come late by the scheduler's. The difference is measured beside the work: who asks for the time never waits.
    """

    def __init__(self, server_time: Callable[[], int]) -> None:
        self._server_time = server_time
        self._ahead_ms = 0
        self._measure_at = 0.0
        self._lock = threading.Lock()

    def now(self) -> int:
        """The moment, in ms since the epoch; this host's own until the difference is known."""
        if time.monotonic() >= self._measure_at and self._lock.acquire(blocking=False):
            self._measure_at = time.monotonic() + MEASURE_S
            threading.Thread(target=self._measure_once, daemon=True).start()
        return wall_clock() + self._ahead_ms

    def _measure_once(self) -> None:
        try:
            self.measure()
        except LedgerUnavailable:
            pass  # the difference that was measured last goes on to hold
        finally:
            self._lock.release()

    def measure(self) -> int:
        """Learn how far the server's clock is ahead of this host's, in ms; raises LedgerUnavailable."""
        asked_at, began = wall_clock(), time.monotonic_ns()
        server_at = self._server_time()
        round_trip_ms = (time.monotonic_ns() - began) // 1_000_000
        ahead_ms = server_at - asked_at - round_trip_ms // 2
        if abs(ahead_ms) < TOLERANCE_MS + round_trip_ms:
            ahead_ms = 0
        if abs(ahead_ms - self._ahead_ms) >= TOLERANCE_MS:
            log.warning("this host's clock differs from the ledger's, whose holds", ahead_s=ahead_ms / 1000)
        self._ahead_ms = ahead_ms
        return ahead_ms
