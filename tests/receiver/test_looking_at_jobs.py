"""Everybody sees their own jobs: one, a page of them, on their way, and what came of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from factories import result
from receiver_steps import KEYS, TEXT, TEXT_26, Away, Web, parts_over, refused

from rushes.shared.domain import events
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.storage.s3_clients import s3_client
from rushes.webhook_receiver import jobs_api

STRANGE_IDS = [
    "job_",
    "job_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "x" * 3000,
    "%00",
    "%F0%9F%AA%81",
    "%ff",
    "..",
    "*",
    "job_%0A",
    "a b",
]
PARTS = ["", "/events", "/content"]
DECISIONS = ["/cancel", "/retry", "/resolve"]


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json["data"]]


# --- whose job it is


@pytest.mark.parametrize("part", PARTS)
def test_another_tenants_job_is_not_there(web: Web, part: str) -> None:
    job = web.standing(State.COMPLETED, result=result())

    refused(web.other.get(f"/v1/jobs/{job.id}{part}"), 404, "not_found")
    assert web.acme.get(f"/v1/jobs/{job.id}{part}").status_code in (200, 302)
    assert web.admin.get(f"/v1/jobs/{job.id}{part}").status_code in (200, 302)


@pytest.mark.parametrize("part", DECISIONS)
def test_nobody_decides_about_another_tenants_job(web: Web, part: str) -> None:
    for state in State:
        job = web.standing(state)
        refused(web.other.post(f"/v1/jobs/{job.id}{part}", json={"action": "fail"}), 404, "not_found")
        assert web.now(job.id) == job


def test_a_job_that_is_not_and_one_that_is_not_yours_look_alike(web: Web) -> None:
    theirs = web.submitted(TEXT, "other")["id"]

    absent = web.acme.get("/v1/jobs/job_01ARZ3NDEKTSV4RRFFQ69G5FAV")

    assert web.acme.get(f"/v1/jobs/{theirs}").get_data() == absent.get_data()


@pytest.mark.parametrize("job_id", STRANGE_IDS)
def test_strange_ids_are_no_jobs(web_on_each: Web, job_id: str) -> None:
    for part in PARTS:
        refused(web_on_each.acme.get(f"/v1/jobs/{job_id}{part}"), 404)
    for part in DECISIONS:
        refused(web_on_each.acme.post(f"/v1/jobs/{job_id}{part}", json={"action": "fail"}), 404)


# --- a page of them


def test_the_list_is_newest_first(web_on_each: Web) -> None:
    web = web_on_each
    made = [web.submitted()["id"] for _ in range(5)]

    answer = web.acme.get("/v1/jobs")

    assert ids(answer) == made[::-1]
    assert answer.json["next_cursor"] is None
    assert set(answer.json) == {"data", "next_cursor"}


def test_the_list_holds_whole_documents(web: Web) -> None:
    job = web.submitted()

    assert web.acme.get("/v1/jobs").json["data"] == [job]


def test_a_tenant_lists_its_own_and_the_admin_all(web_on_each: Web) -> None:
    web = web_on_each
    ours, theirs = web.submitted()["id"], web.submitted(TEXT, "other")["id"]

    assert ids(web.acme.get("/v1/jobs")) == [ours]
    assert ids(web.other.get("/v1/jobs")) == [theirs]
    assert ids(web.admin.get("/v1/jobs")) == [theirs, ours]


def test_a_tenant_whose_name_begins_like_anothers_sees_only_its_own() -> None:
    keys = ",".join(f"{name}:{key}" for name, key in {**KEYS, "acme.eu": "key-eu", "acme-2": "key-2"}.items())
    web = Web(parts_over(MemoryStore(), RUSHES_API_KEYS=keys))
    client = web.app.test_client()
    client.post("/v1/jobs", json=TEXT, headers={"Authorization": "Bearer key-eu"})
    ours = web.submitted()["id"]

    assert ids(web.acme.get("/v1/jobs")) == [ours]
    assert len(ids(client.get("/v1/jobs", headers={"Authorization": "Bearer key-eu"}))) == 1
    assert ids(client.get("/v1/jobs", headers={"Authorization": "Bearer key-2"})) == []


def test_pages_hold_every_job_once_while_new_ones_arrive(web_on_each: Web) -> None:
    web = web_on_each
    made = [web.submitted()["id"] for _ in range(7)]
    seen, cursor = [], ""

    while cursor is not None:
        page = web.acme.get(f"/v1/jobs?limit=3&cursor={cursor}")
        seen += ids(page)
        cursor = page.json["next_cursor"]
        web.submitted()

    assert seen == made[::-1]


def test_a_last_page_that_is_full_leads_nowhere(web: Web) -> None:
    for _ in range(4):
        web.submitted()

    first = web.acme.get("/v1/jobs?limit=2")
    second = web.acme.get(f"/v1/jobs?limit=2&cursor={first.json['next_cursor']}")

    assert len(ids(second)) == 2
    assert second.json["next_cursor"] is None


@pytest.mark.parametrize(("given", "shown"), [("", 20), ("limit=1", 1), ("limit=100", 100), ("limit=007", 7)])
def test_a_page_has_20_jobs_or_as_many_as_asked_for(web: Web, given: str, shown: int) -> None:
    for _ in range(101):
        web.standing(State.QUEUED)

    assert len(ids(web.acme.get(f"/v1/jobs?{given}"))) == shown


@pytest.mark.parametrize(
    "limit",
    [
        "0",
        "-1",
        "101",
        "1000000",
        "1.5",
        "ten",
        "1e1",
        "+5",
        " 5",
        "٥",
        "１",
        "0x10",
        "0000000010000",
        "9" * 5000,
        "0" * 5000 + "5",
    ],
)
def test_a_limit_out_of_bounds_is_refused(door: Web, limit: str) -> None:
    answer = door.acme.get("/v1/jobs", query_string={"limit": limit})

    assert list(refused(answer, 422, "invalid_request")["fields"]) == ["limit"]


def test_what_is_left_empty_is_not_asked_for(web: Web) -> None:
    job = web.submitted()

    assert ids(web.acme.get("/v1/jobs?status=&provider=&limit=&cursor=")) == [job["id"]]


@pytest.mark.parametrize(
    "cursor",
    ["x", "zzz", "job_", "0", "job_01ARZ3NDEKTSV4RRFFQ69G5FA", "job_01arz3ndektsv4rrffq69g5fav", "+", "\x00", "🪁"],
)
def test_what_is_no_cursor_is_refused(door: Web, cursor: str) -> None:
    answer = door.acme.get("/v1/jobs", query_string={"cursor": cursor})

    assert list(refused(answer, 422)["fields"]) == ["cursor"]


def test_the_list_is_filtered_by_status(web_on_each: Web) -> None:
    web = web_on_each
    made = {state: web.standing(state).id for state in State}

    for state, job_id in made.items():
        assert ids(web.acme.get(f"/v1/jobs?status={state}")) == [job_id]
    both = ids(web.acme.get("/v1/jobs?status=failed,queued"))
    assert both == [made[State.FAILED], made[State.QUEUED]]


def test_the_list_is_filtered_by_gateway(web_on_each: Web) -> None:
    web = web_on_each
    queued, ours, theirs = web.submitted()["id"], web.running("evolink").id, web.running("newapi").id

    assert ids(web.acme.get("/v1/jobs?provider=evolink")) == [ours]
    assert ids(web.acme.get("/v1/jobs?provider=newapi&status=running")) == [theirs]
    assert ids(web.acme.get("/v1/jobs?provider=newapi&status=queued")) == []
    assert queued in ids(web.acme.get("/v1/jobs"))


@pytest.mark.parametrize("status", ["done", "Queued", "queued,done", "queued;failed", "*"])
def test_a_status_that_is_none_is_refused(door: Web, status: str) -> None:
    assert list(refused(door.acme.get(f"/v1/jobs?status={status}"), 422)["fields"]) == ["status"]


@pytest.mark.parametrize("provider", ["runway", "APIMART", "auto", "-", "apimart,evolink", "*"])
def test_a_gateway_that_is_none_is_refused(door: Web, provider: str) -> None:
    assert list(refused(door.acme.get(f"/v1/jobs?provider={provider}"), 422)["fields"]) == ["provider"]


# --- what came of it


def test_a_completed_job_shows_where_its_clip_is(web: Web) -> None:
    job = web.standing(State.COMPLETED, result=replace(result(), width=1280, height=720))

    shown = web.acme.get(f"/v1/jobs/{job.id}").json

    assert set(shown["result"]) == {
        *("bucket", "key", "manifest_key", "thumbnail_key", "url", "size", "sha256", "content_type"),
        *("duration_s", "width", "height"),
    }
    assert (shown["status"], shown["progress"]) == ("completed", 100)
    assert shown["result"]["thumbnail_key"] is None
    assert "Signature" in shown["result"]["url"]
    (attempt,) = shown["attempts"]
    assert set(attempt) == {
        *("provider", "task_id", "status", "submitted_at", "ended_at", "heard_by", "account"),
        *("estimated_cost_usd", "cost_usd", "cost_source", "error"),
    }


def test_the_content_of_a_completed_job_is_a_presigned_address(web: Web) -> None:
    job = web.standing(State.COMPLETED, result=result())

    answer = web.acme.get(f"/v1/jobs/{job.id}/content")

    assert answer.status_code == 302
    address = urlsplit(answer.headers["Location"])
    assert address.path.endswith("/jobs/x/video.mp4")
    assert {"X-Amz-Signature", "X-Amz-Expires"} <= set(parse_qs(address.query))
    assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("state", [state for state in State if state is not State.COMPLETED])
def test_before_that_there_is_no_content(door: Web, state: State) -> None:
    job = door.standing(state)

    refused(door.acme.get(f"/v1/jobs/{job.id}/content"), 409)


def test_without_credentials_of_s3_a_completed_job_is_no_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers credentials
    web = Web(parts_over(MemoryStore(), s3_client()))
    job = web.standing(State.COMPLETED, result=result())

    for path in (f"/v1/jobs/{job.id}", f"/v1/jobs/{job.id}/content", "/v1/jobs"):
        refused(web.acme.get(path), 503, "unavailable")


# --- on its way


def heard(stream: Iterator[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Id, kind and data of each event."""
    told = []
    for chunk in stream:
        if not chunk.startswith((":", "retry: ")):
            lines = dict(line.split(": ", 1) for line in chunk.strip().split("\n"))
            told.append((lines["id"], lines["event"], json.loads(lines["data"])))
    return told


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_api, "LOOK_S", 0)


