"""Gateways that say no: who is asked next, who waits, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from world import World, why

from rushes.deploy.sandbox.ports import free_ports
from rushes.shared.domain import gateway_pauses
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job, State

PAUSE_S = gateway_pauses.PAUSES[Reason.BALANCE][1]


def ends(job: Job) -> list[tuple[str, str]]:
    """What became of each attempt of a job."""
    return [(attempt.provider, attempt.status.value) for attempt in job.attempts]


def standing(world: World, gateway: str) -> dict[str, Any]:
    """A gateway as the API shows it."""
    shown = world.api("GET", "/v1/gateways").json["data"]
    return next(one for one in shown if one["name"] == gateway)


TROUBLES = [("no_balance", "insufficient_balance"), ("unauthorized", "key_rejected")]


@pytest.mark.parametrize(("fault", "why"), TROUBLES)
def test_an_empty_account_or_a_bad_key_pauses_the_gateway_and_the_job_moves_on(
    world: World, fault: str, why: str
) -> None:
    world.fault("apimaster", fault, stage="submit")
    jobs = [world.submit(world.motion, provider=["apimaster", "evolink"])]
    world.exhaust()
    paused = standing(world, "apimaster")
    jobs.append(world.submit(world.motion, provider=["apimaster", "evolink"]))
    world.exhaust()

    assert (paused["why"], paused["paused_until"] is not None) == (why, True)
    assert ends(world.job(jobs[0])) == [("apimaster", "rejected"), ("evolink", "running")]
    assert ends(world.job(jobs[1])) == [("evolink", "running")]
    assert [bill["gateway"] for bill in world.bills()] == ["evolink", "evolink"]


@pytest.mark.parametrize("fault", ["no_balance", "unauthorized"])
def test_a_job_pinned_to_a_paused_gateway_waits_for_the_pause_to_end(world: World, fault: str) -> None:
    world.fault("newapi", fault, stage="submit")
    job_id = world.submit(world.request_for("newapi"))
    world.exhaust()
    world.advance(PAUSE_S - 8)
    world.exhaust()
    asked = world.posts()
    job = world.finish(job_id)

    assert asked == 1
    assert ends(job) == [("newapi", "rejected"), ("newapi", "completed")]
    assert standing(world, "newapi")["paused_until"] is None


def test_after_a_pause_one_job_goes_ahead_to_show_that_the_gateway_is_well(world: World) -> None:
    world.fault("newapi", "no_balance", stage="submit")
    jobs = [world.submit(world.request_for("newapi"))]
    world.exhaust()
    jobs += [world.submit(world.request_for("newapi")) for _ in range(3)]
    world.exhaust()
    world.advance(PAUSE_S + 1)
    probe = world.claim()
    world.perform(probe)
    world.exhaust()

    assert len(probe) == 1
    assert [world.job(job_id).state for job_id in jobs] == [State.RUNNING] * 4


def test_a_probe_that_is_refused_lengthens_the_pause(world: World) -> None:
    world.fault("newapi", "no_balance", stage="submit", times=2)
    job_id = world.submit(world.request_for("newapi"))
    world.exhaust()
    world.advance(PAUSE_S + 1)
    world.exhaust()
    world.advance(PAUSE_S + 1)
    world.exhaust()
    asked = world.posts()

    assert asked == 2
    assert world.finish(job_id).state is State.COMPLETED
    assert world.posts() == 3


def test_a_paused_gateway_that_is_not_enabled_any_more_leaves_those_who_wait_to_the_next(
    open_world: Callable[..., World],
) -> None:
    before = open_world()
    for gateway in ("newapi", "apimodels"):
        before.fault(gateway, "no_balance", stage="submit")
    job_id = before.submit(before.text, provider=["newapi", "apimodels"])
    before.exhaust()
    before.advance(5)
    before.exhaust()
    waits = before.job(job_id)
    after = open_world(NEWAPI_API_KEY="")
    job = after.finish(job_id)

    assert (waits.state, waits.route[0]) == (State.QUEUED, "newapi")
    assert ends(job) == [("newapi", "rejected"), ("apimodels", "rejected"), ("apimodels", "completed")]


def test_an_operator_may_end_a_pause(world: World) -> None:
    world.fault("newapi", "no_balance", stage="submit")
    job_id = world.submit(world.request_for("newapi"))
    world.exhaust()
    paused = standing(world, "newapi")["paused_until"]
    world.api("POST", "/v1/gateways/newapi/resume", key="admin-key")
    world.advance(5)
    world.exhaust()

    assert paused
    assert world.job(job_id).state is State.RUNNING


def by_hand(world: World, act: str, *gateways: str) -> None:
    for name in gateways:
        assert world.api("POST", f"/v1/gateways/{name}/{act}", key="admin-key").status_code == 200


def test_what_an_operator_paused_is_passed_by(world: World) -> None:
    by_hand(world, "pause", "newapi", "apimodels", "apimart", "evolink", "kling")
    job_id = world.submit(world.text)
    pinned = world.submit(world.request_for("newapi"))
    world.exhaust()
    assert world.posts() == 0
    assert [world.job(each).state for each in (job_id, pinned)] == [State.QUEUED] * 2

    by_hand(world, "resume", "apimodels")  # whichever of them it waits for
    world.exhaust()
    assert (world.job(job_id).state, world.job(job_id).provider) == (State.RUNNING, "apimodels")
    assert world.job(pinned).state is State.QUEUED

    by_hand(world, "resume", "newapi")
    world.exhaust()
    assert world.job(pinned).state is State.RUNNING


def test_a_submit_that_is_taken_after_all_does_not_end_an_operators_pause(world: World) -> None:
    first, second = (world.submit(world.request_for("newapi")) for _ in range(2))
    with world.after(world.http_client, "send", lambda: by_hand(world, "pause", "newapi")):
        world.exhaust()
    assert [world.job(each).state for each in (first, second)] == [State.RUNNING, State.QUEUED]
    assert standing(world, "newapi")["why"] == "operator"


@pytest.mark.parametrize(
    ("route", "wait_s"),
    [(["evolink"], 2), (["evolink"], 40), (["evolink", "apimodels"], 2), (["evolink", "apimodels"], 25)],
)
def test_too_many_requests_wait_as_long_as_they_are_told_to(world: World, route: list[str], wait_s: int) -> None:
    world.fault("evolink", "rate_limited", stage="submit", retry_after=wait_s)
    job_id = world.submit(world.motion, provider=route)
    world.exhaust()
    world.advance(wait_s - 1)
    world.exhaust()
    asked = world.posts()
    job = world.finish(job_id)

    assert asked == 1
    assert ends(job) == [("evolink", "rejected"), ("evolink", "completed")]
    assert wait_s <= (job.current.submitted_at - job.attempts[0].submitted_at) / 1000 < wait_s + 10


def test_a_gateway_that_is_down_leaves_the_job_to_the_next(world: World) -> None:
    world.fault("apimaster", "refuse_503", stage="submit")
    job_id = world.submit(world.motion, provider=["apimaster", "evolink"])
    world.exhaust()

    assert ends(world.job(job_id)) == [("apimaster", "rejected"), ("evolink", "running")]
    assert world.clock.skipped_ms == 0
    assert [bill["gateway"] for bill in world.bills()] == ["evolink"]


def test_a_gateway_that_cannot_be_reached_leaves_the_job_to_the_next(open_world: Callable[..., World]) -> None:
    world = open_world(APIMASTER_BASE_URL=f"http://127.0.0.1:{free_ports(1)[0]}")
    job = world.finish(world.submit(world.motion, provider=["apimaster", "evolink"]))

    document = world.api("GET", f"/v1/jobs/{job.id}").json
    assert ends(job) == [("apimaster", "rejected"), ("evolink", "completed")]
    assert [attempt["cost_usd"] for attempt in document["attempts"]] == [None, "0.4536"]
    assert document["cost_usd"] == "0.4536"


def test_where_all_are_down_the_job_waits_and_asks_around_again(world: World) -> None:
    for gateway in ("apimaster", "evolink"):
        world.fault(gateway, "refuse_503", stage="submit")
    job = world.finish(world.submit(world.motion, provider=["apimaster", "evolink"]))

    assert ends(job) == [("apimaster", "rejected"), ("evolink", "rejected"), ("apimaster", "completed")]
    assert len(world.bills()) == 1


@pytest.mark.parametrize("route", [["evolink", "apimodels"], ["apimodels", "evolink"]])
def test_what_the_content_policy_forbids_is_not_tried_elsewhere(world: World, route: list[str]) -> None:
    world.fault(route[0], "fail_task", policy=True)
    job = world.finish(world.submit(world.motion, provider=route))

    assert (job.state, why(job)) == (State.FAILED, "content_policy")
    assert ends(job) == [(route[0], "failed")]
    assert len(world.bills()) == 1


def test_a_task_that_fails_goes_to_the_next_gateway_at_most_three_times(world: World) -> None:
    route = ["apimaster", "evolink", "apimodels", "apimart"]
    for gateway in route:
        world.fault(gateway, "fail_task")
    job = world.finish(world.submit(world.motion, provider=route))

    assert (job.state, why(job)) == (State.FAILED, "provider_error")
    assert ends(job) == [(gateway, "failed") for gateway in route[:3]]
    assert [bill["gateway"] for bill in world.bills()] == route[:3]


def test_a_task_that_fails_succeeds_at_the_next_gateway(world: World) -> None:
    world.fault("apimaster", "fail_task")
    job = world.finish(world.submit(world.motion, provider=["apimaster", "evolink"]))

    assert (job.state, job.progress) == (State.COMPLETED, 100)
    assert ends(job) == [("apimaster", "failed"), ("evolink", "completed")]
    assert world.manifest(job)["job"]["provider"] == "evolink"


def test_an_input_that_breaks_the_rules_is_never_paid_for(world: World) -> None:
    swapped = {"image_url": world.motion["video_url"], "video_url": world.motion["image_url"]}
    job = world.finish(world.submit(world.motion, **swapped))

    assert (job.state, why(job), job.attempts) == (State.FAILED, "input_rejected", ())
    assert (world.posts(), world.bills()) == (0, [])


def test_an_input_that_cannot_be_reached_is_waited_for_a_while_and_never_paid_for(world: World) -> None:
    job_id = world.submit(world.motion, image_url=f"http://127.0.0.1:{free_ports(1)[0]}/picture.jpg")
    world.exhaust()
    world.advance(600)
    world.exhaust()
    waits = world.job(job_id)
    job = world.finish(job_id)

    assert waits.state is State.QUEUED
    assert (job.state, why(job), world.posts()) == (State.FAILED, "input_rejected", 0)
