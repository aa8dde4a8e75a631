"""Retries a failed job. A task that was paid for and whose clip its gateway still has is not paid for again.

The same holds for a submit whose answer never came. Where the gateway can be asked by our own id it is asked first;
where it honours idempotency keys, the new job goes on with that submit under its key, which is paid for once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rushes.shared.domain import events, money, schedule
from rushes.shared.domain.ids import new_id
from rushes.shared.domain.job import Attempt, AttemptStatus, Job, State, moment_ms
from rushes.shared.intake.intake import Receipt, Unacceptable, digest
from rushes.shared.operations.task_query import query_by_key, query_task
from rushes.shared.providers import PROVIDERS
from rushes.shared.services import AccountMissing, Services

# The caller waits for the response meanwhile.
QUERY_S = 8
# The gateway itself ended these; the clip of any other attempt may still be there.
GONE = frozenset({AttemptStatus.FAILED, AttemptStatus.REJECTED})
# The error code of a job whose clip the gateway no longer has, although its task is completed.
LINK_EXPIRED = "result_expired"


def retry(job: Job, services: Services, now: int, key: str | None = None) -> Receipt:
    """A new job with the failed one's request; if the idempotency key was used for this before, that first job.

    Raises Unacceptable if the job did not fail, no gateway can do it now, or its gateway does not say whether it still
    has the clip.
    """
    services.intake.check_key(key)
    if first := services.intake.first_job(job.tenant, key, digest({"retry_of": job.id}), now):
        return Receipt(first, replayed=True)
    if job.erase_asked_at is not None:
        raise Unacceptable("erased", "The job is erased: what it asked for is not known any more.", 409)
    if job.state is not State.FAILED:
        raise Unacceptable("not_retryable", f"The job is {job.state.value}; only a failed one can be tried again.", 409)
    attempt = adoptable_attempt(job, services)
    new_job = adopt(job, attempt, now) if attempt else start_over(job, services, now)
    return services.intake.create(new_job, key, digest({"retry_of": job.id}))


def only_retry_key(job: Job) -> str:
    """The idempotency key of a retry that is asked for with many others: by a bulk action, by the page of a batch.

    It is the same for all of them, so whoever asks again for all that failed pays for none twice. Where the retry has
    failed too, it is one of those that failed, and is tried again itself.
    """
    return f"retry of {job.id} with others"


def adoptable_attempt(job: Job, services: Services) -> Attempt | None:
    """The attempt to go on with, None if there is none. Raises Unacceptable if that is unknown.

    Its gateway has its clip or is making it; or it has no task id and is to be sent again under its key.
    """
    for attempt in reversed(job.attempts):
        if attempt.status in GONE or is_link_expired(job, attempt):
            continue
        try:
            found = find_task(attempt, services) if attempt.task_id else find_submit(job, attempt, services)
        except AccountMissing as missing:
            message = f"The paid clip may still be there: {missing}. Set it again, or enqueue a new job."
            raise Unacceptable("unavailable", message, 503) from None
        if found:
            return found
    return None


def find_task(attempt: Attempt, services: Services) -> Attempt | None:
    """The attempt if its gateway has its clip or is making it, otherwise None. Raises Unacceptable if unknown."""
    event = query_task(attempt, attempt.task_id or "", services, QUERY_S)
    if isinstance(event, (events.Succeeded, events.Progressed)):
        return attempt
    if not is_gone(event):
        # Never pay again while the paid clip may still be there.
        raise unknown(attempt, "it still has the clip")
    return None


def find_submit(job: Job, attempt: Attempt, services: Services) -> Attempt | None:
    """The attempt of a submit whose answer never came, if it can be gone on with, otherwise None."""
    provider = PROVIDERS[attempt.provider]
    if not (attempt.askable and provider.askable):
        return attempt if attempt.body is not None and provider.idempotent else None
    asked_at = services.now()
    event = query_by_key(attempt, job.idempotency_key(attempt), services, QUERY_S)
    if isinstance(event, events.Accepted):
        return replace(attempt, task_id=event.task_id)
    # A task may show late: before that moment an empty answer is none.
    if not isinstance(event, events.NotFound) or asked_at < schedule.not_taken_at(attempt, services.settings.policy):
        raise unknown(attempt, "it took the first submit")
    return None


def unknown(attempt: Attempt, what: str) -> Unacceptable:
    return Unacceptable("unavailable", f"{attempt.provider} does not say whether {what}. Try again later.", 503)


def is_link_expired(job: Job, attempt: Attempt) -> bool:
    """Whether the attempt's clip was available once, and is not any more."""
    return job.error is not None and job.error.code == LINK_EXPIRED and attempt is job.current


def is_gone(event: events.Event) -> bool:
    """Whether the gateway itself says that there is no clip."""
    has_none = isinstance(event, events.Unclear) and (event.missing or event.finished)
    return has_none or isinstance(event, events.Failed)


def start_over(job: Job, services: Services, now: int) -> Job:
    estimates = services.intake.able_estimates(job.request, job.tenant)
    route = tuple(estimate.provider for estimate in estimates)
    new_job = replace(_copy(job, now), route=route, estimated_usd=estimates[0].estimated_usd)
    return new_job.noted(now, "queued", "a retry")


def adopt(job: Job, attempt: Attempt, now: int) -> Job:
    """A new job that goes on with the attempt's task or submit. Its cost stays with the old job."""
    has_task = attempt.task_id is not None
    adopted = replace(
        attempt,
        number=1,
        status=AttemptStatus.RUNNING if has_task else AttemptStatus.UNCONFIRMED,
        key=None if has_task else job.idempotency_key(attempt),
        body=None if has_task else attempt.body,
        let_go=False,
        submitted_at=now,
        callback=False,
        ended_at=None,
        heard_by=None,
        polls=0,
        asked_at=0,
        estimated_usd=money.ZERO,
        cost_usd=None,
        cost_source=None,
        reserved_usd=None,
        made_s=None,
        adopted=True,
        link=None,
        bad_downloads=0,
        error=None,
    )
    state = State.RUNNING if has_task else State.UNCONFIRMED
    new_job = replace(_copy(job, now), state=state, attempts=(adopted,), estimated_usd=money.ZERO)
    return new_job.noted(now, "adopted", attempt.task_id or "the submit, under its key")


def _copy(job: Job, now: int) -> Job:
    job_id = new_id(now)
    return Job(
        id=job_id,
        tenant=job.tenant,
        request=_without_past_moments(job, now),
        route=job.route,
        inputs=job.inputs,
        created_at=now,
        updated_at=now,
        due_at=schedule.accepted(job_id, now, job.not_before),
        retry_of=job.id,
    )


def _without_past_moments(job: Job, now: int) -> Mapping[str, Any]:
    """The request; a moment that has passed would end the new job at once, and whoever retries it wants the clip."""
    past = {name for name, at in (("not_before", job.not_before), ("start_before", job.start_before)) if at}
    past = {name for name in past if moment_ms(job.request[name]) <= now}
    return {name: value for name, value in job.request.items() if name not in past}
