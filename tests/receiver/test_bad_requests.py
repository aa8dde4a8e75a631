"""What is no job is refused in the one envelope, and the field that is wrong is named."""

from __future__ import annotations

import io
import json
import socket
from typing import Any

import pytest
from bad_requests import BAD, HALF, NO_OBJECTS, NOT_JSON, WRONG_TYPES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from receiver_steps import IMAGE, MOTION, TEXT, TEXT_26, Counting, Web, fields_of, parts_over, refused

from rushes.shared.intake.schema import JobRequest
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.webhook_receiver import request_body as bodies_read

DOORS = ("/v1/jobs", "/v1/estimates")


def post(web: Web, body: bytes, path: str = "/v1/jobs", content_type: str | None = "application/json") -> Any:
    return web.acme.post(path, data=body, content_type=content_type)


@pytest.mark.parametrize(("field", "body"), BAD.values(), ids=BAD)
def test_a_bad_request_is_refused_and_its_field_is_named(door: Web, field: str, body: dict[str, Any]) -> None:
    answer = post(door, json.dumps(body).encode())

    assert field in fields_of(answer)
    assert refused(answer, 422)["code"] == "invalid_request"
    assert refused(post(door, json.dumps(body).encode(), "/v1/estimates"), 422) == refused(answer, 422)


def test_nothing_that_was_refused_is_in_the_ledger() -> None:
    counting = Counting(MemoryStore())
    web = Web(parts_over(counting))

    for _, body in BAD.values():
        post(web, json.dumps(body).encode())

    assert counting.calls == []


def test_a_refusal_names_only_what_is_wrong(web: Web) -> None:
    answer = web.acme.post("/v1/jobs", json={**TEXT, "duration": "5", "sound": 1, "colour": "red"})

    assert fields_of(answer) == {"duration", "sound", "colour"}


@pytest.mark.parametrize("name", ["\ud800", "a\udfff", "\ud800\udbff"])
@pytest.mark.parametrize("path", DOORS)
def test_a_field_with_half_a_name_is_refused_like_any_unknown_one(door: Web, path: str, name: str) -> None:
    error = refused(post(door, json.dumps({**TEXT, name: 1}).encode(), path), 422, "invalid_request")

    assert list(error["fields"].values()) == [["Unknown field."]]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_json_is_a_400(door: Web, path: str, body: bytes) -> None:
    assert "fields" not in refused(post(door, body, path), 400, "bad_request")


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("body", NO_OBJECTS.values(), ids=NO_OBJECTS)
def test_json_that_is_no_object_is_a_422(door: Web, path: str, body: bytes) -> None:
    refused(post(door, body, path), 422, "invalid_request")


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("content_type", WRONG_TYPES)
def test_another_content_type_is_a_415(door: Web, path: str, content_type: str | None) -> None:
    refused(post(door, json.dumps(TEXT).encode(), path, content_type), 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/a+json"])
def test_json_by_another_spelling_is_taken(door: Web, content_type: str) -> None:
    assert post(door, json.dumps(TEXT).encode(), "/v1/estimates", content_type).status_code == 200


def test_a_body_of_more_than_a_mebibyte_is_a_413(door: Web) -> None:
    for path in DOORS:
        refused(post(door, b" " * ((1 << 20) + 1), path), 413, "too_large")
        refused(post(door, b" " * (1 << 20), path), 400, "bad_request")


# --- no 500 anywhere


@pytest.mark.parametrize("depth", [10, 300, 800, 900, 950, 2000])
def test_no_depth_breaks_the_door(door: Web, depth: int) -> None:
    for name in [*JobRequest().fields, "colour"]:
        for opening, closing in (("[", "]"), ('{"prompt":', "}")):
            nested = opening * depth + "1" + closing * depth
            answer = post(door, b'{"model": "kling-v3", "prompt": "x", "%s": %s}' % (name.encode(), nested.encode()))
            assert answer.status_code in (400, 422)
            refused(answer, answer.status_code)


FIELDS = [*JobRequest().fields, "colour", "", "\ud800", "id"]
BASES: list[dict[str, Any]] = [{}, TEXT, TEXT_26, IMAGE, MOTION]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 1e308, -0.0, 5e-324, 2**53, 2**64]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=()), max_size=12),
    st.sampled_from(
        ["kling-v3", "std", "pro", "image", "video", "auto", "newapi", "16:9", "0.5", "", "\x00", "\ud800"]
    ),
    st.sampled_from(
        ["https://example.com/a", "https://[", "https://a:b", "s3://bucket/key", "https://١.٢", "https://a\u3002"]
    ),
)
INNER = st.sampled_from(["prompt", "duration", "a", HALF])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(INNER, inner, max_size=3)),
    max_leaves=6,
)
bodies = st.builds(
    lambda base, changes: {**base, **changes},
    st.sampled_from(BASES),
    st.dictionaries(st.sampled_from(FIELDS), values, max_size=4),
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(body=bodies)
def test_no_json_object_breaks_the_door(door: Web, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()

    taken, estimated = post(door, raw), post(door, raw, "/v1/estimates")

    assert (taken.status_code, estimated.status_code) in {(202, 200), (422, 200), (422, 422)}, (taken.text, body)
    if taken.status_code == 202:
        assert door.acme.get(taken.headers["Location"]).json == taken.json
    for answer in (taken, estimated):
        if answer.status_code == 422:
            refused(answer, 422)


# --- bodies that do not come


def streamed(web: Web, wire: Any, **environ: Any) -> Any:
    given = {"CONTENT_LENGTH": "100", "wsgi.input": wire, **environ}
    return web.acme.post("/v1/jobs", content_type="application/json", environ_overrides=given)


def test_a_body_that_stalls_holds_no_thread_for_ever(door: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies_read, "STALL_S", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b'{"model": ')
        with ours.makefile("rb") as wire:
            refused(streamed(door, wire, **{"gunicorn.socket": ours}), 400, "bad_request")


def test_a_body_shorter_than_it_said_is_no_job(door: Web) -> None:
    refused(streamed(door, io.BytesIO(json.dumps(TEXT).encode())), 400, "bad_request")


class Broken(Exception):
    """What a server's reader raises for a chunk that is none."""


def test_a_body_that_the_server_cannot_read_is_the_callers_fault(door: Web) -> None:
    class Wire:
        def read(self, *_: Any) -> bytes:
            raise Broken

    refused(streamed(door, Wire()), 400, "bad_request")
