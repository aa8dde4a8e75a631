"""What gateways say beside their documents, through the whole of Rushes: nothing is lost, nothing paid for twice."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from world import World, why

from rushes.deploy.sandbox.gateways.faults import SHAPES
from rushes.shared.domain.job import Job, State
from rushes.shared.providers import PROVIDERS

DAY_S = 86_400


def notes(job: Job) -> list[str]:
    return [note.what for note in job.history]


def detail(job: Job, what: str) -> str:
    """What the history says beside a note of that kind."""
    return next(note.detail or "" for note in job.history if note.what == what)


def shown(world: World, job: Job) -> list[str]:
    """The history as a caller reads it."""
    return [line["what"] for line in world.api("GET", f"/v1/jobs/{job.id}/history").json["data"]]


@pytest.mark.parametrize("gateway", PROVIDERS)
@pytest.mark.parametrize("word", ["succeed", " Succeeded "])
def test_an_end_in_the_vendors_word_is_the_end(world: World, gateway: str, word: str) -> None:
    world.fault(gateway, "vendor_word", word=word, times=-1)
    job = world.finish(world.submit(world.request_for(gateway)))

    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gateway", PROVIDERS)
def test_a_link_in_any_shape_is_fetched(world: World, gateway: str, shape: str) -> None:
    world.fault(gateway, "odd_link", shape=shape, times=-1)
    job = world.finish(world.submit(world.request_for(gateway)))

    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)


@pytest.mark.parametrize("gateway", PROVIDERS)
@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "throttled", "status": 400},
        {"fault": "throttled", "status": 500, "message": "system overloaded"},
        {"fault": "throttled", "status": 403, "message": "请求过于频繁"},
        {"fault": "error_in_200", "status": 429, "message": "Rate limit exceeded"},
    ],
)
def test_a_throttle_under_any_status_is_waited_for(world: World, gateway: str, fault: dict[str, Any]) -> None:
    world.fault(gateway, stage="submit", **fault)
    job = world.finish(world.submit(world.request_for(gateway)))

    assert [(a.status.value, a.error and a.error.code) for a in job.attempts] == [
        ("rejected", "rate_limited"),
        ("completed", None),
    ]
    assert len(world.bills()) == 1


def test_a_prompt_that_sounds_like_a_throttle_makes_none_of_a_refusal(world: World) -> None:
    prompt = "Too many requests in an overloaded, busy shop, over her rate limit and her balance"
    world.fault("evolink", "throttled", message=f"Invalid prompt: {prompt}")
    job = world.finish(world.submit(world.motion, provider="evolink", prompt=prompt))

    assert (job.state, why(job), len(job.attempts)) == (State.FAILED, "input_rejected", 1)
    assert world.ledger.gateways.paused_until("evolink") == 0


@pytest.mark.parametrize("gateway", PROVIDERS)
def test_a_refusal_inside_a_200_is_one(world: World, gateway: str) -> None:
    world.fault(gateway, "error_in_200", stage="submit")
    job = world.finish(world.submit(world.request_for(gateway)))

    assert (job.state, why(job), world.bills()) == (State.FAILED, "input_rejected", [])


def test_an_error_inside_a_200_that_may_come_from_behind_the_gateway_is_no_refusal(world: World) -> None:
    world.fault("newapi", "error_in_200", stage="submit", status=500, code="do_request_failed", message="EOF")
    job = world.until(world.submit(world.request_for("newapi")), State.UNCONFIRMED)

    assert job.attempts[0].error is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_a_submit_pauses_the_gateway_says_so_and_leaves_the_job_to_the_next(
    world: World, status: int
) -> None:
    world.fault("apimaster", "redirect", status=status, location="https://new.example/v2?key=secret")
    job_id = world.submit(world.motion, provider=["apimaster", "evolink"])
    world.exhaust()
    job = world.job(job_id)
    paused = next(one for one in world.api("GET", "/v1/gateways").json["data"] if one["name"] == "apimaster")

    assert [(a.provider, a.status.value) for a in job.attempts] == [("apimaster", "rejected"), ("evolink", "running")]
    assert job.attempts[0].error
    assert "https://new.example/v2" in job.attempts[0].error.message
    assert (paused["why"], paused["paused_until"] is not None) == ("address_moved", True)
    assert "APIMASTER_BASE_URL" in paused["advice"]
    assert [bill["gateway"] for bill in world.bills()] == ["evolink"]


def test_a_job_pinned_to_a_gateway_whose_address_has_moved_waits(world: World) -> None:
    world.fault("evolink", "redirect")
    job_id = world.submit(world.request_for("evolink"))
    world.exhaust()
    waits = world.job(job_id)
    job = world.finish(job_id)

    assert waits.state is State.QUEUED
    assert [a.status.value for a in job.attempts] == ["rejected", "completed"]


def test_a_date_in_retry_after_is_heeded(world: World) -> None:
    comes_back_at = world.clock() / 1000 + 40
    world.fault("evolink", "rate_limited", stage="submit", retry_after=formatdate(comes_back_at, usegmt=True))
    job_id = world.submit(world.request_for("evolink"))
    world.exhaust()
    world.advance(35)
    world.exhaust()
    asked = world.posts()
    job = world.finish(job_id)

    assert asked == 1
    assert job.current.submitted_at / 1000 > comes_back_at - 2  # a date has whole seconds


@pytest.mark.parametrize("gateway", ["apimart", "evolink", "apimodels"])
def test_an_end_without_a_link_is_said_at_once_and_is_what_the_job_fails_with(
    open_world: Callable[..., World], gateway: str
) -> None:
    world = open_world(RUSHES_JOB_TIMEOUT_S="600")
    world.fault(gateway, "empty_url", times=-1)
    job_id = world.submit(world.request_for(gateway))
    world.run_until(lambda: "no link" in notes(world.job(job_id)))
    asked = world.job(job_id)
    job = world.finish(job_id)

    assert (asked.state, asked.current.polls) == (State.RUNNING, 1)
    assert "no link" in shown(world, job)
    assert (job.state, why(job)) == (State.FAILED, "provider_error")
    assert job.error
    assert "completed but gave no link" in job.error.message
    assert job.current.polls > 1


def test_a_task_that_never_had_a_link_is_paid_for_anew_when_it_is_tried_again(
    open_world: Callable[..., World],
) -> None:
    world = open_world(RUSHES_JOB_TIMEOUT_S="600")
    world.fault("evolink", "empty_url", times=-1)
    job = world.finish(world.submit(world.request_for("evolink")))
    again = world.api("POST", f"/v1/jobs/{job.id}/retry")
    world.mend()

    assert again.status_code == 202
    assert world.finish(again.json["id"]).state is State.COMPLETED
    assert len(world.bills()) == 2


def downloads(world: World) -> list[str]:
    return [request.url for request in world.http_client.fetched if "clip.mp4" in request.url]


REFUSED_LINKS = [
    ("http://10.0.0.1/clip.mp4", "only https"),
    ("https://10.0.0.1/clip.mp4", "not a public address"),
    ("https://169.254.169.254/latest/", "not a public address"),
    ("https://8.8.8.8:4443/clip.mp4", "only https on port"),
    ("https://me:secret@8.8.8.8/clip.mp4", "user or a password"),
]


@pytest.mark.parametrize(("url", "words"), REFUSED_LINKS)
def test_a_link_that_we_refuse_is_told_as_that_at_once_and_in_the_end(world: World, url: str, words: str) -> None:
    world.fault("evolink", "odd_link", url=url, times=-1)
    job_id = world.submit(world.request_for("evolink"))
    world.run_until(lambda: "link refused" in notes(world.job(job_id)))
    first = world.job(job_id)
    world.advance(DAY_S + 60)
    job = world.finish(job_id)

    assert (first.state, first.setbacks) == (State.ARCHIVING, 1)
    assert words in detail(first, "link refused")
    assert "secret" not in detail(first, "link refused")
    assert "link refused" in shown(world, job)
    assert (job.state, why(job)) == (State.FAILED, "archive_failed")
    assert job.error
    assert words in job.error.message
    assert "died" not in job.error.message
    assert (notes(job).count("link refused"), len(world.bills())) == (1, 1)


def test_a_compressed_answer_is_told_as_that(world: World) -> None:
    world.fault("evolink", "compressed", times=-1)
    job_id = world.submit(world.request_for("evolink"))
    world.run_until(lambda: "link refused" in notes(world.job(job_id)))
    first = world.job(job_id)
    world.advance(DAY_S + 60)
    job = world.finish(job_id)

    assert "compressed" in detail(first, "link refused")
    assert job.error
    assert (job.error.code, "compressed" in job.error.message) == ("archive_failed", True)


def test_another_link_than_the_one_that_we_refuse_is_fetched(world: World) -> None:
    world.fault("evolink", "odd_link", url="https://10.0.0.1/clip.mp4", times=2)
    job = world.finish(world.submit(world.request_for("evolink")))

    assert (job.state, notes(job).count("link refused"), len(world.bills())) == (State.COMPLETED, 1, 1)


def test_a_link_over_http_is_asked_for_over_https_where_http_is_not_allowed(world: World) -> None:
    world.fault("evolink", "odd_link", url="http://10.0.0.1:80/clip.mp4?a=1", times=-1)
    world.submit(world.request_for("evolink"))
    world.run_until(lambda: len(downloads(world)) >= 2)
    assert downloads(world)[:2] == [
        "http://10.0.0.1:80/clip.mp4?a=1",
        "https://10.0.0.1/clip.mp4?a=1",
    ]


@pytest.mark.parametrize("shape", ["", "object"])
def test_a_link_to_an_input_of_the_request_is_no_clip(world: World, shape: str) -> None:
    world.fault("evolink", "odd_link", url=f"{world.motion['video_url']}?again=1", shape=shape, times=2)
    job = world.finish(world.submit(world.request_for("evolink")))

    assert (job.state, "no link" in notes(job)) == (State.COMPLETED, True)
    assert world.bucket(job)["video.mp4"].body == world.served(job)


def test_a_query_follows_a_redirect_at_the_gateways_own_origin(world: World) -> None:
    world.fault("evolink", "redirect", stage="query", location="?again=1", times=2)
    job = world.finish(world.submit(world.request_for("evolink")))

    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)
    assert any(request.url.endswith("?again=1") for request in world.http_client.sent)
    assert world.ledger.gateways.paused_until("evolink") == 0


def test_a_query_that_is_sent_elsewhere_takes_no_key_there_and_pauses_the_gateway(world: World) -> None:
    job_id = world.submit(world.request_for("evolink"))
    world.run_until(lambda: world.job(job_id).state is State.RUNNING)
    world.fault("evolink", "redirect", stage="query", location="https://new.example/v2", times=2)
    world.run_until(lambda: world.ledger.gateways.paused_until("evolink") > 0)
    paused = next(one for one in world.api("GET", "/v1/gateways").json["data"] if one["name"] == "evolink")
    job = world.finish(job_id)

    assert paused["why"] == "address_moved"
    assert not any("new.example" in request.url for request in world.http_client.sent)
    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)
