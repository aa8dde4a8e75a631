"""Workers that die, freeze or lose their messages, each at one chosen point."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from world import World, digest, why

from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.domain.schedule import CRASHES, HANDOUT_S, LEASE_S
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.worker import submit


def test_dead_before_a_submit_was_sent_it_is_asked_for_under_its_key(world: World) -> None:
    job_id = world.submit(world.request_for("apimart"))
    with world.before(world.http_client, "send", world.die):
        world.exhaust()
    left = world.job(job_id)
    world.advance(LEASE_S + 1)
    world.exhaust()
    doubted = world.job(job_id)
    job = world.finish(job_id)

    assert (left.state, doubted.state, job.state) == (State.SUBMITTING, State.UNCONFIRMED, State.COMPLETED)
    assert (len(job.attempts), world.posts(), len(world.bills())) == (1, 1, 1)


@pytest.mark.parametrize("sent", [True, False])
def test_dead_while_it_submitted_without_a_key_nothing_is_sent_again(world: World, sent: bool) -> None:
    job_id = world.submit(world.request_for("newapi"))
    dying = world.after if sent else world.before
    with dying(world.http_client, "send", world.die):
        world.exhaust()
    world.advance(LEASE_S + 1)
    world.exhaust()
    doubted = world.job(job_id)
    failed = world.finish(job_id)

    assert (doubted.state, doubted.current.status) == (State.UNCONFIRMED, AttemptStatus.UNCONFIRMED)
    assert why(failed) == "submit_unconfirmed"
    assert (world.posts(), len(world.bills())) == (int(sent), int(sent))


def test_within_the_lease_nobody_takes_a_dead_submit_up(world: World) -> None:
    world.submit(world.request_for("newapi"))
    with world.before(world.http_client, "send", world.die):
        world.exhaust()
    world.advance(LEASE_S - 5)

    assert world.claim() == []


def test_dead_while_it_polled_another_polls_after_the_lease(world: World) -> None:
    job = world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    world.await_gateways()
    world.advance(20)
    with world.after(world.http_client, "send", world.die):
        world.step()
    world.advance(LEASE_S - 5)
    world.exhaust()
    within = world.job(job.id).state
    world.advance(10)
    world.exhaust()

    assert (within, world.job(job.id).state) == (State.RUNNING, State.COMPLETED)


@pytest.mark.parametrize("door", ["put_clip", "put_manifests"])
def test_dead_while_it_archived_another_archives_after_the_lease(world: World, door: str) -> None:
    job = world.until(world.submit(world.request_for("newapi")), State.ARCHIVING)
    with world.before(world.services.archive, door, world.die):
        world.step()
    left = world.bucket(job)
    world.advance(LEASE_S - 5)
    world.exhaust()
    within = world.job(job.id).state
    world.advance(10)
    world.exhaust()

    stored = world.bucket(job)
    assert (within, world.job(job.id).state) == (State.ARCHIVING, State.COMPLETED)
    assert left.keys() == ({"video.mp4"} if door == "put_manifests" else set())
    assert {name: stored[name] for name in left} == left
    assert len(world.bills()) == 1


def test_dead_after_the_manifest_the_job_completes_without_another_download(world: World) -> None:
    job = world.until(world.submit(world.request_for("newapi")), State.ARCHIVING)
    with world.before(world.ledger, "apply_all", world.die):
        world.step()
    left, fetched, writes = world.bucket(job), len(world.http_client.fetched), archived(world)
    world.advance(LEASE_S + 1)
    world.exhaust()

    ended = world.job(job.id)
    assert ended.state is State.COMPLETED
    assert (world.bucket(job), len(world.http_client.fetched), archived(world)) == (left, fetched, writes)
    assert world.manifest(job)["job"]["result"]["sha256"] == digest(ended)


def test_a_message_that_was_lost_is_sent_again(world: World) -> None:
    job_id = world.submit(world.text)
    (lost,) = world.claim()
    world.advance(HANDOUT_S - 5)
    within = world.claim()
    world.advance(10)
    (again,) = world.claim()
    world.perform([again])

    assert (within, again.job_id, again.lease > lost.lease) == ([], job_id, True)
    assert world.job(job_id).state is State.RUNNING


def test_a_stale_ticket_opens_nothing(world: World) -> None:
    job_id = world.submit(world.text)
    (stale,) = world.claim()
    world.advance(HANDOUT_S + 1)
    world.step()
    before = world.job(job_id)
    world.perform([stale, stale])

    assert world.job(job_id) == before
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_a_message_that_comes_twice_is_done_once(world: World) -> None:
    world.submit(world.text)
    (ticket,) = world.claim()
    world.perform([ticket, ticket])

    assert (world.posts(), len(world.bills())) == (1, 1)


def archived(world: World) -> list[tuple[str, str]]:
    """What was written to the bucket but for the journal, which has a thread of its own."""
    return [(what, key) for what, key in world.writes if key.startswith("jobs/")]


def freeze(world: World) -> None:
    """The one worker stands still for longer than it may, another does what is due."""
    world.advance(LEASE_S + 1)
    world.exhaust()


def test_a_worker_frozen_before_it_wrote_the_submit_down_sends_nothing(world: World) -> None:
    job_id = world.submit(world.text)
    with world.before(world.ledger, "begin_submits", lambda: freeze(world)):
        world.exhaust()

    assert (world.job(job_id).state, len(world.job(job_id).attempts)) == (State.RUNNING, 1)
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_a_worker_frozen_with_the_answer_of_a_submit_still_settles_it(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    with world.after(world.http_client, "send", lambda: freeze(world)):
        world.step()
    settled = world.job(job_id)
    world.finish(job_id)

    assert [note.what for note in settled.history][-2:] == ["unconfirmed", "accepted"]
    assert (world.job(job_id).state, len(world.bills())) == (State.COMPLETED, 1)


def test_a_worker_frozen_with_the_answer_of_an_attempt_fills_it_in_beside_the_one_that_was_made_since(
    open_world: Callable[..., World],
) -> None:
    world = open_world(RUSHES_UNCONFIRMED="resubmit", RUSHES_CALLBACK_GRACE_S="30")
    job_id = world.submit(world.request_for("newapi"))

    def another_resubmits() -> None:
        freeze(world)
        world.advance(31)
        world.exhaust()

    with world.after(world.http_client, "send", another_resubmits):
        world.step()
    job = world.job(job_id)

    first, second = world.tasks("newapi")
    assert [attempt.task_id for attempt in job.attempts] == [first["id"], second["id"]]
    assert (job.state, world.posts()) == (State.RUNNING, 2)


def test_a_worker_frozen_with_the_answer_of_a_poll_changes_nothing_any_more(world: World) -> None:
    job = world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    world.await_gateways()
    world.advance(20)
    seen = []
    with world.after(world.http_client, "send", lambda: seen.append(frozen_until_the_end(world, job.id))):
        world.step()

    assert seen[0].state is State.COMPLETED
    assert world.job(job.id) == seen[0]


def test_a_worker_frozen_before_its_upload_changes_no_object(world: World) -> None:
    job = world.until(world.submit(world.request_for("newapi")), State.ARCHIVING)
    seen = []
    with world.before(
        world.services.archive,
        "put_clip",
        lambda: seen.append((frozen_until_the_end(world, job.id), world.bucket(job))),
    ):
        world.step()

    assert seen[0][0].state is State.COMPLETED
    assert (world.job(job.id), world.bucket(job)) == seen[0]


def test_a_worker_frozen_while_it_polled_does_not_disturb_the_archive(world: World) -> None:
    job = world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    world.fault("newapi", "unknown_status")
    world.await_gateways()
    world.advance(20)
    seen = []

    def another_polls() -> None:
        world.advance(LEASE_S + 1)
        world.step()
        seen.append(world.job(job.id))

    with world.after(world.http_client, "send", another_polls):
        world.step()

    assert seen[0].state is State.ARCHIVING
    assert world.job(job.id) == seen[0]


def out_of_reach() -> None:
    raise LedgerUnavailable("TimeoutError")


def test_a_submit_that_was_not_written_down_is_not_sent_and_comes_back_after_the_lease(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    with world.before(world.ledger, "begin_submits", out_of_reach):
        world.step()
    world.advance(LEASE_S + 1)
    sent = world.posts()
    world.exhaust()

    assert sent == 0
    assert [attempt.status for attempt in world.job(job_id).attempts] == [AttemptStatus.RUNNING]
    assert len(world.bills()) == 1


def test_a_submit_that_was_written_down_unheard_is_not_sent_and_comes_back(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    with world.after(world.ledger, "begin_submits", out_of_reach):
        world.step()
    sent = world.posts()
    world.exhaust()

    assert sent == 0
    assert [attempt.status for attempt in world.job(job_id).attempts] == [AttemptStatus.RUNNING]
    assert len(world.bills()) == 1


def test_a_worker_that_could_not_write_its_submit_down_does_not_take_back_that_of_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.submit(world.request_for("newapi"))
    left: list[tuple[Any, ...]] = []
    with monkeypatch.context() as frozen, world.before(world.ledger, "begin_submits", out_of_reach):
        frozen.setattr(submit, "commit_outcomes", lambda *told: left.append(told))
        world.step()
    world.advance(LEASE_S + 1)
    with world.after(world.http_client, "send", lambda: submit.commit_outcomes(*left[0])):
        world.exhaust()
    job = world.finish(job_id)

    assert (job.state, len(job.attempts)) == (State.COMPLETED, 1)
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_a_step_of_ours_that_breaks_with_the_answer_in_hand_pays_once(world: World) -> None:
    job_id = world.submit(world.request_for("apimart"))
    with world.after(world.http_client, "send", lambda: 1 / 0):
        world.exhaust()
    left = world.job(job_id)
    job = world.finish(job_id)

    assert (left.state, job.state) == (State.SUBMITTING, State.COMPLETED)
    assert (len(job.attempts), len(world.bills())) == (1, 1)


def test_a_step_of_ours_that_always_breaks_is_tried_ever_more_slowly_and_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def broken(*_: object, **__: object) -> None:
        tries.append(world.clock())
        raise ZeroDivisionError

    monkeypatch.setattr(world.ledger, "begin_submits", broken)
    job = world.finish(world.submit(world.text))

    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert (job.state, len(tries)) == (State.FAILED, CRASHES)
    assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses[:6]))
    assert (job.attempts, world.bills()) == ((), [])


def frozen_until_the_end(world: World, job_id: str) -> Job:
    freeze(world)
    return world.job(job_id)
