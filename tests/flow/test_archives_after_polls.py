"""A worker archives a clip right after the poll that found it, without another turn of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
from world import World

from rushes.shared.domain.job import State
from rushes.shared.domain.schedule import LEASE_S
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.worker import leases, steps
from rushes.worker.thread_pools import Sequential


@pytest.fixture(autouse=True)
def _keeps_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "KEPT_ARCHIVES", 12)


class BusyArchives(Sequential):
    """Pools whose threads for archives are busy for now."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def start(self, kind: str, function: Callable[[Any], None], items: Sequence[Any]) -> None:
        if kind == "archive":
            self._waiting += [partial(function, item) for item in items]
        else:
            super().start(kind, function, items)

    def go_on(self) -> None:
        for call in self._waiting:
            call()


def finished(world: World, count: int = 1) -> list[str]:
    """Jobs that run here and have ended at their gateway, due to be polled."""
    ids = [world.submit(world.text) for _ in range(count)]
    world.run_until(lambda: all(world.job(job_id).state is State.RUNNING for job_id in ids))
    world.await_gateways()
    world.advance(20)
    return ids


def states(world: World, ids: list[str]) -> list[State]:
    return [world.job(job_id).state for job_id in ids]


def poll_together(world: World) -> None:
    steps.run(world.claim(), world.services)


def test_the_clip_is_archived_in_the_turn_of_its_poll(world: World) -> None:
    ids = finished(world, 2)
    poll_together(world)

    assert states(world, ids) == [State.COMPLETED] * 2
    assert {"video.mp4", "manifest.json"} <= world.bucket(world.job(ids[0])).keys()
    assert (len(world.bills()), leases.ACTIVE) == (2, set())


def test_no_more_are_kept_than_may_follow_their_polls(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "KEPT_ARCHIVES", 1)
    ids, pools = finished(world, 3), BusyArchives()
    steps.run(world.claim(), world.services, pools)
    world.exhaust()
    after_polls = sorted(states(world, ids))
    pools.go_on()

    assert after_polls == [State.ARCHIVING, State.COMPLETED, State.COMPLETED]
    assert states(world, ids) == [State.COMPLETED] * 3


def test_archives_that_this_worker_has_already_leave_less_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "KEPT_ARCHIVES", 1)
    monkeypatch.setattr(steps, "active_leases", lambda kind: {"archive": 1}.get(kind, 0))
    ids = finished(world)
    poll_together(world)

    assert states(world, ids) == [State.ARCHIVING]


def test_dead_between_the_poll_and_its_archive_another_archives_after_the_lease(world: World) -> None:
    (job_id,) = finished(world)
    with world.before(world.services.archive, "put_clip", world.die):
        world.step()
    world.advance(LEASE_S - 5)
    world.exhaust()
    within = world.job(job_id).state
    world.advance(10)
    world.exhaust()

    assert (within, world.job(job_id).state) == (State.ARCHIVING, State.COMPLETED)
    assert len(world.bills()) == 1


def test_a_poll_that_could_not_be_written_keeps_nothing(world: World) -> None:
    def out_of_reach() -> None:
        raise LedgerUnavailable("down")

    (job_id,) = finished(world)
    with world.before(world.ledger, "apply_all", out_of_reach):
        world.step()
    left = (world.job(job_id).state, world.bucket(world.job(job_id)))
    world.advance(LEASE_S + 1)
    world.exhaust()

    assert left == (State.RUNNING, {})
    assert world.job(job_id).state is State.COMPLETED


def test_a_clip_that_breaks_is_put_off_as_in_a_turn_of_its_own(world: World) -> None:
    def broken() -> None:
        raise OSError("the bucket broke")

    (job_id,) = finished(world)
    with world.before(world.services.archive, "put_clip", broken):
        world.step()
    left = world.job(job_id)
    world.advance(600)
    world.exhaust()

    assert (left.state, left.tries, left.setbacks) == (State.ARCHIVING, 0, 1)
    assert world.job(job_id).state is State.COMPLETED
