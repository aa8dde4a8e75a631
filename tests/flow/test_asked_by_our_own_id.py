"""At a gateway that can be asked by our own id, a submit whose answer is lost settles by itself, and is billed once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from world import WEBHOOK_SECRET, World, why

from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import AttemptStatus, Job, State

DAY_S = 86_400
SECOND = 1000
TAKEN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("answer_lost", {}),
    ("bad_json", {"stage": "submit"}),
    ("html_502", {"accepted": True}),
    ("http_500", {"accepted": True}),
)
NOT_TAKEN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("answer_lost", {"accepted": False}),
    ("bad_json", {"stage": "submit", "accepted": False}),
    ("html_502", {"accepted": False}),
    ("http_500", {"accepted": False}),
)
# An answer to the question that is none.
NO_ANSWERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("answer_lost", {"stage": "query"}),
    ("bad_json", {"stage": "query"}),
    ("html_502", {"stage": "query"}),
    ("http_500", {"stage": "query"}),
    ("http_500", {"stage": "query", "status": 404}),
    ("rate_limited", {"stage": "query"}),
    ("error_in_200", {"stage": "query"}),
)


def calls(world: World) -> list[str]:
    """What was asked of Kling, in this order: paid calls, and questions by our own id or by the task's."""
    return [_kind(request) for request in world.http_client.sent if "/kling/" in request.url]


def _kind(request: Request) -> str:
    if request.method == "POST":
        return "POST"
    return "by key" if "external_task_ids" in parse_qs(urlsplit(request.url).query) else "by task"


def ids_sent(world: World) -> set[str]:
    posts = [request.json for request in world.http_client.sent if request.method == "POST" and request.json]
    return {body["options"]["external_task_id"] for body in posts if "options" in body}


def lost(world: World, fault: str, **options: Any) -> str:
    """A job whose submit is answered so."""
    world.fault("kling", fault, **options)
    job_id = world.submit(world.motion, provider="kling")
    world.until(job_id, State.UNCONFIRMED)
    return job_id


def settled(job: Job) -> tuple[str, list[str]]:
    return job.state.value, [attempt.status.value for attempt in job.attempts]


@pytest.mark.parametrize("callbacks", [False, True])
@pytest.mark.parametrize(("fault", "options"), TAKEN)
def test_a_task_that_was_taken_is_found_at_once_and_adopted(
    open_world: Callable[..., World], callbacks: bool, fault: str, options: dict[str, Any]
) -> None:
    world = open_world(callbacks=callbacks)
    job_id = lost(world, fault, **options)
    world.await_gateways()
    world.exhaust()

    job = world.job(job_id)
    assert settled(job) == ("completed", ["completed"])
    assert world.clock.skipped_ms == 0
    assert calls(world) == ["POST", "by key", "by task"]
    assert len(world.bills()) == 1


@pytest.mark.parametrize(("fault", "options"), NOT_TAKEN)
def test_a_call_that_was_not_taken_is_sent_again_under_the_same_id(
    world: World, fault: str, options: dict[str, Any]
) -> None:
    job = world.finish(lost(world, fault, **options))

    asked = calls(world)
    again = asked.index("POST", 1)
    assert settled(job) == ("completed", ["completed"])
    assert asked[:2] == ["POST", "by key"]
    assert set(asked[1:again]) == {"by key"}
    assert again > 5
    assert (asked.count("POST"), ids_sent(world)) == (2, {f"{job.id}-1"})
    assert len(world.bills()) == 1


@pytest.mark.parametrize(("grace_s", "first_s"), [("600", 600), ("180", 180), ("1", 120)])
def test_it_is_not_sent_again_before_the_grace_is_over_and_no_answer_can_come_any_more(
    open_world: Callable[..., World], grace_s: str, first_s: int
) -> None:
    world = open_world(RUSHES_CALLBACK_GRACE_S=grace_s)
    job_id = lost(world, "html_502")
    sent_at = world.job(job_id).current.submitted_at
    world.run_until(lambda: world.posts() == 2)

    waited_s = (world.job(job_id).current.resent_at - sent_at) / SECOND
    assert first_s <= waited_s < first_s + 10


