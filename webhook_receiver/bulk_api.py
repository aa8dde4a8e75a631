"""Bulk actions: one thing done to every job that fits a filter, as a resource with its progress."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from werkzeug.exceptions import NotFound

from rushes.shared.domain import money
from rushes.shared.domain.bulk import Action, Bulk, Status
from rushes.shared.domain.job_filter import JobFilter
from rushes.shared.intake.intake import CONFLICT, Unacceptable, digest
from rushes.shared.intake.job_document import moment
from rushes.shared.intake.job_filters import filter_values, parse_filter
from rushes.shared.ledger import idempotency, keys
from rushes.shared.ledger.idempotency import Conflict, first_id_of
from rushes.shared.operations.bulk import begin, forecast, new_bulk_id
from rushes.webhook_receiver import openapi_filters, openapi_responses
from rushes.webhook_receiver.accepted_response import accepted_response
from rushes.webhook_receiver.auth import Caller, authenticate, services
from rushes.webhook_receiver.jobs_api import IDEMPOTENCY_KEY
from rushes.webhook_receiver.list_query import page_size
from rushes.webhook_receiver.openapi import LOCATION, REPLAYED, answers, blueprint, describes, query, refuses, takes
from rushes.webhook_receiver.request_body import json_body

bulk_api = blueprint("bulk", "One thing done to every job that fits a filter.")

EXAMPLE = {"action": "retry", "filter": {"status": "failed", "error": "provider_error"}, "dry_run": True}
FIELDS = ("action", "filter", "dry_run")
# Not with `dry_run`.
MAYBE_REPLAYED = {name: {**header, "required": False} for name, header in REPLAYED.items()}
LIMIT = [query("limit", "At most so many.", type="integer", minimum=1, maximum=100, default=20)]


@bulk_api.post("/v1/bulk")
@answers(202, openapi_responses.Bulk, "It has begun.", LOCATION)
@answers(
    200,
    openapi_responses.BulkForecast,
    "With `dry_run`: what it would do. Or it began before, under this key.",
    MAYBE_REPLAYED,
)
@takes(openapi_filters.BULK_REQUEST, **EXAMPLE)
@refuses(400, 401, 409, 413, 415, 422, 429, 503)
@describes(parameters=[IDEMPOTENCY_KEY])
def create() -> Response:
    """Cancel, retry, notify or erase every job that fits the filter, each once; or count them first with `dry_run`.

    Jobs that are accepted after it began are left alone. Progress and results are at its `Location`.
    """
    caller, body, key = authenticate(), json_body(), request.headers.get("Idempotency-Key")
    services().intake.check_key(key)
    action, wanted, dry_run = parse_bulk(body)
    if dry_run:
        return jsonify(forecast_document(action, wanted, caller.scope))
    begun, is_new = begin_once(action, wanted, caller, key, digest(body))
    return accepted_response(bulk_document(begun), f"/v1/bulk/{begun.id}", not is_new)


@bulk_api.get("/v1/bulk")
@answers(200, openapi_responses.Bulks, "The bulk actions of 30 days, newest first.")
@refuses(401, 422, 429, 503)
@describes(parameters=LIMIT)
def list_bulk() -> Response:
    """Bulk actions, newest first."""
    caller = authenticate()
    found = services().ledger.bulk_actions.newest(caller.scope, page_size())
    return jsonify({"data": [bulk_document(each) for each in found]})


@bulk_api.get("/v1/bulk/<bulk_id>")
@answers(200, openapi_responses.Bulk, "The bulk action.")
@refuses(401, 404, 429, 503)
def show(bulk_id: str) -> Response:
    """A bulk action, its progress, and what came of its jobs."""
    return jsonify(bulk_document(visible_bulk(bulk_id, authenticate())))


@bulk_api.post("/v1/bulk/<bulk_id>/abort")
@answers(200, openapi_responses.Bulk, "It is aborted; what it did stays done.")
@refuses(401, 404, 409, 429, 503)
def abort(bulk_id: str) -> Response:
    """Do nothing to further jobs."""
    return jsonify(bulk_document(abort_bulk(visible_bulk(bulk_id, authenticate()))))


def parse_bulk(body: Any) -> tuple[Action, JobFilter, bool]:
    """Action, filter and whether it is only counted; raises Unacceptable 422 that names the wrong fields."""
    fields = body if isinstance(body, dict) else {}
    problems: dict[str, Any] = {name: ["Unknown field."] for name in fields if name not in FIELDS}
    if fields.get("action") not in [*Action]:
        problems["action"] = [f"Not one of {', '.join(Action)}."]
    if not isinstance(fields.get("dry_run", False), bool):
        problems["dry_run"] = ["Not true or false."]
    wanted = JobFilter()
    if not isinstance(fields.get("filter"), dict):
        problems["filter"] = ["Not an object with filters of GET /v1/jobs."]
    else:
        try:
            wanted = parse_filter(fields["filter"], strict=True)
        except Unacceptable as refused:
            problems |= {f"filter.{name}": texts for name, texts in (refused.fields or {}).items()}
        else:
            if wanted.is_empty:
                problems["filter"] = ["Empty: it would mean every job. Give at least one filter."]
    if problems:
        raise Unacceptable("invalid_request", f"The request does not fit: {', '.join(problems)}.", 422, problems)
    return Action(fields["action"]), wanted, fields.get("dry_run", False)


def begin_once(
    action: Action, wanted: JobFilter, caller: Caller, key: str | None, body_digest: str, scope: str | None = None
) -> tuple[Bulk, bool]:
    """Begin a bulk action, once for an idempotency key; whether this call did. Raises Unacceptable 409."""
    services().intake.check_key(key)
    now = services().now()
    bulk_id, is_new = new_bulk_id(now), True
    if key:
        entry = idempotency.entry(caller.tenant, keys.digest(f"bulk:{key}"), now, bulk_id, body_digest)
        if known := services().ledger.store.keep_key(entry):
            try:
                bulk_id = first_id_of(known, body_digest)
            except Conflict:
                raise CONFLICT from None
            if first := services().ledger.bulk_actions.get(bulk_id):
                return first, False
    return begin(action, wanted, caller.tenant, scope or caller.scope, services(), bulk_id), is_new


def abort_bulk(found: Bulk) -> Bulk:
    """Abort it; raises Unacceptable 409 where it has ended."""
    aborted = services().ledger.bulk_actions.end(found.id, Status.ABORTED, services().now())
    if aborted is None:
        now = services().ledger.bulk_actions.get(found.id) or found
        if now.status is Status.ABORTED:
            return now
        raise Unacceptable("already_ended", f"The bulk action is {now.status.value}.", 409)
    return aborted


def visible_bulk(bulk_id: str, caller: Caller) -> Bulk:
    """The bulk action, if the caller may see it; raises 404."""
    found = services().ledger.bulk_actions.get(bulk_id)
    if found is None or caller.scope not in (None, found.tenant):
        raise NotFound("There is no such bulk action.")
    return found


def forecast_document(action: Action, wanted: JobFilter, scope: str | None) -> dict[str, Any]:
    found = forecast(action, wanted, scope, services())
    return {
        "object": "bulk",
        "dry_run": True,
        "action": action.value,
        "filter": filter_values(wanted),
        "count": found.count,
        "complete": found.complete,
        "estimated_cost_usd": money.text(found.cost_usd),
        "unpriced_jobs": found.unpriced,
    }


def bulk_document(each: Bulk) -> dict[str, Any]:
    return {
        "id": each.id,
        "object": "bulk",
        "tenant": each.tenant,
        "action": each.action.value,
        "filter": filter_values(each.wanted),
        "status": each.status.value,
        "matched": each.matched,
        "done": each.done,
        "outcomes": dict(each.outcomes),
        "created_at": moment(each.created_at),
        "ended_at": moment(each.ended_at),
    }