def steps(*jobs: Job | Exception) -> Any:
    """What each further look at the job gives."""
    left = list(jobs)

    def look(_: str) -> Job:
        given = left.pop(0)
        if isinstance(given, Exception):
            raise given
        return given

    return look


@pytest.mark.usefixtures("hurried")
def test_the_stream_tells_each_change_once_and_ends_with_the_job(web: Web) -> None:
    queued = web.now(web.submitted()["id"])
    running = replace(queued, state=State.RUNNING)
    half, done = replace(running, progress=50), replace(running, state=State.COMPLETED, progress=100)

    told = heard(jobs_api.event_stream(queued, "", steps(queued, running, running, half, half, done)))

    assert [(kind, data["status"], data["progress"]) for _, kind, data in told] == [
        ("status", "queued", 0),
        ("status", "running", 0),
        ("progress", "running", 50),
        ("status", "completed", 100),
    ]
    assert len({mark for mark, _, _ in told}) == 4


@pytest.mark.usefixtures("hurried")
def test_no_two_events_of_a_job_that_goes_back_and_forth_have_one_id(web: Web) -> None:
    job = web.now(web.submitted()["id"])
    way = [State.SUBMITTING, State.QUEUED, State.SUBMITTING, State.QUEUED, State.CANCELED]
    later = [replace(job, state=state, version=job.version + step) for step, state in enumerate(way, 1)]

    told = heard(jobs_api.event_stream(job, "", steps(*later)))

    assert [data["status"] for _, _, data in told] == ["queued", *way]
    assert len({mark for mark, _, _ in told}) == len(told)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("cut", range(7))
