"""The Jobs API: enqueue, look, decide (CONTRACT.md)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from decimal import Decimal
from threading import BoundedSemaphore
from typing import Any

from flask import Response, jsonify, redirect, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from rushes.shared.domain import events, money
from rushes.shared.domain.ids import CROCKFORD
from rushes.shared.domain.job import Job, State
from rushes.shared.intake.estimates import quotes
from rushes.shared.intake.intake import KEY_CHARS, Receipt, Unacceptable, length_s
from rushes.shared.intake.job_document import document
from rushes.shared.intake.schema import JobRequest
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.media.probe import InputRejected, InputUnreachable, probe_inputs
from rushes.shared.operations.retry import retry
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Ask
from rushes.webhook_receiver import openapi_responses
from rushes.webhook_receiver.auth import Caller, caller, services
from rushes.webhook_receiver.list_query import PAGE, PAGE_MAX, asked, bad_query, page_size
from rushes.webhook_receiver.openapi import LOCATION, NOTICES, answers, blueprint, header, notes, query, refuses, takes
from rushes.webhook_receiver.request_body import json_body
from rushes.webhook_receiver.shutdown import STOPPING

jobs_api = blueprint("jobs", "Enqueue, look, decide.")

# The caller waits for the estimate.
PROBE_S = 6.0
HEARTBEAT_S, LOOK_S = 15, 0.5
# A browser that lost a stream comes back after this long.
RETRY_MS = 1000
# Each stream holds a thread of the server: half of them are left for callbacks and for everybody else.
STREAMS_MAX = 16
STREAMS = BoundedSemaphore(STREAMS_MAX)
JOB_ID = re.compile(f"job_[{CROCKFORD}]{{26}}")
TASK_ID = re.compile(r"[!-~]{1,200}")

EXAMPLE = {"model": "kling-v3", "prompt": "a red kite over the sea", "duration": 5}
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "For a week, the same key with the same body gives the first job again; with another body, 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS},
}
TRACEPARENT = {
    "in": "header",
    "name": "traceparent",
    "description": "W3C Trace Context: the notification of the end belongs to the same trace. What is none is ignored.",
    "schema": {"type": "string"},
}
REPLAYED = {"Idempotent-Replayed": header("true.")}
STREAM = "Events `status` and `progress`, each with the job document as it is then; ends with the job."
PAGING = [
    query("status", "Only these.", type="array", items={"type": "string", "enum": [*State]}),
    query("provider", "Only this gateway's.", type="string", enum=[*PROVIDERS]),
    query("limit", "Jobs on a page.", type="integer", minimum=1, maximum=PAGE_MAX, default=PAGE),
    query("cursor", "`next_cursor` of the page before.", type="string", pattern=openapi_responses.JOB_ID),
]


@jobs_api.post("/v1/jobs")
@answers(202, openapi_responses.Job, "Taken in.", LOCATION)
@answers(200, openapi_responses.Job, "Taken in before, under the same key.", {**LOCATION, **REPLAYED})
@takes(JobRequest, **EXAMPLE)
@refuses(400, 401, 409, 413, 415, 422, 429, 503)
@notes(parameters=[IDEMPOTENCY_KEY, TRACEPARENT], callbacks=NOTICES)
def create() -> Response:
    """Take a job in."""
    asking = caller()
    key, trace = request.headers.get("Idempotency-Key"), request.headers.get("traceparent")
    receipt = services().intake.accept(json_body(), asking.tenant, key, services().now(), trace)
    return taken(receipt)


def taken(receipt: Receipt) -> Response:
    """The answer to who brought a job: 202, or 200 where it was brought before."""
    answer = shown(receipt.job)
    answer.status_code = 200 if receipt.replayed else 202
    answer.headers["Location"] = f"/v1/jobs/{receipt.job.id}"
    if receipt.replayed:
        answer.headers["Idempotent-Replayed"] = "true"
    return answer


@jobs_api.get("/v1/jobs")
@answers(200, openapi_responses.Jobs, "A page.")
@refuses(401, 422, 429, 503)
@notes(parameters=PAGING)
def newest() -> Response:
    """Jobs, newest first, a page at a time."""
    asking = caller()
    limit, wanted, provider, cursor = page_size(), states(asked("status")), asked("provider"), asked("cursor")
    if provider and provider not in PROVIDERS:
        raise bad_query("provider", f"Not one of {', '.join(PROVIDERS)}.")
    if cursor and not JOB_ID.fullmatch(cursor):
        raise bad_query("cursor", "Not the next_cursor of a page.")
    found = services().ledger.overview.newest(asking.scope, limit + 1, cursor, wanted, provider or None)
    page = found[:limit]
    next_cursor = page[-1].id if len(found) > limit else None
    return jsonify({"data": [document(job, presign) for job in page], "next_cursor": next_cursor})


def states(text: str) -> list[State]:
    names = [name for name in text.split(",") if name]
    if not set(names) <= set(State):
        raise bad_query("status", f"Not one of {', '.join(State)}.")
    return [State(name) for name in names]


@jobs_api.get("/v1/jobs/<job_id>")
@answers(200, openapi_responses.Job, "The job.")
@refuses(401, 404, 429, 503)
def show(job_id: str) -> Response:
    """One job."""
    return shown(mine(job_id, caller()))


@jobs_api.get("/v1/jobs/<job_id>/content")
@answers(302, description="To the clip in the bucket, presigned for an hour.", headers=LOCATION)
@refuses(401, 404, 409, 429, 503)
def content(job_id: str) -> AnyResponse:
    """The way to the clip."""
    job = mine(job_id, caller())
    if job.state is not State.COMPLETED or job.result is None:
        raise Unacceptable("not_completed", f"The job is {job.state.value}; there is no clip of it yet.", 409)
    return redirect(presign(job.result.key), 302)


@jobs_api.post("/v1/jobs/<job_id>/cancel")
@answers(200, openapi_responses.Job, "It is canceled.")
@refuses(401, 404, 409, 429, 503)
def cancel(job_id: str) -> Response:
    """Take a job back that no gateway has yet."""
    return shown(canceled(mine(job_id, caller())))


def canceled(job: Job) -> Job:
    """The job taken back; raises Unacceptable 409 where a gateway has it."""
    moved = services().ledger.apply(job.id, events.Canceled(), services().now())
    if moved is None or moved.state is not State.CANCELED:
        raise Unacceptable("not_cancelable", "A gateway has it: it is paid for and will be archived.", 409)
    return moved


@jobs_api.post("/v1/jobs/<job_id>/retry")
@answers(202, openapi_responses.Job, "The new job.", LOCATION)
@answers(
    200, openapi_responses.Job, "The new job that came of it before, under the same key.", {**LOCATION, **REPLAYED}
)
@notes(parameters=[IDEMPOTENCY_KEY])
@refuses(401, 404, 409, 422, 429, 503)
def retry_job(job_id: str) -> Response:
    """Try a failed job again, as a new one."""
    receipt = retry(mine(job_id, caller()), services(), services().now(), request.headers.get("Idempotency-Key"))
    return taken(receipt)


ACTIONS = ("resubmit", "fail", "adopt")


@jobs_api.post("/v1/jobs/<job_id>/resolve")
@answers(200, openapi_responses.Job, "It is decided.")
@takes(openapi_responses.DECISION)
@refuses(400, 401, 404, 409, 413, 415, 422, 429, 503)
def resolve(job_id: str) -> Response:
    """Decide about a submit whose answer never came."""
    job = mine(job_id, caller())
    body = json_body()
    said = body if isinstance(body, dict) else {}
    return shown(resolved(job, said.get("action"), said.get("task_id")))


def resolved(job: Job, action: Any, task_id: Any) -> Job:
    """The job as decided; raises Unacceptable 422 where the decision is none, 409 where there is nothing to decide."""
    if action not in ACTIONS:
        problem = {"action": [f"Not one of {', '.join(ACTIONS)}."]}
        raise Unacceptable("invalid_request", "The request does not fit: action.", 422, problem)
    if action == "adopt" and not (isinstance(task_id, str) and TASK_ID.fullmatch(task_id)):
        problem = {"task_id": ["Required to adopt: the gateway's id of the task."]}
        raise Unacceptable("invalid_request", "The request does not fit: task_id.", 422, problem)
    if job.state is not State.UNCONFIRMED:
        raise Unacceptable("not_unconfirmed", f"The job is {job.state.value}; there is nothing to resolve.", 409)
    return services().ledger.apply(job.id, events.Resolved(action, task_id), services().now()) or job


@jobs_api.get("/v1/jobs/<job_id>/events")
@answers(200, openapi_responses.Event, STREAM, kind="text/event-stream")
@answers(204, description="All was told before, and the job has ended: do not come back.")
@refuses(401, 404, 429, 503)
def follow(job_id: str) -> Response:
    """A job's way as server-sent events, until its end."""
    asking = caller()
    job = mine(job_id, asking)
    last_id = request.headers.get("Last-Event-ID", "")
    if job.ended and last_id.partition("-")[2] == mark_of(job):
        return Response(status=204)
    if not STREAMS.acquire(blocking=False):
        raise Unacceptable("rate_limited", "Too many streams are open; look at the job itself instead.", 429)
    stream = told(job, last_id, services().ledger.get)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    answer = Response(stream, mimetype="text/event-stream", headers=headers)
    answer.call_on_close(STREAMS.release)
    return answer


