"""Batches in /openapi.json; the documents are written by shared/intake/batch_document.py."""

from __future__ import annotations

from marshmallow import fields, validate

from rushes.shared.domain.batch import JOBS_MAX
from rushes.shared.domain.ids import CROCKFORD
from rushes.shared.domain.job import State
from rushes.shared.intake.batches import BatchRequest
from rushes.shared.intake.schema import JobRequest
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
    usd,
)
from rushes.webhook_receiver.openapi_request import GATEWAYS

BATCH_ID = f"^batch_[{CROCKFORD}]{{26}}$"


class JobOfBatch(JobRequest):
    """A job as it stands in a batch."""

    class Meta:
        exclude = ("batch",)


class NewBatch(BatchRequest):
    """Jobs that are taken together, or not at all."""

    # A job's `batch` is the batch's own id: none may be given.
    jobs = fields.List(fields.Nested(JobOfBatch), required=True, validate=validate.Length(1, JOBS_MAX))


class ReceiptLine(OpenSchema):
    """What became of one job, and what it cost."""

    job_id = text()
    status = choice_of(["completed", "failed", "canceled"], null=True)
    provider = choice_of(GATEWAYS, "The gateway that had it last.", null=True)
    error = text("The code of its error.", null=True)
    estimated_cost_usd = usd()
    cost_usd = usd()
    wasted_cost_usd = usd("What was paid for attempts that failed.")


class BatchSummary(OpenSchema):
    """A batch, as it stands now."""

    id = text("Sorts by the time of creation.", pattern=BATCH_ID)
    object = choice_of(["batch"])
    status = choice_of(["running", "completed"], "`completed` once every job has ended, however it ended.")
    tenant = text("The name of the key that enqueued it.")
    jobs = number("How many jobs it has.")
    counts = always(
        fields.Dict,
        "How many of them stand in each state.",
        keys=fields.String(validate=validate.OneOf([*State])),
        values=fields.Integer(),
    )
    errors = always(fields.Dict, "How many ended with each error code.", keys=fields.String(), values=fields.Integer())
    max_cost_usd = usd("Its budget.")
    estimated_cost_usd = usd("Of all jobs whose estimate is known.", null=False)
    unpriced_jobs = number("Jobs whose cost cannot be estimated yet.")
    reserved_cost_usd = usd(
        "Estimates of calls whose cost is not known yet: they count against the budget.", null=False
    )
    cost_usd = usd("What was billed.", null=False)
    wasted_cost_usd = usd("The part of it that was paid for jobs and attempts that failed.", null=False)
    seconds = seconds("Of video made.")
    canceled = always(fields.Boolean, "Nothing more of it is submitted.")
    created_at = moment(null=False)
    ended_at = moment("When its last job ended.")
    callback_url = fields.String()
    metadata = always(fields.Dict, keys=fields.String(), values=fields.String())


class Batch(BatchSummary):
    """A batch with its jobs."""

    job_ids = fields.List(fields.String(), required=True, metadata={"description": "In the order of the request."})
    receipt = fields.List(
        fields.Nested(ReceiptLine),
        required=True,
        allow_none=True,
        metadata={"description": "One line for each job, in the order of the request; null until all have ended."},
    )


class Batches(OpenSchema):
    """A page of batches, newest first."""

    data = many(BatchSummary)
    next_cursor = text("Cursor of the next page; null on the last page.", null=True)


class BatchNotice(OpenSchema):
    """The notification to the `callback_url` of a batch, signed under Standard Webhooks."""

    type = choice_of(["batch.completed"])
    timestamp = moment(null=False)
    data = nested(Batch)
