"""Callbacks that named another task than their attempt has: kept when they arrive, listed, replayed by hand."""

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
from rushes.webhook_receiver.auth import Caller, authenticate, services
from rushes.webhook_receiver.list_query import page_size
from rushes.webhook_receiver.openapi import answers, blueprint, describes, query, refuses
from rushes.webhook_receiver.request_body import BODY_BYTES as REQUEST_BODY_BYTES

quarantine_api = blueprint("quarantine", "Callbacks that named another task; they changed nothing.")

LIMIT = [query("limit", "At most so many callbacks.", type="integer", minimum=1, maximum=100, default=20)]
HISTORY_NOTE = "a callback named another task"
STATUS_WORD_CHARS = 80


# --- when they arrive


def quarantine_callback(provider: str, job_id: str, attempt: int, task_id: str | None, body: bytes, token: str) -> None:
    """Put a callback into the quarantine, and note it in the history of its job."""
    job, now = services().ledger.get(job_id), services().now()
    if job is None:
        return
    expected_task_id = next((each.task_id for each in job.attempts if each.number == attempt), None)
    text = body_to_show(body, token)
    word = read_status_word(provider, body)
    callback = QuarantinedCallback(now, provider, job_id, job.tenant, attempt, task_id, expected_task_id, word, text)
    if services().ledger.quarantine.keep(callback):
        services().ledger.note(job_id, HISTORY_NOTE, task_id or "(none)", now)


def body_to_show(body: bytes, token: str) -> str:
    """The part of a body that may be shown: without keys, signed links, and the token if the gateway repeats it."""
    secret = token.partition("-")[2].encode()
    text = redacted(body[:REQUEST_BODY_BYTES].replace(secret, b"..."), BODY_BYTES)
    return text.encode()[:BODY_BYTES].decode(errors="ignore")


def read_status_word(provider: str, body: bytes) -> str | None:
    """The state that a body names, in the gateway's own word."""
    with suppress(ValueError, RecursionError, AttributeError):
        word = PROVIDERS[provider].status_word(json.loads(body.decode("utf-8-sig")))
        return word[:STATUS_WORD_CHARS] if word else None
    return None


# --- for operators


@quarantine_api.get("/v1/quarantine")
@answers(200, openapi_responses.QuarantinedCallbacks, "The callbacks, newest first.")
@refuses(401, 422, 429, 503)
@describes(parameters=LIMIT)
def list_callbacks() -> Response:
    """The callbacks in the quarantine, newest first."""
    return jsonify({"data": quarantined_callbacks(authenticate(), page_size())})


@quarantine_api.post("/v1/quarantine/<callback_id>/replay")
@answers(202, openapi_responses.Job, "The job; the gateway is asked now, and its response decides.")
@refuses(401, 404, 409, 429, 503)
def replay(callback_id: str) -> Response:
    """Use a callback as a hint after all: its gateway is asked now. An unconfirmed job gets the task that it named."""
    response = jsonify(document(replay_callback(callback_id, authenticate())))
    response.status_code = 202
    return response


@quarantine_api.delete("/v1/quarantine/<callback_id>")
@answers(204, description="The callback is deleted.")
@refuses(401, 404, 429, 503)
def forget(callback_id: str) -> Response:
    """Delete a callback from the quarantine."""
    forget_callback(callback_id, authenticate())
    return Response(status=204)


def quarantined_callbacks(caller: Caller, limit: int = 100) -> list[dict[str, Any]]:
    """The quarantined callbacks of the jobs that the caller may see, newest first."""
    return [
        callback_document(callback)
        for callback in services().ledger.quarantine.newest(caller.scope, services().now(), limit)
    ]


def replay_callback(callback_id: str, caller: Caller) -> Job:
    """Apply the callback as a hint, delete it and return its job; raises 404, or 409 where nothing can be asked."""
    callback, now = find_callback(callback_id, caller), services().now()
    job = services().ledger.get(callback.job_id)
    if job is None:
        raise NotFound("The job of this callback is gone.")
    if job.provider != callback.provider:
        raise Unacceptable("conflict", f"The job is no longer at {callback.provider}.", 409)
    job_after = services().ledger.apply(job.id, events.Replayed(task_id=callback.task_id), now)
    if job_after is None or job_after.nudge is None or job_after.due_at != now:
        raise Unacceptable("conflict", f"The job is {job.state.value}; there is nothing to ask.", 409)
    services().ledger.quarantine.drop(callback_id)
    return job_after


def forget_callback(callback_id: str, caller: Caller) -> None:
    """Delete a callback that the caller may see; raises 404."""
    services().ledger.quarantine.drop(find_callback(callback_id, caller).id)


def find_callback(callback_id: str, caller: Caller) -> QuarantinedCallback:
    callback = services().ledger.quarantine.get(callback_id, caller.scope, services().now())
    if callback is None:
        raise NotFound("There is no such callback in quarantine.")
    return callback


def callback_document(callback: QuarantinedCallback) -> dict[str, Any]:
    return {
        "id": callback.id,
        "at": moment(callback.at),
        "provider": callback.provider,
        "job_id": callback.job_id,
        "tenant": callback.tenant,
        "attempt": callback.attempt,
        "task_id": callback.task_id,
        "expected_task_id": callback.expected,
        "status_word": callback.word,
        "body": callback.body,
    }
