"""Who does the work: threads of one kind each, so that slow archives never hold up polls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# Whoever takes the results in groups waits a moment longer for each, for a group costs him a call to the ledger.
GROUP_S = 0.01


class ThreadPools(Protocol):
    """Does something with each of these, side by side as far as there are threads for that kind of work."""

    def give(self, kind: str, do: Callable[[T], None], items: Sequence[T]) -> None:
        """Nobody waits for the end of it."""

    def gather(self, kind: str, do: Callable[[T], R], items: Sequence[T]) -> Iterator[list[tuple[T, R]]]:
        """What it comes to, in groups as it comes; of one that raises in a thread, nothing."""


class InTurn:
    """The hands of whoever has only two."""

    def give(self, kind: str, do: Callable[[T], None], items: Sequence[T]) -> None:
        for item in items:
            do(item)

    def gather(self, kind: str, do: Callable[[T], R], items: Sequence[T]) -> Iterator[list[tuple[T, R]]]:
        for item in items:
            yield [(item, do(item))]


class WorkerThreads:
    """So many threads for each kind, from the first time that it is asked for; `done` hears of each end of a give."""

    def __init__(self, sizes: Mapping[str, int], done: Callable[[], None]) -> None:
        self._pools = {kind: ThreadPoolExecutor(size, thread_name_prefix=kind) for kind, size in sizes.items()}
        self._done = done

    def give(self, kind: str, do: Callable[[T], None], items: Sequence[T]) -> None:
        left = [*range(len(items))]

        def each(item: T) -> None:
            try:
                do(item)
            finally:
                if left.pop() == 0:  # each is taken once, so the bell rings once
                    self._done()

        for item in items:
            self._start(kind, partial(each, item))

    def gather(self, kind: str, do: Callable[[T], R], items: Sequence[T]) -> Iterator[list[tuple[T, R]]]:
        come: SimpleQueue[list[tuple[T, R]]] = SimpleQueue()

        def each(item: T) -> None:
            result: list[tuple[T, R]] = []
            try:
                result = [(item, do(item))]
            finally:
                come.put(result)

        for item in items:
            self._start(kind, partial(each, item))
        waiting = len(items)
        while waiting:
            results = [come.get()]
            if waiting > 1:
                time.sleep(GROUP_S)
            results += _there(come)
            waiting -= len(results)
            yield [one for result in results for one in result]

    def _start(self, kind: str, do: Callable[[], Any]) -> None:
        todo = [do]
        try:
            self._pools[kind].submit(_once, todo)
        except RuntimeError:  # no thread can be started, or none any more, for the interpreter is on its way out
            _once(todo)


def _once(todo: list[Callable[[], Any]]) -> None:
    """Do it unless another has: a pool that could start no thread has taken it all the same."""
    try:
        do = todo.pop()
    except IndexError:
        return
    do()


def _there(come: SimpleQueue[T]) -> Iterator[T]:
    try:
        while True:
            yield come.get_nowait()
    except Empty:
        return
