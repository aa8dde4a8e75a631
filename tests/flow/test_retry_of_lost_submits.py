"""The retry of a job whose paid call was never answered pays nothing twice where the gateway can tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from world import World

from rushes.shared.domain.job import AttemptStatus, Job, State

GRACE_S = 600


def given_up(world: World, gateway: str, **fault: Any) -> Job:
    """A job whose submit got no answer, and on which an operator gave up before anything else was asked."""
    world.fault(gateway, "answer_lost", **fault)
    job_id = world.submit(world.motion, provider=gateway)
    world.until(job_id, State.UNCONFIRMED)
    world.api("POST", f"/v1/jobs/{job_id}/resolve", {"action": "fail"})
    world.mend()
    job = world.job(job_id)
    assert (job.error.code if job.error else None) == "submit_unconfirmed"
    return job


def retried(world: World, job: Job) -> Any:
    return world.api("POST", f"/v1/jobs/{job.id}/retry")


def test_a_task_that_kling_has_is_found_by_our_own_id_and_adopted(world: World) -> None:
    failed = given_up(world, "kling")
    answer = retried(world, failed)
    job = world.finish(answer.json["id"])

    assert (answer.status_code, answer.json["status"], job.state) == (202, "running", State.COMPLETED)
    assert (world.posts(), len(world.bills()), job.current.adopted) == (1, 1, True)


def test_a_submit_that_kling_surely_has_not_is_begun_anew(world: World) -> None:
    failed = given_up(world, "kling", accepted=False)
    early = retried(world, failed)
    world.advance(GRACE_S)
    job = world.finish(retried(world, failed).json["id"])

    assert (early.status_code, early.json["error"]["code"]) == (503, "unavailable")
    assert (job.state, job.retry_of, len(world.bills())) == (State.COMPLETED, failed.id, 1)
    assert job.current.adopted is False


def test_while_kling_does_not_answer_nothing_is_paid_again(world: World) -> None:
    failed = given_up(world, "kling")
    world.advance(GRACE_S)
    world.fault("kling", "http_500", stage="query")
    first, second = retried(world, failed), retried(world, failed)

    assert first.status_code == 503
    assert world.finish(second.json["id"]).state is State.COMPLETED
    assert (world.posts(), len(world.bills())) == (1, 1)


@pytest.mark.parametrize("accepted", [True, False])
def test_under_an_idempotency_key_the_retry_goes_on_with_the_first_submit(world: World, accepted: bool) -> None:
    failed = given_up(world, "apimart", accepted=accepted)
    answer = retried(world, failed)
    job = world.finish(answer.json["id"])
    posts = [request for request in world.http_client.sent if request.method == "POST" and "/apimart/" in request.url]

    assert (answer.json["status"], job.state) == ("unconfirmed", State.COMPLETED)
    assert {request.headers["Idempotency-Key"] for request in posts} == {f"{failed.id}-1"}
    assert (len(posts), len(world.bills()), job.current.task_id) == (2, 1, world.bills()[0]["task_id"])


def test_the_retry_of_a_retry_keeps_the_first_key(open_world: Callable[..., World]) -> None:
    world = open_world()
    failed = given_up(world, "apimart")
    world.fault("apimart", "answer_lost", times=-1)
    second = retried(world, failed).json["id"]
    world.run_until(lambda: world.job(second).setbacks > 0)
    world.api("POST", f"/v1/jobs/{second}/resolve", {"action": "fail"})
    world.mend()
    job = world.finish(retried(world, world.job(second)).json["id"])

    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)


def test_where_the_gateway_can_say_nothing_a_retry_is_a_new_paid_call(world: World) -> None:
    failed = given_up(world, "evolink", accepted=False)
    job = world.finish(retried(world, failed).json["id"])

    assert (job.state, job.current.adopted, len(world.bills())) == (State.COMPLETED, False, 1)
    assert job.current.status is AttemptStatus.COMPLETED
