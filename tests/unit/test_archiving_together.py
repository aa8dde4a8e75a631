"""The clips of a message: each held for as long as it is needed, and none waits for another's copy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from factories import NOW, POLICY, SECOND, job_in, result
from patience import PATIENCE_S

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job, State
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.worker import archive as archive_module
from rushes.worker import step_failures, steps, thread_pools
from rushes.worker.thread_pools import Sequential, ThreadPools, WorkerThreads

LATER = NOW + 9 * SECOND
BROKE = events.ArchiveFailed("archive_failed", "a step of ours broke; see the worker's log", asked_at=NOW)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback in colours takes a second."""
    monkeypatch.setattr(
        step_failures, "log", SimpleNamespace(exception=lambda *_, **__: None, error=lambda *_, **__: None)
    )


class AtOnce(Sequential):
    """Hands whose work all ends within one moment."""

    def map_in_groups(
        self, kind: str, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[list[tuple[Any, Any]]]:
        yield [(item, function(item)) for item in items]


class Desk:
    """Some clips in a worker's hands; `copy`, `put`, `alone`, `write` and `let_go` are told of each act first."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs = jobs
        self.let_go_times = [0] * len(jobs)
        self.moment = NOW
        self.puts: list[list[str]] = []
        self.written: list[list[tuple[Job, Event]]] = []
        self.copy: Callable[[int], Any] = lambda number: None
        self.put: Callable[[], Any] = lambda: None
        self.alone: Callable[[int], Any] = lambda number: None
        self.clear: Callable[[int], bool] = lambda number: True
        self.write: Callable[[], Any] = lambda: None
        self.release: Callable[[int], Any] = lambda number: None
        archive = SimpleNamespace(put_manifests=self._put, put_manifest=self._put_alone)
        archive.folder = lambda job_id, _: f"{job_id}/"
        ledger = SimpleNamespace(apply_all=self._write)
        settings = SimpleNamespace(policy=POLICY)
        self.services: Any = SimpleNamespace(archive=archive, ledger=ledger, settings=settings, now=lambda: self.moment)

    def archive(self, pools: ThreadPools) -> None:
        steps.archive_all(self.held(), self.services, pools)

    def held(self) -> Any:
        return [(job, SimpleNamespace(release=lambda n=n: self._let_go(n))) for n, job in enumerate(self.jobs)]

    def fetched(self, job: Job, folder: str, services: Any) -> archive_module.CopiedClip:
        number = self.jobs.index(job)
        self.copy(number)
        self.moment = LATER
        return archive_module.CopiedClip(events.Archived(result(manifest_key=f"{number}"), None, attempt=1), [])

    def _put(self, manifests: Sequence[tuple[str, Any]]) -> list[bool]:
        if manifests:
            self.puts.append([name for name, _ in manifests])
            self.put()
        return [self.clear(int(name)) for name, _ in manifests]

    def _put_alone(self, name: str, _: Any) -> None:
        self.puts.append([name])
        self.alone(int(name))

    def _write(self, happened: Sequence[tuple[Job, Event]], now: int) -> None:
        self.write()
        self.written.append(list(happened))

    def _let_go(self, number: int) -> None:
        self.let_go_times[number] += 1
        self.release(number)

    def numbers(self) -> list[list[int]]:
        """Who was written down, in groups."""
        return [[self.jobs.index(job) for job, _ in group] for group in self.written]


def clip(**changes: Any) -> Job:
    return job_in(State.ARCHIVING, **changes)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Three clips to be copied."""
    made = Desk(clip(), clip(), clip())
    monkeypatch.setattr(archive_module, "copy_clip", made.fetched)
    return made


@pytest.fixture
def threads() -> Iterator[WorkerThreads]:
    made = WorkerThreads({"archive": 2, "copy": 3}, lambda: None)
    yield made
    for pool in made._pools.values():
        pool.shutdown()


def a_moment_of(threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment for which a group is kept open lasts until all copies have come."""
    monkeypatch.setattr(thread_pools, "time", SimpleNamespace(sleep=lambda _: threads._pools["copy"].shutdown()))


# --- side by side


def test_clips_are_copied_side_by_side(desk: Desk, threads: WorkerThreads) -> None:
    all_there = threading.Barrier(3, timeout=PATIENCE_S)
    desk.copy = lambda number: all_there.wait()
    desk.archive(threads)

    assert sorted(job.id for group in desk.written for job, _ in group) == sorted(job.id for job in desk.jobs)
    assert {type(event) for group in desk.written for _, event in group} == {events.Archived}
    assert desk.let_go_times == [1, 1, 1]


def test_a_slow_copy_holds_neither_the_manifest_nor_the_end_of_a_quick_one(desk: Desk, threads: WorkerThreads) -> None:
    over, heard = [threading.Event(), threading.Event()], []
    desk.copy = lambda number: number == 0 and heard.extend(event.wait(PATIENCE_S) for event in over)
    desk.release = lambda number: number and over[number - 1].set()
    desk.archive(threads)

    assert heard == [True, True]  # while the first was being copied, the others came to their ends
    assert (desk.puts[-1], desk.numbers()[-1]) == (["0"], [0])
    assert sorted(number for group in desk.numbers() for number in group) == [0, 1, 2]


def test_clips_that_come_within_a_moment_have_their_manifests_put_together(
    desk: Desk, threads: WorkerThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_moment_of(threads, monkeypatch)
    all_there = threading.Barrier(3, timeout=PATIENCE_S)
    desk.copy = lambda number: all_there.wait()
    desk.archive(threads)

    assert [sorted(names) for names in desk.puts] == [["0", "1", "2"]]
    assert [sorted(group) for group in desk.numbers()] == [[0, 1, 2]]


# --- how long they are held


def test_a_clip_is_held_until_it_is_written_down_and_no_longer(desk: Desk) -> None:
    diary: list[str] = []
    desk.copy = lambda number: diary.append(f"copied {number}")
    desk.put = lambda: diary.append("put")
    desk.write = lambda: diary.append("written")
    desk.release = lambda number: diary.append(f"let go {number}")
    desk.archive(AtOnce())

    assert diary == ["copied 0", "copied 1", "copied 2", "put", "written", "let go 0", "let go 1", "let go 2"]


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def second(number: int) -> None:
    if number == 1:
        interrupted()


@pytest.mark.parametrize("pools", [Sequential(), AtOnce()], ids=["in turn", "at once"])
@pytest.mark.parametrize(("act", "trouble"), [("copy", second), ("put", interrupted), ("write", interrupted)])
def test_whoever_is_interrupted_lets_each_go_once(desk: Desk, pools: ThreadPools, act: str, trouble: Any) -> None:
    setattr(desk, act, trouble)
    with pytest.raises(KeyboardInterrupt):
        desk.archive(pools)

    assert desk.let_go_times == [1, 1, 1]


class NoHands(Exception):
    """Nobody is there who could look at one alone."""


def test_whoever_finds_no_hands_for_one_alone_lets_the_others_go(desk: Desk) -> None:
    class Idle(AtOnce):
        def start(self, kind: str, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
            raise NoHands

    with pytest.raises(NoHands):
        desk.archive(Idle())

    assert (desk.let_go_times, desk.puts) == ([1, 1, 1], [])


@pytest.mark.parametrize("clear", [True, False])
def test_what_is_written_was_asked_for_when_the_message_was_begun(desk: Desk, clear: bool) -> None:
    desk.clear = lambda number: clear
    desk.copy = lambda number: number == 1 and 1 / 0
    desk.archive(AtOnce())

    assert sorted((desk.jobs.index(job), event.asked_at) for group in desk.written for job, event in group) == [
        (0, NOW),
        (1, NOW),
        (2, NOW),
    ]
    assert events_of(desk)[1] == BROKE


# --- who is archived with the others


class Noting(AtOnce):
    """Hands that only note whose work they are given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, Job]] = []

    def start(self, kind: str, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self.given += [(kind, one if isinstance(one, Job) else one[0]) for one, _ in items]


@pytest.mark.parametrize(
    "other",
    [clip(tries=schedule.CRASHES + 1), job_in(State.FAILED), job_in(State.COMPLETED)],
    ids=["begun too often", "failed", "completed"],
)
def test_one_that_is_not_to_be_copied_is_done_alone_and_let_go_there(
    monkeypatch: pytest.MonkeyPatch, other: Job
) -> None:
    desk, pools = Desk(clip(), other, clip()), Noting()
    monkeypatch.setattr(archive_module, "copy_clip", desk.fetched)
    desk.archive(pools)

    assert pools.given == [("archive", other)]
    assert (desk.numbers(), desk.let_go_times) == ([[0, 2]], [1, 0, 1])


def test_one_that_was_begun_just_not_too_often_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, pools = Desk(clip(tries=schedule.CRASHES)), Noting()
    desk.services.archive.read_json = lambda key: None
    monkeypatch.setattr(archive_module, "copy_clip", desk.fetched)
    desk.archive(pools)

    assert (pools.given, desk.numbers()) == ([], [[0]])


def test_the_one_clip_of_a_message_is_archived_as_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    desk, pools = Desk(clip()), Noting()
    monkeypatch.setattr(archive_module, "copy_clip", desk.fetched)
    desk.archive(pools)

    assert (pools.given, desk.puts, desk.numbers(), desk.let_go_times) == ([], [["0"]], [[0]], [1])


# --- where the manifests break


def broken() -> None:
    raise ZeroDivisionError


def events_of(desk: Desk) -> list[Event]:
    """What was written down of each, in their order."""
    told = {desk.jobs.index(job): event for group in desk.written for job, event in group}
    return [told[number] for number in sorted(told)]


def test_manifests_that_break_together_are_put_each_alone(desk: Desk) -> None:
    desk.put = broken
    desk.archive(AtOnce())

    assert desk.puts == [["0", "1", "2"], ["0"], ["1"], ["2"]]
    assert [type(event) for event in events_of(desk)] == [events.Archived] * 3
    assert desk.let_go_times == [1, 1, 1]


def test_of_manifests_put_together_only_those_of_which_it_is_not_clear_are_put_alone(desk: Desk) -> None:
    desk.clear = lambda number: number == 1
    desk.archive(AtOnce())

    assert desk.puts == [["0", "1", "2"], ["0"], ["2"]]
    assert [type(event) for event in events_of(desk)] == [events.Archived] * 3
    assert desk.let_go_times == [1, 1, 1]


def test_what_is_to_be_put_alone_is_left_to_other_hands_and_held_until_then(desk: Desk) -> None:
    desk.clear = lambda number: number == 1
    pools = Noting()
    desk.archive(pools)

    assert pools.given == [("archive", desk.jobs[0]), ("archive", desk.jobs[2])]
    assert (desk.numbers(), desk.let_go_times) == ([[1]], [0, 1, 0])


def test_one_put_alone_is_held_until_it_is_written_down_and_no_longer(desk: Desk) -> None:
    diary: list[str] = []
    desk.clear = lambda number: number != 2
    desk.alone = lambda number: diary.append("put alone")
    desk.write = lambda: diary.append("written")
    desk.release = lambda number: diary.append(f"let go {number}")
    desk.archive(AtOnce())

    assert diary == ["put alone", "written", "let go 2", "written", "let go 0", "let go 1"]


def test_at_a_mute_bucket_the_manifests_of_a_message_wait_side_by_side(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied, waiting = threading.Barrier(3, timeout=PATIENCE_S), threading.Barrier(3, timeout=PATIENCE_S)
    desk.copy, desk.alone = (lambda number: copied.wait()), (lambda number: waiting.wait())
    desk.clear = lambda number: False
    pools = WorkerThreads({"archive": 3, "copy": 3}, lambda: None)
    a_moment_of(pools, monkeypatch)
    desk.archive(pools)
    for pool in pools._pools.values():
        pool.shutdown()

    assert sorted(map(len, desk.puts)) == [1, 1, 1, 3]  # they came together
    assert [type(event) for event in events_of(desk)] == [events.Archived] * 3
    assert desk.let_go_times == [1, 1, 1]


@pytest.mark.parametrize("act", ["alone", "write"])
def test_whoever_is_interrupted_at_one_alone_lets_it_go(desk: Desk, act: str) -> None:
    setattr(desk, act, interrupted)
    copy = desk.fetched(desk.jobs[0], "", desk.services)
    with pytest.raises(KeyboardInterrupt):
        steps.finish_archive((desk.held()[0], copy), NOW, desk.services)

    assert (desk.written, desk.let_go_times) == ([], [1, 0, 0])


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_one_manifest_that_breaks_puts_off_its_own_job_and_no_other(desk: Desk, victim: int) -> None:
    desk.put = broken
    desk.alone = lambda number: number == victim and broken()
    desk.archive(AtOnce())

    assert [event == BROKE for event in events_of(desk)] == [number == victim for number in range(3)]
    assert desk.let_go_times == [1, 1, 1]


def test_one_manifest_that_breaks_alone_is_not_put_again(desk: Desk) -> None:
    desk.put, desk.alone = broken, lambda number: broken()
    desk.archive(Sequential())

    assert desk.puts == [["0"], ["0"], ["1"], ["1"], ["2"], ["2"]]
    assert events_of(desk) == [BROKE] * 3


def test_one_manifest_that_is_refused_past_the_life_of_its_link_is_tried_again(desk: Desk) -> None:
    def refused(number: int) -> None:
        desk.moment = schedule.after(NOW, 2 * POLICY.result_ttl_s)
        raise ArchiveUnavailable("so it is")

    desk.clear, desk.alone = (lambda number: False), refused
    desk.archive(AtOnce())

    assert events_of(desk) == [events.ArchiveFailed("archive_failed", "so it is", asked_at=NOW)] * 3
