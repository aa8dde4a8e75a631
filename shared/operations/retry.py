"""A failed job tried again; what was paid for and can still be had is not paid for again."""

from __future__ import annotations

from dataclasses import replace

from rushes.shared.domain import events, money, schedule
from rushes.shared.domain.ids import new_id
from rushes.shared.domain.job import Attempt, AttemptStatus, Job, State
from rushes.shared.intake.intake import Receipt, Unacceptable, digest
from rushes.shared.operations.task_query import ask
from rushes.shared.services import Services

# The caller waits for the answer.
ASK_S = 8
# What the gateway itself gave up is gone; anything else may still be there.
GONE = frozenset({AttemptStatus.FAILED, AttemptStatus.REJECTED})
# The gateway was asked for a fresh link to the last, and says that the task is done all the same.
DEAD = "result_expired"


def retry(job: Job, services: Services, now: int, key: str | None = None) -> Receipt:
    """A new job with the failed one's request; the first such job, where the idempotency key was used for it before.

    Raises Unacceptable where it did not fail, nobody can do it now, or its gateway does not say if it has the clip.
    """
    services.intake.check_key(key)
    if first := services.intake.first(job.tenant, key, digest({"retry_of": job.id})):
        return Receipt(first, replayed=True)
    if job.state is not State.FAILED:
        raise Unacceptable("not_retryable", f"The job is {job.state.value}; only a failed one can be tried again.", 409)
    attempt = standing(job, services)
    again = adopted(job, attempt, now) if attempt else afresh(job, services, now)
    return services.intake.create(again, key, digest({"retry_of": job.id}))


def standing(job: Job, services: Services) -> Attempt | None:
    """The attempt whose clip its gateway still has, or is still making; raises Unacceptable where that is not known."""
    for attempt in reversed(job.attempts):
        if attempt.task_id is None or attempt.status in GONE or is_dead(job, attempt):
            continue
        answer = ask(attempt, attempt.task_id, services, ASK_S)
        if isinstance(answer, (events.Succeeded, events.Progressed)):
            return attempt
        if not gone(answer):
            message = f"{attempt.provider} does not say whether it still has the task; to pay again now may be in vain."
            raise Unacceptable("unavailable", message, 503)
    return None


def is_dead(job: Job, attempt: Attempt) -> bool:
    """Whether the clip of an attempt was to be had once, and is not any more."""
    return job.error is not None and job.error.code == DEAD and attempt is job.current


def gone(answer: events.Event) -> bool:
    """Whether the gateway itself says that there is nothing to be had."""
    nothing = isinstance(answer, events.Unclear) and (answer.missing or answer.finished)
    return nothing or isinstance(answer, events.Failed)


def afresh(job: Job, services: Services, now: int) -> Job:
    able = services.intake.able(job.request)
    route = tuple(quote.provider for quote in able)
    return replace(_blank(job, now), route=route, estimated_usd=able[0].estimated_usd).noted(now, "queued", "a retry")


def adopted(job: Job, attempt: Attempt, now: int) -> Job:
    """The task goes on under a new job; its price stands with the old one."""
    carried = replace(
        attempt,
        number=1,
        status=AttemptStatus.RUNNING,
        submitted_at=now,
        callback=False,
        ended_at=None,
        heard_by=None,
        polls=0,
        asked_at=0,
        estimated_usd=money.ZERO,
        cost_usd=None,
        made_s=None,
        adopted=True,
        link=None,
        bad_downloads=0,
        error=None,
    )
    again = replace(_blank(job, now), state=State.RUNNING, attempts=(carried,), estimated_usd=money.ZERO)
    return again.noted(now, "adopted", attempt.task_id)


def _blank(job: Job, now: int) -> Job:
    job_id = new_id(now)
    return Job(
        id=job_id,
        tenant=job.tenant,
        request=job.request,
        route=job.route,
        inputs=job.inputs,
        created_at=now,
        updated_at=now,
        due_at=schedule.accepted(job_id, now),
        retry_of=job.id,
    )
