"""A callback is a hint: its address is the proof, and whatever it says, it is noted once and answered at once."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from factories import NOW, SECOND, attempt
from receiver_steps import GATEWAYS, Away, Counting, Web, callback_path, parts_over, refused, secret_in
from werkzeug.test import TestResponse

from rushes.shared import credentials, logs
from rushes.shared.credentials import make_token
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import Store
from rushes.shared.providers import PROVIDERS

SAMPLES = Path(__file__).parents[1] / "providers" / "samples"
NAMES = {
    "apimart": ("callback_completed", "failed", "running"),
    "apimaster": ("completed", "failed", "running"),
    "apimodels": ("callback_completed", "callback_failed", "callback_processing"),
    "evolink": ("completed", "failed", "running"),
    "kling": ("callback_succeeded", "callback_failed", "callback_processing"),
    "newapi": ("completed", "failed", "running"),
}
CALLING = ("apimart", "apimodels", "evolink", "kling")  # that are asked to; the others could be one day


def sample(provider: str, name: str) -> Any:
    """As the gateway documents it, of the task that the jobs here have."""
    body = json.loads((SAMPLES / provider / f"{name}.json").read_text("utf-8"))["body"]
    return of_task("task-1", body, PROVIDERS[provider].reported_task_id(body))


def of_task(task_id: str, body: Any, was: str | None) -> Any:
    return json.loads(json.dumps(body).replace(json.dumps(was), json.dumps(task_id)))


COMPLETED = {provider: sample(provider, names[0]) for provider, names in NAMES.items()}
FAILED = {provider: sample(provider, names[1]) for provider, names in NAMES.items()}
RUNNING = {provider: sample(provider, names[2]) for provider, names in NAMES.items()}


def call(web: Web, path: str, body: Any = None, raw: bytes | None = None) -> TestResponse:
    """A gateway calls: without a key, and with no content type to speak of."""
    data = json.dumps(body).encode() if raw is None else raw
    return web.nobody.post(path, data=data, content_type="text/plain")


def taken(answer: TestResponse) -> bool:
    return answer.status_code == 200


# --- what is taken


@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_terminal_callback_makes_the_job_due_now(web_on_each: Web, provider: str) -> None:
    for bodies in (COMPLETED, FAILED):
        job = web_on_each.running(provider)

        assert taken(call(web_on_each, callback_path(job), bodies[provider]))

        after = web_on_each.now(job.id)
        assert after.nudge is not None
        assert (after.nudge.attempt, after.state) == (1, State.RUNNING)
        assert after.attempts == job.attempts  # nothing is believed yet


@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_callback_that_ends_nothing_is_taken_too(web_on_each: Web, provider: str) -> None:
    job = web_on_each.running(provider)

    assert taken(call(web_on_each, callback_path(job), RUNNING[provider]))
    assert web_on_each.now(job.id).state is State.RUNNING


@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_repeated_callback_changes_nothing_more(web_on_each: Web, provider: str) -> None:
    job = web_on_each.running(provider)
    call(web_on_each, callback_path(job), COMPLETED[provider])
    once = web_on_each.now(job.id)

    for _ in range(3):
        assert taken(call(web_on_each, callback_path(job), COMPLETED[provider]))

    assert web_on_each.now(job.id) == once


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_callback_after_the_end_is_taken_and_changes_nothing(web_on_each: Web, provider: str, state: State) -> None:
    job = web_on_each.standing(state, {"provider": provider})

    for body in (COMPLETED, FAILED, RUNNING):
        assert taken(call(web_on_each, callback_path(job), body[provider]))
    assert web_on_each.now(job.id) == job


@pytest.mark.parametrize("state", [State.SUBMITTING, State.UNCONFIRMED, State.ARCHIVING])
@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_callback_may_come_at_any_time(web: Web, provider: str, state: State) -> None:
    job = web.standing(state, {"provider": provider})

    assert taken(call(web, callback_path(job), COMPLETED[provider]))
    assert web.now(job.id).state is state


@pytest.mark.parametrize("provider", CALLING)
def test_a_callback_brings_the_task_of_an_unconfirmed_submit(web_on_each: Web, provider: str) -> None:
    job = web_on_each.standing(State.UNCONFIRMED, {"provider": provider})

    call(web_on_each, callback_path(job), COMPLETED[provider])

    nudge = web_on_each.now(job.id).nudge
    assert nudge is not None
    assert nudge.task_id in (COMPLETED[provider].get("id"), COMPLETED[provider].get("data", {}).get("taskId"))


def test_a_callback_to_an_earlier_attempt_is_still_that_jobs(web: Web) -> None:
    first = attempt(1, provider="evolink", status=AttemptStatus.FAILED, task_id="task-1", ended_at=NOW)
    second = attempt(2, provider="apimodels", status=AttemptStatus.RUNNING, task_id="task-2")
    job = web.standing(State.RUNNING, attempts=(first, second))
    path = f"/callbacks/evolink/{job.id}/{credentials.make_token(['secret-of-tokens'], 'evolink', job.id, 1)}"

    assert taken(call(web, path, COMPLETED["evolink"]))
    assert web.now(job.id).attempts == job.attempts


@pytest.mark.parametrize("task_id", ["x" * 201, "", None, 7, "a b", "ж", "a:b\nc", "\ud800", "\x00", ["t"], {"t": 1}])
def test_a_strange_task_id_is_no_harm(web_on_each: Web, task_id: Any) -> None:
    web = web_on_each
    job = web.standing(State.UNCONFIRMED, {"provider": "evolink"})

    assert taken(call(web, callback_path(job), {**COMPLETED["evolink"], "id": task_id}))

    assert web.acme.get(f"/v1/jobs/{job.id}").json["status"] == "unconfirmed"
    assert web.now(job.id).nudge is not None


def test_a_task_id_longer_than_any_is_not_kept(web: Web) -> None:
    for length, kept in ((200, True), (201, False)):
        job = web.standing(State.UNCONFIRMED, {"provider": "evolink"})
        call(web, callback_path(job), {**COMPLETED["evolink"], "id": "x" * length})
        nudge = web.now(job.id).nudge
        assert nudge is not None
        assert (nudge.task_id == "x" * length) is kept


def test_a_thumbnails_address_longer_than_any_is_not_kept(web: Web) -> None:
    for length, kept in ((1000, True), (1001, False)):
        job, body = web.running("apimodels"), sample("apimodels", "callback_completed_objects")
        url = "https://cdn.example/".ljust(length, "x")
        body["data"]["resultJson"]["thumbnailUrl"] = url
        call(web, callback_path(job), body)
        nudge = web.now(job.id).nudge
        assert nudge is not None
        assert (nudge.thumbnail_url == url) is kept


def test_the_json_strings_inside_may_be_objects_already(web: Web) -> None:
    job = web.running("apimodels")

    assert taken(call(web, callback_path(job), sample("apimodels", "callback_completed_objects")))


def test_a_callback_may_begin_with_a_mark_of_its_encoding(web: Web) -> None:
    job = web.running("evolink")

    assert taken(call(web, callback_path(job), raw=b"\xef\xbb\xbf" + json.dumps(COMPLETED["evolink"]).encode()))


# --- who is nobody


def nobodies(web: Web, job: Job) -> dict[str, str]:
    """Addresses at which nobody is."""
    other, provider = web.running("evolink"), job.current.provider
    right = callback_path(job).rsplit("/", 1)[1]
    number, _, digest = right.partition("-")
    sixth = credentials.make_token(["secret-of-tokens"], provider, job.id, 6)
    at = f"/callbacks/{provider}/{job.id}"
    absent = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    return {
        "a wrong token": f"{at}/{number}-{'A' * 32}",
        "a token cut short": f"{at}/{right[:-1]}",
        "a token and more": f"{at}/{right}x",
        "a token in capitals": f"{at}/{right.upper()}",
        "a number only": f"{at}/{number}",
        "a digest only": f"{at}/{digest}",
        "another attempt's number": f"{at}/2-{digest}",
        "a number with a zero": f"{at}/0{number}-{digest}x",
        "another number's digest": f"{at}/{number}-{sixth.partition('-')[2]}",
        "a number too large": f"{at}/{'9' * 5000}-{digest}",
        "a number in other digits": f"{at}/١-{digest}",
        "no number": f"{at}/-{digest}",
        "another job's token": f"{at}/{callback_path(other).rsplit('/', 1)[1]}",
        "another key's token": f"{at}/{credentials.make_token(['another'], provider, job.id, 1)}",
        "an empty key's token": f"{at}/{credentials.make_token([''], provider, job.id, 1)}",
        "odd letters": f"{at}/%00%ff%F0%9F%AA%81",
        "another gateway": f"/callbacks/apimodels/{job.id}/{right}",
        "an unknown gateway": f"/callbacks/luma/{job.id}/{make_token(['secret-of-tokens'], 'luma', job.id, 1)}",
        "a gateway in capitals": f"/callbacks/EVOLINK/{job.id}/{right}",
        "an unknown job": f"/callbacks/evolink/{absent}/{make_token(['secret-of-tokens'], 'evolink', absent, 1)}",
        "an odd job": f"/callbacks/evolink/%00/{credentials.make_token(['secret-of-tokens'], 'evolink', chr(0), 1)}",
        "another's job, our token": f"/callbacks/evolink/{other.id}/{right}",
    }


def told(answer: TestResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    return answer.status_code, answer.get_data(), sorted(answer.headers.items())


def test_whoever_is_nobody_is_told_the_same(web_on_each: Web) -> None:
    web = web_on_each
    job = web.running("evolink")
    addresses = nobodies(web, job)

    answers = {why: told(call(web, path, COMPLETED["evolink"])) for why, path in addresses.items()}

    first = answers["an unknown job"]
    assert first[0] == 404
    refused(call(web, addresses["an unknown job"], COMPLETED["evolink"]), 404, "not_found")
    assert {why for why, answer in answers.items() if answer != first} == set()
    assert web.now(job.id) == job


def test_a_wrong_token_costs_the_ledger_nothing() -> None:
    counting = Counting(MemoryStore())
    web = Web(parts_over(counting))
    job = web.running("evolink")
    addresses = nobodies(web, job)
    counting.calls.clear()

    for why, path in addresses.items():
        if why not in ("an unknown job", "an odd job"):
            call(web, path, COMPLETED["evolink"])

    assert counting.calls == []


@pytest.mark.parametrize("keys", ["secret-of-tokens", "newest,secret-of-tokens", "newest,newer,secret-of-tokens"])
def test_a_token_of_a_key_that_is_being_replaced_still_opens(keys: str) -> None:
    web = Web(parts_over(MemoryStore(), RUSHES_SECRET_KEY=keys))
    job = web.running("evolink")

    assert taken(call(web, callback_path(job, "secret-of-tokens"), COMPLETED["evolink"]))
    assert taken(call(web, callback_path(job, keys.split(",")[0]), COMPLETED["evolink"]))
    refused(call(web, callback_path(job, "long-gone"), COMPLETED["evolink"]), 404)
    asked_for = web.parts.callback_url(job, "evolink", 1)
    assert asked_for == "https://rushes.example" + callback_path(job, keys.split(",")[0])


# --- what cannot be read


GARBLED: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  \n",
    "a word": b"completed",
    "a form": b"status=completed&id=task-1",
    "html": b"<html>502</html>",
    "cut off": b'{"id": "task-1", "status": "comp',
    "a comma too many": b'{"status": "completed",}',
    "two of them": b'{"status": "completed"}{}',
    "NaN": b'{"status": "completed", "progress": NaN}',
    "latin-1": '{"status": "completed", "message": "é"}'.encode("latin-1"),
    "utf-16": '{"status": "completed"}'.encode("utf-16"),
    "NUL": b"\x00",
    "bytes": bytes(range(256)),
    "zipped": b"\x1f\x8b\x08\x00",
    "too deep": b"[" * 100_000,
    "too deep to the end": b'{"status": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a number of 5000 digits": b'{"status": "completed", "progress": ' + b"9" * 5000 + b"}",
    "null": b"null",
    "true": b"true",
    "a number": b"200",
    "a text": b'"completed"',
    "a list of two": b'[{"status": "completed"}, {"status": "completed"}]',
    "an empty list": b"[]",
    "an empty object": b"{}",
    "no state": b'{"id": "task-1"}',
    "data null": b'{"data": null}',
    "data a text": b'{"data": "completed"}',
    "data a list": b'{"data": ["completed"]}',
    "data without state": b'{"data": {"taskId": "task-1"}}',
    "state null": b'{"status": null, "data": {"state": null, "status": null}}',
    "state empty": b'{"status": "", "data": {"state": "", "status": ""}}',
    "state blank": b'{"status": " ", "data": {"state": " ", "status": " "}}',
    "state a flag": b'{"status": true, "data": {"state": true, "status": true}}',
    "state an empty list": b'{"status": [], "data": {"state": [], "status": []}}',
    "state an object": b'{"status": {"a": 1}, "data": {"state": {"a": 1}, "status": {"a": 1}}}',
    "state a fraction": b'{"status": 1.5, "data": {"state": 1.5, "status": 1.5}}',
}


WRAPPED: dict[str, bytes] = {
    "a list of one": b'[{"status": "completed"}]',
    "JSON in a text": b'"{\\"status\\": \\"completed\\"}"',
    "state a list of one": b'{"status": ["completed"]}',
    "data in a text": b'{"data": "{\\"status\\": \\"completed\\"}"}',
    "names in capitals": b'{"Status": "Completed"}',
}


@pytest.mark.parametrize("body", WRAPPED.values(), ids=WRAPPED)
def test_a_state_in_another_wrapping_is_a_hint(door: Web, body: bytes) -> None:
    for job in map(door.running, GATEWAYS):
        assert call(door, callback_path(job), raw=body).status_code == 200
        assert door.now(job.id).nudge is not None, job.provider


@pytest.mark.parametrize("body", GARBLED.values(), ids=GARBLED)
def test_what_cannot_be_read_is_a_400_and_no_hint(door: Web, body: bytes) -> None:
    for job in map(door.running, GATEWAYS):
        refused(call(door, callback_path(job), raw=body), 400, "bad_request")
        assert door.now(job.id) == job, job.provider


@pytest.mark.parametrize("field", ["resultJson", "param"])
@pytest.mark.parametrize(
    "inner",
    ["", " ", "completed", "{", "{'a': 1}", "null,", "{}{}", "\x00", "[" * 100_000, '{"resultUrls": ["https://x"'],
)
def test_json_inside_that_is_none_is_a_400(door: Web, field: str, inner: str) -> None:
    job = door.running("apimodels")
    body = {**COMPLETED["apimodels"], "data": {**COMPLETED["apimodels"]["data"], field: inner}}

    error = refused(call(door, callback_path(job), body), 400, "bad_request")
    assert field in error["message"]
    assert door.now(job.id) == job


@pytest.mark.parametrize("name", ["callback_param_not_json", "callback_result_not_json", "callback_stateless"])
def test_the_gateways_own_slips_are_400s(door: Web, name: str) -> None:
    refused(call(door, callback_path(door.running("apimodels")), sample("apimodels", name)), 400)


def test_a_callback_of_more_than_a_mebibyte_is_a_413(web: Web) -> None:
    job = web.running("evolink")
    filled = json.dumps({**COMPLETED["evolink"], "padding": ""}).encode()
    largest = filled.replace(b'"padding": ""', b'"padding": "' + b"x" * ((1 << 20) - len(filled)) + b'"')

    refused(call(web, callback_path(job), raw=largest + b" "), 413, "too_large")
    assert web.now(job.id) == job
    assert len(largest) == 1 << 20
    assert taken(call(web, callback_path(job), raw=largest))


# --- what it costs


@pytest.mark.parametrize("body", [COMPLETED, FAILED, RUNNING], ids=["completed", "failed", "running"])
@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_callback_is_one_call_to_the_ledger(store: Store, provider: str, body: dict[str, Any]) -> None:
    counting = Counting(store)
    web = Web(parts_over(counting))
    job = web.running(provider)
    counting.calls.clear()

    for _ in range(2):
        call(web, callback_path(job), body[provider])

    assert counting.calls == ["nudge", "nudge"]


def test_a_callback_that_cannot_be_read_costs_the_ledger_nothing() -> None:
    counting = Counting(MemoryStore())
    web = Web(parts_over(counting))
    job = web.running("evolink")
    counting.calls.clear()

    call(web, callback_path(job), raw=b"{")

    assert counting.calls == []


@pytest.mark.parametrize("confirm", ["true", "false"])
def test_with_the_ledger_away_the_gateway_is_to_call_again(confirm: str) -> None:
    job = Web(parts_over(MemoryStore())).running("evolink")
    web = Web(parts_over(Away(), RUSHES_CALLBACK_CONFIRM=confirm))

    for body in (COMPLETED, FAILED, RUNNING):
        answer = call(web, callback_path(job), body["evolink"])
        refused(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0


class Log(io.StringIO):
    """Where a process of ours logs to."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_terminal  # type: ignore[method-assign]


