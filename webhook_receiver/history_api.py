"""The history of a job, and its notification sent once more."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from rushes.shared.domain import events
from rushes.shared.domain.job import Job
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.job_document import moment
from rushes.webhook_receiver import openapi_responses
from rushes.webhook_receiver.auth import Caller, authenticate, services
from rushes.webhook_receiver.jobs_api import job_response, visible_job
from rushes.webhook_receiver.openapi import answers, blueprint, refuses

history_api = blueprint("history", "What happened to a job, and its notifications.")


@history_api.get("/v1/jobs/<job_id>/history")
@answers(200, openapi_responses.History, "The entries, oldest first.")
@refuses(401, 404, 429, 503)
def history(job_id: str) -> Response:
    """The history of a job, oldest first, with each try to notify its caller."""
    return jsonify({"data": history_entries(visible_job(job_id, authenticate()))})


@history_api.post("/v1/jobs/<job_id>/notify")
@answers(
    202, openapi_responses.Job, "The notification is sent again under the same `webhook-id`, and retried for a day."
)
@refuses(401, 404, 409, 429, 503)
def notify(job_id: str) -> Response:
    """Send the notification of the end to `callback_url` once more."""
    response = job_response(request_notification(job_id, authenticate()))
    response.status_code = 202
    return response


def history_entries(job: Job) -> list[dict[str, Any]]:
    """The history as JSON."""
    return [{"at": moment(note.at), "what": note.what, "detail": note.detail} for note in job.history]


def request_notification(job_id: str, caller: Caller) -> Job:
    """Make the notification of the job due again; raises 404, or 409 where the job runs or names no callback_url."""
    job = visible_job(job_id, caller)
    if not job.ended:
        raise Unacceptable("not_ended", f"The job is {job.state.value}; it has not ended yet.", 409)
    if job.erase_asked_at is not None:
        raise Unacceptable("erased", "The job is erased: nobody is known who could be notified.", 409)
    if job.callback_url is None:
        raise Unacceptable("no_callback_url", "The job names no callback_url.", 409)
    return services().ledger.apply(job.id, events.Recalled(), services().now()) or job
