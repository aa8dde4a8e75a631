"""The page of a job: what happened to it, what it cost, the clip, and what can be done."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from rushes.shared.domain.job import Chore, Job
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.operations.retry import retry
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.webhook_receiver.auth import Caller, services
from rushes.webhook_receiver.console import console, content_security_policy, explanations, timeline
from rushes.webhook_receiver.console.formatting import redacted, span
from rushes.webhook_receiver.console.jobs import expiring_link, presigned_url, thumbnail_url
from rushes.webhook_receiver.console.session import require_sign_in
from rushes.webhook_receiver.history_api import request_notification
from rushes.webhook_receiver.jobs_api import cancel_job, erase_job, resolve_job, visible_job

REFRESH_S, REFRESH_ENDED_S = 2, 10
REFERENCES = [("image_url", "Reference picture"), ("last_image_url", "Last frame"), ("video_url", "Reference clip")]


@dataclass(frozen=True, slots=True)
class Reference:
    """An input of the job; `view_url` is where the page loads it from, None where it may not load it."""

    label: str
    name: str
    address: str
    view_url: str | None


@console.get("/jobs/<job_id>")
def job_page(job_id: str) -> str:
    """A job, from its acceptance to the notification of its end."""
    visitor = require_sign_in()
    job, now = visible_job(job_id, visitor), services().now()
    content_security_policy.allow_media(presigned_url("any"))  # for a clip that is archived while the page is open
    return render_template(
        "job.html",
        job=job,
        now=now,
        visitor=visitor,
        explanation=explanations.explain(job, services(), now),
        retry_effect=explanations.retry_effect(job),
        lines=timeline.lines(job),
        upcoming=timeline.upcoming(job),
        clip=presigned_url(job.result.key) if job.result and not job.erase_asked_at else None,
        thumbnail_url=thumbnail_url(job),
        expiring_link=expiring_link(job),
        references=references(job, visitor),
        facts=facts(job),
        accepted=redacted(dict(job.request)),
        can_replay=job.ended and job.callback_url and Chore.NOTICE not in job.chores,
        calls_mark="-".join(f"{attempt.number}{attempt.status.value}" for attempt in job.attempts),
        refresh_s=REFRESH_ENDED_S if job.ended else REFRESH_S,
    )


def references(job: Job, visitor: Caller) -> list[Reference]:
    return [
        Reference(label, name, address.split("?")[0], view_url(address, visitor))
        for name, label in REFERENCES
        if (address := job.request.get(name))
    ]


def view_url(address: str, visitor: Caller) -> str | None:
    """Where the page can load an input from; None where it may not.

    Rushes' own credentials may read more than the tenant may: of objects in S3 a tenant sees only those that were
    uploaded through the console, whose names cannot be guessed.
    """
    if not address.startswith("s3://"):
        return content_security_policy.allow_media(address)
    settings = services().settings
    if not visitor.is_admin and not address.startswith(f"s3://{settings.bucket}/{settings.prefix}inputs/"):
        return None
    with suppress(ArchiveUnavailable):
        return content_security_policy.allow_media(services().fetchable_url(address))
    return None


def facts(job: Job) -> list[tuple[str, str]]:
    """Facts of the job, as name and value."""
    accepted, result = job.request, job.result if job.erase_asked_at is None else None
    facts = [
        ("Model", f"{accepted.get('model')}, {accepted.get('mode', 'std')}"),
        ("Route", ", then ".join(job.route) or None),
        ("Priority", accepted.get("priority")),
        ("Not before", accepted.get("not_before")),
        ("Not begun after", accepted.get("start_before")),
        ("Batch", accepted.get("batch")),
        ("Usually done", usual_duration(job)),
        ("Notifies", urlsplit(job.callback_url).hostname if job.callback_url else None),
        ("Size", f"{result.width} × {result.height}" if result and result.width else None),
        ("File", f"{result.size / 1e6:.1f} MB, {result.content_type}" if result else None),
        ("Stored as", f"s3://{result.bucket}/{result.key}" if result else None),
        ("SHA-256", result.sha256 if result else None),
        *((f"{name}", value) for name, value in dict(accepted.get("metadata", {})).items()),
    ]
    return [(name, str(value)) for name, value in facts if value]


def usual_duration(job: Job) -> str | None:
    """When half and nine in ten of such jobs are finished; None after the end, or where too little is known."""
    timing = services().ledger.learned_times.timings(services().now()).for_job(job) if job.attempts else None
    if timing is None or job.current.heard_by or job.ended:
        return None
    return f"within {span(timing.quantile_s(0.5))}; nine in ten within {span(timing.quantile_s(0.9))}"


@console.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> AnyResponse:
    """Cancel a job."""
    return _redirect_to_job(cancel_job(visible_job(job_id, require_sign_in())), "canceled")


@console.post("/jobs/<job_id>/retry")
def retry_job(job_id: str) -> AnyResponse:
    """Try a job again, as a new job."""
    return _redirect_to_job(retry(visible_job(job_id, require_sign_in()), services(), services().now()).job, "retried")


@console.post("/jobs/<job_id>/resolve")
def resolve(job_id: str) -> AnyResponse:
    """Decide about a submit whose answer never came. The form asks for a confirmation: the decision may cost money."""
    job, form = visible_job(job_id, require_sign_in()), request.form
    if not form.get("looked_up"):
        message = f"Look the task up at {job.provider} first, then tick the box."
        raise Unacceptable("invalid_request", message, 422)
    return _redirect_to_job(resolve_job(job, form.get("action"), form.get("task_id", "").strip() or None), "resolved")


@console.post("/jobs/<job_id>/erase")
def erase(job_id: str) -> AnyResponse:
    """Erase the job. The form asks for a confirmation: there is no way back."""
    job = visible_job(job_id, require_sign_in())
    if not request.form.get("sure"):
        raise Unacceptable("invalid_request", "Tick the box: what is erased cannot be brought back.", 422)
    return _redirect_to_job(erase_job(job), "erased")


@console.post("/jobs/<job_id>/notify")
def notify(job_id: str) -> AnyResponse:
    """Send the notification of the end once more."""
    return _redirect_to_job(request_notification(job_id, require_sign_in()), "notified")


def _redirect_to_job(job: Job, done: str) -> AnyResponse:
    return redirect(url_for("console.job_page", job_id=job.id, done=done), 303)
