"""What the calls answer, as the document at /openapi.json tells it; what they take is in request_schema.py.

Nothing is read or written through these: documents are written by shared/intake/job_document.py.
"""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from rushes.shared.domain.ids import CROCKFORD
from rushes.shared.domain.job import AttemptStatus, State
from rushes.webhook_receiver.openapi_request import GATEWAYS, AcceptedRequest

JOB_ID = f"^job_[{CROCKFORD}]{{26}}$"


# --- short words for fields


def always(kind: type[fields.Field[Any]], description: str = "", null: bool = False, **more: Any) -> Any:
    """A field that is in every answer; `null` where it may be."""
    rules = {name: more.pop(name) for name in ("validate", "keys", "values") if name in more}
    said = {"description": description} if description else {}
    return kind(required=True, allow_none=null, metadata={**said, **more}, **rules)


def text(description: str = "", null: bool = False, **more: Any) -> Any:
    return always(fields.String, description, null, **more)


def number(description: str = "", null: bool = False, **more: Any) -> Any:
    return always(fields.Integer, description, null, minimum=0, **more)


def seconds(description: str) -> Any:
    return always(fields.Float, description, validate=validate.Range(min=0))


def usd(description: str = "", null: bool = True) -> Any:
    return text(description, null, pattern=r"^\d+(\.\d+)?$", example="0.82304")


def moment(description: str = "", null: bool = True) -> Any:
    return always(fields.DateTime, description, null, example="2026-11-20T17:45:00.000Z")


def word(words: Any, description: str = "", null: bool = False) -> Any:
    return text(description, null, validate=validate.OneOf([str(one) for one in words]))


class Open(Schema):
    """Holds these fields; there may be others."""

    class Meta:
        unknown = EXCLUDE


def nested(schema: type[Schema], null: bool = False) -> Any:
    return fields.Nested(schema, required=True, allow_none=null)


def many(schema: type[Schema]) -> Any:
    return fields.List(fields.Nested(schema), required=True)


# --- decisions


class Settled(Open):
    """An unconfirmed submit is sent again or given up."""

    action = word(["resubmit", "fail"])


class Adopted(Open):
    """An unconfirmed submit was found at the gateway."""

    action = word(["adopt"])
    task_id = text("The gateway's.", minLength=1, maxLength=200, pattern="^[!-~]+$")


DECISION = {"oneOf": [Settled, Adopted]}


# --- answers


class Problem(Open):
    """What is wrong, in a code for programs and a sentence for people."""

    code = text(example="invalid_request")
    message = text()
    wrong = fields.Dict(
        data_key="fields",
        keys=fields.String(),
        values=fields.Raw(),
        metadata={"description": "What is wrong with which field."},
    )


class Error(Open):
    """Every error is answered so."""

    error = nested(Problem)


class Failure(Open):
    """Why a job or an attempt failed."""

    code = text(
        "`input_rejected`, `no_provider`, `insufficient_balance`, `content_policy`, `provider_error`, `rate_limited`, "
        "`budget_exceeded`, `timed_out`, `submit_unconfirmed`, `result_expired`, `result_invalid`, `archive_failed`."
    )
    message = text()
    provider = fields.String()


class Attempt(Open):
    """One paid call to one gateway."""

    provider = word(GATEWAYS)
    task_id = text("The gateway's own.", null=True)
    status = word(AttemptStatus)
    submitted_at = moment(null=False)
    ended_at = moment()
    heard_by = word(["callback", "poll"], "How its end was heard of.", null=True)
    estimated_cost_usd = usd()
    cost_usd = usd()
    error = nested(Failure, null=True)


class Result(Open):
    """What lies in the bucket."""

    bucket = text()
    key = text()
    manifest_key = text()
    thumbnail_key = text(null=True)
    url = fields.String(metadata={"description": "Presigned, for an hour; not in notifications.", "format": "uri"})
    size = number("Bytes.")
    sha256 = text()
    content_type = text()
    duration_s = always(fields.Float, null=True)
    width = number(null=True)
    height = number(null=True)


class Job(Open):
    """The job document."""

    id = text("Sorts by the time of creation.", pattern=JOB_ID)
    object = word(["job"])
    status = word(State)
    tenant = text("The name of the key that it came with.")
    request = nested(AcceptedRequest)
    provider = word(GATEWAYS, "The gateway that has, or last had, the job.", null=True)
    progress = number(maximum=100)
    attempts = many(Attempt)
    estimated_cost_usd = usd()
    cost_usd = usd()
    result = nested(Result, null=True)
    error = nested(Failure, null=True)
    result_expires_at = moment("Until when the gateway's own link lives.")
    created_at = moment(null=False)
    updated_at = moment(null=False)
    ended_at = moment()
    metadata = always(fields.Dict, keys=fields.String(), values=fields.String())
    retry_of = fields.String(metadata={"description": "The failed job that this one tries again."})


