"""The responses of the calls in /openapi.json; the request of a job is in openapi_request.py.

These schemas only describe; documents are written by shared/intake/job_document.py.
"""

from __future__ import annotations

from marshmallow import fields

from rushes.shared.domain.bulk import Action
from rushes.shared.domain.bulk import Status as BulkStatus
from rushes.shared.domain.ids import CROCKFORD
from rushes.shared.domain.job import AttemptStatus, CostSource, State
from rushes.webhook_receiver.openapi_fields import (
    OpenSchema,
    always,
    choice_of,
    many,
    moment,
    nested,
    number,
    seconds,
    text,
    texts,
    usd,
)
from rushes.webhook_receiver.openapi_models import Price
from rushes.webhook_receiver.openapi_request import GATEWAYS, AcceptedRequest

JOB_ID = f"^job_[{CROCKFORD}]{{26}}$"
BULK_ID = f"^bulk_[{CROCKFORD}]{{26}}$"


# --- decisions


class Settled(OpenSchema):
    """Send an unconfirmed submit again, or give it up."""

    action = choice_of(["resubmit", "fail"])


class Adopted(OpenSchema):
    """Adopt the task that was found at the gateway."""

    action = choice_of(["adopt"])
    task_id = text("The task's id at the gateway.", minLength=1, maxLength=200, pattern="^[!-~]+$")


DECISION = {"oneOf": [Settled, Adopted]}


# --- responses


class Problem(OpenSchema):
    """What is wrong: a code for programs and a sentence for people."""

    code = text(example="invalid_request")
    message = text()
    wrong = fields.Dict(
        data_key="fields",
        keys=fields.String(),
        values=fields.Raw(),
        metadata={"description": "What is wrong with which field."},
    )


class Error(OpenSchema):
    """The body of every error response."""

    error = nested(Problem)


class Failure(OpenSchema):
    """Why a job or an attempt failed."""

    code = text(
        "`input_rejected`, `no_provider`, `insufficient_balance`, `content_policy`, `provider_error`, `rate_limited`, "
        "`budget_exceeded`, `start_deadline_passed`, `timed_out`, "
        "`submit_unconfirmed`, `result_expired`, `result_invalid`, `archive_failed`."
    )
    message = text()
    provider = fields.String()


class Attempt(OpenSchema):
    """One paid call to one gateway."""

    provider = choice_of(GATEWAYS)
    task_id = text("The task's id at the gateway.", null=True)
    status = choice_of(AttemptStatus)
    submitted_at = moment(null=False)
    ended_at = moment()
    heard_by = choice_of(["callback", "poll"], "How Rushes learned of its end.", null=True)
    account = text("The account that submitted it; `default` is that of the gateway's single key.")
    estimated_cost_usd = usd()
    cost_usd = usd()
    cost_source = choice_of(
        CostSource,
        "`reported` by the gateway, `settled` from what was made, or `estimated` where the estimate stands.",
        null=True,
    )
    error = nested(Failure, null=True)


class Result(OpenSchema):
    """The clip in the bucket."""

    bucket = text()
    key = text()
    manifest_key = text()
    thumbnail_key = text(null=True)
    url = fields.String(metadata={"description": "Signed, valid for an hour; not in notifications.", "format": "uri"})
    size = number("Bytes.")
    sha256 = text()
    content_type = text()
    duration_s = always(fields.Float, null=True)
    width = number(null=True)
    height = number(null=True)


class Job(OpenSchema):
    """The job document."""

    id = text("Sorts by the time of creation.", pattern=JOB_ID)
    object = choice_of(["job"])
    status = choice_of(State)
    tenant = text("The name of the key that enqueued it.")
    request = nested(AcceptedRequest)
    provider = choice_of(GATEWAYS, "The gateway that has the job, or had it last.", null=True)
    progress = number(maximum=100)
    attempts = many(Attempt)
    estimated_cost_usd = usd()
    cost_usd = usd()
    result = nested(Result, null=True)
    error = nested(Failure, null=True)
    result_expires_at = moment("When the gateway's own link expires.")
    created_at = moment(null=False)
    updated_at = moment(null=False)
    ended_at = moment()
    metadata = always(fields.Dict, keys=fields.String(), values=fields.String())
    erased_at = fields.DateTime(
        allow_none=True,
        metadata={"description": "Only of an erased job: when the last of its content went; null while that goes on."},
    )
    retry_of = fields.String(metadata={"description": "The failed job that this one tries again."})


