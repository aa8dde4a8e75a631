"""A job is taken once, as it was asked for, and everybody is told where it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from factories import NOW, job_in
from good_requests import ACCEPTED
from receiver_steps import (
    GATEWAYS,
    LAST,
    MOTION_26,
    PICTURE,
    TEXT,
    TEXT_26,
    Away,
    Clock,
    Web,
    environment,
    parts_over,
    refused,
    without,
)

from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import LaneRoom, Store

CLIP_DEFAULTS = {"mode": "std", "duration": 5, "aspect_ratio": "16:9", "sound": False}
COMMON_DEFAULTS = {"watermark": False, "provider": "auto"}
MOTION_DEFAULTS = {"mode": "std", "keep_original_sound": True}

DOCUMENT = {
    *("id", "object", "status", "tenant", "request", "provider", "progress", "attempts", "estimated_cost_usd"),
    *("cost_usd", "result", "error", "result_expires_at", "created_at", "updated_at", "ended_at", "metadata"),
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_replay_is_the_first_job_although_no_gateway_could_take_it_now(store: Store) -> None:
    body = {**TEXT, "provider": "newapi"}
    first = Web(parts_over(store)).acme.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})
    later = Web(parts_over(store, NEWAPI_API_KEY=None))

    again = later.acme.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"})

    assert (again.status_code, again.json["id"]) == (200, first.json["id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    refused(later.acme.post("/v1/jobs", json=body), 422, "no_provider")
    refused(later.acme.post("/v1/jobs", json=body, headers={"Idempotency-Key": "other"}), 422, "no_provider")
    refused(later.other.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}), 422, "no_provider")
    another = {**body, "prompt": "a blue kite"}
    refused(later.acme.post("/v1/jobs", json=another, headers={"Idempotency-Key": "k"}), 409, "idempotency_conflict")


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED)
def test_a_good_request_is_taken_with_its_defaults_said(door: Web, body: dict[str, Any]) -> None:
    answer = door.acme.post("/v1/jobs", json=body)

    assert answer.status_code == 202, answer.text
    defaults = MOTION_DEFAULTS if "motion" in body["model"] else CLIP_DEFAULTS
    synonyms = {"shot_type": "intelligent"} if body.get("shot_type") == "intelligence" else {}
    assert answer.json["request"] == {**COMMON_DEFAULTS, **defaults, **body, **synonyms}
    assert answer.json["metadata"] == body.get("metadata", {})


def test_the_answer_is_the_job_document_and_says_where_it_stands(web_on_each: Web) -> None:
    web = web_on_each
    answer = web.acme.post("/v1/jobs", json={**TEXT, "metadata": {"shot": "12a"}})
    job = answer.json

    assert set(job) == DOCUMENT
    assert re.fullmatch(r"job_[0-9A-HJKMNP-TV-Z]{26}", job["id"])
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert "Idempotent-Replayed" not in answer.headers
    assert (job["object"], job["status"], job["tenant"]) == ("job", "queued", "acme")
    assert (job["provider"], job["progress"], job["attempts"]) == (None, 0, [])
    assert [job[name] for name in ("cost_usd", "result", "error", "result_expires_at", "ended_at")] == [None] * 5
    assert job["metadata"] == {"shot": "12a"}
    assert MOMENT.fullmatch(job["created_at"])
    assert job["created_at"] == job["updated_at"]
    assert web.acme.get(answer.headers["Location"]).json == job


def test_the_longest_addresses_are_kept_whole(web_on_each: Web) -> None:
    web, body = web_on_each, ACCEPTED["longest addresses"]
    job = web.submitted(body, **{"Idempotency-Key": "k"})

    assert web.now(job["id"]).request["last_image_url"] == body["last_image_url"]
    assert web.acme.get(f"/v1/jobs/{job['id']}").json["request"]["image_url"] == body["image_url"]
    assert web.acme.post("/v1/jobs", json=body, headers={"Idempotency-Key": "k"}).json == job


def test_a_failed_job_with_the_longest_addresses_is_tried_again(web: Web) -> None:
    failed = web.standing(State.FAILED, request={**job_in(State.FAILED).request, **ACCEPTED["longest addresses"]})

    again = web.acme.post(f"/v1/jobs/{failed.id}/retry")

    assert (again.status_code, again.json["request"]["image_url"]) == (202, failed.request["image_url"])


@pytest.mark.parametrize(("first", "again"), [(5, "5.0"), (5, "5e0"), (10, "1.0e1")])
def test_the_same_number_written_otherwise_is_the_same_body(web_on_each: Web, first: int, again: str) -> None:
    job = web_on_each.submitted({**TEXT, "duration": first}, **{"Idempotency-Key": "k"})

    raw = json.dumps(TEXT)[:-1] + f', "duration": {again}}}'
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    replay = web_on_each.acme.post("/v1/jobs", data=raw, headers=headers)

    assert (replay.status_code, replay.json) == (200, job)
    assert re.search(rf'"duration": ?{first}[,}}]', replay.text)


def test_a_taken_job_is_due_at_once(web: Web) -> None:
    job = web.now(web.submitted()["id"])

    assert job.state is State.QUEUED
    assert job.due_at == job.created_at


@pytest.mark.parametrize("set_back_ms", [0, 1, 900])
def test_what_one_process_takes_within_a_millisecond_keeps_its_order_in_the_line_and_in_the_lists(
    web_on_each: Web, set_back_ms: int
) -> None:
    web, clock = web_on_each, cast(Clock, web_on_each.parts.now)
    taken = []
    for moment in (NOW, NOW - set_back_ms):
        clock.stand(moment)
        taken += [web.submitted({**TEXT, "provider": "newapi"})["id"] for _ in range(8)]

    pages = [web.acme.get("/v1/jobs?limit=7").json]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(web.acme.get(f"/v1/jobs?limit=7&cursor={cursor}").json)
    line = [web.parts.ledger.claim([LaneRoom("submit:newapi", room, "newapi", 20, 60)], NOW) for room in (5, 20)]

    assert [job["id"] for page in pages for job in page["data"]] == taken[::-1]
    assert [ticket.job_id for _, tickets in line for ticket in tickets] == taken


def test_the_estimate_is_the_first_gateways(web: Web) -> None:
    job = web.submitted({**TEXT_26, "duration": 10})
    (able, *_) = web.acme.post("/v1/estimates", json={**TEXT_26, "duration": 10}).json["data"]

    assert re.fullmatch(r"\d+(\.\d*[1-9])?", job["estimated_cost_usd"])
    assert job["estimated_cost_usd"] == able["estimated_cost_usd"]


# --- no gateway


def no_provider(web: Web, body: dict[str, Any]) -> dict[str, str]:
    """The reason of each gateway."""
    error = refused(web.acme.post("/v1/jobs", json=body), 422, "no_provider")
    return dict(reason.split(": ", 1) for reason in error["fields"]["provider"])


def test_what_nobody_can_do_is_a_422_that_says_why_for_each(web: Web) -> None:
    reasons = no_provider(web, {**TEXT_26, "image_url": PICTURE, "last_image_url": LAST, "cfg_scale": 1})

    assert set(reasons) == set(GATEWAYS)
    assert reasons["apimodels"] == "does not offer first and last with kling-v2-6"
    assert reasons["apimart"] == "has no way to say cfg_scale"
    assert reasons["newapi"] == "does not offer kling-v2-6"


def test_a_field_that_a_gateway_cannot_say_is_never_dropped(web: Web) -> None:
    body = {**MOTION_26, "character_orientation": "video", "element_ids": ["e1"]}

    reasons = no_provider(web, body)

    assert "element_ids" in reasons["apimart"]
    assert "element_ids" in reasons["apimodels"]


def test_gateways_that_were_not_asked_for_say_so(web: Web) -> None:
    reasons = no_provider(web, {**TEXT_26, "provider": ["evolink", "apimaster"]})

    assert reasons.pop("evolink").startswith("does not offer")
    assert reasons.pop("apimaster").startswith("does not offer")
    assert set(reasons.values()) == {"not among the gateways asked for"}


def test_gateways_that_the_tenant_may_not_use_say_so(tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.toml"
    tenants.write_text('[tenant.acme]\ngateways = ["kling"]\n')
    web = Web(parts_over(MemoryStore(), RUSHES_TENANTS_FILE=str(tenants)))
    reasons = no_provider(web, {**TEXT, "provider": "newapi"})

    assert reasons["newapi"] == "not among the gateways of this tenant"
    estimates = web.acme.post("/v1/estimates", json=TEXT).json["data"]
    assert [item["provider"] for item in estimates if item["able"]] == ["kling"]


def test_a_price_over_the_most_is_told(web: Web) -> None:
    reasons = no_provider(web, {**TEXT_26, "max_cost_usd": "0.000001"})

    assert "over max_cost_usd" in reasons["apimodels"]


def test_an_unknown_price_cannot_keep_a_most(web: Web) -> None:
    reasons = no_provider(web, {**TEXT, "provider": "newapi", "max_cost_usd": "100"})

    assert "price is unknown" in reasons["newapi"]


def test_without_any_gateway_there_is_no_provider() -> None:
    keyless: dict[str, str | None] = {name: None for name in environment() if name.endswith("_API_KEY")}
    web = Web(parts_over(MemoryStore(), **keyless))

    error = refused(web.acme.post("/v1/jobs", json=TEXT), 422, "no_provider")
    assert error["fields"] == {"provider": ["no gateway is enabled"]}


# --- the same key


KEY = {"Idempotency-Key": "order-1"}


def test_the_same_key_and_body_give_the_first_job_again(web_on_each: Web) -> None:
    web = web_on_each
    first = web.submitted(TEXT, **KEY)

    again = web.acme.post("/v1/jobs", json=dict(reversed(TEXT.items())), headers=KEY)

    assert again.status_code == 200
    assert again.json == first
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == f"/v1/jobs/{first['id']}"
    assert len(web.acme.get("/v1/jobs").json["data"]) == 1


def test_a_replay_shows_the_job_as_it_is_now(web: Web) -> None:
    first = web.submitted(TEXT, **KEY)
    web.acme.post(f"/v1/jobs/{first['id']}/cancel")

    again = web.acme.post("/v1/jobs", json=TEXT, headers=KEY)

    assert (again.status_code, again.json["status"]) == (200, "canceled")


def test_the_same_key_with_another_body_is_a_conflict(web_on_each: Web) -> None:
    web = web_on_each
    web.submitted(TEXT, **KEY)

    for other in ({**TEXT, "duration": 6}, {**TEXT, "metadata": {}}, {**TEXT, "duration": 5}):
        refused(web.acme.post("/v1/jobs", json=other, headers=KEY), 409, "idempotency_conflict")
    assert len(web.acme.get("/v1/jobs").json["data"]) == 1


def test_a_refused_request_does_not_use_its_key_up(web: Web) -> None:
    refused(web.acme.post("/v1/jobs", json=without(TEXT, "prompt"), headers=KEY), 422)

    web.submitted(TEXT, **KEY)


def test_a_key_is_its_tenants_own(web: Web) -> None:
    ours = web.submitted(TEXT, "acme", **KEY)
    theirs = web.submitted({**TEXT, "prompt": "a crow"}, "other", **KEY)

    assert ours["id"] != theirs["id"]
    assert theirs["tenant"] == "other"


def test_without_a_key_every_request_is_a_job(web: Web) -> None:
    assert web.submitted()["id"] != web.submitted()["id"]


@pytest.mark.parametrize("key", ["k", "x" * 255, "order 1: «é»", "a\tb"])
def test_odd_keys_are_keys(web: Web, key: str) -> None:
    web.submitted(TEXT, **{"Idempotency-Key": key})

    assert web.acme.post("/v1/jobs", json=TEXT, headers={"Idempotency-Key": key}).status_code == 200


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_too_short_or_too_long_is_refused(web: Web, key: str) -> None:
    answer = web.acme.post("/v1/jobs", json=TEXT, headers={"Idempotency-Key": key})

    assert list(refused(answer, 422)["fields"]) == ["Idempotency-Key"]


def test_with_the_ledger_away_nothing_is_taken_and_a_retry_is_invited() -> None:
    web = Web(parts_over(Away()))

    answer = web.acme.post("/v1/jobs", json=TEXT, headers=KEY)

    refused(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0
