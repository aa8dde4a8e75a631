"""Another Celery service enqueues: the same rules as the POST, and its result is the document or the envelope."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from factories import result
from patience import PATIENCE_S
from real_server import running
from receiver_steps import AWS, BUCKET, IMAGE, KEYS, TEXT, TEXT_26, Web, environment, error_of, parts_over, without

from rushes.shared.domain import events
from rushes.shared.domain.job import Attempt, Link, State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.shared_clock import wall_clock

Enqueue = Callable[..., Any]


@pytest.fixture(scope="module")
def enqueue(served_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enqueue]:
    """What a service calls that knows of Rushes only a broker, a task's name and a queue."""
    bare = Celery("somebody-elses", broker=served_redis_url, backend=served_redis_url)

    def call(*args: Any, headers: dict[str, str] | None = None, **kwargs: Any) -> Any:
        sent = bare.send_task("rushes.enqueue", args, kwargs, queue="enqueue", headers=headers)
        return sent.get(timeout=PATIENCE_S)

    env = {**AWS, **environment(REDIS_URL=served_redis_url), "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    with running("worker", env, tmp_path_factory.mktemp("worker") / "log"):
        yield call
    bare.close()


@pytest.fixture
def http(ledger: Ledger) -> Web:
    """The HTTP door over the same ledger."""
    made = Web(parts_over(ledger.store))
    made.parts.now.at(wall_clock())  # type: ignore[attr-defined]
    return made


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
        ({**TEXT, "provider": "apimaster"}, "provider"),
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


# --- what kombu's JSON brings along

ORDER = UUID("0191f3c2-7d1e-7000-8000-00000000abcd")
MOMENT = datetime(2026, 11, 30, 12, 30, 15, tzinfo=timezone(timedelta(hours=2)))
# (what is sent, what the HTTP door would have been sent)
TYPED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "UUID": ({"metadata": {"order": ORDER}}, {"metadata": {"order": str(ORDER)}}),
    "bytes": ({"prompt": b"caf\xc3\xa9"}, {"prompt": "café"}),
    "decimal seconds": ({"duration": Decimal("5")}, {"duration": 5}),
    "decimal seconds with a point": ({"duration": Decimal("5.0")}, {"duration": 5}),
    "a decimal share": ({"cfg_scale": Decimal("0.35")}, {"cfg_scale": 0.35}),
    "decimal money": ({"max_cost_usd": Decimal("12.50")}, {"max_cost_usd": "12.50"}),
    "decimal money with an exponent": ({"max_cost_usd": Decimal("1E+2")}, {"max_cost_usd": "100"}),
    "a decimal in a text": ({"metadata": {"duration": Decimal("5")}}, {"metadata": {"duration": "5"}}),
    "a moment": ({"metadata": {"at": MOMENT}}, {"metadata": {"at": "2026-11-30T10:30:15Z"}}),
    "a moment without a zone": (
        {"metadata": {"at": MOMENT.replace(tzinfo=None)}},
        {"metadata": {"at": "2026-11-30T12:30:15Z"}},
    ),
    "a day": ({"metadata": {"on": date(2026, 11, 30)}}, {"metadata": {"on": "2026-11-30"}}),
    "a time": ({"metadata": {"at": time(12, 30)}}, {"metadata": {"at": "12:30:00"}}),
    "a tuple": ({"provider": ("newapi", "evolink")}, {"provider": ["newapi", "evolink"]}),
    "a number as a name": ({"metadata": {5: "five"}}, {"metadata": {"5": "five"}}),
    "inside of shots": (
        {"multi_prompt": [{"prompt": b"up", "duration": Decimal("2")}]},
        {"multi_prompt": [{"prompt": "up", "duration": 2}]},
    ),
}


