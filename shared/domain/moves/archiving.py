"""Moves of a job that is finished there and is being copied here."""

from __future__ import annotations

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import CostSource, Error, Job, Link, State
from rushes.shared.domain.moves import ended, running
from rushes.shared.domain.schedule import Policy


def renew_link(job: Job, event: events.Succeeded, now: int, policy: Policy) -> Job:
    """The gateway gave a fresh link for the same clip; nothing is generated again."""
    link = running.dated_link(event.link, job.current.ended_at or now, policy)
    due_at = now if job.setbacks == 0 and link != job.current.link else schedule.archive_retry(job, now)
    bad_downloads = job.current.bad_downloads + event.bad_download
    renewed = job.with_attempt(link=link, bad_downloads=bad_downloads)
    if job.current.cost_usd is None and event.cost_usd is not None:  # the bill came after the clip
        renewed = renewed.with_attempt(cost_usd=event.cost_usd, cost_source=CostSource.REPORTED)
    return replace(renewed, due_at=due_at, setbacks=job.setbacks + 1, tries=0)


def complete(job: Job, event: events.Archived, now: int, policy: Policy) -> Job:
    job = replace(job, result=event.result)
    attempt = job.current
    if attempt.cost_usd is None and event.cost_usd is not None:
        job = job.with_attempt(cost_usd=event.cost_usd, cost_source=CostSource.SETTLED)
    job = _let_estimate_stand(job)
    if attempt.made_s is None:
        job = job.with_attempt(made_s=event.result.duration_s)
    if attempt.link:
        job = job.with_attempt(link=_without_address(attempt.link))
    for what, reason in event.remarks:
        job = job.noted(now, what, reason)
    completed = ended.end(job, State.COMPLETED, now)
    return replace(completed, due_at=ended.next_chore_at(completed, now, policy))


def _without_address(link: Link) -> Link:
    """When it dies, for the job's document. The clip is in the bucket; a signed address is long, and a secret."""
    return replace(link, video_url="", thumbnail_url=None)


def retry_archive(job: Job, event: events.ArchiveFailed, now: int, _: Policy) -> Job:
    if event.final:
        # The clip was made, and is paid for although we do not have it.
        job = _let_estimate_stand(job)
        return ended.end(job, State.FAILED, now, Error(event.code, event.message, job.provider))
    later = replace(job, due_at=schedule.archive_retry(job, now), setbacks=job.setbacks + 1, tries=0)
    if event.code == "result_invalid":
        later = later.with_attempt(bad_downloads=job.current.bad_downloads + 1)
    what = "link refused" if event.refused else "download failed" if event.undelivered else "archive delayed"
    is_news = not job.has_noted(what, since=job.current.ended_at or 0)
    return later.noted(now, what, event.message) if is_news else later


def _let_estimate_stand(job: Job) -> Job:
    """The job whose clip costs what was estimated, where nobody says otherwise."""
    attempt = job.current
    if attempt.cost_usd is not None or attempt.estimated_usd is None:
        return job
    return job.with_attempt(cost_usd=attempt.estimated_usd, cost_source=CostSource.ESTIMATED)


def wait(job: Job, event: Event, now: int, _: Policy) -> Job:
    return replace(job, due_at=schedule.archive_retry(job, now), setbacks=job.setbacks + 1, tries=0)
