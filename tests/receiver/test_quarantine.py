"""Callbacks that named another task: nothing is done about them, and an operator sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from factories import NOW, attempt
from receiver_steps import KEYS, Away, Counting, Web, callback_path, parts_over, refused, secret_in

from rushes.shared import credentials
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.quarantine import BODY_BYTES

NAMED = {"id": "task-7", "status": "completed", "results": ["https://files.example/clip.mp4?sig=hidden"]}


def called(web: Web, job: Job, body: Any = None, number: int | None = None) -> Job:
    """The job after a gateway called."""
    raw = body if isinstance(body, bytes) else json.dumps(body or NAMED).encode()
    answer = web.nobody.post(callback_path(job, number=number), data=raw)
    assert (answer.status_code, answer.get_data()) == (200, b"{}\n")
    return web.now(job.id)


def listed(web: Web, tenant: str = "acme", query: str = "") -> list[dict[str, Any]]:
    answer = web.as_(tenant).get(f"/v1/quarantine{query}")
    assert answer.status_code == 200, answer.text
    return list((answer.json or {})["data"])


@pytest.mark.parametrize("state", [State.RUNNING, State.ARCHIVING])
def test_a_callback_of_another_task_is_answered_and_set_aside(web_on_each: Web, state: State) -> None:
    web = web_on_each
    job = web.standing(state, {"provider": "evolink"})

    after = called(web, job)

    assert (after.nudge, after.due_at, after.attempts) == (None, job.due_at, job.attempts)
    (note,) = after.history[len(job.history) :]
    assert (note.what, note.detail) == ("a callback named another task", "task-7")
    (stray,) = listed(web)
    told = {name: stray[name] for name in ("provider", "job_id", "tenant", "attempt", "task_id", "expected_task_id")}
    assert told == {
        "provider": "evolink",
        "job_id": job.id,
        "tenant": "acme",
        "attempt": 1,
        "task_id": "task-7",
        "expected_task_id": "task-1",
    }
    assert stray["status_word"] == "completed"


def test_a_callback_to_an_attempt_that_nobody_wrote_down_is_set_aside(web_on_each: Web) -> None:
    web = web_on_each
    job = web.standing(State.QUEUED)
    path = f"/callbacks/evolink/{job.id}/{credentials.make_token(['secret-of-tokens'], 'evolink', job.id, 1)}"

    assert web.nobody.post(path, json=NAMED).status_code == 200

    assert web.now(job.id).nudge is None  # or the next submit would take the task for its own
    assert [(stray["attempt"], stray["expected_task_id"]) for stray in listed(web)] == [(1, None)]


def test_a_callback_to_an_earlier_attempt_that_names_the_newest_ones_task_is_set_aside(web_on_each: Web) -> None:
    first = attempt(1, provider="evolink", status=AttemptStatus.FAILED, task_id="task-1", ended_at=NOW)
    second = attempt(2, provider="evolink", status=AttemptStatus.RUNNING, task_id="task-2")
    job = web_on_each.standing(State.RUNNING, attempts=(first, second))

    called(web_on_each, job, {**NAMED, "id": "task-2"}, number=1)

    assert [stray["expected_task_id"] for stray in listed(web_on_each)] == ["task-1"]


def test_a_callback_that_names_no_task_is_followed(web: Web) -> None:
    job = web.running("evolink")

    assert called(web, job, {"status": "completed"}).nudge is not None
    assert listed(web) == []


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELED])
def test_after_the_end_nothing_is_set_aside(web: Web, state: State) -> None:
    job = web.standing(state, {"provider": "evolink"} if state is not State.CANCELED else None)
    path = f"/callbacks/evolink/{job.id}/{credentials.make_token(['secret-of-tokens'], 'evolink', job.id, 1)}"

    assert web.nobody.post(path, json=NAMED).status_code == 200
    assert (listed(web), web.now(job.id)) == ([], job)


def test_the_normal_way_is_still_one_call_to_the_ledger() -> None:
    counting = Counting(MemoryStore())
    web = Web(parts_over(counting))
    job = web.running("evolink")
    counting.calls.clear()

    web.nobody.post(callback_path(job), json={**NAMED, "id": "task-1"})

    assert counting.calls == ["nudge"]


def test_a_leaked_address_fills_nothing_and_moves_nothing(web_on_each: Web) -> None:
    web = web_on_each
    job = web.running("evolink")

    for number in range(100):
        after = called(web, job, {**NAMED, "id": f"task-{number + 2}"})

    assert len(listed(web, query="?limit=100")) == 20
    assert (after.nudge, after.due_at, len(after.history)) == (None, job.due_at, len(job.history) + 20)


def test_a_repeat_is_set_aside_once(web_on_each: Web) -> None:
    job = web_on_each.running("evolink")
    once = called(web_on_each, job)

    assert called(web_on_each, job) == once
    assert len(listed(web_on_each)) == 1


def test_what_is_shown_holds_no_secret(web: Web) -> None:
    job = web.running("evolink")
    path = callback_path(job)
    said = {"callback": f"https://rushes.example{path}", "key": "sk-abcdef", "note": f"token {secret_in(path)}"}

    called(web, job, {**NAMED, **said})

    (stray,) = listed(web)
    assert "task-7" in stray["body"]
    assert [secret for secret in (secret_in(path), "sk-abcdef", "sig=hidden") if secret in str(stray)] == []


@pytest.mark.parametrize("filling", ["x", "ж", "\x00", "\ud800", "凧"])
def test_only_the_beginning_of_a_body_is_kept(web: Web, filling: str) -> None:
    job = web.running("evolink")

    called(web, job, json.dumps({**NAMED, "z": filling * 9000}, ensure_ascii=False).encode(errors="replace"))

    assert len(listed(web)[0]["body"].encode()) <= BODY_BYTES


@pytest.mark.parametrize(
    ("task_id", "set_aside"),
    [("", []), ("x" * 201, []), (["t"], []), (7, ["7"]), ("a b", ["a b"]), ("ж", ["ж"]), ("\x00", ["\x00"])],
)
def test_a_strange_task_id_is_no_harm(web_on_each: Web, task_id: Any, set_aside: list[str]) -> None:
    followed = called(web_on_each, web_on_each.running("evolink"), {**NAMED, "id": task_id}).nudge is not None

    assert [stray["task_id"] for stray in listed(web_on_each)] == set_aside
    assert followed == (set_aside == [])


def test_where_callbacks_are_believed_another_tasks_end_is_not(store: Any) -> None:
    web = Web(parts_over(store, RUSHES_CALLBACK_CONFIRM="false"))
    job = web.running("evolink")

    assert called(web, job).state is State.RUNNING
    assert len(listed(web)) == 1


# --- who sees it


def test_a_tenant_sees_its_own_and_the_admin_all(web_on_each: Web) -> None:
    web = web_on_each
    job = web.running("evolink")
    called(web, job)
    (stray,) = listed(web)

    assert listed(web, "other") == []
    assert listed(web, "admin") == [stray]
    for call in (web.other.post, web.other.delete):
        door = "/replay" if call == web.other.post else ""
        refused(call(f"/v1/quarantine/{stray['id']}{door}"), 404, "not_found")
    refused(web.nobody.get("/v1/quarantine"), 401)
    assert listed(web) == [stray]


@pytest.mark.parametrize("stray_id", ["x", "job_", "%00", "*", "a b", "x" * 3000])
def test_there_is_nothing_under_a_strange_id(web_on_each: Web, stray_id: str) -> None:
    refused(web_on_each.acme.post(f"/v1/quarantine/{stray_id}/replay"), 404)
    refused(web_on_each.acme.delete(f"/v1/quarantine/{stray_id}"), 404)


@pytest.mark.parametrize("limit", ["0", "101", "x"])
def test_a_limit_out_of_bounds_is_refused(web: Web, limit: str) -> None:
    refused(web.acme.get(f"/v1/quarantine?limit={limit}"), 422)


def test_one_is_forgotten(web_on_each: Web) -> None:
    web = web_on_each
    called(web, web.running("evolink"))
    (stray,) = listed(web)

    answer = web.acme.delete(f"/v1/quarantine/{stray['id']}")

    assert (answer.status_code, answer.get_data(), listed(web)) == (204, b"", [])
    refused(web.acme.delete(f"/v1/quarantine/{stray['id']}"), 404)


# --- replay


def test_a_replay_makes_the_job_due_now_under_its_own_task(web_on_each: Web) -> None:
    web = web_on_each
    job = web.running("evolink")
    called(web, job)
    (stray,) = listed(web)

    answer = web.acme.post(f"/v1/quarantine/{stray['id']}/replay")

    after = web.now(job.id)
    assert (answer.status_code, answer.json["id"]) == (202, job.id)
    assert after.nudge is not None
    assert (after.due_at, after.nudge.task_id, after.current.task_id) == (after.nudge.at, "task-7", "task-1")
    assert (after.history[-1].what, listed(web)) == ("callback replayed", [])


def test_a_replay_brings_the_task_of_an_unconfirmed_submit(web_on_each: Web) -> None:
    web = web_on_each
    job = web.standing(State.UNCONFIRMED, {"provider": "evolink", "task_id": "task-forged"})
    called(web, job)

    web.acme.post(f"/v1/quarantine/{listed(web)[0]['id']}/replay")

    after = web.now(job.id)
    assert (after.state, after.current.task_id) == (State.UNCONFIRMED, "task-7")  # the gateway is to confirm it


@pytest.mark.parametrize("state", [State.SUBMITTING, State.ARCHIVING])
def test_a_job_that_nobody_can_ask_about_now_is_not_looked_at(web: Web, state: State) -> None:
    job = web.standing(state, {"provider": "evolink", "task_id": "task-1"})
    after = called(web, job)
    (stray,) = listed(web)

    refused(web.acme.post(f"/v1/quarantine/{stray['id']}/replay"), 409, "conflict")
    assert (web.now(job.id), listed(web)) == (after, [stray])


def test_what_came_from_a_gateway_that_the_job_left_is_not_asked_of_the_next(web: Web) -> None:
    first = attempt(1, provider="apimodels", status=AttemptStatus.FAILED, task_id="task-1", ended_at=NOW)
    second = attempt(2, provider="evolink", status=AttemptStatus.UNCONFIRMED)
    job = web.standing(State.UNCONFIRMED, attempts=(first, second))
    token = credentials.make_token(["secret-of-tokens"], "apimodels", job.id, 1)
    body = {"data": {"taskId": "task-7", "state": "success"}}
    assert web.nobody.post(f"/callbacks/apimodels/{job.id}/{token}", json=body).status_code == 200

    refused(web.acme.post(f"/v1/quarantine/{listed(web)[0]['id']}/replay"), 409)


def test_with_the_ledger_away_every_door_is_a_503() -> None:
    web = Web(parts_over(Away(), RUSHES_API_KEYS=",".join(f"{name}:{key}" for name, key in KEYS.items())))

    refused(web.acme.get("/v1/quarantine"), 503)
    refused(web.acme.post("/v1/quarantine/x/replay"), 503)
    refused(web.acme.delete("/v1/quarantine/x"), 503)