def mark_of(job: Job) -> str:
    """What a stream tells of a job; where it is the same, there is nothing to tell."""
    return f"{job.state.value}-{job.progress}"


def told(job: Job, last_id: str, look: Any) -> Iterator[str]:
    """Status and progress as they change; a comment at once, and now and then, shows that the connection lives.

    An id holds the version, so that no two are the same, and what was seen, so that it is not told again.
    """
    _, _, seen = last_id.partition("-")
    yield f"retry: {RETRY_MS}\n: here\n\n"
    quiet_since = time.monotonic()
    while True:
        mark = mark_of(job)
        if mark != seen:
            kind = "progress" if seen.partition("-")[0] == job.state.value else "status"
            data = json.dumps(document(job), ensure_ascii=False)
            yield f"id: {job.version}-{mark}\nevent: {kind}\ndata: {data}\n\n"
            seen, quiet_since = mark, time.monotonic()
        if job.ended:
            return
        if time.monotonic() - quiet_since > HEARTBEAT_S:
            yield ": still here\n\n"
            quiet_since = time.monotonic()
        if STOPPING.wait(LOOK_S):
            return  # who follows comes back with Last-Event-ID, to another process
        try:
            job = look(job.id) or job
        except LedgerUnavailable:
            continue


@jobs_api.post("/v1/estimates")
@answers(200, openapi_responses.Estimates, "Able gateways first, cheapest first.")
@takes(JobRequest, **EXAMPLE)
@refuses(400, 401, 413, 415, 422, 429)
def estimates() -> Response:
    """What each enabled gateway would be sent, and for how much; nothing is spent."""
    caller()
    return jsonify({"data": estimated(json_body())})


