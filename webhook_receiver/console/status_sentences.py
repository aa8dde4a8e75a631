"""A job that is simply on its way: what happens now and what happens next, in one sentence for each state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from rushes.shared.domain import schedule
from rushes.shared.domain.job import Chore, Job, State
from rushes.shared.operations.task_query import INPUTS
from rushes.shared.services import Services
from rushes.webhook_receiver.console import expected_end
from rushes.webhook_receiver.console.formatting import span


def sentence(job: Job, services: Services, now: int) -> str:
    """What happens to the job, and what happens next."""
    return SENTENCES[job.state](job, services, now)


def _queued(job: Job, services: Services, now: int) -> str:
    gateway = job.route[0] if job.route else "a gateway"
    if job.not_before and job.not_before > now:
        return f"Waits for its `not_before`, {moment(job.not_before, now)}; then it is submitted to {gateway}."
    deadline = f", or canceled {moment(job.start_before, now)} if it has not begun" if job.start_before else ""
    if needs_measuring(job):
        return f"Its inputs are looked at before anything is paid; then it is submitted to {gateway}{deadline}."
    return f"Accepted, and nothing is paid yet; a worker submits it to {gateway} next{deadline}."


def _submitting(job: Job, services: Services, now: int) -> str:
    return (
        f"The paid call to {job.provider} is out, and its answer is waited for, up to {schedule.SUBMIT_DEADLINE_S} s; "
        f"then {job.provider} makes the clip, or the next gateway is tried."
    )


def _running(job: Job, services: Services, now: int) -> str:
    attempt, timings = job.current, services.ledger.learned_times.timings(now)
    left = expected_end.time_left(job, timings, now)
    age = span(max(0, now - attempt.submitted_at) / 1000)
    since = f"{attempt.provider} makes the clip, for {age} now{f' and {left}' if left else ''}"
    poll = f"polled {moment(job.due_at, now)}"
    if job.nudge:
        return f"{since}; a callback has arrived, and {attempt.provider} is asked whether it is true."
    if attempt.callback and not timings.is_silent(attempt.provider):
        return f"{since}; then it calls back, and is {poll} in any case."
    return f"{since}; it is {poll}, and the clip is copied to the bucket once it is finished."


def _archiving(job: Job, services: Services, now: int) -> str:
    link = job.current.link
    ends = f"; {job.provider}'s link expires {moment(link.expires_at, now)}" if link and link.expires_at else ""
    return f"The clip is finished and is being copied to the bucket, the manifest last{ends}."


def _completed(job: Job, services: Services, now: int) -> str:
    return f"The clip and its manifest are in the bucket; {_owed(job, services, now)}."


def _canceled(job: Job, services: Services, now: int) -> str:
    return f"Canceled before any gateway had it, so nothing was paid; {_owed(job, services, now)}."


def erasure(job: Job) -> str:
    """How far the erasure of a job is."""
    if job.erased_at is None:
        return "It is being erased: its content is gone from this record, and bucket and journal follow now."
    left = "ids, times, gateway and costs stay"
    return f"Erased on {utc_second(job.erased_at)}: its clip, prompts, inputs and metadata are gone, and {left}."


def _owed(job: Job, services: Services, now: int) -> str:
    """What an ended job still waits for."""
    if Chore.NOTICE in job.chores:
        return "its caller is notified next"
    if Chore.MANIFEST in job.chores:
        return "its manifest is written to the bucket next"
    if job.due_at and job.due_at > now and services.settings.policy.erase_after_s is not None:
        return f"its content is erased {moment(job.due_at, now)}, as RUSHES_ERASE_AFTER_DAYS says"
    if job.due_at and job.due_at > now:
        return f"this record leaves Redis {moment(job.due_at, now)}, and what is in the bucket stays"
    return "nothing is left to do"


# Of a failed job and of an unconfirmed one there is always more to say (explanations.py).
SENTENCES: dict[State, Callable[[Job, Services, int], str]] = {
    State.QUEUED: _queued,
    State.SUBMITTING: _submitting,
    State.RUNNING: _running,
    State.ARCHIVING: _archiving,
    State.COMPLETED: _completed,
    State.CANCELED: _canceled,
}


def needs_measuring(job: Job) -> bool:
    """Whether it has inputs that no worker has fetched yet."""
    return not job.inputs and any(job.request.get(name) for name in INPUTS)


def moment(at: int | None, now: int) -> str:
    """A moment to come, as a sentence says it."""
    if at is None or at <= now:
        return "now"
    if at - now < 60_000:
        return f"in {span(max(1, (at - now) / 1000))}"
    return f"in {span((at - now) / 1000)} ({utc_minute(at, now)})"


def utc_second(at: int) -> str:
    """A second in UTC, with its date."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%-d %b, %H:%M:%S UTC")


def utc_minute(at: int, now: int) -> str:
    """A minute in UTC, with its date where that is not today's."""
    then, today = datetime.fromtimestamp(at / 1000, UTC), datetime.fromtimestamp(now / 1000, UTC).date()
    return then.strftime("%H:%M UTC" if then.date() == today else "%-d %b, %H:%M UTC")
