"""The end of a job, and what is still owed after it: manifest, notification, end of retention."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from rushes.shared.domain import bulk, events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Chore, Error, Job, State
from rushes.shared.domain.moves import archiving
from rushes.shared.domain.schedule import Policy


def end(job: Job, state: State, now: int, error: Error | None = None) -> Job:
    # The manifest of a completed job was written before this event: it is the last step of archiving.
    manifest = () if state is State.COMPLETED else (Chore.MANIFEST,)
    notice = (Chore.NOTICE,) if job.callback_url else ()
    ended = replace(
        job,
        state=state,
        error=error,
        ended_at=now,
        due_at=now,
        progress=100 if state is State.COMPLETED else job.progress,
        chores=(*manifest, *notice, Chore.RETIRE),
        idempotency=None,  # the ledger knows the key by itself, and the journal has it with the submit
        tries=0,
        setbacks=0,
    )
    return ended.noted(now, state.value, error.code if error else None)


def next_chore_at(job: Job, now: int, policy: Policy) -> int:
    """When the next chore is due: at once, save that leaving the ledger waits for the retention to pass.

    With RUSHES_ERASE_AFTER_DAYS a job leaves only once it is erased, for nothing else would remember that it has to be.
    """
    if job.chores != (Chore.RETIRE,):
        return now
    is_to_be_erased = policy.erase_after_s is not None and job.erase_asked_at is None
    wait_s = policy.erase_after_s if is_to_be_erased else policy.retention_s
    return schedule.after(job.ended_at or now, wait_s or 0)


def strike_off(chore: Chore) -> Callable[[Job, Event, int, Policy], Job]:
    """The move that ends a chore; a job that does not owe it stays as it is."""

    def strike(job: Job, event: Event, now: int, policy: Policy) -> Job:
        if chore not in job.chores:
            return job
        job = replace(job, chores=tuple(c for c in job.chores if c is not chore), setbacks=0, tries=0)
        return replace(job, due_at=next_chore_at(job, now, policy))

    return strike


def retry_manifest(job: Job, event: events.ArchiveFailed, now: int, policy: Policy) -> Job:
    if Chore.MANIFEST not in job.chores:
        return job
    if event.final:
        return strike_off(Chore.MANIFEST)(job, event, now, policy)
    return archiving.wait(job, event, now, policy)


def notified(job: Job, event: events.Notified, now: int, policy: Policy) -> Job:
    after = strike_off(Chore.NOTICE)(job, event, now, policy)
    return after if after is job else after.noted(now, "notified")


def notice_failed(job: Job, event: events.NoticeFailed, now: int, policy: Policy) -> Job:
    if Chore.NOTICE not in job.chores:
        return job
    if event.final or now >= schedule.after(_notifying_since(job), schedule.NOTICE_GIVE_UP_S):
        job = job.noted(now, "notice failed", f"{event.message}; given up")
        return strike_off(Chore.NOTICE)(job, event, now, policy)
    due_at = schedule.notice_retry(job, now, event.retry_after_s)
    job = job.noted(now, "notice failed", f"{event.message}, next try at {clock(due_at)}")
    return replace(job, due_at=due_at, setbacks=job.setbacks + 1, tries=0)


def noted_bulk(job: Job, by: str, now: int) -> Job:
    """The job with a line that says which bulk action moved it: the action knows by it that it was here."""
    return job.noted(now, bulk.NOTE, by) if by else job


RECALLED = "to be notified again"


def recall(job: Job, event: events.Recalled, now: int, _: Policy) -> Job:
    if not job.callback_url or job.erase_asked_at is not None or bulk.touched(job, event.by):
        return job
    job = noted_bulk(job, event.by, now)
    chores = tuple(chore for chore in Chore if chore in (*job.chores, Chore.NOTICE))
    return replace(job, chores=chores, due_at=now, setbacks=0, tries=0).noted(now, RECALLED)


def _notifying_since(job: Job) -> int:
    """Since when the caller is being notified: the end, or the last time that somebody asked for it again."""
    return max([job.ended_at or 0, *(note.at for note in job.history if note.what == RECALLED)])


def clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