def estimated(wanted: Any) -> list[dict[str, Any]]:
    """The estimate of each enabled gateway; raises Unacceptable where no job could be made of this."""
    body = services().intake.request(wanted)
    seconds = length_s(body) or reference_s(body)
    return [
        {
            "provider": quote.provider,
            "able": quote.able,
            "estimated_cost_usd": money.text(quote.estimated_usd),
            "would_send": would_send(quote.provider, body, seconds) if quote.able else None,
            "why_not": quote.why_not,
        }
        for quote in quotes(body, services().settings.gateways, services().prices, seconds)
    ]


def reference_s(body: dict[str, Any]) -> Decimal | None:
    """How long the reference of a motion request is; None where it does not answer now.

    Raises Unacceptable where an input breaks a rule: a job with it would fail before anything is spent.
    """
    try:
        found = probe_inputs(body, services().http_client, services().fetchable, deadline_s=PROBE_S)
    except InputRejected as rejected:
        raise Unacceptable("input_rejected", str(rejected), 422, {rejected.field: [rejected.message]}) from None
    except InputUnreachable:
        return None
    return Decimal(found["video_url"]["duration_s"])


def would_send(provider: str, body: dict[str, Any], seconds: Decimal | None) -> dict[str, Any]:
    """The exact body; the callback address stands in it without its secret part."""
    callback_url = services().settings.public_url
    calls = callback_url and PROVIDERS[provider].calls_back
    ask = Ask(body, "", f"{callback_url}/callbacks/{provider}/…" if calls else None, seconds)
    return PROVIDERS[provider].body(ask)


def mine(job_id: str, asking: Caller) -> Job:
    """The job, if it is the caller's to see; raises 404 otherwise, whoever's it is."""
    job = services().ledger.get(job_id)
    if job is None or asking.scope not in (None, job.tenant):
        raise NotFound("There is no such job.")
    return job


def presign(key: str) -> str:
    return services().archive.presign(key)


def shown(job: Job) -> Response:
    return jsonify(document(job, presign))