def test_wherever_a_stream_is_cut_who_comes_back_misses_nothing_and_hears_nothing_twice(web: Web, cut: int) -> None:
    job = web.now(web.submitted()["id"])
    way = [(State.SUBMITTING, 0), (State.RUNNING, 0), (State.RUNNING, 40), (State.ARCHIVING, 100), (State.FAILED, 100)]
    life = [job, *(replace(job, state=s, progress=p, version=n) for n, (s, p) in enumerate(way, 5))]

    before = heard(jobs_api.event_stream(job, "", steps(*life[1:])))[:cut]
    last = before[-1][0] if before else ""
    after = heard(jobs_api.event_stream(life[max(cut - 1, 0)], last, steps(*life[max(cut, 1) :])))

    assert [(data["status"], data["progress"]) for _, _, data in before + after] == [
        (one.state.value, one.progress) for one in life
    ]


@pytest.mark.usefixtures("hurried")
def test_who_comes_back_to_the_stream_hears_only_what_is_new(web: Web) -> None:
    running = replace(web.now(web.submitted()["id"]), state=State.RUNNING, progress=30)
    done = replace(running, state=State.COMPLETED, progress=100)
    ((mark, _, _), *_) = heard(jobs_api.event_stream(running, "", steps(done)))

    again = heard(jobs_api.event_stream(running, mark, steps(running, done)))

    assert [data["status"] for _, _, data in again] == ["completed"]


