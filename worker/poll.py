"""The poll step: asks a gateway for the state of a task, and reads what the response means for the job."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job, Link, State
from rushes.shared.domain.moves.running import UNKNOWN_TASK_ANSWERS
from rushes.shared.ledger.quarantine import IN_ALL
from rushes.shared.operations.task_query import check_link, query_task
from rushes.shared.services import Services
from rushes.worker.leases import Lease
from rushes.worker.own_id_query import query_by_own_id
from rushes.worker.repeated_calls import repeat_call


def poll(job: Job, lease: Lease, services: Services) -> Event | None:
    """Query the job's task. If a lost response left it without a task id, find out about the submit instead."""
    attempt, now = job.current, services.now()
    services.access(attempt.provider, attempt)  # raises AccountMissing: nothing is decided, and nothing sent again
    if is_too_soon(job, now):
        return events.Deferred(attempt.asked_at + schedule.NUDGE_GAP_S * schedule.SECOND, "asked a moment ago")
    task_id = task_id_of(job)
    if task_id is None:
        event = (query_by_own_id if attempt.askable else repeat_call)(job, services)
        return replace(event, attempt=attempt.number, asked_at=now) if event else None
    return event_for_job(job, query_task(attempt, task_id, services), now, services)


def is_too_soon(job: Job, now: int) -> bool:
    """Whether a callback made the job due right after a query: many callbacks must not cause as many queries."""
    return job.nudge is not None and now < job.current.asked_at + schedule.NUDGE_GAP_S * schedule.SECOND


def task_id_of(job: Job) -> str | None:
    """The task id from the response to the submit, or from a callback that came before it."""
    hint = job.nudge.task_id if job.nudge and job.nudge.attempt == job.current.number else None
    return job.current.task_id or hint


def event_for_job(job: Job, event: Event, asked_at: int, services: Services) -> Event | None:
    """What the gateway's event means for the job; None if the job was given another task id instead."""
    attempt = job.current
    event = replace(check_link(job, event), attempt=attempt.number, asked_at=asked_at)
    if job.state is State.UNCONFIRMED and isinstance(event, events.Unclear) and event.missing:
        return None if attempt.polls + 1 >= UNKNOWN_TASK_ANSWERS and apply_quarantined_task_id(job, services) else event
    has_callback = job.nudge is not None and job.nudge.attempt == attempt.number
    if isinstance(event, events.Succeeded) and has_callback:
        return replace(event, heard_by="callback", link=with_callback_thumbnail(event.link, job))
    if isinstance(event, events.Failed) and has_callback:
        return replace(event, heard_by="callback")
    return event


def apply_quarantined_task_id(job: Job, services: Services) -> bool:
    """Apply the task id of a callback that was quarantined because an earlier one had named an unknown task.

    Returns whether there was one.
    """
    quarantine = services.ledger.quarantine
    for callback in quarantine.newest(job.tenant, services.now(), IN_ALL):
        if (callback.job_id, callback.attempt) == (job.id, job.current.number) and callback.task_id:
            services.ledger.apply(job.id, events.Replayed(task_id=callback.task_id), services.now(), known=job)
            # Dropped only after the ledger has the task id: after a crash in between it is found again.
            quarantine.drop(callback.id)
            return True
    return False


def with_callback_thumbnail(link: Link, job: Job) -> Link:
    """The link with the thumbnail of the callback, which is trusted only on the host of the confirmed clip."""
    thumbnail_url = job.nudge.thumbnail_url if job.nudge else None
    if link.thumbnail_url or not thumbnail_url or urlsplit(thumbnail_url).netloc != urlsplit(link.video_url).netloc:
        return link
    return replace(link, thumbnail_url=thumbnail_url)
