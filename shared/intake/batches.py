"""Accepts batches: every job of one is checked before any is written, and all are written at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from rushes.shared.domain import batch, trace_context
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Job
from rushes.shared.intake.estimates import Estimate, with_known_price
from rushes.shared.intake.intake import CONFLICT, LEDGER_INCOMPLETE, Intake, Unacceptable, digest
from rushes.shared.intake.schema import CallbackUrl, Dollars, JobRequest, Metadata
from rushes.shared.ledger.idempotency import Conflict, NotWhole

# Fields that each job has of its batch, unless it has its own.
INHERITED: tuple[str, ...] = tuple(name for name in ("start_before", "priority") if name in JobRequest().fields)


class BatchRequest(Schema):
    """The body of POST /v1/batches, without what is in its jobs. Unknown fields are refused."""

    class Meta:
        unknown = RAISE
        include = {name: JobRequest().fields[name] for name in INHERITED}

    jobs = fields.List(fields.Raw(), required=True, validate=validate.Length(1, batch.JOBS_MAX))
    max_cost_usd = Dollars()
    callback_url = CallbackUrl()
    metadata = Metadata()


@dataclass(frozen=True, slots=True)
class BatchReceipt:
    """An accepted batch; `replayed` if it had been accepted before under the same idempotency key."""

    batch: Job
    replayed: bool = False


def accept(
    intake: Intake, body: Any, tenant: str, key: str | None, now: int, traceparent: str | None = None
) -> BatchReceipt:
    """Create a batch with all its jobs, once per idempotency key. Raises Unacceptable; then nothing was accepted."""
    intake.check_key(key)
    try:
        record, jobs = _planned(intake, body, tenant, now, trace_context.parse(traceparent))
    except Unacceptable:  # the same request may have been accepted before, when other gateways were enabled
        if first := _first_batch(intake, tenant, key, body, now):
            return BatchReceipt(first, replayed=True)
        raise
    created, is_new = _create(intake, record, jobs, key, digest(body))
    return BatchReceipt(created, replayed=not is_new)


def _create(intake: Intake, record: Job, jobs: list[Job], key: str | None, body_digest: str) -> tuple[Job, bool]:
    guarded = bool(key) and intake.settings.journal
    try:
        try:
            return intake.ledger.batches.create(record, jobs, key, body_digest, guarded)
        except NotWhole as incomplete:
            if str(incomplete) != "unmarked" or not intake.mark_if_new(record.created_at):
                raise
            return intake.ledger.batches.create(record, jobs, key, body_digest)
    except Conflict:
        raise CONFLICT from None
    except NotWhole:
        raise LEDGER_INCOMPLETE from None


def _first_batch(intake: Intake, tenant: str, key: str | None, body: Any, now: int) -> Job | None:
    try:
        return intake.ledger.batches.find_by_key(tenant, key, digest(body), now) if key else None
    except Conflict:
        raise CONFLICT from None


def _planned(intake: Intake, body: Any, tenant: str, now: int, trace: str | None) -> tuple[Job, list[Job]]:
    """The record of the batch and its jobs; raises Unacceptable with the problems of all jobs."""
    terms = _terms(intake, body)
    bodies = terms.pop("jobs")
    budget = terms.get("max_cost_usd")
    budget_usd = None if budget is None else Decimal(budget)
    inherited = {name: terms[name] for name in INHERITED if name in terms}
    batch_id, jobs, refusals = batch.new_id(now), list[Job](), dict[int, Unacceptable]()
    for at, job_body in enumerate(bodies):
        try:
            request, able = _checked(intake, job_body, tenant, inherited, budget_usd is not None)
        except Unacceptable as refusal:
            refusals[at] = refusal
            continue
        job = intake.job({**request, "batch": batch_id}, able, tenant, now, trace)
        jobs.append(replace(job, batch_id=batch_id, batch_budget_usd=budget_usd))
    if refusals:
        raise _refused(refusals)
    record = batch.record(batch_id, tenant, terms, [job.id for job in jobs], now)
    return replace(record, trace=trace), jobs


def _terms(intake: Intake, body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Unacceptable("invalid_request", "The body is not a JSON object.", 422)
    try:
        terms: dict[str, Any] = BatchRequest().load(body)
    except ValidationError as error:
        names = ", ".join(map(str, error.messages_dict))
        message = f"The request does not fit: {names}."
        raise Unacceptable("invalid_request", message, 422, error.messages_dict) from None
    intake.check_address("callback_url", terms.get("callback_url"))
    return terms


def _checked(
    intake: Intake, body: Any, tenant: str, inherited: Mapping[str, Any], has_budget: bool
) -> tuple[dict[str, Any], list[Estimate]]:
    if isinstance(body, dict):
        if "batch" in body:
            problem = {"batch": ["Set by the batch itself."]}
            raise Unacceptable("invalid_request", "The request does not fit: batch.", 422, problem)
        body = {**inherited, **body}
    request = intake.request(body)
    estimates = intake.able_estimates(request, tenant)
    if not has_budget:
        return request, estimates
    affordable = with_known_price(estimates)
    able = [estimate for estimate in affordable if estimate.able]
    if not able:
        reasons = [f"{estimate.provider}: {estimate.why_not}" for estimate in affordable]
        raise Unacceptable("no_provider", "No enabled gateway can do this.", 422, {"provider": reasons})
    return request, able


def _refused(refusals: Mapping[int, Unacceptable]) -> Unacceptable:
    """One error for all jobs that were refused, its fields by index: `jobs.17.duration`."""
    problems: dict[str, Any] = {}
    for at, refusal in refusals.items():
        fields_of_job = {f"jobs.{at}.{name}": problem for name, problem in (refusal.fields or {}).items()}
        problems |= fields_of_job or {f"jobs.{at}": [refusal.message]}
    codes = {refusal.code for refusal in refusals.values()}
    code = codes.pop() if len(codes) == 1 else "invalid_request"
    first = next(iter(problems))
    others = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    message = f"{len(refusals)} of the jobs cannot be accepted, so none was: {first}{others}."
    return Unacceptable(code, message, 422, problems)
