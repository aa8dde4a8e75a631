"""One call to S3 that many threads share. It may hang, so it is made once, and nobody waits for long."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Makes one call at a time and gives its result to all callers. While it hangs, no other thread hangs with it."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._pool, self._lock = ThreadPoolExecutor(1, thread_name_prefix="single-flight"), Lock()
        self._under_way: Future[T] | None = None

    def call(self, function: Callable[[], T]) -> T:
        """The result of the call that is under way, or of a new one. Raises what it raised, or TimeoutError."""
        with self._lock:
            if self._under_way is None or self._under_way.done():
                self._under_way = self._pool.submit(function)
            under_way = self._under_way
        return under_way.result(self._patience_s)
