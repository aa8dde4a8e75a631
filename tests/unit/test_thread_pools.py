"""Who does the work of a message: threads by kind, and what they give back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from patience import PATIENCE_S

from rushes.worker import thread_pools as subject
from rushes.worker.thread_pools import Sequential, ThreadPools, WorkerThreads

SIZES = {"poll": 2, "archive": 2, "send": 4}


class Bell:
    """Hears when all that was given together is done."""

    def __init__(self) -> None:
        self.rung = threading.Semaphore(0)

    def __call__(self) -> None:
        self.rung.release()

    def heard(self, times: int = 1) -> bool:
        return all(self.rung.acquire(timeout=PATIENCE_S) for _ in range(times)) and not self.early()

    def early(self) -> bool:
        """Whether it rings already."""
        return self.rung.acquire(blocking=False)


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def threads(bell: Bell) -> Iterator[WorkerThreads]:
    made = WorkerThreads(SIZES, bell)
    yield made
    ended(made)


def flat(groups: Iterator[list[tuple[Any, Any]]]) -> list[tuple[Any, Any]]:
    return [one for group in groups for one in group]


def ended(threads: WorkerThreads) -> None:
    """Return when all that was begun is done."""
    for pool in threads._pools.values():
        pool.shutdown()


# --- given away


def test_nobody_waits_for_a_slow_one(threads: WorkerThreads, bell: Bell) -> None:
    slow, done = threading.Event(), threading.Semaphore(0)

    threads.start("archive", lambda _: slow.wait(PATIENCE_S), [0])
    threads.start("poll", lambda _: done.release(), range(9))
    assert all(done.acquire(timeout=PATIENCE_S) for _ in range(9))  # while the archive is still at it
    assert bell.heard()
    assert not slow.is_set()
    slow.set()
    assert bell.heard()


def test_the_bell_rings_when_the_last_is_done(threads: WorkerThreads, bell: Bell) -> None:
    gates = [threading.Event(), threading.Event()]
    threads.start("poll", lambda number: gates[number].wait(PATIENCE_S), [0, 1])
    gates[0].set()
    flat(threads.map_in_groups("poll", str, ["after"]))  # by the thread of the first, for the other is still at it
    assert not bell.early()
    gates[1].set()
    assert bell.heard()


def test_one_that_breaks_counts_as_done(threads: WorkerThreads, bell: Bell) -> None:
    threads.start("poll", lambda _: 1 // 0, [0, 1])
    assert bell.heard()


def test_for_nothing_no_bell_rings(threads: WorkerThreads, bell: Bell) -> None:
    threads.start("poll", lambda _: None, [])
    ended(threads)
    assert not bell.early()


# --- gathered


@pytest.mark.parametrize("make", [Sequential, lambda: WorkerThreads(SIZES, lambda: None)], ids=["in turn", "threads"])
def test_each_result_comes_once_with_what_it_is_of(make: Callable[[], ThreadPools]) -> None:
    assert sorted(flat(make().map_in_groups("send", lambda number: number * number, range(20)))) == [
        (number, number * number) for number in range(20)
    ]


@pytest.mark.parametrize("make", [Sequential, lambda: WorkerThreads(SIZES, lambda: None)], ids=["in turn", "threads"])
def test_of_nothing_comes_nothing(make: Callable[[], ThreadPools]) -> None:
    assert list(make().map_in_groups("send", lambda number: number, [])) == []


def test_calls_are_made_side_by_side(threads: WorkerThreads) -> None:
    all_there = threading.Barrier(4, timeout=PATIENCE_S)
    assert len(flat(threads.map_in_groups("send", lambda _: all_there.wait(), range(4)))) == 4


def test_a_slow_call_keeps_no_other_from_being_heard(threads: WorkerThreads) -> None:
    slow = threading.Event()
    groups = threads.map_in_groups("send", lambda number: number or slow.wait(PATIENCE_S), [0, 1, 2])

    heard = flat(iter([next(groups)]))
    while len(heard) < 2:
        heard += next(groups)
    assert sorted(heard) == [(1, 1), (2, 2)]
    slow.set()
    assert list(groups) == [[(0, True)]]


def test_what_comes_within_a_moment_comes_together(threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    moments: list[float] = []

    def moment(length_s: float) -> None:
        moments.append(length_s)
        ended(threads)

    monkeypatch.setattr(subject, "time", SimpleNamespace(sleep=moment))
    groups = list(threads.map_in_groups("send", str, range(4)))
    assert ([len(group) for group in groups], moments) == ([4], [subject.GROUP_S])


def test_whoever_waits_for_one_only_waits_no_longer(threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "time", SimpleNamespace(sleep=pytest.fail))
    assert list(threads.map_in_groups("send", str, [7])) == [[(7, "7")]]


def test_one_that_raises_is_waited_for_no_longer_and_the_others_come(threads: WorkerThreads) -> None:
    come: list[list[tuple[int, float]]] = []
    waiting = threading.Thread(
        target=lambda: come.extend(threads.map_in_groups("send", lambda n: 1 / n, [1, 0, 2])), daemon=True
    )
    waiting.start()
    waiting.join(PATIENCE_S)

    assert not waiting.is_alive()
    assert sorted(flat(iter(come))) == [(1, 1), (2, 0.5)]


def test_nobody_hears_of_what_was_gathered(threads: WorkerThreads, bell: Bell) -> None:
    flat(threads.map_in_groups("send", str, range(3)))
    ended(threads)
    assert not bell.early()


# --- where no thread can be started


def test_a_process_on_its_way_out_still_does_what_it_began(threads: WorkerThreads, bell: Bell) -> None:
    ended(threads)
    done: list[int] = []

    threads.start("poll", done.append, [1, 2])
    assert (done, bell.heard()) == ([1, 2], True)
    assert flat(threads.map_in_groups("send", str, [1, 2])) == [(1, "1"), (2, "2")]


def test_what_a_pool_took_without_a_thread_for_it_is_done_once(
    threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ThreadPoolExecutor.submit takes the work before it starts the thread; a paid call is not to be made twice."""
    pool = threads._pools["send"]
    start = pool._adjust_thread_count  # type: ignore[attr-defined]
    sent: list[int] = []

    def no_thread() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "_adjust_thread_count", no_thread)
    assert flat(threads.map_in_groups("send", sent.append, [1])) == [(1, None)]
    monkeypatch.setattr(pool, "_adjust_thread_count", start)
    flat(threads.map_in_groups("send", sent.append, [2, 3]))

    assert sorted(sent) == [1, 2, 3]
