"""A question to S3 that many ask at once and that may hang: it is put once, and nobody waits for long."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One look at a time, which all who ask share: while it hangs, no more threads hang with it."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._pool, self._lock = ThreadPoolExecutor(1, thread_name_prefix="look"), Lock()
        self._under_way: Future[T] | None = None

    def look(self, at: Callable[[], T]) -> T:
        """What the look came to; raises what it raised, or TimeoutError."""
        with self._lock:
            if self._under_way is None or self._under_way.done():
                self._under_way = self._pool.submit(at)
            under_way = self._under_way
        return under_way.result(self._patience_s)
