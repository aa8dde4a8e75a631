"""The batches API: many jobs in one request, taken whole or not at all (CONTRACT.md, Batches)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from flask import Response, jsonify, request
from werkzeug.exceptions import NotFound

from rushes.shared.domain import batch as batch_module
from rushes.shared.domain import events
from rushes.shared.domain.ids import CROCKFORD
from rushes.shared.domain.job import Job
from rushes.shared.intake import batches
from rushes.shared.intake.batch_document import batch_document
from rushes.webhook_receiver import openapi_batches
from rushes.webhook_receiver.accepted_response import accepted_response
from rushes.webhook_receiver.auth import Caller, authenticate, services
from rushes.webhook_receiver.jobs_api import EXAMPLE, IDEMPOTENCY_KEY, TRACEPARENT
from rushes.webhook_receiver.list_query import PAGE, PAGE_MAX, bad_query, page_size, query_value
from rushes.webhook_receiver.openapi import (
    LOCATION,
    REPLAYED,
    answers,
    blueprint,
    describes,
    notices,
    query,
    refuses,
    takes,
)
from rushes.webhook_receiver.request_body import BATCH_BODY_BYTES, json_body

batches_api = blueprint("batches", "Many jobs in one request, under one budget.")

BATCH_ID = re.compile(f"batch_[{CROCKFORD}]{{26}}")
# So many jobs are canceled in one call to the ledger.
CANCELED_AT_ONCE = 100
PAGING = [
    query("limit", "Batches on a page.", type="integer", minimum=1, maximum=PAGE_MAX, default=PAGE),
    query("cursor", "`next_cursor` of the page before.", type="string", pattern=openapi_batches.BATCH_ID),
]


@batches_api.post("/v1/batches")
@answers(202, openapi_batches.Batch, "The batch is accepted, with all its jobs.", LOCATION)
@answers(200, openapi_batches.Batch, "The batch was accepted before, under the same key.", {**LOCATION, **REPLAYED})
@takes(openapi_batches.NewBatch, jobs=[EXAMPLE, EXAMPLE], max_cost_usd="2.50")
@refuses(400, 401, 409, 413, 415, 422, 429, 503)
@describes(
    parameters=[IDEMPOTENCY_KEY, TRACEPARENT],
    callbacks=notices("batch", openapi_batches.BatchNotice),
    description=f"Up to {batch_module.JOBS_MAX} jobs in at most 8 MiB. None is enqueued unless all can be: a 422 names"
    " each problem by the job's index, `jobs.17.duration`. A submit that would pass `max_cost_usd` is not made, and its"
    " job ends `canceled` with `budget_exceeded`.",
)
def create() -> Response:
    """Enqueue a batch."""
    caller = authenticate()
    key, trace = request.headers.get("Idempotency-Key"), request.headers.get("traceparent")
    body = json_body(BATCH_BODY_BYTES)
    receipt = batches.accept(services().intake, body, caller.tenant, key, services().now(), trace)
    return accepted_response(document(receipt.batch), f"/v1/batches/{receipt.batch.id}", receipt.replayed)


@batches_api.get("/v1/batches")
@answers(200, openapi_batches.Batches, "A page of batches.")
@refuses(401, 422, 429, 503)
@describes(parameters=PAGING)
def list_batches() -> Response:
    """Batches, newest first, a page at a time."""
    caller = authenticate()
    limit, cursor = page_size(), query_value("cursor")
    if cursor and not BATCH_ID.fullmatch(cursor):
        raise bad_query("cursor", "Not the next_cursor of a page.")
    found = services().ledger.batches.newest(caller.scope, limit + 1, cursor)
    page = found[:limit]
    next_cursor = page[-1].id if len(found) > limit else None
    return jsonify({"data": [summary(batch) for batch in page], "next_cursor": next_cursor})


@batches_api.get("/v1/batches/<batch_id>")
@answers(200, openapi_batches.Batch, "The batch.")
@refuses(401, 404, 429, 503)
def show_batch(batch_id: str) -> Response:
    """A batch: how far it is, and what it costs."""
    return batch_response(visible_batch(batch_id, authenticate()))


@batches_api.post("/v1/batches/<batch_id>/cancel")
@answers(200, openapi_batches.Batch, "Nothing more of it is submitted; what a gateway has goes on.")
@refuses(401, 404, 429, 503)
def cancel(batch_id: str) -> Response:
    """Cancel the jobs of a batch that no gateway has yet."""
    return batch_response(cancel_batch(visible_batch(batch_id, authenticate())))


def cancel_batch(batch: Job) -> Job:
    """Submit nothing more of the batch, and cancel the jobs that wait; what a gateway has goes on."""
    ledger, now = services().ledger, services().now()
    if ledger.batches.counts(batch.id).get(batch_module.OPEN):
        # First: where this process ends in the middle, the jobs that are left end at their submit.
        ledger.batches.stop(batch.id)
        for jobs in _pages(ledger.batches.queued(batch)):
            ledger.apply_all([(job, events.Canceled()) for job in jobs], now)
    return batch


def _pages(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    for start in range(0, len(jobs), CANCELED_AT_ONCE):
        yield jobs[start : start + CANCELED_AT_ONCE]


def visible_batch(batch_id: str, caller: Caller) -> Job:
    """The batch, if the caller may see it; raises 404 for an unknown batch and for another tenant's alike."""
    batch = services().ledger.batches.get(batch_id) if BATCH_ID.fullmatch(batch_id) else None
    if batch is None or caller.scope not in (None, batch.tenant):
        raise NotFound("There is no such batch.")
    return batch


def summary(batch: Job) -> dict[str, Any]:
    """The document of a batch without its jobs."""
    return batch_document(batch, services().ledger.batches.counts(batch.id), whole=False)


def document(batch: Job) -> dict[str, Any]:
    """The document of a batch. The receipt of one that has only just ended is made from the jobs themselves."""
    ledger = services().ledger
    counts = ledger.batches.counts(batch.id)
    if not counts.get(batch_module.OPEN) and batch_module.receipt(batch) is None:
        batch = ledger.batches.get(batch.id) or batch
        batch = ledger.batches.with_receipt(batch)
    return batch_document(batch, counts)


def batch_response(batch: Job) -> Response:
    return jsonify(document(batch))
