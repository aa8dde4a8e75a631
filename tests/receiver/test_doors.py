"""Who is let in, and what those are told who knock at the wrong door."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from typing import Any
from urllib.parse import quote

import pytest
from factories import result
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import PATIENCE_S
from receiver_steps import BUCKET, KEYS, TEXT, Away, Counting, Web, parts_over, refused

from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.storage.s3_clients import s3_client
from rushes.webhook_receiver import health

# Every door that wants a key.
KEYED = [
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/{id}"),
    ("GET", "/v1/jobs/{id}/events"),
    ("GET", "/v1/jobs/{id}/content"),
    ("POST", "/v1/jobs/{id}/cancel"),
    ("POST", "/v1/jobs/{id}/retry"),
    ("POST", "/v1/jobs/{id}/resolve"),
    ("POST", "/v1/estimates"),
    ("GET", "/v1/gateways"),
    ("GET", "/v1/jobs/{id}/history"),
    ("POST", "/v1/jobs/{id}/notify"),
    ("GET", "/v1/quarantine"),
    ("POST", "/v1/quarantine/{id}-0/replay"),
    ("DELETE", "/v1/quarantine/{id}-0"),
    ("POST", "/v1/gateways/evolink/resume"),
    ("GET", "/v1/usage"),
]
SOON_S = 20  # boto waits for minutes
OURS = "key-of-acme"
WRONG = {
    "none": None,
    "empty": "",
    "only the scheme": "Bearer",
    "an empty key": "Bearer ",
    "blanks": "Bearer     ",
    "a wrong key": "Bearer key-of-nobody",
    "a tenant's name": "Bearer acme",
    "the whole pair": f"Bearer acme:{OURS}",
    "a key cut short": f"Bearer {OURS[:-1]}",
    "a key and more": f"Bearer {OURS}x",
    "a key in capitals": f"Bearer {OURS.upper()}",
    "two keys": f"Bearer {OURS} {OURS}",
    "keys in a list": f"Bearer {','.join(KEYS.values())}",
    "no scheme": OURS,
    "another scheme": f"Basic {OURS}",
    "a scheme alike": f"Bearers {OURS}",
    "another sign": f"Bearer:{OURS}",
    "not ASCII": "Bearer ключ",
    "latin-1": "Bearer cl\xe9",
    "fullwidth": "Bearer ｋey-of-acme",
    "NUL": f"Bearer {OURS}\x00",
    "very long": "Bearer " + "x" * 7000,
}


def wsgi(text: str | None) -> dict[str, str]:
    """A header as a server hands it over: its bytes, read as latin-1."""
    return {} if text is None else {"HTTP_AUTHORIZATION": text.encode().decode("latin-1")}


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG)
def test_without_a_right_key_nobody_is_let_in(web: Web, given: str | None) -> None:
    job = web.submitted()["id"]

    for method, path in KEYED:
        answer = web.nobody.open(path.format(id=job), method=method, json=TEXT, environ_overrides=wsgi(given))
        error = refused(answer, 401, "unauthorized")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert given is None or len(given) < 8 or given[7:] not in str(error)
    assert len(web.admin.get("/v1/jobs").json["data"]) == 1


@pytest.mark.parametrize("given", [f"Bearer {OURS}", f"bearer {OURS}", f"BEARER  {OURS} "])
def test_a_right_key_is_let_in(web: Web, given: str) -> None:
    assert web.nobody.get("/v1/jobs", headers={"Authorization": given}).status_code == 200


def test_the_key_is_looked_at_before_the_body(web: Web) -> None:
    refused(web.nobody.post("/v1/jobs", data=b"{", content_type="text/plain"), 401)
    refused(web.nobody.post("/v1/jobs", data=b" " * (2 << 20), content_type="application/json"), 401)


def test_a_strangers_knock_costs_the_ledger_nothing() -> None:
    counting = Counting(MemoryStore())
    web = Web(parts_over(counting))

    for method, path in KEYED:
        web.nobody.open(path.format(id="job_1"), method=method)

    assert counting.calls == []


# --- the wrong door


UNKNOWN = [
    "/v1",
    "/v1/",
    "/v1/job",
    "/v1/jobs/",
    "/v1/jobs/job_1/",
    "/v1/jobs/job_1/nothing",
    "/v1/jobs/job_1/events/more",
    "/v2/jobs",
    "/V1/jobs",
    "//v1/jobs",
    "/v1//jobs",
    "/v1/jobs//events",
    "/callbacks",
    "/callbacks/evolink",
    "/callbacks/evolink/job_1",
    "/callbacks/evolink/job_1/token/more",
    "/.env",
    "/../etc/passwd",
    "/%2e%2e/etc/passwd",
    "/v1/jobs%00",
    "/%ff%fe",
    "/" + "x" * 3000,
]


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_door_that_is_none_is_a_404(door: Web, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
        refused(door.acme.open(path, method=method), 404, "not_found")


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(path=st.text(st.characters(exclude_characters="?#", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_no_path_breaks_the_door(door: Web, path: str) -> None:
    for start in ("/", "/v1/jobs/", "/callbacks/evolink/"):
        answer = door.acme.get(start + quote(path, safe=""))
        # A page sends to the sign-in page, and a slash too many to where it is not: hypothesis finds such paths too.
        assert answer.status_code in (303, 308, 404, 405)
        if answer.status_code >= 400:
            refused(answer, answer.status_code)


def allowed(app: Flask, path: str) -> set[str]:
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule == path]
    return {method for rule in rules for method in rule.methods or ()}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
def test_a_method_that_a_door_does_not_know_is_a_405(door: Web, method: str) -> None:
    doors = {path for _, path in KEYED} | {"/healthz", "/readyz", "/callbacks/evolink/job_1/token"}
    tried = 0

    for path in doors:
        rule = {"/callbacks/evolink/job_1/token": "/callbacks/<provider>/<job_id>/<token>"}.get(path, path)
        known = allowed(
            door.app, rule.replace("{id}-0", "<callback_id>").replace("{id}", "<job_id>").replace("evolink", "<name>")
        )
        if method not in known:
            tried += 1
            answer = door.acme.open(path.format(id="job_1"), method=method)
            refused(answer, 405, "method_not_allowed")
            assert set(answer.headers["Allow"].split(", ")) == known
    assert tried


def test_head_and_options_change_nothing_and_tell_nothing(web: Web) -> None:
    job = web.running("evolink")
    before = dict(web.parts.ledger.store.strings)  # type: ignore[attr-defined]

    for _, path in KEYED:
        options = web.nobody.options(path.format(id=job.id))
        assert (options.status_code, options.get_data()) == (200, b"")
        assert "OPTIONS" in options.headers["Allow"]
        assert web.acme.head(path.format(id=job.id)).get_data() == b""
        assert web.nobody.head(path.format(id=job.id)).status_code in (401, 405)

    assert before == web.parts.ledger.store.strings  # type: ignore[attr-defined]


def test_every_answer_says_how_it_is_to_be_handled(door: Web) -> None:
    for path in ("/healthz", "/v1/jobs", "/nowhere"):
        headers = door.acme.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"


def test_other_letters_come_out_as_they_went_in(web: Web) -> None:
    job = web.submitted({**TEXT, "prompt": "красный змей 🪁", "metadata": {"ключ": "значение"}})

    raw = web.acme.get(f"/v1/jobs/{job['id']}").get_data()

    assert "красный змей 🪁" in raw.decode()


def test_what_breaks_in_us_is_told_without_a_trace(monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("secret-of-ours")

    monkeypatch.setattr(type(web.parts.ledger), "get", broken)

    answer = web.acme.get("/v1/jobs/job_1")

    refused(answer, 500, "internal")
    assert "secret-of-ours" not in answer.text


# --- alive and ready


def test_alive_needs_nothing() -> None:
    answer = Web(parts_over(Away())).nobody.get("/healthz")

    assert (answer.status_code, answer.json) == (200, {"status": "ok"})


def ready(store: Any, **changes: str | None) -> Any:
    return Web(parts_over(store, s3_client(), **changes)).nobody.get("/readyz")


def test_a_frozen_s3_is_told_soon_and_holds_up_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ARCHIVE_S", 0.2)
    monkeypatch.setattr(health, "ARCHIVE_CHECK", health.SingleFlight(health.ARCHIVE_S))
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # takes connections, and never answers
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{frozen.getsockname()[1]}")
        web, started = Web(parts_over(MemoryStore(), s3_client())), time.monotonic()
        answers = [web.nobody.get("/readyz") for _ in range(4)]

        assert {(one.status_code, one.json["archive"]) for one in answers} == {
            (503, "out of reach: it does not answer")
        }
        assert time.monotonic() - started < SOON_S
        frozen.settimeout(PATIENCE_S)
        with frozen.accept()[0]:
            frozen.settimeout(0.1)
            with pytest.raises(TimeoutError):
                frozen.accept()  # boto's own next try comes only when the first is over


def test_ready_means_that_redis_and_s3_are_reached(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)

    answer = ready(MemoryStore())
    assert (answer.status_code, answer.json) == (200, {"status": "ready", "oldest_overdue_s": 0})

    answer = ready(Away())
    assert (answer.status_code, set(answer.json)) == (503, {"status", "ledger"})

    answer = ready(MemoryStore(), RUSHES_S3_BUCKET="nobodys")
    assert (answer.status_code, set(answer.json)) == (503, {"status", "archive", "oldest_overdue_s"})
    assert "nobodys" in answer.json["archive"]


def test_a_clip_can_be_fetched_where_the_content_points(monkeypatch: pytest.MonkeyPatch, s3_url: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
    client = s3_client()
    client.put_object(Bucket=BUCKET, Key="jobs/x/video.mp4", Body=b"the clip")
    web = Web(parts_over(MemoryStore(), client))
    job = web.standing(State.COMPLETED, result=result())

    address = web.acme.get(f"/v1/jobs/{job.id}/content").headers["Location"]

    with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
        assert answer.read() == b"the clip"


def test_the_receiver_knows_of_no_broker() -> None:
    unknown = {"celery", "kombu", "rushes.worker"}
    code = f"import sys, rushes.webhook_receiver.app; print(sorted({unknown} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
