"""What became of a job, line by line, and the caller told of its end once more."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from rushes.shared.domain import events
from rushes.shared.domain.job import Job
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.job_document import moment
from rushes.webhook_receiver import openapi_responses
from rushes.webhook_receiver.auth import Caller, caller, services
from rushes.webhook_receiver.jobs_api import mine, shown
from rushes.webhook_receiver.openapi import answers, blueprint, refuses

history_api = blueprint("history", "What became of a job, and who was told.")


@history_api.get("/v1/jobs/<job_id>/history")
@answers(200, openapi_responses.History, "The lines.")
@refuses(401, 404, 429, 503)
def told(job_id: str) -> Response:
    """A job's history, oldest first, with each try to notify its caller."""
    return jsonify({"data": lines(mine(job_id, caller()))})


@history_api.post("/v1/jobs/<job_id>/notify")
@answers(202, openapi_responses.Job, "It will be, under the same `webhook-id`, at growing pauses for a day.")
@refuses(401, 404, 409, 429, 503)
def notify(job_id: str) -> Response:
    """Tell `callback_url` of the end once more."""
    answer = shown(recalled(job_id, caller()))
    answer.status_code = 202
    return answer


def lines(job: Job) -> list[dict[str, Any]]:
    """The history as it is shown."""
    return [{"at": moment(note.at), "what": note.what, "detail": note.detail} for note in job.history]


def recalled(job_id: str, asking: Caller) -> Job:
    """The job, its notice due again; raises 404, or 409 where it has not ended or there is nobody to tell."""
    job = mine(job_id, asking)
    if not job.ended:
        raise Unacceptable("not_ended", f"The job is {job.state.value}; its end is still to come.", 409)
    if job.callback_url is None:
        raise Unacceptable("no_callback_url", "The job names no callback_url.", 409)
    return services().ledger.apply(job.id, events.Recalled(), services().now()) or job
