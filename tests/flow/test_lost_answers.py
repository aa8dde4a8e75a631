"""The dangerous minute: the paid call was sent, and its answer never came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from outsiders import Letter
from world import BUCKET, World, why

from rushes.shared.domain.job import AttemptStatus, State

DAY_S = 86_400

LOST: tuple[tuple[str, dict[str, Any]], ...] = (
    ("answer_lost", {}),
    ("bad_json", {"stage": "submit"}),
    ("html_502", {"accepted": True}),
    ("html_502", {"accepted": False}),
    ("http_500", {"accepted": True}),
)


@pytest.mark.parametrize(("fault", "options"), LOST)
def test_apimart_is_asked_again_under_the_same_key_and_bills_once(
    world: World, fault: str, options: dict[str, Any]
) -> None:
    world.fault("apimart", fault, **options)
    job_id = world.submit(world.request_for("apimart"))
    lost = world.until(job_id, State.UNCONFIRMED)
    job = world.finish(job_id)

    first, second = [request for request in world.http_client.sent if request.method == "POST"]
    assert (lost.current.status, len(lost.attempts)) == (AttemptStatus.UNCONFIRMED, 1)
    assert (job.state, len(job.attempts)) == (State.COMPLETED, 1)
    assert first == second
    assert first.headers["Idempotency-Key"]
    assert len(world.bills()) == 1


def test_what_is_sent_again_names_the_very_same_links_to_inputs_in_s3(world: World) -> None:
    world.put("inputs/who.jpg", world.fetched(world.picture))
    world.fault("apimart", "answer_lost")
    job_id = world.submit(world.motion, provider="apimart", image_url=f"s3://{BUCKET}/inputs/who.jpg")
    world.until(job_id, State.UNCONFIRMED)
    world.advance(60)
    job = world.finish(job_id)

    (task,) = world.tasks()
    assert "X-Amz-Signature" in task["body"]["image_url"]
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 2, 1)


@pytest.mark.parametrize("fault", ["no_balance", "rate_limited", "unauthorized"])
def test_a_refusal_of_the_second_call_says_nothing_of_the_first(world: World, fault: str) -> None:
    world.fault("apimart", "answer_lost")
    world.fault("apimart", fault, stage="submit", times=2)
    job_id = world.submit(world.motion, provider=["apimart", "evolink"])
    world.run_until(lambda: world.posts() == 3)
    doubted = world.job(job_id)
    job = world.finish(job_id)

    assert (doubted.state, doubted.current.status) == (State.UNCONFIRMED, AttemptStatus.UNCONFIRMED)
    assert [(attempt.provider, attempt.status.value) for attempt in job.attempts] == [("apimart", "completed")]
    assert len(world.bills()) == 1


def test_at_apimart_a_lost_submit_settles_by_the_callback_where_that_comes_first(
    open_world: Callable[..., World],
) -> None:
    world = open_world(callbacks=True)
    world.fault("apimart", "answer_lost")
    job_id = world.submit(world.request_for("apimart"))
    world.until(job_id, State.UNCONFIRMED)
    world.deliver(world.letter(job_id))
    world.exhaust()

    job = world.job(job_id)
    assert (job.state, job.current.heard_by, job.current.task_id) == (
        *(State.COMPLETED, "callback"),
        world.tasks()[0]["id"],
    )
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_at_apimart_a_lost_submit_settles_by_the_same_key_where_that_comes_first(
    open_world: Callable[..., World],
) -> None:
    world = open_world(callbacks=True)
    world.fault("apimart", "answer_lost")
    job_id = world.submit(world.request_for("apimart"))
    running = world.until(job_id, State.RUNNING)
    for _ in range(2):
        world.deliver(world.letter(job_id))
        world.exhaust()

    job, (task,) = world.job(job_id), world.tasks()
    assert (job.state, job.current.task_id) == (State.COMPLETED, running.current.task_id)
    assert (running.current.task_id, world.posts(), len(world.bills())) == (task["id"], 2, 1)


def test_at_apimart_the_callback_may_come_while_the_second_call_is_out(open_world: Callable[..., World]) -> None:
    world = open_world(callbacks=True)
    world.fault("apimart", "answer_lost")
    job_id = world.submit(world.request_for("apimart"))
    world.until(job_id, State.UNCONFIRMED)
    letter = world.letter(job_id)
    with world.before(world.http_client, "send", lambda: world.deliver(letter)):
        world.run_until(lambda: world.posts() == 2)
        world.exhaust()
    world.finish(job_id)

    job, (task,) = world.job(job_id), world.tasks()
    assert (job.state, job.current.task_id, len(job.attempts)) == (State.COMPLETED, task["id"], 1)
    assert len(world.bills()) == 1


@pytest.mark.parametrize("gateway", ["evolink", "apimodels"])
def test_without_a_key_a_lost_submit_is_held_until_the_callback_settles_it(
    open_world: Callable[..., World], gateway: str
) -> None:
    world = open_world(callbacks=True)
    world.fault(gateway, "answer_lost")
    job_id = world.submit(world.request_for(gateway))
    world.until(job_id, State.UNCONFIRMED)
    world.advance(3600)
    world.exhaust()
    held = world.job(job_id)
    world.deliver(world.letter(job_id))
    world.exhaust()

    job = world.job(job_id)
    assert (held.state, held.current.task_id) == (State.UNCONFIRMED, None)
    assert (job.state, job.current.heard_by) == (State.COMPLETED, "callback")
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_without_a_callback_a_lost_submit_is_held_to_the_end_of_our_patience(world: World) -> None:
    world.fault("newapi", "answer_lost")
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.UNCONFIRMED)
    world.advance(DAY_S - 60)
    world.exhaust()
    held = world.job(job_id)
    failed = world.finish(job_id)

    assert held.state is State.UNCONFIRMED
    assert (failed.state, why(failed)) == (State.FAILED, "submit_unconfirmed")
    assert failed.current.status is AttemptStatus.UNCONFIRMED
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_the_policy_resubmit_sends_again_once_after_the_grace(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_UNCONFIRMED="resubmit", RUSHES_CALLBACK_GRACE_S="180")
    world.fault("newapi", "answer_lost")
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.UNCONFIRMED)
    world.advance(170)
    within = world.claim()
    job = world.finish(job_id)

    assert within == []
    assert [attempt.status.value for attempt in job.attempts] == ["unconfirmed", "completed"]
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 2, 2)


def test_within_the_grace_a_callback_that_names_no_task_does_not_make_us_send_again(
    open_world: Callable[..., World],
) -> None:
    world = open_world(callbacks=True, RUSHES_UNCONFIRMED="resubmit")
    world.fault("evolink", "answer_lost")
    job_id = world.submit(world.request_for("evolink"))
    world.until(job_id, State.UNCONFIRMED)
    world.deliver(Letter(world.letter(job_id).path, {}, b'{"status": "processing"}'))
    world.exhaust()

    assert (world.job(job_id).state, world.posts()) == (State.UNCONFIRMED, 1)


@pytest.mark.parametrize("accepted", [True, False])
def test_a_502_page_never_leads_to_the_next_gateway_by_itself(world: World, accepted: bool) -> None:
    world.fault("evolink", "html_502", stage="submit", accepted=accepted)
    job_id = world.submit(world.motion, provider=["evolink", "apimaster"])
    world.until(job_id, State.UNCONFIRMED)
    failed = world.finish(job_id)

    assert why(failed) == "submit_unconfirmed"
    assert (world.posts(), len(world.bills())) == (1, int(accepted))


@pytest.mark.parametrize(("action", "status", "bills"), [("resubmit", "completed", 2), ("fail", "failed", 1)])
def test_an_operator_may_decide_about_a_lost_submit(world: World, action: str, status: str, bills: int) -> None:
    world.fault("newapi", "answer_lost")
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.UNCONFIRMED)
    answer = world.api("POST", f"/v1/jobs/{job_id}/resolve", {"action": action})
    job = world.finish(job_id)

    assert answer.status_code == 200
    assert (job.state.value, len(world.bills())) == (status, bills)


def test_an_operator_may_name_the_task_of_a_lost_submit(world: World) -> None:
    world.fault("newapi", "answer_lost")
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.UNCONFIRMED)
    (task,) = world.tasks()
    world.api("POST", f"/v1/jobs/{job_id}/resolve", {"action": "adopt", "task_id": task["id"]})

    assert world.finish(job_id).state is State.COMPLETED
    assert (world.posts(), len(world.bills())) == (1, 1)


@pytest.mark.parametrize("gateway", ["apimart", "newapi"])
def test_after_a_change_of_the_address_a_task_is_asked_for_where_it_was_submitted(
    open_world: Callable[..., World], gateway: str
) -> None:
    before = open_world()
    if gateway == "apimart":
        before.fault("apimart", "answer_lost")  # asked for again under its key
    job_id = before.submit(before.request_for(gateway))
    before.until(job_id, State.UNCONFIRMED if gateway == "apimart" else State.RUNNING)
    name = gateway.upper()
    settings = {f"{name}_BASE_URL": "http://127.0.0.1:1/nobody", f"{name}_API_KEY": before.key}
    after = open_world(**settings)
    after.key, after.began_at = before.key, before.began_at
    job = after.finish(job_id)

    asked = [request.url for request in after.http_client.sent]
    assert asked
    assert [url for url in asked if not url.startswith(f"{before.gateways_url}/")] == []
    assert (job.state, len(after.bills())) == (State.COMPLETED, 1)


def test_a_gateway_that_loses_one_answer_after_another_is_left_alone_for_a_while(world: World) -> None:
    pauses = []
    for _ in range(3):
        world.fault("newapi", "answer_lost")
        world.until(world.submit(world.request_for("newapi")), State.UNCONFIRMED)
        pauses.append(world.ledger.gateways.paused_until("newapi") > world.clock())

    assert pauses == [False, False, True]
    assert world.ledger.gateways.health("newapi")["why"] == "unavailable"