@pytest.mark.parametrize(("sent", "json_body"), TYPED.values(), ids=TYPED)
def test_a_value_becomes_the_text_that_it_stands_for(
    enqueue: Enqueue, http: Web, sent: dict[str, Any], json_body: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    key, base = request.node.name, TEXT if "multi_prompt" not in sent else IMAGE

    document = enqueue(job={**base, **sent}, idempotency_key=key, **ACME)

    assert document["object"] == "job", document
    assert {name: document["request"][name] for name in json_body} == json_body
    # The HTTP door is sent the same body under the same key.
    again = http.acme.post("/v1/jobs", json={**base, **json_body}, headers={"Idempotency-Key": key})
    assert (again.status_code, again.json["id"]) == (200, document["id"])


UNSAYABLE = {
    "bytes that are no text": ("prompt", {"prompt": b"\xff\xfe"}),
    "a UUID where a number is": ("duration", {"duration": ORDER}),
    "a moment where a number is": ("duration", {"duration": MOMENT}),
    "half of a second": ("duration", {"duration": Decimal("5.5")}),
    "no number": ("duration", {"duration": Decimal("NaN")}),
    "a number without end": ("cfg_scale", {"cfg_scale": Decimal("Infinity")}),
    "a number beyond all": ("duration", {"duration": Decimal("1E+999999")}),
    "money beyond all": ("max_cost_usd", {"max_cost_usd": Decimal("1E+999999")}),
    "a float without end": ("duration", {"duration": float("inf")}),
    "a huge integer": ("duration", {"duration": 10**4000}),
    "a UUID as model": ("model", {"model": ORDER}),
    "a flag in bytes": ("sound", {"sound": b"true"}),
    "a number in an address": ("image_url", {"image_url": Decimal("5")}),
    "a marker that kombu cannot read": ("prompt", {"prompt": {"__type__": "uuid", "__value__": "5"}}),
    "a marker of another service": ("prompt", {"prompt": {"__type__": "money", "__value__": "5"}}),
    "a marker without a name": ("metadata", {"metadata": {"a": {"__type__": ["uuid"], "__value__": "5"}}}),
    "a moment that is none": ("metadata", {"metadata": {"a": {"__type__": "datetime", "__value__": "soon"}}}),
    "half a surrogate pair in bytes": ("prompt", {"prompt": b"\xed\xa0\x80"}),
}


@pytest.mark.parametrize(("field", "sent"), UNSAYABLE.values(), ids=UNSAYABLE)
def test_a_value_that_does_not_fit_names_its_field(enqueue: Enqueue, field: str, sent: dict[str, Any]) -> None:
    refused = told(enqueue(job={**TEXT, **sent}, **ACME), "invalid_request")

    assert list(refused["fields"]) == [field]


@pytest.mark.parametrize("key", [ORDER, MOMENT, Decimal("17.50"), b"order-17"])
def test_an_idempotency_key_is_the_text_that_it_stands_for(enqueue: Enqueue, http: Web, key: Any) -> None:
    texts = {ORDER: str(ORDER), MOMENT: "2026-11-30T10:30:15Z", Decimal("17.50"): "17.50", b"order-17": "order-17"}

    document = enqueue(job=TEXT, idempotency_key=key, **ACME)

    again = http.acme.post("/v1/jobs", json=TEXT, headers={"Idempotency-Key": texts[key]})
    assert (again.status_code, again.json["id"]) == (200, document["id"])


def test_a_key_in_bytes_is_a_key(enqueue: Enqueue) -> None:
    assert enqueue(job=TEXT, api_key=KEYS["acme"].encode())["tenant"] == "acme"
    for key in (ORDER, MOMENT, b"\xff", Decimal(5)):
        assert set(enqueue(job=TEXT, api_key=key)) == {"error"}


def test_arguments_may_be_given_by_their_order(enqueue: Enqueue) -> None:
    document = enqueue(TEXT, "by-order", KEYS["acme"])

    assert document == enqueue(job=TEXT, idempotency_key="by-order", **ACME)
    refused = told(enqueue(TEXT, None, KEYS["acme"], 5), "invalid_request")
    assert list(refused["fields"]) == ["argument 4"]
    refused = told(enqueue(TEXT, "k", KEYS["acme"], job=TEXT), "invalid_request")
    assert list(refused["fields"]) == ["job"]


def test_a_finished_job_that_is_enqueued_again_shows_where_its_clip_is(enqueue: Enqueue, ledger: Ledger) -> None:
    plan = Attempt(1, "newapi", "https://newapi.example", "NEWAPI_API_KEY", wall_clock())
    link = Link("https://files.example/clip.mp4")
    first = enqueue(job=TEXT, idempotency_key="enqueue-3", **ACME)
    for event in (events.Begun(plan), events.Accepted("task-1"), events.Succeeded(link), events.Archived(result())):
        ledger.apply(first["id"], event, wall_clock())

    again = enqueue(job=TEXT, idempotency_key="enqueue-3", **ACME)

    assert (again["id"], again["status"]) == (first["id"], "completed")
    assert f"/{BUCKET}/jobs/x/video.mp4?" in again["result"]["url"]