class Jobs(OpenSchema):
    """A page of jobs, newest first."""

    data = many(Job)
    next_cursor = text("Cursor of the next page; null on the last page.", null=True)


class Event(OpenSchema):
    """One event of a stream."""

    id = text("Position in the stream: send the last one as `Last-Event-ID` to get only newer events.")
    event = choice_of(["status", "progress"])
    data = text("The job document at that moment.", contentMediaType="application/json")


class Bulk(OpenSchema):
    """A bulk action, and how far it is."""

    id = text(pattern=BULK_ID)
    object = choice_of(["bulk"])
    tenant = text("The name of the key that asked for it.")
    action = choice_of(Action)
    filter = always(fields.Dict)
    status = choice_of(BulkStatus)
    matched = number("How many jobs there were at its beginning; null where these were too many to count.", null=True)
    done = number("How many jobs it is done with.")
    outcomes = always(fields.Dict, "What came of them: a word, and how many jobs.")
    created_at = moment(null=False)
    ended_at = moment()


class BulkForecast(OpenSchema):
    """What a bulk action would do; nothing was done."""

    object = choice_of(["bulk"])
    dry_run = always(fields.Boolean)
    action = choice_of(Action)
    filter = always(fields.Dict)
    count = number("Jobs that fit and to which the action can do something.")
    complete = always(fields.Boolean, "False where the count stopped: then there are more.")
    estimated_cost_usd = usd("What the retries would cost at the jobs' own estimates, at most.", null=False)
    unpriced_jobs = number("Jobs among them whose price is not known.")


class Bulks(OpenSchema):
    """Newest first."""

    data = many(Bulk)


class Line(OpenSchema):
    """One entry of a job's history."""

    at = moment(null=False)
    what = text(example="notice failed")
    detail = text(null=True, example="HTTP 500, next try at 2026-11-20T17:45:05Z")


class History(OpenSchema):
    """What happened to a job, oldest first, with each try to notify. At most 64 entries: the first and the newest."""

    data = many(Line)


class QuarantinedCallback(OpenSchema):
    """A callback to a valid address that named another task than its attempt has. It changed nothing."""

    id = text()
    at = moment(null=False)
    provider = choice_of(GATEWAYS)
    job_id = text(pattern=JOB_ID)
    tenant = text()
    attempt = number("The attempt whose address it was sent to.")
    task_id = text("The task that it named.", null=True)
    expected_task_id = text("The task that the attempt has.", null=True)
    status_word = text("Its state, in the gateway's own word.", null=True)
    body = text("The beginning of the body, without secrets.", maxLength=4096)


class QuarantinedCallbacks(OpenSchema):
    """Newest first."""

    data = many(QuarantinedCallback)


class Notice(OpenSchema):
    """The notification to `callback_url`, signed under Standard Webhooks."""

    type = choice_of(["job.completed", "job.failed", "job.canceled"])
    timestamp = moment(null=False)
    data = nested(Job)


class RecentBills(OpenSchema):
    """What the gateway billed of late for this kind of work (model, mode, sound)."""

    count = number("How many bills; old ones are forgotten over time.")
    mean_ratio = text("The mean of what each bill was in estimates: 1.1 is ten per cent over.", example="1.0316")
    expected_cost_usd = usd("The estimate times that.")


class Estimate(OpenSchema):
    """What one gateway would do with the request, and for how much."""

    provider = choice_of(GATEWAYS)
    able = always(fields.Boolean)
    estimated_cost_usd = usd("Null where the price or the length of the reference is unknown.")
    would_send = always(fields.Dict, "The exact body; null where the gateway is not able.", null=True)
    why_not = text(null=True)
    price = nested(Price, null=True)
    notes = texts("What to know of it: a price that is unknown or in doubt, names that are guesses.")
    recent_bills = nested(RecentBills, null=True)


class Estimates(OpenSchema):
    """Able gateways first, cheapest first."""

    data = many(Estimate)


