"""Another Celery service enqueues: the same rules as the POST, and its result is the document or the envelope."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from factories import result
from patience import PATIENCE_S
from real_server import running
from receiver_steps import AWS, BUCKET, KEYS, TEXT, TEXT_26, environment, error_of, without

from shared.domain import events
from shared.domain.job import Attempt, Link, State
from shared.ledger.ledger import Ledger
from shared.wiring import clock

Enqueue = Callable[..., Any]


@pytest.fixture(scope="module")
def enqueue(served_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enqueue]:
    """What a service calls that knows of Rushes only a broker, a task's name and a queue."""
    bare = Celery("somebody-elses", broker=served_redis_url, backend=served_redis_url)

    def call(headers: dict[str, str] | None = None, **kwargs: Any) -> Any:
        sent = bare.send_task("rushes.enqueue", kwargs=kwargs, queue="enqueue", headers=headers)
        return sent.get(timeout=PATIENCE_S)

    env = {**AWS, **environment(REDIS_URL=served_redis_url), "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    with running("worker", env, tmp_path_factory.mktemp("worker") / "log"):
        yield call
    bare.close()


ACME = {"api_key": KEYS["acme"]}


def test_a_job_stays_in_the_trace_of_who_enqueued_it(enqueue: Enqueue, ledger: Ledger) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    document = enqueue(job=TEXT, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-00"}, **ACME)

    job = ledger.get(document["id"])
    assert job is not None
    assert job.trace == f"{trace}-00"


def told(result: Any, code: str) -> dict[str, Any]:
    return error_of(json.dumps(result).encode(), code)


def test_the_result_is_the_job_document(enqueue: Enqueue, ledger: Ledger) -> None:
    document = enqueue(job={**TEXT, "metadata": {"ключ": "значение"}}, idempotency_key="enqueue-1", **ACME)

    assert (document["object"], document["status"], document["tenant"]) == ("job", "queued", "acme")
    assert document["metadata"] == {"ключ": "значение"}
    job = ledger.get(document["id"])
    assert job is not None
    assert (job.state, job.tenant) == (State.QUEUED, "acme")


def test_the_same_key_and_body_give_the_same_job(enqueue: Enqueue) -> None:
    first = enqueue(job=TEXT, idempotency_key="enqueue-2", **ACME)

    assert enqueue(job=dict(reversed(TEXT.items())), idempotency_key="enqueue-2", **ACME) == first
    told(enqueue(job=TEXT_26, idempotency_key="enqueue-2", **ACME), "idempotency_conflict")
    other = enqueue(job=TEXT_26, idempotency_key="enqueue-2", api_key=KEYS["other"])
    assert (other["tenant"], other["id"] == first["id"]) == ("other", False)
    assert enqueue(job=TEXT, **ACME)["id"] != enqueue(job=TEXT, **ACME)["id"]


@pytest.mark.parametrize("key", [None, "", "key-of-nobody", "acme", 5, ["key-of-acme"], "\ud800"])
def test_without_a_right_key_nothing_is_taken(enqueue: Enqueue, key: Any) -> None:
    told(enqueue(job=TEXT, api_key=key), "unauthorized")
    told(enqueue(job=TEXT), "unauthorized")


@pytest.mark.parametrize(
    ("job", "field"),
    [
        (without(TEXT, "prompt"), "prompt"),
        ({**TEXT, "colour": "red"}, "colour"),
        ({**TEXT, "callback_url": "https://127.0.0.1/x"}, "callback_url"),
        ({**TEXT, "prompt": "\ud800"}, "prompt"),
        ({**TEXT, "\ud800": 1}, "\ud800"),
        ({**TEXT, "cfg_scale": float("nan")}, "cfg_scale"),
        ({**TEXT, "provider": "evolink"}, "provider"),
    ],
)
def test_a_bad_request_names_its_field(enqueue: Enqueue, job: Any, field: str) -> None:
    result = enqueue(job=job, **ACME)

    assert list(result["error"]["fields"]) == [field]


@pytest.mark.parametrize("job", [None, [], "kling-v3", 5, True])
def test_what_is_no_object_is_no_job(enqueue: Enqueue, job: Any) -> None:
    told(enqueue(job=job, **ACME), "invalid_request")


def test_a_call_without_a_job_is_told_so(enqueue: Enqueue) -> None:
    told(enqueue(**ACME), "invalid_request")


def test_an_argument_that_nobody_knows_is_refused_and_named(enqueue: Enqueue) -> None:
    refused = told(enqueue(job=TEXT, idempotence_key="order-7", **ACME), "invalid_request")
    assert set(refused["fields"]) == {"idempotence_key"}


@pytest.mark.parametrize("key", ["", "x" * 256, 5, ["k"], {"k": 1}, True, "\ud800"])
def test_an_idempotency_key_that_is_none_is_refused(enqueue: Enqueue, key: Any) -> None:
    result = enqueue(job=TEXT, idempotency_key=key, **ACME)

    assert list(told(result, "invalid_request")["fields"]) == ["Idempotency-Key"]


def test_a_finished_job_that_is_enqueued_again_shows_where_its_clip_is(enqueue: Enqueue, ledger: Ledger) -> None:
    plan = Attempt(1, "newapi", "https://newapi.example", "NEWAPI_API_KEY", clock())
    link = Link("https://files.example/clip.mp4")
    first = enqueue(job=TEXT, idempotency_key="enqueue-3", **ACME)
    for event in (events.Begun(plan), events.Accepted("task-1"), events.Succeeded(link), events.Archived(result())):
        ledger.apply(first["id"], event, clock())

    again = enqueue(job=TEXT, idempotency_key="enqueue-3", **ACME)

    assert (again["id"], again["status"]) == (first["id"], "completed")
    assert f"/{BUCKET}/jobs/x/video.mp4?" in again["result"]["url"]