@pytest.mark.usefixtures("hurried")
def test_a_quiet_stream_shows_that_it_lives(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_api, "HEARTBEAT_S", -1)
    job = web.now(web.submitted()["id"])
    ended = replace(job, state=State.CANCELED)

    chunks = list(jobs_api.event_stream(job, "", steps(job, job, ended)))

    assert [chunk[:1] for chunk in chunks] == ["r", "i", ":", ":", ":", "i"]
    assert chunks[0].splitlines()[1].startswith(":")  # who comes back hears at once that somebody is there
    assert all(chunk.endswith("\n\n") for chunk in chunks)


@pytest.mark.usefixtures("hurried")
def test_a_stream_outlives_the_ledger_being_away(web: Web) -> None:
    job = web.now(web.submitted()["id"])

    reads = steps(LedgerUnavailable("away"), job, replace(job, state=State.FAILED))
    told = heard(jobs_api.event_stream(job, "", reads))

    assert [data["status"] for _, _, data in told] == ["queued", "failed"]


def test_the_stream_of_an_ended_job_is_one_event(web: Web) -> None:
    job = web.standing(State.CANCELED)

    answer = web.acme.get(f"/v1/jobs/{job.id}/events")

    assert answer.mimetype == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    ((mark, kind, data),) = heard(iter(answer.text.split("\n\n")[1:-1]))
    assert (kind, data) == ("status", web.acme.get(f"/v1/jobs/{job.id}").json)
    again = web.acme.get(f"/v1/jobs/{job.id}/events", headers={"Last-Event-ID": mark})
    assert (again.status_code, again.get_data()) == (204, b"")  # a browser that is told so stays away


def test_a_strange_last_event_id_is_the_start(web: Web) -> None:
    job = web.standing(State.CANCELED)

    for mark in ("", "x", "canceled", "-", "\xff", "canceled-0\x0b"):
        answer = web.acme.get(f"/v1/jobs/{job.id}/events", headers={"Last-Event-ID": mark})
        assert answer.text.count("event: ") == 1