def test_the_questions_come_at_growing_pauses_the_first_at_once(world: World) -> None:
    job_id = lost(world, "html_502")
    moments = []
    while world.posts() < 2:
        before = len(calls(world))
        world.run_until(lambda before=before: len(calls(world)) > before)  # type: ignore[misc]
        moments.append((world.clock() - world.job(job_id).current.submitted_at) / SECOND)

    assert moments[0] < 1
    pauses = [after - before for before, after in pairwise(moments[:-1])]
    assert pauses == sorted(pauses)
    assert len(pauses) > 4


@pytest.mark.parametrize("words", ["external_task_id already exists", "the request cannot be handled"])
def test_a_task_that_shows_late_is_refused_a_second_time_and_then_found(world: World, words: str) -> None:
    """No document has the words of that refusal, so it must not matter whether they are known."""
    world.http_client.retouch = lambda body: body.replace(b"external_task_id already exists", words.encode())
    world.fault("kling", "not_found", times=12)
    job = world.finish(lost(world, "answer_lost"))

    assert settled(job) == ("completed", ["completed"])
    assert (world.posts(), ids_sent(world)) == (2, {f"{job.id}-1"})
    assert (len(world.bills()), job.current.error) == (1, None)


def test_however_late_it_shows_it_is_billed_once(world: World) -> None:
    world.fault("kling", "not_found", times=60)
    job = world.finish(lost(world, "answer_lost"))

    assert settled(job) == ("completed", ["completed"])
    assert world.posts() > 3
    assert len(world.bills()) == 1


@pytest.mark.parametrize(("fault", "options"), NO_ANSWERS)
def test_a_question_without_an_answer_does_not_say_that_there_is_no_task(
    world: World, fault: str, options: dict[str, Any]
) -> None:
    job_id = lost(world, "answer_lost")
    world.fault("kling", fault, times=-1, **options)
    world.run_until(lambda: world.clock.skipped_ms > 3600 * SECOND)
    asked = world.job(job_id)
    world.mend()
    job = world.finish(job_id)

    assert (asked.state, asked.current.polls) == (State.UNCONFIRMED, 0)
    assert settled(job) == ("completed", ["completed"])
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_with_no_answer_at_all_it_is_given_up_in_the_end_and_never_sent_again(
    open_world: Callable[..., World],
) -> None:
    world = open_world(RUSHES_JOB_TIMEOUT_S="3600")
    job_id = lost(world, "answer_lost")
    world.fault("kling", "html_502", stage="query", times=-1)
    job = world.finish(job_id)

    assert (job.state, why(job)) == (State.FAILED, "submit_unconfirmed")
    assert job.ended_at
    assert job.ended_at >= job.created_at + 3600 * SECOND
    assert world.posts() == 1


@pytest.mark.parametrize("code", ["1302", "1303"])
def test_a_throttle_created_nothing_so_it_is_sent_again_and_not_asked_for(world: World, code: str) -> None:
    world.fault("kling", "rate_limited", code=code, times=2)
    job = world.finish(world.submit(world.motion, provider="kling"))

    assert settled(job) == ("completed", ["rejected", "rejected", "completed"])
    assert "by key" not in calls(world)
    assert len(world.bills()) == 1


@pytest.mark.parametrize("code", ["1100", "1101", "1102"])
def test_an_empty_account_pauses_kling_and_the_job_waits(world: World, code: str) -> None:
    world.fault("kling", "no_balance", code=code, message="the account cannot be used")
    job_id = world.submit(world.motion, provider="kling")
    world.run_until(lambda: world.posts() == 1)
    world.exhaust()
    health = world.ledger.gateways.health("kling")
    waiting = world.job(job_id)
    job = world.finish(job_id)

    assert (health["why"], waiting.state) == ("insufficient_balance", State.QUEUED)
    assert settled(job) == ("completed", ["rejected", "completed"])
    assert len(world.bills()) == 1


@pytest.mark.parametrize("fault", ["rate_limited", "no_balance", "refuse_503", "unauthorized"])
def test_a_refusal_of_the_second_call_that_may_pass_is_tried_again(world: World, fault: str) -> None:
    world.fault("kling", "html_502")
    world.fault("kling", fault, stage="submit")
    job_id = world.submit(world.motion, provider="kling")
    job = world.finish(job_id)

    assert settled(job) == ("completed", ["completed"])
    assert (world.posts(), ids_sent(world), len(world.bills())) == (3, {f"{job.id}-1"}, 1)


