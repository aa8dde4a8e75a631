"""Moves of an ended job that is erased: its content leaves the record at once, then bucket, journal and quarantine."""

from __future__ import annotations

from rushes.shared.domain import bulk, erasure, events, schedule
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Chore, Job
from rushes.shared.domain.moves import ended
from rushes.shared.domain.schedule import Policy


def request(job: Job, event: events.ErasureRequested, now: int, _: Policy) -> Job:
    """The content leaves the record in the same write that makes the rest due: no crash leaves it readable here."""
    if job.erase_asked_at is not None:
        return job
    # A manifest or a notification that is still owed would carry the content out once more.
    scrubbed = replace(
        erasure.scrubbed(job),
        erase_asked_at=now,
        chores=(Chore.ERASE, Chore.RETIRE),
        due_at=now,
        tries=0,
        setbacks=0,
    )
    if event.by.startswith(bulk.PREFIX):
        scrubbed = ended.noted_bulk(scrubbed, event.by, now)
    return scrubbed.noted(now, "erasure requested", f"by {event.by}")


def finish(job: Job, event: events.Erased, now: int, policy: Policy) -> Job:
    if Chore.ERASE not in job.chores:
        return job
    erased = replace(job, chores=(Chore.RETIRE,), erased_at=event.at, result=None, tries=0, setbacks=0)
    erased = replace(erased, due_at=ended.next_chore_at(erased, now, policy))
    return erased.noted(now, "erased", event.remark)


def delay(job: Job, event: events.ErasureDelayed, now: int, policy: Policy) -> Job:
    """Nothing was erased, or not all: it is never given up. An erasure that is planned waits for its day."""
    if job.chores[:1] not in ((Chore.ERASE,), (Chore.RETIRE,)):
        return job
    planned_at = ended.next_chore_at(job, now, policy)
    due_at = max(planned_at, schedule.erase_retry(job, now) if event.message else now)
    later = replace(job, due_at=due_at, setbacks=job.setbacks + bool(event.message), tries=0)
    is_news = (
        event.message
        and Chore.ERASE in job.chores
        and not job.has_noted("erasure delayed", since=job.erase_asked_at or 0)
    )
    return later.noted(now, "erasure delayed", event.message) if is_news else later
