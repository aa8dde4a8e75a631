"""Callbacks that named another task than their attempt has: set aside when they come, shown, followed by hand."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from flask import Response, jsonify
from werkzeug.exceptions import NotFound

from rushes.shared.domain import events
from rushes.shared.domain.job import Job
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.job_document import document, moment
from rushes.shared.ledger.quarantine import BODY_BYTES, QuarantinedCallback
from rushes.shared.operations.task_query import redacted
from rushes.shared.providers import PROVIDERS
from rushes.webhook_receiver import openapi_responses
from rushes.webhook_receiver.auth import Caller, caller, services
from rushes.webhook_receiver.list_query import page_size
from rushes.webhook_receiver.openapi import answers, blueprint, notes, query, refuses
from rushes.webhook_receiver.request_body import BODY_BYTES as MOST_BYTES

strays_api = blueprint("quarantine", "Callbacks that named another task: nothing was done about them.")

SHOWN = [query("limit", "At most so many.", type="integer", minimum=1, maximum=100, default=20)]
WHAT = "a callback named another task"
WORD_CHARS = 80


# --- as they come


def set_aside(provider: str, job_id: str, attempt: int, task_id: str | None, body: bytes, token: str) -> None:
    """Keep a callback that is not followed, and say so in its job's history."""
    job, now = services().ledger.get(job_id), services().now()
    if job is None:
        return
    expected = next((one.task_id for one in job.attempts if one.number == attempt), None)
    said = shown_body(body, token)
    word = status_word(provider, body)
    stray = QuarantinedCallback(now, provider, job_id, job.tenant, attempt, task_id, expected, word, said)
    if services().ledger.quarantine.keep(stray):
        services().ledger.note(job_id, WHAT, task_id or "(none)", now)


def shown_body(body: bytes, token: str) -> str:
    """What may be shown of a body: no keys, no signed links, and not our own address if the gateway repeats it."""
    secret = token.partition("-")[2].encode()
    text = redacted(body[:MOST_BYTES].replace(secret, b"..."), BODY_BYTES)
    return text.encode()[:BODY_BYTES].decode(errors="ignore")


def status_word(provider: str, body: bytes) -> str | None:
    """Its state in the gateway's own word."""
    with suppress(ValueError, RecursionError, AttributeError):
        word = PROVIDERS[provider].status_word(json.loads(body.decode("utf-8-sig")))
        return word[:WORD_CHARS] if word else None
    return None


# --- as they are looked at


@strays_api.get("/v1/quarantine")
@answers(200, openapi_responses.Strays, "These.")
@refuses(401, 422, 429, 503)
@notes(parameters=SHOWN)
def listed() -> Response:
    """Callbacks that were set aside, newest first."""
    return jsonify({"data": strays(caller(), page_size())})


@strays_api.post("/v1/quarantine/<stray_id>/replay")
@answers(202, openapi_responses.Job, "The gateway is asked now; its word decides.")
@refuses(401, 404, 409, 429, 503)
def replay(stray_id: str) -> Response:
    """Follow a callback after all: its job is looked at now, an unconfirmed one under the task that it named."""
    answer = jsonify(document(replayed(stray_id, caller())))
    answer.status_code = 202
    return answer


@strays_api.delete("/v1/quarantine/<stray_id>")
@answers(204, description="It is gone.")
@refuses(401, 404, 429, 503)
def forget(stray_id: str) -> Response:
    """Forget one."""
    forgotten(stray_id, caller())
    return Response(status=204)


def strays(asking: Caller, limit: int = 100) -> list[dict[str, Any]]:
    """What was set aside of the caller's jobs, newest first."""
    return [shown(stray) for stray in services().ledger.quarantine.newest(asking.scope, services().now(), limit)]


def replayed(stray_id: str, asking: Caller) -> Job:
    """The job after the callback was taken for a hint, and forgotten; raises 404, or 409 where it can tell nothing."""
    stray, now = found(stray_id, asking), services().now()
    job = services().ledger.get(stray.job_id)
    if job is None:
        raise NotFound("Its job is gone.")
    if job.provider != stray.provider:
        raise Unacceptable("conflict", f"The job is not at {stray.provider} any more.", 409)
    moved = services().ledger.apply(job.id, events.Replayed(task_id=stray.task_id), now)
    if moved is None or moved.nudge is None or moved.due_at != now:
        raise Unacceptable("conflict", f"The job is {job.state.value}; there is nothing to ask.", 409)
    services().ledger.quarantine.drop(stray_id)
    return moved


def forgotten(stray_id: str, asking: Caller) -> None:
    """Forget one of the caller's; raises 404."""
    services().ledger.quarantine.drop(found(stray_id, asking).id)


def found(stray_id: str, asking: Caller) -> QuarantinedCallback:
    stray = services().ledger.quarantine.get(stray_id, asking.scope, services().now())
    if stray is None:
        raise NotFound("There is no such callback in quarantine.")
    return stray


def shown(stray: QuarantinedCallback) -> dict[str, Any]:
    return {
        "id": stray.id,
        "at": moment(stray.at),
        "provider": stray.provider,
        "job_id": stray.job_id,
        "tenant": stray.tenant,
        "attempt": stray.attempt,
        "task_id": stray.task_id,
        "expected_task_id": stray.expected,
        "status_word": stray.word,
        "body": stray.body,
    }