def test_watchers_never_take_every_thread(web: Web) -> None:
    """Each stream holds a thread of the server; callbacks and the API keep theirs."""
    job = web.running("evolink")
    path = f"/v1/jobs/{job.id}/events"
    held = [web.acme.get(path) for _ in range(jobs_api.STREAMS_MAX)]

    answer = web.acme.get(path)
    refused(answer, 429, "rate_limited")
    assert int(answer.headers["Retry-After"]) > 0
    assert web.acme.head(path).status_code in (200, 429)
    for one in held:
        one.close()
    again = web.acme.get(path)
    assert again.status_code == 200
    again.close()


# --- decisions


def test_a_queued_job_is_taken_back(web_on_each: Web) -> None:
    web = web_on_each
    job = web.submitted()

    answer = web.acme.post(f"/v1/jobs/{job['id']}/cancel")

    assert (answer.status_code, answer.json["status"]) == (200, "canceled")
    assert answer.json["ended_at"]
    assert web.acme.post(f"/v1/jobs/{job['id']}/cancel").json["status"] == "canceled"


@pytest.mark.parametrize("state", [s for s in State if s not in (State.QUEUED, State.CANCELED)])
def test_what_may_be_paid_for_is_not_taken_back(door: Web, state: State) -> None:
    job = door.standing(state)

    refused(door.acme.post(f"/v1/jobs/{job.id}/cancel"), 409, "not_cancelable")
    assert door.now(job.id) == job


def test_an_unconfirmed_submit_is_given_up(web: Web) -> None:
    job = web.standing(State.UNCONFIRMED)

    answer = web.acme.post(f"/v1/jobs/{job.id}/resolve", json={"action": "fail"})

    assert answer.status_code == 200
    assert (answer.json["status"], answer.json["error"]["code"]) == ("failed", "submit_unconfirmed")


def test_an_unconfirmed_submit_is_sent_again(web: Web) -> None:
    job = web.standing(State.UNCONFIRMED)

    answer = web.acme.post(f"/v1/jobs/{job.id}/resolve", json={"action": "resubmit"})

    assert (answer.status_code, answer.json["status"]) == (200, "queued")


def test_an_unconfirmed_submit_is_found_again(web_on_each: Web) -> None:
    web = web_on_each
    job = web.standing(State.UNCONFIRMED)

    answer = web.acme.post(f"/v1/jobs/{job.id}/resolve", json={"action": "adopt", "task_id": "task-7"})

    assert (answer.status_code, answer.json["status"]) == (200, "running")
    assert [attempt["task_id"] for attempt in answer.json["attempts"]] == ["task-7"]


BAD_DECISIONS: list[tuple[str, Any]] = [
    *[("action", body) for body in ({}, [], "fail", None, {"action": None}, {"action": 1}, {"action": ["fail"]})],
    *[("action", {"action": word}) for word in ("", "Fail", "cancel", {"fail": 1}, True)],
    *[
        ("task_id", {"action": "adopt", "task_id": task_id})
        for task_id in (None, "", 7, ["t"], "x" * 201, "\ud800", "a\x00b", " ", "a b", "line\nbreak")
    ],
    ("task_id", {"action": "adopt"}),
]


@pytest.mark.parametrize(("field", "body"), BAD_DECISIONS)
def test_a_decision_that_is_none_is_refused(door: Web, field: str, body: Any) -> None:
    job = door.standing(State.UNCONFIRMED)

    answer = door.acme.post(f"/v1/jobs/{job.id}/resolve", data=json.dumps(body), content_type="application/json")

    assert list(refused(answer, 422, "invalid_request")["fields"]) == [field]
    assert door.now(job.id) == job


