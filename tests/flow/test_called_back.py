"""Callbacks as they come in life: early, twice, forged, late, or never."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from outsiders import Letter
from world import World, why

from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.http import AnswerLost

CALLING = ("apimart", "evolink", "apimodels")
UNKNOWN_TASK_ANSWERS = "task-unified-0-none"


@pytest.fixture
def world(open_world: Callable[..., World]) -> World:
    """A receiver that the gateways can reach; its letters wait until a test hands them on."""
    return open_world(callbacks=True)


def running(world: World, gateway: str) -> Job:
    """A job that the gateway has; nobody looks for minutes."""
    return world.until(world.submit(world.request_for(gateway)), State.RUNNING)


@pytest.mark.parametrize("gateway", CALLING)
def test_a_callback_brings_the_end_at_once(world: World, gateway: str) -> None:
    job = running(world, gateway)
    answer = world.deliver(world.letter(job.id))
    world.exhaust()

    ended = world.job(job.id)
    assert (answer.status_code, world.clock.skipped_ms) == (200, 0)
    assert (ended.state, ended.current.heard_by) == (State.COMPLETED, "callback")


@pytest.mark.parametrize("confirm", ["true", "false"])
@pytest.mark.parametrize("gateway", CALLING)
def test_a_callback_may_come_before_the_answer_to_the_submit(
    open_world: Callable[..., World], gateway: str, confirm: str
) -> None:
    world = open_world(callbacks=True, RUSHES_CALLBACK_CONFIRM=confirm)
    job_id = world.submit(world.request_for(gateway))
    with world.after(world.http_client, "send", lambda: world.deliver(world.letter(job_id))):
        world.exhaust()

    job = world.job(job_id)
    assert (job.state, job.current.heard_by, world.clock.skipped_ms) == (State.COMPLETED, "callback", 0)
    assert len(world.bills()) == 1


@pytest.mark.parametrize("gateway", CALLING)
def test_repeated_callbacks_make_one_archive(world: World, gateway: str) -> None:
    job = running(world, gateway)
    letter = world.letter(job.id)
    answers = [world.deliver(letter), world.deliver(letter)]
    with world.before(world.services.archive, "put_manifests", lambda: answers.append(world.deliver(letter))):
        world.exhaust()
    ended = world.job(job.id)
    answers.append(world.deliver(letter))
    world.exhaust()

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(world.written()) == len(world.bucket(job))
    assert (world.written()[0], world.written()[-1]) == ("video.mp4", "manifest.json")
    assert world.job(job.id) == ended


@pytest.mark.parametrize("gateway", CALLING)
def test_a_forged_failure_is_not_believed(world: World, gateway: str) -> None:
    world.fault(gateway, "forged_first")
    job = running(world, gateway)
    world.deliver(world.letter(job.id, words="fail"))  # the true one follows soon, and may be here before it
    world.exhaust()

    assert world.job(job.id).state is not State.FAILED
    assert world.finish(job.id).state is State.COMPLETED


@pytest.mark.parametrize("written", [False, True])
def test_a_callback_that_comes_while_a_poll_is_under_way_is_followed(world: World, written: bool) -> None:
    world.fault("evolink", "unknown_status")
    job = running(world, "evolink")
    letter = world.letter(job.id)
    world.advance(200)
    part, door = (world.ledger.store, "commit") if written else (world.services.http_client, "send")
    with world.before(part, door, lambda: world.deliver(letter)):
        world.exhaust()
    after_the_poll = world.job(job.id)
    world.advance(3)
    world.exhaust()

    assert (after_the_poll.state, after_the_poll.current.polls) == (State.RUNNING, 1)
    assert (world.job(job.id).state, world.job(job.id).current.heard_by) == (State.COMPLETED, "callback")


def test_a_late_callback_after_the_end_changes_nothing(open_world: Callable[..., World]) -> None:
    world = open_world(callbacks=True, RUSHES_JOB_TIMEOUT_S="600")
    world.fault("evolink", "unknown_status", times=-1)
    failed = world.finish(running(world, "evolink").id)
    answer = world.deliver(world.letter(failed.id))
    world.exhaust()

    assert (why(failed), answer.status_code) == ("timed_out", 200)
    assert world.job(failed.id) == failed


def test_the_callback_of_an_attempt_that_was_given_up_is_not_taken_for_that_of_the_next(
    open_world: Callable[..., World],
) -> None:
    world = open_world(callbacks=True, RUSHES_UNCONFIRMED="resubmit")
    world.fault("evolink", "answer_lost")
    job = world.until(world.submit(world.request_for("evolink")), State.UNCONFIRMED)
    world.until(job.id, State.RUNNING)
    world.await_gateways()
    world.deliver(world.letter(f"{job.id}/1-"))
    world.exhaust()

    ended, (_, second) = world.job(job.id), world.tasks()
    assert (ended.state, ended.current.task_id) == (State.COMPLETED, second["id"])
    assert (ended.current.heard_by, ended.attempts[0].heard_by) == ("poll", None)


def test_a_callback_that_never_comes_is_not_waited_for_for_long(world: World) -> None:
    world.fault("evolink", "no_callback")
    job = running(world, "evolink")
    world.await_gateways()
    world.advance(150)
    world.exhaust()
    before = world.job(job.id).state
    world.advance(60)
    world.exhaust()

    after = world.job(job.id)
    assert (before, after.state, after.current.heard_by) == (State.RUNNING, State.COMPLETED, "poll")


@pytest.mark.parametrize(("host", "kept"), [(b"127.0.0.1", True), (b"localhost", False)])
def test_the_picture_that_only_a_callback_names_is_kept_if_it_lies_beside_the_clip(
    world: World, host: bytes, kept: bool
) -> None:
    job = running(world, "apimodels")
    letter = world.letter(job.id)
    world.deliver(Letter(letter.path, {}, letter.body.replace(b"127.0.0.1", host)))
    world.exhaust()

    stored = world.bucket(job)
    assert world.job(job.id).state is State.COMPLETED
    assert ("thumbnail.jpg" in stored) is kept
    assert not kept or stored["thumbnail.jpg"].body.startswith(b"\xff\xd8\xff")


def test_where_callbacks_are_believed_nobody_asks_and_the_thumbnail_is_kept(open_world: Callable[..., World]) -> None:
    world = open_world(callbacks=True, RUSHES_CALLBACK_CONFIRM="false")
    job = running(world, "apimodels")
    world.deliver(world.letter(job.id))
    world.exhaust()

    ended, stored = world.job(job.id), world.bucket(job)
    assert (ended.state, ended.current.heard_by) == (State.COMPLETED, "callback")
    assert [request.method for request in world.http_client.sent] == ["POST", "GET"]
    assert world.http_client.sent[1].url.partition("?")[0].endswith("thumbnail.jpg")
    assert stored.keys() == {"video.mp4", "thumbnail.jpg", "manifest.json"}
    assert stored["thumbnail.jpg"].content_type == "image/jpeg"


def test_a_lost_submit_that_a_callback_found_runs_on_under_its_task_id(world: World) -> None:
    world.fault("evolink", "answer_lost")
    world.fault("evolink", "unknown_status", times=2)
    job = world.until(world.submit(world.request_for("evolink")), State.UNCONFIRMED)
    world.deliver(world.letter(job.id))
    found = world.until(job.id, State.RUNNING)
    ended = world.finish(job.id)

    (task,) = world.tasks()
    assert (found.current.status, found.current.task_id) == (AttemptStatus.RUNNING, task["id"])
    assert (ended.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def nobody_answers() -> None:
    raise AnswerLost("a reset")


def naming(letter: Letter, task_id: str) -> Letter:
    """The same callback, but of another task."""
    return Letter(letter.path, {}, json.dumps({**json.loads(letter.body), "id": task_id}).encode())


def deceived(world: World) -> tuple[Job, Letter]:
    """A lost submit that a callback of a made-up task came for; the true one waits to be handed on."""
    world.fault("evolink", "answer_lost")
    job = world.until(world.submit(world.request_for("evolink")), State.UNCONFIRMED)
    letter = world.letter(job.id)
    world.deliver(naming(letter, UNKNOWN_TASK_ANSWERS))
    return job, letter


def test_a_callback_that_names_another_task_is_set_aside_and_followed_only_by_hand(world: World) -> None:
    job = running(world, "evolink")
    letter = world.letter(job.id)
    answer = world.deliver(naming(letter, "task-of-another"))
    world.exhaust()
    before = world.job(job.id)
    (stray,) = world.api("GET", "/v1/quarantine").json["data"]
    replayed = world.api("POST", f"/v1/quarantine/{stray['id']}/replay")
    world.exhaust()

    ended = world.job(job.id)
    assert (answer.status_code, before.state, before.current.polls) == (200, State.RUNNING, 0)
    assert (before.history[-1].what, before.history[-1].detail) == ("a callback named another task", "task-of-another")
    assert (stray["task_id"], stray["expected_task_id"]) == ("task-of-another", job.current.task_id)
    assert letter.path.rpartition("/")[2].partition("-")[2] not in str(stray)
    assert (replayed.status_code, ended.state, ended.current.task_id) == (202, State.COMPLETED, job.current.task_id)
    assert world.api("GET", "/v1/quarantine").json["data"] == []


def test_a_replayed_callback_settles_a_lost_submit_that_a_made_up_one_had_taken(world: World) -> None:
    job, letter = deceived(world)
    with world.before(world.http_client, "send", nobody_answers):
        world.exhaust()
    taken = world.job(job.id)
    world.deliver(letter)
    (stray,) = world.api("GET", "/v1/quarantine").json["data"]
    world.advance(3)
    world.api("POST", f"/v1/quarantine/{stray['id']}/replay")
    world.exhaust()

    assert (taken.state, taken.current.task_id) == (State.UNCONFIRMED, UNKNOWN_TASK_ANSWERS)
    assert (world.job(job.id).state, len(world.bills())) == (State.COMPLETED, 1)


def test_a_true_callback_behind_a_made_up_one_is_followed_once_that_is_disproved(world: World) -> None:
    world.broken_rules_are_meant = True
    job, letter = deceived(world)
    world.exhaust()
    world.deliver(letter)
    for _ in range(5):
        world.exhaust()
        world.advance(20)

    assert world.job(job.id).state is State.COMPLETED
    assert len(world.bills()) == 1


def test_a_true_callback_stays_aside_until_the_ledger_knows_its_task(world: World) -> None:
    world.broken_rules_are_meant = True
    world.fault("evolink", "answer_lost")
    job = world.until(world.submit(world.request_for("evolink")), State.UNCONFIRMED)
    letter = world.letter(job.id)
    world.deliver(naming(letter, "task-unified-0-none"))
    world.exhaust()
    world.deliver(letter)
    known: list[str | None] = []
    with world.before(
        world.services.ledger.quarantine, "drop", lambda: known.append(world.job(job.id).current.task_id)
    ):
        for _ in range(5):
            world.exhaust()
            world.advance(20)

    assert known == [json.loads(letter.body)["id"]]


def test_a_made_up_task_id_does_not_settle_a_lost_submit(world: World) -> None:
    world.broken_rules_are_meant = True
    job, letter = deceived(world)
    for _ in range(3):  # the gateway is asked so often before its "no such task" is believed
        world.exhaust()
        world.advance(20)
    fooled = world.job(job.id)
    world.advance(5)
    world.deliver(letter)
    world.exhaust()

    assert (fooled.state, fooled.current.task_id) == (State.UNCONFIRMED, None)
    assert world.job(job.id).state is State.COMPLETED
    assert len(world.bills()) == 1
