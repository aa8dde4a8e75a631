"""The Jobs API: enqueue, read, decide (CONTRACT.md)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from threading import BoundedSemaphore
from typing import Any

from flask import Response, jsonify, redirect, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from rushes.shared.domain import bills, bulk, events, money
from rushes.shared.domain.batch import is_batch
from rushes.shared.domain.ids import CROCKFORD
from rushes.shared.domain.job import Job, State
from rushes.shared.intake.catalog import price_document
from rushes.shared.intake.estimates import Estimate, notes
from rushes.shared.intake.intake import KEY_CHARS, Receipt, Unacceptable, length_s
from rushes.shared.intake.job_document import document
from rushes.shared.intake.job_filters import parse_filter
from rushes.shared.intake.schema import JobRequest
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.media.probe import InputRejected, InputUnreachable, probe_inputs
from rushes.shared.operations.retry import retry
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Submission
from rushes.webhook_receiver import openapi_filters, openapi_responses
from rushes.webhook_receiver.accepted_response import accepted_response
from rushes.webhook_receiver.auth import Caller, authenticate, services
from rushes.webhook_receiver.list_query import bad_query, page_size, query_value
from rushes.webhook_receiver.openapi import (
    LOCATION,
    NOTICES,
    REPLAYED,
    answers,
    blueprint,
    describes,
    refuses,
    takes,
)
from rushes.webhook_receiver.request_body import json_body
from rushes.webhook_receiver.shutdown import STOPPING

jobs_api = blueprint("jobs", "Enqueue, read, decide.")

# How long an estimate may take: its caller waits for the response.
PROBE_S = 6.0
HEARTBEAT_S, LOOK_S = 15, 0.5
# A browser that lost a stream connects again after this long.
RETRY_MS = 1000
# Each stream holds a thread of the server: half of them stay free for callbacks and other calls.
STREAMS_MAX = 16
STREAMS = BoundedSemaphore(STREAMS_MAX)
JOB_ID = re.compile(f"job_[{CROCKFORD}]{{26}}")
TASK_ID = re.compile(r"[!-~]{1,200}")

EXAMPLE = {"model": "kling-v3", "prompt": "a red kite over the sea", "duration": 5}
IDEMPOTENCY_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "For a week, the same key with the same body returns the first job; with another body, 409.",
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARS},
}
TRACEPARENT = {
    "in": "header",
    "name": "traceparent",
    "description": "W3C Trace Context: the notification of the end joins the same trace. A malformed value is ignored.",
    "schema": {"type": "string"},
}
STREAM = "Events `status` and `progress`, each with the job document at that moment; the stream ends with the job."


@jobs_api.post("/v1/jobs")
@answers(202, openapi_responses.Job, "The job is accepted.", LOCATION)
@answers(200, openapi_responses.Job, "The job was accepted before, under the same key.", {**LOCATION, **REPLAYED})
@takes(JobRequest, **EXAMPLE)
@refuses(400, 401, 409, 413, 415, 422, 429, 503)
@describes(parameters=[IDEMPOTENCY_KEY, TRACEPARENT], callbacks=NOTICES)
def create() -> Response:
    """Enqueue a job."""
    caller, parts, headers = authenticate(), services(), request.headers
    key, trace = headers.get("Idempotency-Key"), headers.get("traceparent")
    return receipt_response(parts.intake.accept(json_body(), caller.tenant, key, parts.now(), trace))


def receipt_response(receipt: Receipt) -> Response:
    """The response to an enqueue: 202, or 200 where the job was accepted before."""
    return accepted_response(document(receipt.job, presign), f"/v1/jobs/{receipt.job.id}", receipt.replayed)


@jobs_api.get("/v1/jobs")
@answers(200, openapi_responses.Jobs, "A page of jobs.")
@refuses(401, 422, 429, 503)
@describes(parameters=openapi_filters.PARAMETERS)
def list_jobs() -> Response:
    """Jobs, newest first, a page at a time. Every filter holds over all jobs in the ledger.

    A search by model, error code or time reads at most 5,000 jobs for a page: a page may be short, or empty, although
    more follows. `next_cursor` is null on the last page only.
    """
    caller = authenticate()
    limit, cursor, wanted = page_size(), query_value("cursor"), parse_filter(request.args)
    if cursor and not JOB_ID.fullmatch(cursor):
        raise bad_query("cursor", "Not the next_cursor of a page.")
    page = services().ledger.search.page(caller.scope, wanted, limit, cursor)
    return jsonify({"data": [document(job, presign) for job in page.jobs], "next_cursor": page.cursor})


@jobs_api.get("/v1/jobs/<job_id>")
@answers(200, openapi_responses.Job, "The job.")
@refuses(401, 404, 429, 503)
def show_job(job_id: str) -> Response:
    """A job."""
    return job_response(visible_job(job_id, authenticate()))


@jobs_api.delete("/v1/jobs/<job_id>")
@answers(202, openapi_responses.Job, "Its content is gone here; `erased_at` is set once bucket and journal follow.")
@refuses(401, 404, 409, 429, 503)
def erase(job_id: str) -> Response:
    """Erase an ended job: clip, thumbnail, prompts, addresses of inputs, metadata. Ids, times, gateway, money stay."""
    response = job_response(erase_job(visible_job(job_id, authenticate())))
    response.status_code = 202
    return response


def erase_job(job: Job) -> Job:
    """Have the job erased and return it; raises Unacceptable 409 where it has not ended. A repeat changes nothing."""
    if not job.ended:
        raise Unacceptable("not_ended", f"The job is {job.state.value}; it can be erased once it has ended.", 409)
    return services().ledger.apply(job.id, events.ErasureRequested("caller"), services().now()) or job


@jobs_api.get("/v1/jobs/<job_id>/content")
@answers(302, description="To the clip in the bucket, by a link that is signed for an hour.", headers=LOCATION)
@refuses(401, 404, 409, 410, 429, 503)
def content(job_id: str) -> AnyResponse:
    """Redirect to the clip."""
    job = visible_job(job_id, authenticate())
    if job.erase_asked_at is not None:
        raise Unacceptable("erased", "The job is erased, and its clip with it.", 410)
    if job.state is not State.COMPLETED or job.result is None:
        raise Unacceptable("not_completed", f"The job is {job.state.value}; it has no clip yet.", 409)
    return redirect(presign(job.result.key), 302)


@jobs_api.post("/v1/jobs/<job_id>/cancel")
@answers(200, openapi_responses.Job, "The job is canceled.")
@refuses(401, 404, 409, 429, 503)
def cancel(job_id: str) -> Response:
    """Cancel a job that no gateway has yet."""
    return job_response(cancel_job(visible_job(job_id, authenticate())))


def cancel_job(job: Job) -> Job:
    """Cancel the job and return it; raises Unacceptable 409 where a gateway has it."""
    job_after = services().ledger.apply(job.id, events.Canceled(), services().now())
    if job_after is None or job_after.state is not State.CANCELED:
        raise Unacceptable("not_cancelable", "A gateway has the job: it is paid for and will be archived.", 409)
    return job_after


@jobs_api.post("/v1/jobs/<job_id>/retry")
@answers(202, openapi_responses.Job, "The new job.", LOCATION)
@answers(200, openapi_responses.Job, "The new job that was made before, under the same key.", {**LOCATION, **REPLAYED})
@describes(parameters=[IDEMPOTENCY_KEY])
@refuses(401, 404, 409, 422, 429, 503)
def retry_job(job_id: str) -> Response:
    """Try a failed job again, as a new job."""
    receipt = retry(
        visible_job(job_id, authenticate()), services(), services().now(), request.headers.get("Idempotency-Key")
    )
    return receipt_response(receipt)


ACTIONS = ("resubmit", "fail", "adopt")


@jobs_api.post("/v1/jobs/<job_id>/resolve")
@answers(200, openapi_responses.Job, "The job, as decided.")
@takes(openapi_responses.DECISION)
@refuses(400, 401, 404, 409, 413, 415, 422, 429, 503)
def resolve(job_id: str) -> Response:
    """Decide about a submit whose response never came."""
    job = visible_job(job_id, authenticate())
    body = json_body()
    decision = body if isinstance(body, dict) else {}
    return job_response(resolve_job(job, decision.get("action"), decision.get("task_id")))


def resolve_job(job: Job, action: Any, task_id: Any) -> Job:
    """Apply the decision and return the job; raises Unacceptable 422 for an unknown decision, 409 where none is due."""
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
@answers(204, description="The job has ended and its last event was sent before: do not connect again.")
@refuses(401, 404, 429, 503)
def stream_events(job_id: str) -> Response:
    """The states of a job as server-sent events, until its end."""
    caller = authenticate()
    job = visible_job(job_id, caller)
    last_id = request.headers.get("Last-Event-ID", "")
    if job.ended and last_id.partition("-")[2] == mark_of(job):
        return Response(status=204)
    if not STREAMS.acquire(blocking=False):
        raise Unacceptable("rate_limited", "Too many streams are open; read the job itself instead.", 429)
    stream = event_stream(job, last_id, services().ledger.get)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = Response(stream, mimetype="text/event-stream", headers=headers)
    response.call_on_close(STREAMS.release)
    return response


def mark_of(job: Job) -> str:
    """State and progress of a job; a stream sends an event only when this changes."""
    return f"{job.state.value}-{job.progress}"


def event_stream(job: Job, last_id: str, read_job: Any) -> Iterator[str]:
    """The events of a job as its state and progress change; comments show that the connection is alive.

    The id of an event holds the version of the job, so that ids are unique, and the mark, so that a client that
    reconnects with Last-Event-ID does not get the same event again.
    """
    _, _, last_mark = last_id.partition("-")
    yield f"retry: {RETRY_MS}\n: here\n\n"
    quiet_since = time.monotonic()
    while True:
        mark = mark_of(job)
        if mark != last_mark:
            kind = "progress" if last_mark.partition("-")[0] == job.state.value else "status"
            data = json.dumps(document(job), ensure_ascii=False)
            yield f"id: {job.version}-{mark}\nevent: {kind}\ndata: {data}\n\n"
            last_mark, quiet_since = mark, time.monotonic()
        if job.ended:
            return
        if time.monotonic() - quiet_since > HEARTBEAT_S:
            yield ": still here\n\n"
            quiet_since = time.monotonic()
        if STOPPING.wait(LOOK_S):
            return  # the client reconnects with Last-Event-ID, to another process
        try:
            job = read_job(job.id) or job
        except LedgerUnavailable:
            continue


@jobs_api.post("/v1/estimates")
@answers(200, openapi_responses.Estimates, "Able gateways first, cheapest first.")
@takes(JobRequest, **EXAMPLE)
@refuses(400, 401, 413, 415, 422, 429)
def estimates() -> Response:
    """What each enabled gateway would be sent, and for how much; nothing is spent."""
    caller = authenticate()
    return jsonify({"data": estimate(json_body(), caller.tenant)})


def estimate(body: Any, tenant: str) -> list[dict[str, Any]]:
    """The estimate of each enabled gateway for a tenant; raises Unacceptable where the body is no valid request."""
    request_fields = services().intake.request(body)
    seconds = length_s(request_fields) or reference_s(request_fields)
    kind, recent = bills.kind_of_request(request_fields), all_recent_bills()
    return [
        {
            "provider": estimate.provider,
            "recent_bills": recent_bills(estimate, recent.get(estimate.provider, {}).get(kind)),
            "able": estimate.able,
            "estimated_cost_usd": money.text(estimate.estimated_usd),
            "would_send": body_to_send(estimate.provider, request_fields, seconds) if estimate.able else None,
            "why_not": estimate.why_not,
            "price": price_document(estimate.price) if estimate.price else None,
            "notes": notes(estimate, request_fields),
        }
        for estimate in services().intake.estimates(request_fields, tenant, seconds)
    ]


def all_recent_bills() -> dict[str, Mapping[bills.Kind, bills.RecentBills]]:
    """The last bills of each enabled gateway; none while the ledger is out of reach: an estimate does not need it."""
    with suppress(LedgerUnavailable):
        return {name: services().ledger.bill_history.recent(name) for name in services().settings.gateways}
    return {}


def recent_bills(estimate: Estimate, recent: bills.RecentBills | None) -> dict[str, Any] | None:
    """What the gateway's last bills for this kind of work say of the estimate; None where it billed none of late."""
    if recent is None:
        return None
    expected_usd = None if estimate.estimated_usd is None else estimate.estimated_usd * recent.mean_ratio
    return {
        "count": recent.count,
        "mean_ratio": money.text(recent.mean_ratio),
        "expected_cost_usd": money.text(expected_usd),
    }