def test_a_refusal_of_the_second_call_that_will_not_pass_ends_it_at_no_cost(world: World) -> None:
    world.fault("kling", "html_502")
    world.fault("kling", "throttled", message="the prompt is not taken", code="1201")
    job = world.finish(world.submit(world.motion, provider=["kling", "evolink"]))

    assert (job.state, why(job)) == (State.FAILED, "input_rejected")
    assert [attempt.status for attempt in job.attempts] == [AttemptStatus.REJECTED]
    assert (world.posts(), world.bills()) == (2, [])
    assert calls(world)[-1] == "by key"


@pytest.mark.parametrize("accepted", [True, False])
def test_a_submit_in_doubt_never_goes_to_the_next_gateway(world: World, accepted: bool) -> None:
    world.fault("kling", "html_502", accepted=accepted)
    job = world.finish(world.submit(world.motion, provider=["kling", "evolink"]))

    assert [(attempt.provider, attempt.status.value) for attempt in job.attempts] == [("kling", "completed")]
    assert len(world.bills()) == 1


def test_the_policy_resubmit_asks_first_all_the_same(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_UNCONFIRMED="resubmit", RUSHES_CALLBACK_GRACE_S="1")
    job = world.finish(lost(world, "answer_lost"))

    assert settled(job) == ("completed", ["completed"])
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_a_worker_that_died_before_the_call_leaves_a_submit_that_settles_by_itself(world: World) -> None:
    job_id = world.submit(world.motion, provider="kling")
    with world.before(world.services.journal, "record_intents", world.die):
        world.run_until(lambda: world.job(job_id).state is State.SUBMITTING)
    job = world.finish(job_id)

    assert settled(job) == ("completed", ["completed"])
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_a_worker_that_died_after_the_second_call_leaves_a_task_that_is_found(world: World) -> None:
    job_id = lost(world, "html_502")

    def post_and_die() -> None:
        if world.posts() == 2:
            world.die()

    world.run_until(lambda: (world.next_due_at() or 0) - world.job(job_id).current.submitted_at > 170 * SECOND)
    world.advance(((world.next_due_at() or 0) - world.clock()) / SECOND)
    with world.before(world.services.journal, "record_outcome", post_and_die):
        world.exhaust()
    died = world.job(job_id)
    job = world.finish(job_id)

    assert (died.state, died.current.resent_at > 0) == (State.UNCONFIRMED, True)
    assert settled(job) == ("completed", ["completed"])
    assert (world.posts(), len(world.bills())) == (2, 1)


def test_while_an_operator_has_paused_kling_nothing_is_sent_again(world: World) -> None:
    job_id = lost(world, "html_502")
    world.ledger.gateways.pause("kling", "operator", world.clock() + DAY_S * SECOND)
    world.run_until(lambda: world.clock.skipped_ms > 1800 * SECOND)
    posts = world.posts()
    world.ledger.gateways.resume("kling", ["kling"])
    job = world.finish(job_id)

    assert posts == 1
    assert settled(job) == ("completed", ["completed"])
    assert len(world.bills()) == 1


# --- callbacks


@pytest.fixture
def signed(open_world: Callable[..., World]) -> World:
    return open_world(callbacks=True, KLING_WEBHOOK_SECRET=WEBHOOK_SECRET)


def test_a_signed_callback_of_each_change_is_taken_and_the_last_brings_the_end(signed: World) -> None:
    job_id = signed.submit(signed.motion, provider="kling")
    signed.until(job_id, State.RUNNING)
    answers = [signed.deliver(signed.letter(job_id, number)) for number in (1, 2, 3)]
    signed.exhaust()

    job = signed.job(job_id)
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert (settled(job), job.current.heard_by) == (("completed", ["completed"]), "callback")
    assert signed.clock.skipped_ms < 3 * SECOND


def test_a_callback_settles_a_lost_submit_too(signed: World) -> None:
    signed.fault("kling", "answer_lost")
    job_id = signed.submit(signed.motion, provider="kling")
    with signed.after(signed.http_client, "send", lambda: signed.deliver(signed.letter(job_id, words="succeeded"))):
        signed.exhaust()

    job = signed.job(job_id)
    assert settled(job) == ("completed", ["completed"])
    assert (signed.posts(), len(signed.bills())) == (1, 1)
