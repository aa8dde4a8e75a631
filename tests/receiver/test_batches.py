"""Batches over HTTP: whole or not at all, once per key, each tenant its own."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from receiver_steps import GATEWAYS, TEXT, Away, Counting, Web, fields_of, parts_over, refused, without

from rushes.shared.domain import batch, events
from rushes.shared.domain.job import Error, State
from rushes.shared.ledger.memory_store import MemoryStore


def post(client: FlaskClient, *jobs: Any, key: str | None = None, **terms: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/v1/batches", json={"jobs": list(jobs), **terms}, headers=headers)


def taken(web: Web, *jobs: Any, **terms: Any) -> dict[str, Any]:
    answer = post(web.acme, *jobs, **terms)
    assert answer.status_code == 202, answer.text
    return dict(answer.json or {})


def queued(web: Web) -> int:
    return web.parts.ledger.overview.counts(None)[State.QUEUED]


def test_a_batch_is_taken_with_all_its_jobs(web_on_each: Web) -> None:
    web = web_on_each
    terms = {"max_cost_usd": "2.50", "callback_url": "https://example.com/heard", "metadata": {"order": "17"}}
    answer = post(web.acme, TEXT, {**TEXT, "metadata": {"scene": "2"}}, **terms)

    assert (answer.status_code, answer.headers["Location"]) == (202, f"/v1/batches/{answer.json['id']}")
    document = answer.json
    assert {name: document[name] for name in terms} == terms
    assert (document["object"], document["status"], document["tenant"], document["jobs"]) == (
        "batch",
        "running",
        "acme",
        2,
    )
    assert document["counts"] == {**dict.fromkeys(State, 0), "queued": 2}
    assert (document["reserved_cost_usd"], document["cost_usd"], document["seconds"]) == ("0", "0", 0)
    assert document["receipt"] is None
    first, second = (web.now(job_id) for job_id in document["job_ids"])
    assert first.request["batch"] == second.request["batch"] == document["id"]
    assert second.request["metadata"] == {"scene": "2"}
    assert first.callback_url is None
    assert web.acme.get(f"/v1/batches/{document['id']}").json == document


def test_every_problem_is_named_by_index_and_nothing_is_taken(web: Web) -> None:
    bad = [{**TEXT, "duration": 77}, TEXT, without(TEXT, "prompt"), "no object", {**TEXT, "batch": "mine"}]
    answer = post(web.acme, *bad)

    assert fields_of(answer) == {"jobs.0.duration", "jobs.2.prompt", "jobs.3", "jobs.4.batch"}
    assert queued(web) == 0
    assert web.acme.get("/v1/batches").json == {"data": [], "next_cursor": None}


def test_a_job_that_no_gateway_can_do_says_why_for_each(web: Web) -> None:
    answer = post(web.acme, TEXT, {**TEXT, "max_cost_usd": "0.0001"})

    error = refused(answer, 422, "no_provider")
    assert {reason.partition(":")[0] for reason in error["fields"]["jobs.1.provider"]} == set(GATEWAYS)
    assert queued(web) == 0


def test_a_budget_needs_a_price(web: Web) -> None:
    unpriced = {**TEXT, "provider": "newapi"}
    assert post(web.acme, unpriced).status_code == 202
    error = refused(post(web.acme, unpriced, max_cost_usd="5"), 422, "no_provider")
    assert "newapi: its price is unknown" in str(error["fields"]["jobs.0.provider"])


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"jobs"}),
        ({"jobs": []}, {"jobs"}),
        ({"jobs": TEXT}, {"jobs"}),
        ({"jobs": [TEXT] * (batch.JOBS_MAX + 1)}, {"jobs"}),
        ({"jobs": [TEXT], "max_cost_usd": 2.5}, {"max_cost_usd"}),
        ({"jobs": [TEXT], "callback_url": "https://10.0.0.1/heard"}, {"callback_url"}),
        ({"jobs": [TEXT], "metadata": {"a": 1}}, {"metadata"}),
        ({"jobs": [TEXT], "colour": "red"}, {"colour"}),
    ],
)
def test_what_does_not_fit_a_batch_is_named(web: Web, body: dict[str, Any], fields: set[str]) -> None:
    assert fields_of(web.acme.post("/v1/batches", json=body)) == fields
    assert queued(web) == 0


def test_what_is_no_object_and_what_is_too_large_is_refused(web: Web) -> None:
    refused(web.acme.post("/v1/batches", json=[TEXT]), 422)
    refused(web.acme.post("/v1/batches", data="{", content_type="application/json"), 400)
    large = {"jobs": [{**TEXT, "prompt": "x" * (8 << 20)}]}
    refused(web.acme.post("/v1/batches", json=large), 413)
    long = [{**TEXT, "prompt": "x" * 2500}] * batch.JOBS_MAX  # more than the body of a job may have
    assert post(web.acme, *long).status_code == 202


def test_the_same_key_and_body_give_the_first_batch(web_on_each: Web) -> None:
    web = web_on_each
    first = post(web.acme, TEXT, TEXT, key="order-7")
    again = post(web.acme, dict(reversed(TEXT.items())), TEXT, key="order-7")

    assert (first.status_code, again.status_code) == (202, 200)
    assert (again.json, again.headers["Idempotent-Replayed"]) == (first.json, "true")
    refused(post(web.acme, TEXT, key="order-7"), 409, "idempotency_conflict")
    refused(web.acme.post("/v1/jobs", json=TEXT, headers={"Idempotency-Key": "order-7"}), 409, "idempotency_conflict")
    assert queued(web) == 2
    assert post(web.other, TEXT, TEXT, key="order-7").status_code == 202


def test_a_batch_is_known_again_although_its_gateways_are_gone(web: Web) -> None:
    first = post(web.acme, TEXT, key="order-7").json
    poor = Web(parts_over(web.parts.ledger.store, **{f"{name.upper()}_API_KEY": None for name in GATEWAYS}))
    again = post(poor.acme, TEXT, key="order-7")
    assert (again.status_code, again.json["id"]) == (200, first["id"])
    refused(post(poor.acme, TEXT, TEXT, key="order-7"), 409, "idempotency_conflict")


def test_without_a_ledger_nothing_is_taken() -> None:
    refused(post(Web(parts_over(Away())).acme, TEXT), 503, "unavailable")


def test_a_batch_is_its_tenants_own(web: Web) -> None:
    path = f"/v1/batches/{taken(web, TEXT)['id']}"
    refused(web.other.get(path), 404)
    refused(web.other.post(f"{path}/cancel"), 404)
    refused(web.nobody.get(path), 401)
    assert web.admin.get(path).status_code == 200
    assert web.other.get("/v1/batches").json["data"] == []
    assert len(web.admin.get("/v1/batches").json["data"]) == 1
    refused(web.acme.get("/v1/batches/batch_1"), 404)


def test_a_batch_is_no_job(web: Web) -> None:
    document = taken(web, TEXT)
    refused(web.acme.get(f"/v1/jobs/{document['id']}"), 404)
    refused(web.acme.post(f"/v1/jobs/{document['id']}/notify"), 404)
    refused(web.acme.get(f"/v1/batches/{document['job_ids'][0]}"), 404)
    assert [job["id"] for job in web.acme.get("/v1/jobs").json["data"]] == document["job_ids"]


def test_batches_are_listed_newest_first_a_page_at_a_time(web: Web) -> None:
    ids = [taken(web, TEXT)["id"] for _ in range(3)]
    first = web.acme.get("/v1/batches?limit=2").json
    rest = web.acme.get(f"/v1/batches?limit=2&cursor={first['next_cursor']}").json

    assert [each["id"] for each in (*first["data"], *rest["data"])] == ids[::-1]
    assert rest["next_cursor"] is None
    assert "job_ids" not in first["data"][0]
    assert fields_of(web.acme.get("/v1/batches?cursor=x")) == {"cursor"}


def test_a_cancel_ends_what_no_gateway_has(web_on_each: Web) -> None:
    web = web_on_each
    document = taken(web, TEXT, TEXT, TEXT)
    held = web.standing(State.RUNNING, batch_id=document["id"])
    canceled = web.acme.post(f"/v1/batches/{document['id']}/cancel").json

    assert canceled["canceled"] is True
    assert (canceled["counts"]["canceled"], canceled["counts"]["running"]) == (3, 1)
    assert canceled["status"] == "running"
    assert web.now(held.id).state is State.RUNNING


def test_the_receipt_is_there_as_soon_as_all_have_ended(web: Web) -> None:
    document = taken(web, TEXT, TEXT)
    ended = web.acme.post(f"/v1/batches/{document['id']}/cancel").json

    assert ended["status"] == "completed"
    assert ended["ended_at"]
    assert [line["job_id"] for line in ended["receipt"]] == document["job_ids"]
    assert {line["status"] for line in ended["receipt"]} == {"canceled"}
    assert set(ended["receipt"][0]) == {
        *("job_id", "status", "provider", "error"),
        *("estimated_cost_usd", "cost_usd", "wasted_cost_usd"),
    }
    assert web.acme.post(f"/v1/batches/{document['id']}/cancel").json == ended


def test_errors_are_counted_by_code(web: Web) -> None:
    document = taken(web, TEXT, TEXT)

    event = events.Canceled(error=Error("budget_exceeded", "no"))
    web.parts.ledger.apply(document["job_ids"][0], event, web.parts.now())
    assert web.acme.get(f"/v1/batches/{document['id']}").json["errors"] == {"budget_exceeded": 1}


def test_a_get_of_a_batch_does_not_read_its_jobs(web: Web) -> None:

    counting = Counting(MemoryStore())
    looked = Web(parts_over(counting))
    document = taken(looked, *[TEXT] * 20)
    counting.calls.clear()
    looked.acme.get(f"/v1/batches/{document['id']}")
    assert counting.calls == ["records", "counters"]


def test_each_job_has_what_the_batch_says_unless_it_says_its_own(web: Web) -> None:
    terms = {"start_before": "2027-01-01T00:00:00Z", "priority": 7}
    document = taken(web, TEXT, {**TEXT, "priority": 2}, **terms)
    first, second = (web.now(job_id).request for job_id in document["job_ids"])

    assert {name: first[name] for name in terms} == terms
    assert (second["priority"], second["start_before"]) == (2, terms["start_before"])
    assert {name: document[name] for name in terms} == terms
    clash = {**TEXT, "not_before": "2027-02-01T00:00:00Z"}
    assert fields_of(post(web.acme, TEXT, clash, **terms)) == {"jobs.1.start_before"}
    assert fields_of(post(web.acme, TEXT, priority=17, start_before="soon")) == {"priority", "start_before"}