def reference_s(body: dict[str, Any]) -> Decimal | None:
    """The length of the reference video of a motion request in seconds; None where it cannot be fetched now.

    Raises Unacceptable where an input breaks a rule: a job with it would fail before anything is spent.
    """
    try:
        facts = probe_inputs(body, services().http_client, services().fetchable_url, deadline_s=PROBE_S)
    except InputRejected as rejected:
        raise Unacceptable("input_rejected", str(rejected), 422, {rejected.field: [rejected.message]}) from None
    except InputUnreachable:
        return None
    return Decimal(facts["video_url"]["duration_s"])


def body_to_send(provider: str, body: dict[str, Any], seconds: Decimal | None) -> dict[str, Any]:
    """The exact body for a gateway; our id of the attempt and the secret part of the callback address are left out."""
    callback_url = services().settings.public_url
    calls = callback_url and PROVIDERS[provider].can_call(callback_url)
    submission = Submission(body, "…", f"{callback_url}/callbacks/{provider}/…" if calls else None, seconds)
    return PROVIDERS[provider].body(submission)


def visible_job(job_id: str, caller: Caller) -> Job:
    """The job of an id, whole or short, if the caller may see it; 404 for an unknown job and another tenant's alike."""
    ledger = services().ledger
    is_job = not (is_batch(job_id) or job_id.startswith(bulk.PREFIX))
    job = (ledger.get(job_id) if is_job else None) or ledger.overview.find(caller.scope, job_id, services().now())
    if job is None or caller.scope not in (None, job.tenant):
        raise NotFound("There is no such job.")
    return job


def presign(key: str) -> str:
    return services().archive.presign(key)


def job_response(job: Job) -> Response:
    return jsonify(document(job, presign))
