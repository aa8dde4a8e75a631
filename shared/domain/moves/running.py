"""Moves of a job that the gateway has."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rushes.shared.domain import cheapest_wait, events, money, routing, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import AttemptStatus, CostSource, Error, Job, Link, State
from rushes.shared.domain.moves import ended, submitting
from rushes.shared.domain.schedule import Policy


def _confirm(job: Job, now: int, policy: Policy) -> Job:
    """A submit that was in doubt turns out to be a task of ours."""
    return submitting.start_running(job, job.current.task_id, now, policy).noted(now, "confirmed", job.current.task_id)


def progress(job: Job, event: events.Progressed, now: int, policy: Policy) -> Job:
    if job.state is State.UNCONFIRMED:
        job = submitting.start_running(job, job.current.task_id, now, policy).noted(
            now, "confirmed", job.current.task_id
        )
    percent = job.progress if event.percent is None else max(job.progress, min(99, event.percent))
    return keep_polling(replace(job, progress=percent, setbacks=0), event, now, policy)


def keep_polling(job: Job, event: Event, now: int, policy: Policy) -> Job:
    """No verdict: ask again later. The deadline ends our waiting; it does not say that the task failed."""
    job = replace(job.with_attempt(polls=job.current.polls + 1, asked_at=event.asked_at), tries=0)
    if now >= schedule.deadline(job.current, policy):
        return ended.end(job, State.FAILED, now, _timed_out(job, policy))
    wait_s = getattr(event, "retry_after_s", None) or 0
    clear = isinstance(event, events.Progressed)
    due_at = max(schedule.next_poll(job, now, policy, clear), schedule.after(now, wait_s))
    return replace(job, due_at=min(due_at, schedule.deadline(job.current, policy)))


NO_LINK = "no link"


def _timed_out(job: Job, policy: Policy) -> Error:
    """Why an attempt is given up at its deadline. A gateway that says completed without a link is named as that."""
    if job.has_noted(NO_LINK, since=job.current.submitted_at):
        message = f"the gateway says completed but gave no link within {policy.job_timeout_s:g} s"
        return Error("provider_error", message, job.provider)
    message = f"no end was heard of within {policy.job_timeout_s:g} s; the gateway may still finish it"
    return Error("timed_out", message, job.provider)


def _wait_for_link(job: Job, event: events.Unclear, now: int, policy: Policy) -> Job:
    """The clip is made and has no link: the history says so at once, and the gateway is asked again for the link."""
    if job.state is State.UNCONFIRMED:
        job = submitting.start_running(job, job.current.task_id, now, policy).noted(
            now, "confirmed", job.current.task_id
        )
    if not job.has_noted(NO_LINK, since=job.current.submitted_at):
        job = job.noted(now, NO_LINK, event.message)
    return keep_polling(job, event, now, policy)


# One odd answer is no verdict; so many in a row are.
UNKNOWN_TASK_ANSWERS = 3


def read_unclear(job: Job, event: events.Unclear, now: int, policy: Policy) -> Job:
    if event.finished:
        return _wait_for_link(job, event, now, policy)
    if job.state is State.UNCONFIRMED:
        # The task id came from an unsigned body; a gateway that goes on not knowing it shows that it was made up.
        polls = job.current.polls + event.missing
        fields = {"task_id": None, "polls": 0} if polls >= UNKNOWN_TASK_ANSWERS else {"polls": polls}
        return submitting.stay_unconfirmed(job.with_attempt(**fields), event, now, policy)
    return keep_polling(job, event, now, policy)


def succeed(job: Job, event: events.Succeeded, now: int, policy: Policy) -> Job:
    link = dated_link(event.link, now, policy)
    job = job.with_attempt(
        status=AttemptStatus.COMPLETED,
        task_id=job.current.task_id or event.task_id,
        ended_at=now,
        heard_by=event.heard_by,
        **_cost(job, event.cost_usd),
        made_s=event.made_s,
        link=link,
        body=None,
    )
    due_at = schedule.archive_due(link.expires_at, now, policy)
    job = replace(job, state=State.ARCHIVING, progress=100, due_at=due_at, tries=0, setbacks=0)
    return job.noted(now, "finished", f"heard by {event.heard_by}")


def _cost(job: Job, reported_usd: Decimal | None) -> dict[str, Any]:
    """The cost of a task that has ended, as far as the gateway tells it. An adopted task was paid by another job."""
    if job.current.adopted:
        return {"cost_usd": money.ZERO, "cost_source": CostSource.SETTLED}
    return {} if reported_usd is None else {"cost_usd": reported_usd, "cost_source": CostSource.REPORTED}


def dated_link(link: Link, now: int, policy: Policy) -> Link:
    return link if link.expires_at else replace(link, expires_at=schedule.after(now, policy.result_ttl_s))


def fail_task(job: Job, event: events.Failed, now: int, policy: Policy) -> Job:
    error = Error(event.reason.code, event.message, job.provider)
    job = job.with_attempt(
        status=AttemptStatus.FAILED,
        task_id=job.current.task_id or event.task_id,
        ended_at=now,
        heard_by=event.heard_by,
        # Failed tasks are refunded (apimart and New-API say so, 2026-11), unless the gateway itself tells a cost.
        **(_cost(job, event.cost_usd) or {"cost_usd": money.ZERO, "cost_source": CostSource.SETTLED}),
        error=error,
        body=None,
    )
    job = job.noted(now, "task failed", f"{job.provider}: {event.message}")
    move = routing.after_failure(job, event.reason)
    if isinstance(move, routing.Give):
        return ended.end(job, State.FAILED, now, error)
    job = cheapest_wait.resumed(job, job.current.submitted_at, now, policy)
    return replace(submitting.requeue(job, move, now), due_at=now)