class Callbacks(OpenSchema):
    """How many ends a callback reported, of the newest tasks for which a callback was asked for."""

    asked = number()
    heard = number()
    last_heard_at = moment()
    silent = always(fields.Boolean, "The last ends came without a callback; the jobs are polled until one arrives.")


class FinishTimes(OpenSchema):
    """How long the last jobs of one kind took there, from submit to end."""

    model = text()
    mode = text()
    duration = number("Of the clip, or of the reference video, in seconds.", null=True)
    p50_s = seconds("Half of the jobs were finished by then.")
    p90_s = seconds("Nine in ten of the jobs were finished by then.")
    jobs = number("How many jobs these times come from; old ones are forgotten over time.")


class Balance(OpenSchema):
    """The balance of our account at a gateway, as it was read last; it is asked for every ten minutes.

    A gateway with several accounts shows the one that ends first.
    """

    usd = usd("Null where the account has no limit or counts units, or the balance was never read.")
    units = text("What is left of its packages, in units, where the gateway counts so; 0 may mean cash.", null=True)
    unlimited = always(fields.Boolean)
    at = moment("When it was read.")
    days_left = always(
        fields.Float,
        "At the rate of the last seven days, units at their list price; null where nothing was spent.",
        null=True,
    )
    problem = text("Why it could not be read the last time.", null=True)


class Account(OpenSchema):
    """One of our accounts at a gateway."""

    name = text("`default` is that of the gateway's single key.")
    state = choice_of(
        ["open", "drain", "missing"],
        "`drain`: it takes no new submit. `missing`: it has jobs and is in no setting; they wait until it is back.",
    )
    jobs = number("That have not ended.")
    paused_until = moment()
    why = text("Why it is paused.", null=True)
    advice = text("What to do about the pause, or about the setting.", null=True)
    in_flight = number()
    max_in_flight = number()
    submits_left_this_minute = number()
    balance = nested(Balance, null=True)


class Gateway(OpenSchema):
    """An enabled gateway, as it is now: its accounts that take submits together, and each account by itself."""

    name = choice_of(GATEWAYS)
    paused_until = moment()
    why = text("Why it is paused.", null=True)
    advice = text("What to do about the pause.", null=True)
    in_flight = number()
    max_in_flight = number()
    submits_left_this_minute = number()
    callbacks = nested(Callbacks)
    finish_s = many(FinishTimes)
    balance = nested(Balance, null=True)
    accounts = many(Account)
    price_table_version = text()


class Gateways(OpenSchema):
    """Every enabled gateway."""

    data = many(Gateway)


class Difference(OpenSchema):
    """A kind of work whose bills differ from the estimates by more than 5 %: those jobs alone."""

    model = text()
    mode = text()
    sound = choice_of(["sound", "silent"])
    jobs = number()
    estimated_cost_usd = usd(null=False)
    billed_cost_usd = usd("By the gateway's own word; what EvoLink reserves is compared too.", null=False)


class Used(OpenSchema):
    """One tenant's day at one gateway."""

    day = always(fields.Date)
    tenant = text()
    provider = choice_of(GATEWAYS)
    jobs = number()
    completed = number()
    failed = number()
    seconds = always(fields.Float, "Of video made.")
    estimated_cost_usd = usd(null=False)
    cost_usd = usd(null=False)
    reported_cost_usd = usd("The part of the cost that the gateway itself told.", null=False)
    wasted_cost_usd = usd("The part of the cost that was paid for jobs and attempts that failed.", null=False)
    unpriced_jobs = number("Jobs whose price is not known.")
    differences = many(Difference)


class Usage(OpenSchema):
    """By day, tenant and gateway."""

    data = many(Used)


class Alive(OpenSchema):
    """The process answers."""

    status = choice_of(["ok"])


class Readiness(OpenSchema):
    """Whether jobs are accepted and submitted."""

    status = choice_of(["ready", "unready"])
    ledger = fields.String(metadata={"description": "What is wrong with it."})
    archive = fields.String(metadata={"description": "What is wrong with it."})
    broker = fields.String(metadata={"description": "What is wrong with it, as the schedulers found."})
    oldest_overdue_s = fields.Float(
        metadata={"description": "How long the job that waits longest has waited for Rushes."}
    )
    submits = fields.String(metadata={"description": "Why no submit is sent now: the ledger may have lost entries."})
