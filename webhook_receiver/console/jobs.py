"""The page of all jobs, newest first: counts by state, filters, and the list."""

from __future__ import annotations

import json
from collections.abc import Iterable

from flask import abort, redirect, render_template, url_for
from werkzeug.exceptions import NotFound

from rushes.shared.domain import ids
from rushes.shared.domain.job import Job, State
from rushes.shared.intake.job_filters import ERROR_CODES
from rushes.shared.intake.schema import MODELS
from rushes.shared.settings import ADMIN
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.webhook_receiver.auth import Caller, services
from rushes.webhook_receiver.batches_api import BATCH_ID
from rushes.webhook_receiver.console import console, content_security_policy, expected_end, labels
from rushes.webhook_receiver.console.bulk import offered_actions
from rushes.webhook_receiver.console.list_filters import OPEN, Filters
from rushes.webhook_receiver.console.session import require_sign_in
from rushes.webhook_receiver.jobs_api import JOB_ID, visible_job

PAGE = 40
# A text is searched in the records themselves, so only the newest are read.
SEARCH_LIMIT = 400
# The four numbers at the top of the page: name, key of the filter, states, tone.
STATE_GROUPS: list[tuple[str, str, tuple[State, ...], str]] = [
    ("Running", "open", OPEN, "busy"),
    ("Completed", "completed", (State.COMPLETED,), "good"),
    ("Failed", "failed", (State.FAILED,), "bad"),
    ("Unconfirmed", "unconfirmed", (State.UNCONFIRMED,), "warn"),
]
# A link that expires sooner than this is shown as urgent.
URGENT_MS = 3_600_000


@console.get("/")
def jobs_page() -> str:
    """The list of jobs, the first page of the console."""
    visitor = require_sign_in()
    filters = Filters.from_query(visitor)
    _redirect_to_job(filters.text, visitor)
    jobs, older = find_jobs(filters, visitor)
    content_security_policy.allow_media(presigned_url("any"))  # for a thumbnail that arrives while the page is open
    return render_template(
        "jobs.html",
        now=services().now(),
        visitor=visitor,
        filters=filters,
        rows=[(job, row_media(job)) for job in jobs],
        older=older,
        state_counts=state_counts(visitor, filters),
        states=labels.STATES,
        models=MODELS,
        error_codes=ERROR_CODES,
        gateways=sorted({*services().settings.gateways, *(job.provider for job in jobs if job.provider)}),
        tenants=sorted({name for name, _ in services().settings.api_keys} - {ADMIN}),
        search_limit=SEARCH_LIMIT,
        bulk_actions=offered_actions(filters),
    )


def _redirect_to_job(text: str, visitor: Caller) -> None:
    """Redirect to the job, or the batch, where the text is an id, whole or short; this finds old jobs too."""
    if BATCH_ID.fullmatch(text):
        abort(redirect(url_for("console.batch_page", batch_id=text)))
    if JOB_ID.fullmatch(text) or ids.parse_short(text, services().now()):
        try:
            job = visible_job(text, visitor)
        except NotFound:
            return
        abort(redirect(url_for("console.job_page", job_id=job.id)))


def find_jobs(filters: Filters, visitor: Caller) -> tuple[list[Job], str | None]:
    """The jobs of the page, and the id before which the next page starts, if there is one."""
    tenant = filters.tenant or visitor.scope
    page = services().ledger.search.page(tenant, filters.wanted, SEARCH_LIMIT if filters.text else PAGE, filters.before)
    if filters.text:
        return [job for job in page.jobs if matches_text(job, filters.text)][:PAGE], None
    return page.jobs, page.cursor


def matches_text(job: Job, text: str) -> bool:
    """Whether every word of the text is somewhere in the job: in its request, ids, metadata or error."""
    error = (job.error.code, job.error.message) if job.error else ()
    tasks = [attempt.task_id or "" for attempt in job.attempts]
    accepted = json.dumps(dict(job.request), ensure_ascii=False)
    content = "\n".join([job.id, job.tenant, accepted, *tasks, *error]).casefold()
    return all(word in content for word in text.casefold().split())


def state_counts(visitor: Caller, filters: Filters) -> list[dict[str, object]]:
    """The numbers at the top of the page, each a link that sets or clears its filter."""
    counts = services().ledger.overview.counts(filters.tenant or visitor.scope)
    return [
        {
            "name": name,
            "count": sum(counts[state] for state in states),
            "tone": tone,
            "href": filters.page_url(state="" if filters.state == key else key),
            "chosen": filters.state == key,
            "parts": _states_text(states, counts),
        }
        for name, key, states, tone in STATE_GROUPS
    ]


def _states_text(states: Iterable[State], counts: dict[State, int]) -> str:
    """The states that a number adds up, where there are several."""
    parts = [f"{counts[state]} {state.value}" for state in states if counts[state] and state is not State.RUNNING]
    return ", ".join(parts) if len(tuple(states)) > 1 else ""


def row_media(job: Job) -> dict[str, object]:
    """Thumbnail of a job, else its clip for the first frame; its link while that can expire; and how long it takes."""
    thumbnail = thumbnail_url(job)
    clip = presigned_url(job.result.key) if job.result and not thumbnail and job.erase_asked_at is None else None
    now = services().now()
    left = expected_end.time_left(job, services().ledger.learned_times.timings(now), now)
    return {"thumbnail": thumbnail, "clip": clip, "expiring_link": expiring_link(job), "time_left": left}


def thumbnail_url(job: Job) -> str | None:
    """The presigned address of the thumbnail, if there is one."""
    key = job.result.thumbnail_key if job.result and job.erase_asked_at is None else None
    return presigned_url(key) if key else None


def presigned_url(key: str) -> str | None:
    """A presigned address that this page may load; None where there are no credentials to sign with."""
    try:
        return content_security_policy.allow_media(services().archive.presign(key))
    except ArchiveUnavailable:
        return None


def expiring_link(job: Job) -> tuple[int, bool] | None:
    """When the gateway's link expires, and whether that is urgent; None where the clip is in the bucket."""
    link = job.attempt.link if job.attempt else None
    unsaved = job.state is State.ARCHIVING or (job.state is State.FAILED and job.result is None)
    if not unsaved or link is None or not link.expires_at:
        return None
    left_ms = link.expires_at - services().now()
    return (link.expires_at, left_ms < URGENT_MS) if left_ms > 0 or job.state is State.ARCHIVING else None