class Jobs(Open):
    """A page of jobs, newest first."""

    data = many(Job)
    next_cursor = text("Of the next page; null on the last.", null=True)


class Event(Open):
    """One event of a stream."""

    id = text("Where it stands: give the last one as `Last-Event-ID` to hear only what is new.")
    event = word(["status", "progress"])
    data = text("The job as it is then.", contentMediaType="application/json")


class Line(Open):
    """One line of a job's history."""

    at = moment(null=False)
    what = text(example="notice failed")
    detail = text(null=True, example="HTTP 500, next try at 2026-11-20T17:45:05Z")


class History(Open):
    """What became of a job, oldest first; also each try to notify. At most 64 lines: the first, and the newest."""

    data = many(Line)


class Stray(Open):
    """A callback to a right address that named another task than its attempt has: nothing was done about it."""

    id = text()
    at = moment(null=False)
    provider = word(GATEWAYS)
    job_id = text(pattern=JOB_ID)
    tenant = text()
    attempt = number("Of which attempt's address it came to.")
    task_id = text("The task that it named.", null=True)
    expected_task_id = text("The task that the attempt has.", null=True)
    status_word = text("Its state in the gateway's own word.", null=True)
    body = text("The beginning of it, without what is secret.", maxLength=4096)


class Strays(Open):
    """Newest first."""

    data = many(Stray)


class Notice(Open):
    """What `callback_url` is told, signed under Standard Webhooks."""

    type = word(["job.completed", "job.failed", "job.canceled"])
    timestamp = moment(null=False)
    data = nested(Job)


class Estimate(Open):
    """What one gateway would do with the request, and for how much."""

    provider = word(GATEWAYS)
    able = always(fields.Boolean)
    estimated_cost_usd = usd("Null where the price, or the length of the reference, is not known.")
    would_send = always(fields.Dict, "The exact body; null where it is not able.", null=True)
    why_not = text(null=True)


class Estimates(Open):
    """Able gateways first, cheapest first."""

    data = many(Estimate)


class Callbacks(Open):
    """Of the newest tasks for which a callback was asked: how many ends it told us of."""

    asked = number()
    heard = number()
    last_heard_at = moment()
    silent = always(fields.Boolean, "Ends came in a row without theirs; until one comes, its jobs are polled.")


class FinishTimes(Open):
    """How long the last jobs of one kind took from their submit to their end there."""

    model = text()
    mode = text()
    duration = number("Of the clip, or of the reference video, in seconds.", null=True)
    p50_s = seconds("By then half of them were finished.")
    p90_s = seconds("By then nine in ten of them were finished.")
    jobs = number("How many are known; old ones are forgotten by and by.")


class Gateway(Open):
    """An enabled gateway as it stands."""

    name = word(GATEWAYS)
    paused_until = moment()
    why = text("Why it is paused.", null=True)
    advice = text("What to do about that.", null=True)
    in_flight = number()
    max_in_flight = number()
    submits_left_this_minute = number()
    callbacks = nested(Callbacks)
    finish_s = many(FinishTimes)
    price_table_version = text()


class Gateways(Open):
    """Every enabled gateway."""

    data = many(Gateway)


class Used(Open):
    """One tenant's day at one gateway."""

    day = always(fields.Date)
    tenant = text()
    provider = word(GATEWAYS)
    jobs = number()
    completed = number()
    failed = number()
    seconds = always(fields.Float, "Of video made.")
    estimated_cost_usd = usd(null=False)
    cost_usd = usd(null=False)
    wasted_cost_usd = usd("Of it, what was paid for jobs and attempts that failed.", null=False)
    unpriced_jobs = number("Jobs whose price is not known.")


class Usage(Open):
    """By day, tenant and gateway."""

    data = many(Used)


class Alive(Open):
    """The process answers."""

    status = word(["ok"])


class Readiness(Open):
    """Whether Redis and S3 are reached."""

    status = word(["ready", "unready"])
    ledger = fields.String(metadata={"description": "What is wrong with it."})
    archive = fields.String(metadata={"description": "What is wrong with it."})
    oldest_overdue_s = fields.Float(metadata={"description": "How long the job that waits longest waits for us."})
    submits = fields.String(metadata={"description": "Why none are sent just now: the ledger may have lost something."})
