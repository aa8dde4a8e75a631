"""One job: what happened to it, what it cost, the clip, and what can be done."""

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
from rushes.webhook_receiver.console.jobs import dying, picture, presigned
from rushes.webhook_receiver.console.session import visitor
from rushes.webhook_receiver.history_api import recalled
from rushes.webhook_receiver.jobs_api import canceled, mine, resolved

REFRESH_S, REFRESH_ENDED_S = 2, 10
REFERENCES = [("image_url", "Reference picture"), ("last_image_url", "Last frame"), ("video_url", "Reference clip")]


@dataclass(frozen=True, slots=True)
class Reference:
    """An input of the job; `shown` is where the page may show it from, None where it may not."""

    label: str
    name: str
    address: str
    shown: str | None


@console.get("/jobs/<job_id>")
def job(job_id: str) -> str:
    """A job, from its acceptance to the notice of its end."""
    asking = visitor()
    found, now = mine(job_id, asking), services().now()
    content_security_policy.show_from(presigned("any"))  # a clip that is archived while the page is open is shown
    return render_template(
        "job.html",
        job=found,
        now=now,
        asking=asking,
        explained=explanations.explain(found, services(), now),
        a_retry=explanations.a_retry(found),
        lines=timeline.lines(found),
        upcoming=timeline.upcoming(found),
        clip=presigned(found.result.key) if found.result else None,
        picture=picture(found),
        dying=dying(found),
        references=references(found, asking),
        facts=facts(found),
        accepted=redacted(dict(found.request)),
        can_replay=found.ended and found.callback_url and Chore.NOTICE not in found.chores,
        calls_mark="-".join(f"{attempt.number}{attempt.status.value}" for attempt in found.attempts),
        refresh_s=REFRESH_ENDED_S if found.ended else REFRESH_S,
    )


def references(found: Job, asking: Caller) -> list[Reference]:
    return [
        Reference(label, name, address.split("?")[0], viewable(address, asking))
        for name, label in REFERENCES
        if (address := found.request.get(name))
    ]


def viewable(address: str, asking: Caller) -> str | None:
    """Where an input can be looked at.

    Our credentials may read more than its tenant: of what lies in S3 a tenant is shown only what was brought through
    the console, whose names nobody guesses.
    """
    if not address.startswith("s3://"):
        return content_security_policy.show_from(address)
    held = services().settings
    if not asking.is_admin and not address.startswith(f"s3://{held.bucket}/{held.prefix}inputs/"):
        return None
    with suppress(ArchiveUnavailable):
        return content_security_policy.show_from(services().fetchable(address))
    return None


def facts(found: Job) -> list[tuple[str, str]]:
    """What is said of the job beside its picture."""
    ask, result = found.request, found.result
    told = [
        ("Model", f"{ask.get('model')}, {ask.get('mode', 'std')}"),
        ("Route", ", then ".join(found.route) or None),
        ("Usually done", usual(found)),
        ("Notifies", urlsplit(found.callback_url).hostname if found.callback_url else None),
        ("Size", f"{result.width} × {result.height}" if result and result.width else None),
        ("File", f"{result.size / 1e6:.1f} MB, {result.content_type}" if result else None),
        ("Stored as", f"s3://{result.bucket}/{result.key}" if result else None),
        ("SHA-256", result.sha256 if result else None),
        *((f"{name}", value) for name, value in dict(ask.get("metadata", {})).items()),
    ]
    return [(name, str(value)) for name, value in told if value]


def usual(found: Job) -> str | None:
    """By when half and nine in ten of such jobs are finished; None where it is over, or too little is known."""
    known = services().ledger.learned_times.timings(services().now()).for_job(found) if found.attempts else None
    if known is None or found.current.heard_by or found.ended:
        return None
    return f"within {span(known.quantile_s(0.5))}; nine in ten within {span(known.quantile_s(0.9))}"


@console.post("/jobs/<job_id>/cancel")
def cancel(job_id: str) -> AnyResponse:
    """Take it back."""
    return _onward(canceled(mine(job_id, visitor())), "canceled")


@console.post("/jobs/<job_id>/retry")
def retry_it(job_id: str) -> AnyResponse:
    """Try it again, as a new job."""
    return _onward(retry(mine(job_id, visitor()), services(), services().now()).job, "retried")


@console.post("/jobs/<job_id>/resolve")
def resolve(job_id: str) -> AnyResponse:
    """Decide about a submit whose answer never came; the decision is confirmed, for it may cost money."""
    found, said = mine(job_id, visitor()), request.form
    if not said.get("looked"):
        told = f"Look the task up at {found.provider} first, and say so with the box."
        raise Unacceptable("invalid_request", told, 422)
    return _onward(resolved(found, said.get("action"), said.get("task_id", "").strip() or None), "resolved")


@console.post("/jobs/<job_id>/notify")
def notify(job_id: str) -> AnyResponse:
    """Tell the caller of the end once more."""
    return _onward(recalled(job_id, visitor()), "replayed")


def _onward(found: Job, said: str) -> AnyResponse:
    return redirect(url_for("console.job", job_id=found.id, said=said), 303)
