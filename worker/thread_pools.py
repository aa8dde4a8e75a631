"""Thread pools of a worker: one for each kind of work, so that slow archives never delay polls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# The caller of map_in_groups waits this long for more results, because each group costs a call to the ledger.
GROUP_S = 0.01


class ThreadPools(Protocol):
    """Calls a function with each of some items, in parallel as far as there are threads for that kind of work."""

    def start(self, kind: str, function: Callable[[T], None], items: Sequence[T]) -> None:
        """Start the calls and return; their ends are not waited for."""

    def map_in_groups(self, kind: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[list[tuple[T, R]]]:
        """The items with their results, in groups, in the order in which they end; an item that raises is left out."""


class Sequential:
    """Makes the calls one after the other, in the caller's thread."""

    def start(self, kind: str, function: Callable[[T], None], items: Sequence[T]) -> None:
        for item in items:
            function(item)

    def map_in_groups(self, kind: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[list[tuple[T, R]]]:
        for item in items:
            yield [(item, function(item))]


class WorkerThreads:
    """A pool of threads for each kind; `on_done` is called each time that all calls of one `start` have ended."""

    def __init__(self, sizes: Mapping[str, int], on_done: Callable[[], None]) -> None:
        self._pools = {kind: ThreadPoolExecutor(size, thread_name_prefix=kind) for kind, size in sizes.items()}
        self._on_done = on_done

    def start(self, kind: str, function: Callable[[T], None], items: Sequence[T]) -> None:
        remaining = [*range(len(items))]

        def call(item: T) -> None:
            try:
                function(item)
            finally:
                if remaining.pop() == 0:  # each number is popped once, so on_done is called once
                    self._on_done()

        for item in items:
            self._submit(kind, partial(call, item))

    def map_in_groups(self, kind: str, function: Callable[[T], R], items: Sequence[T]) -> Iterator[list[tuple[T, R]]]:
        queue: SimpleQueue[list[tuple[T, R]]] = SimpleQueue()

        def call(item: T) -> None:
            result: list[tuple[T, R]] = []
            try:
                result = [(item, function(item))]
            finally:
                queue.put(result)

        for item in items:
            self._submit(kind, partial(call, item))
        remaining = len(items)
        while remaining:
            results = [queue.get()]
            if remaining > 1:
                time.sleep(GROUP_S)
            results += _drain(queue)
            remaining -= len(results)
            yield [pair for result in results for pair in result]

    def _submit(self, kind: str, call: Callable[[], Any]) -> None:
        pending = [call]
        try:
            self._pools[kind].submit(_call_once, pending)
        except RuntimeError:  # no thread can be started: out of threads, or the interpreter is shutting down
            _call_once(pending)


def _call_once(pending: list[Callable[[], Any]]) -> None:
    """Make the call unless it was made: a pool that could not start a thread has queued it nevertheless."""
    try:
        call = pending.pop()
    except IndexError:
        return
    call()


def _drain(queue: SimpleQueue[T]) -> Iterator[T]:
    try:
        while True:
            yield queue.get_nowait()
    except Empty:
        return