@pytest.fixture(params=[False, True], ids=["to a file", "to a terminal"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """What is logged from now on, as a process of ours logs."""
    before, handlers, records = structlog.get_config(), logging.root.handlers[:], logging.getLogRecordFactory()
    made = Log(request.param)
    monkeypatch.setattr(sys, "stderr", made)
    logs.configure()
    yield made
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.setLogRecordFactory(records)


def test_no_token_is_in_any_answer_or_log(web: Web, log: Log, monkeypatch: Any) -> None:
    job = web.running("evolink")
    path = callback_path(job)
    token = secret_in(path)
    away = Web(parts_over(Away()))
    bodies = [b"{", b" " * (2 << 20), json.dumps(COMPLETED["evolink"]).encode()]

    answers = [call(door, path, raw=body) for door in (web, away) for body in bodies]
    answers.append(call(web, path.replace("evolink", "newapi"), raw=bodies[2]))
    answers.append(web.nobody.get(path))
    monkeypatch.setattr(type(web.parts.ledger), "nudge", lambda *_: 1 / 0)
    answers.append(call(web, path, raw=bodies[2]))

    assert [answer.status_code for answer in answers] == [400, 413, 200, 400, 413, 503, 404, 405, 500]
    assert [a for a in answers if token in a.text or token in str(a.headers)] == []
    assert "ZeroDivisionError" in log.getvalue()
    assert token not in log.getvalue()


# --- where callbacks are believed


@pytest.fixture
def believing(store: Store) -> Web:
    return Web(parts_over(store, RUSHES_CALLBACK_CONFIRM="false"))


@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_believed_success_is_archived_at_once_and_only_once(believing: Web, provider: str) -> None:
    job = believing.running(provider)

    assert taken(call(believing, callback_path(job), COMPLETED[provider]))
    after = believing.now(job.id)
    for body in (COMPLETED, FAILED, RUNNING, COMPLETED):
        assert taken(call(believing, callback_path(job), body[provider]))

    assert (after.state, after.current.heard_by) == (State.ARCHIVING, "callback")
    assert after.current.link is not None
    again = believing.now(job.id)
    assert (again.state, again.attempts, again.history) == (after.state, after.attempts, after.history)


@pytest.mark.parametrize("provider", GATEWAYS)
def test_a_believed_failure_ends_the_job_once(believing: Web, provider: str) -> None:
    job = believing.running(provider)

    assert taken(call(believing, callback_path(job), FAILED[provider]))
    after = believing.now(job.id)
    for body in (FAILED, COMPLETED):
        assert taken(call(believing, callback_path(job), body[provider]))

    assert (after.state, after.current.heard_by) == (State.FAILED, "callback")
    assert believing.now(job.id) == after


@pytest.mark.parametrize("provider", GATEWAYS)
def test_news_that_ends_nothing_is_only_a_hint_there_too(believing: Web, provider: str) -> None:
    job = believing.running(provider)

    assert taken(call(believing, callback_path(job), RUNNING[provider]))
    assert believing.now(job.id).nudge is not None


def test_a_completion_without_a_clip_is_never_believed(believing: Web) -> None:
    job = believing.running("evolink")

    assert taken(call(believing, callback_path(job), {**COMPLETED["evolink"], "results": []}))
    after = believing.now(job.id)
    assert (after.state, after.attempts) == (State.RUNNING, job.attempts)
    assert after.nudge is not None


def test_what_is_believed_settles_an_unconfirmed_submit(believing: Web) -> None:
    job = believing.standing(State.UNCONFIRMED, {"provider": "evolink"})

    call(believing, callback_path(job), COMPLETED["evolink"])

    after = believing.now(job.id)
    assert (after.state, after.current.task_id) == (State.ARCHIVING, COMPLETED["evolink"]["id"])


def test_whoever_is_nobody_is_told_the_same_there_too(believing: Web) -> None:
    job = believing.running("evolink")
    addresses = nobodies(believing, job)

    answers = {why: told(call(believing, path, COMPLETED["evolink"])) for why, path in addresses.items()}

    assert set(map(str, answers.values())) == {str(answers["an unknown job"])}
    assert answers["an unknown job"][0] == 404


def test_an_earlier_attempts_end_does_not_end_the_job(believing: Web) -> None:
    first = attempt(1, provider="evolink", status=AttemptStatus.FAILED, task_id="task-1", ended_at=NOW)
    second = attempt(2, provider="apimodels", status=AttemptStatus.RUNNING, task_id="task-2", submitted_at=NOW + SECOND)
    job = believing.standing(State.RUNNING, attempts=(first, second))
    path = f"/callbacks/evolink/{job.id}/{credentials.make_token(['secret-of-tokens'], 'evolink', job.id, 1)}"

    assert taken(call(believing, path, FAILED["evolink"]))
    assert believing.now(job.id).state is State.RUNNING


# --- apimart adds `/callback` to the address that it was given


@pytest.mark.parametrize("provider", GATEWAYS)
def test_the_address_with_callback_after_it_is_the_same(web_on_each: Web, provider: str) -> None:
    job = web_on_each.running(provider)

    for body in (RUNNING, COMPLETED, COMPLETED):
        assert taken(call(web_on_each, f"{callback_path(job)}/callback", body[provider]))
    after = web_on_each.now(job.id)
    assert after.nudge is not None
    assert (after.nudge.task_id, after.state) == ("task-1", State.RUNNING)


def test_what_is_not_ours_is_unknown_there_too(web: Web) -> None:
    job = web.running("apimart")

    refused(call(web, f"{callback_path(job, key='another')}/callback", COMPLETED["apimart"]), 404)
    refused(call(web, f"{callback_path(job)}/callback/callback", COMPLETED["apimart"]), 404)
    assert web.now(job.id).nudge is None


def gone(web: Web) -> Job:
    """A job of ours that the ledger does not have any more."""
    job = web.running("apimart")
    web.parts.ledger.store.strings.clear()
    return job


@pytest.mark.parametrize("tail", ["", "/callback"])
def test_while_the_ledger_may_get_a_job_back_its_callback_is_to_come_again(tail: str) -> None:
    web = Web(parts_over(MemoryStore(), RUSHES_JOURNAL="true"))
    web.parts = replace(web.parts, intake=replace(web.parts.intake, fresh=lambda: False))  # the journal has entries
    web = Web(web.parts)
    job, answers = gone(web), []
    answers.append(call(web, callback_path(job) + tail, COMPLETED["apimart"]))  # a Redis that lost all that it had
    web.parts.ledger.continuity.set_mark("another server", NOW)
    answers.append(call(web, callback_path(job) + tail, COMPLETED["apimart"]))
    web.parts.ledger.continuity.set_mark("memory", NOW)
    answers.append(call(web, callback_path(job) + tail, COMPLETED["apimart"]))

    assert [answer.status_code for answer in answers] == [503, 503, 404]