@pytest.mark.parametrize("state", [state for state in State if state is not State.UNCONFIRMED])
def test_there_is_nothing_to_decide_about_other_jobs(door: Web, state: State) -> None:
    job = door.standing(state)

    for action in ("resubmit", "fail"):
        refused(door.acme.post(f"/v1/jobs/{job.id}/resolve", json={"action": action}), 409)
    assert door.now(job.id) == job


def test_a_failed_job_is_tried_again_as_a_new_one(web: Web) -> None:
    plan = {"status": AttemptStatus.REJECTED, "task_id": None}
    job = web.standing(State.FAILED, plan, request={**TEXT, "mode": "std", "duration": 5})

    answer = web.acme.post(f"/v1/jobs/{job.id}/retry")

    assert answer.status_code == 202
    assert answer.json["id"] != job.id
    assert (answer.json["status"], answer.json["retry_of"]) == ("queued", job.id)
    assert answer.json["request"] == dict(job.request)
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json['id']}"
    assert web.now(job.id) == job


@pytest.mark.parametrize("state", [state for state in State if state is not State.FAILED])
def test_only_a_failed_job_is_tried_again(door: Web, state: State) -> None:
    job = door.standing(state)

    refused(door.acme.post(f"/v1/jobs/{job.id}/retry"), 409)


def test_a_decision_that_comes_too_late_changes_nothing(web: Web) -> None:
    job = web.standing(State.UNCONFIRMED)
    web.parts.ledger.apply(job.id, events.Accepted("task-1", attempt=1), web.parts.now())

    refused(web.acme.post(f"/v1/jobs/{job.id}/resolve", json={"action": "resubmit"}), 409)


# --- the ledger away


def test_with_the_ledger_away_every_look_is_a_503() -> None:
    web = Web(parts_over(Away()))

    for path in ("", "/job_1", "/job_1/events", "/job_1/content", "?status=queued"):
        refused(web.acme.get(f"/v1/jobs{path}"), 503, "unavailable")
    for path in DECISIONS:
        refused(web.acme.post(f"/v1/jobs/job_1{path}", json={"action": "fail"}), 503, "unavailable")


# --- filters


FILTERS = [
    "model=kling-v2-6",
    "batch=autumn",
    "metadata.order=17",
    "metadata.order=17&batch=autumn&status=queued",
    "from=2026-09-21&to=2026-09-21&batch=autumn",
]


@pytest.mark.parametrize("query", FILTERS)
def test_a_filter_of_the_list_finds_its_jobs(web_on_each: Web, query: str) -> None:
    web = web_on_each
    mine = [web.submitted({**TEXT_26, "batch": "autumn", "metadata": {"order": "17"}})["id"] for _ in range(3)]
    web.submitted({**TEXT, "metadata": {"order": "18"}})
    web.submitted({**TEXT, "batch": "winter"}, "other")

    page = web.acme.get(f"/v1/jobs?limit=2&{query}")
    rest = web.acme.get(f"/v1/jobs?limit=2&{query}&cursor={page.json['next_cursor']}")
    assert ids(page) + ids(rest) == mine[::-1]
    assert rest.json["next_cursor"] is None


WRONG = {
    "status=done": "status",
    "provider=nobody": "provider",
    "model=kling-v9": "model",
    "error=bad": "error",
    "batch=" + "x" * 65: "batch",
    "from=yesterday": "from",
    "to=2026-13-01": "to",
    "from=2026-12-01T08:00:00": "from",
}


@pytest.mark.parametrize("query", WRONG)
def test_a_filter_that_means_nothing_is_named(web: Web, query: str) -> None:
    assert list(refused(web.acme.get(f"/v1/jobs?{query}"), 422)["fields"]) == [WRONG[query]]


def test_a_batch_is_a_word_of_64_characters(web: Web) -> None:
    assert web.submitted({**TEXT, "batch": "x" * 64})["request"]["batch"] == "x" * 64
    for word in ("x" * 65, "", " ", 7):
        refused(web.acme.post("/v1/jobs", json={**TEXT, "batch": word}), 422, "invalid_request")
