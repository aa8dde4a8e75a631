"""Asking a gateway how a task stands, and what its answer means for the job."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job, Link, State
from rushes.shared.domain.moves.running import UNKNOWN_TASK_ANSWERS
from rushes.shared.ledger.quarantine import IN_ALL
from rushes.shared.operations.task_query import ask, result_of
from rushes.shared.services import Services
from rushes.worker.leases import Lease
from rushes.worker.submit import ask_again


def poll(job: Job, mine: Lease, services: Services) -> Event | None:
    """Ask the gateway how the task stands; of a submit whose answer is lost, what can be known."""
    attempt, now = job.current, services.now()
    if too_soon(job, now):
        return events.Deferred(attempt.asked_at + schedule.NUDGE_GAP_S * schedule.SECOND, "asked a moment ago")
    task_id = task_of(job)
    if task_id is None:
        return replace(ask_again(job, services), attempt=attempt.number, asked_at=now)
    return meant(job, ask(attempt, task_id, services), now, services)


def too_soon(job: Job, now: int) -> bool:
    """Whether a callback wants what was asked a moment ago; whoever sends many does not make us ask as many times."""
    return job.nudge is not None and now < job.current.asked_at + schedule.NUDGE_GAP_S * schedule.SECOND


def task_of(job: Job) -> str | None:
    """The task to be asked about, as the submit's answer named it, or a callback that came before it."""
    hinted = job.nudge.task_id if job.nudge and job.nudge.attempt == job.current.number else None
    return job.current.task_id or hinted


def meant(job: Job, answer: Event, asked_at: int, services: Services) -> Event | None:
    """What the gateway's answer means for the job that it was asked for; None where a step of another kind was done."""
    attempt = job.current
    event = replace(result_of(job, answer), attempt=attempt.number, asked_at=asked_at)
    if job.state is State.UNCONFIRMED and isinstance(event, events.Unclear) and event.missing:
        return None if attempt.polls + 1 >= UNKNOWN_TASK_ANSWERS and named_otherwise(job, services) else event
    called = job.nudge is not None and job.nudge.attempt == attempt.number
    if isinstance(event, events.Succeeded) and called:
        return replace(event, heard_by="callback", link=pictured(event.link, job))
    if isinstance(event, events.Failed) and called:
        return replace(event, heard_by="callback")
    return event


def named_otherwise(job: Job, services: Services) -> bool:
    """Whether a later callback named another task: it was set aside while the first name, which is no task's, stood.

    It stays aside until the ledger knows the name: whoever dies between the two finds it again.
    """
    quarantine = services.ledger.quarantine
    for stray in quarantine.newest(job.tenant, services.now(), IN_ALL):
        if (stray.job_id, stray.attempt) == (job.id, job.current.number) and stray.task_id:
            services.ledger.apply(job.id, events.Replayed(task_id=stray.task_id), services.now(), known=job)
            quarantine.drop(stray.id)
            return True
    return False


def pictured(link: Link, job: Job) -> Link:
    """The link with the callback's thumbnail, if the gateway's own word has the clip on the same host."""
    told = job.nudge.thumbnail_url if job.nudge else None
    if link.thumbnail_url or not told or urlsplit(told).netloc != urlsplit(link.video_url).netloc:
        return link
    return replace(link, thumbnail_url=told)
