"""Polls that bring no verdict: the gateway has the task, whatever one odd answer says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from world import World, why

from rushes.shared.domain.job import AttemptStatus, State
from rushes.shared.providers import PROVIDERS

ODD = (
    ("apimart", "unknown_status"),
    ("newapi", "not_found"),
    ("evolink", "not_found"),
    ("apimodels", "bad_json"),
    ("newapi", "http_500"),
    ("apimaster", "html_502"),
    ("evolink", "answer_lost"),
    ("apimodels", "rate_limited"),
    ("apimart", "unauthorized"),
)


@pytest.mark.parametrize(("gateway", "fault"), ODD)
def test_an_odd_answer_is_no_verdict(world: World, gateway: str, fault: str) -> None:
    world.fault(gateway, fault, stage="query", times=3)
    job_id = world.submit(world.request_for(gateway))
    world.until(job_id, State.RUNNING)
    world.await_gateways()
    world.run_until(lambda: world.job(job_id).current.polls == 3)
    odd = world.job(job_id)
    job = world.finish(job_id)

    assert (odd.state, job.state) == (State.RUNNING, State.COMPLETED)
    assert (len(job.attempts), len(world.bills())) == (1, 1)


@pytest.mark.parametrize("gateway", PROVIDERS)
def test_completed_without_a_video_waits_until_it_has_one(world: World, gateway: str) -> None:
    world.fault(gateway, "empty_url", times=2)
    job = world.finish(world.submit(world.request_for(gateway)))

    assert job.state is State.COMPLETED
    assert len(world.bills()) == 1


def test_a_gateway_that_asks_for_patience_gets_it(world: World) -> None:
    job = world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    world.await_gateways()
    world.fault("newapi", "rate_limited", stage="query", retry_after=300)
    world.advance(20)
    world.exhaust()
    world.advance(280)

    assert world.claim() == []
    assert world.finish(job.id).state is State.COMPLETED


def test_a_changed_address_never_makes_a_poll_ask_the_wrong_host(open_world: Callable[..., World]) -> None:
    before = open_world()
    job_id = before.submit(before.request_for("newapi"))
    before.until(job_id, State.RUNNING)
    after = open_world(NEWAPI_API_KEY=before.key, NEWAPI_BASE_URL="http://127.0.0.1:9/elsewhere")
    after.advance(20)
    job = after.finish(job_id)

    assert (job.state, job.attempts[0].base_url) == (State.COMPLETED, f"{before.gateways_url}/newapi")


def test_a_gateway_that_is_not_enabled_any_more_leaves_its_queue_to_the_next(open_world: Callable[..., World]) -> None:
    before = open_world()
    job_id = before.submit(before.text, provider=["newapi", "apimodels"])
    after = open_world(NEWAPI_API_KEY="")
    job = after.finish(job_id)

    assert [(attempt.provider, attempt.status.value) for attempt in job.attempts] == [("apimodels", "completed")]


def test_past_the_job_timeout_we_stop_waiting_which_says_nothing_of_the_gateway(
    open_world: Callable[..., World],
) -> None:
    world = open_world(RUSHES_JOB_TIMEOUT_S="600")
    world.fault("newapi", "unknown_status", times=-1)
    job_id = world.submit(world.request_for("newapi"))
    began_at = world.job(job_id).created_at
    job = world.finish(job_id)

    assert (job.state, why(job)) == (State.FAILED, "timed_out")
    assert (job.current.status, job.current.ended_at) == (AttemptStatus.RUNNING, None)
    assert 600_000 <= (job.ended_at or 0) - began_at < 620_000
    assert world.manifest(job)["job"]["attempts"][0]["status"] == "running"


def test_polls_grow_rare_with_age(world: World) -> None:
    world.fault("newapi", "unknown_status", times=-1)
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.RUNNING)
    began_at = world.clock()
    world.run_until(lambda: world.clock() - began_at > 3_600_000)

    assert 25 < world.job(job_id).current.polls < 60


@pytest.mark.parametrize("fault", ["unauthorized", "no_balance"])
def test_a_bad_key_or_an_empty_account_met_by_a_poll_pauses_the_gateway_and_not_the_job(
    world: World, fault: str
) -> None:
    running = world.until(world.submit(world.request_for("apimart")), State.RUNNING)
    world.fault("apimart", fault, stage="query")
    world.advance(20)
    world.exhaust()

    assert world.services.ledger.gateways.paused_until("apimart") > world.services.now()
    assert world.job(running.id).state is State.RUNNING
    assert world.finish(running.id).state is State.COMPLETED
