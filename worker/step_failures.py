"""What a step that breaks means for its job: it is put off, and tried ever more slowly, but not for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Chore, Error, Job, State
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.services import Services

log = structlog.get_logger()
T = TypeVar("T")
R = TypeVar("R")


def guarded(job: Job, step: Callable[[], T], services: Services) -> T | Event:
    """What a step came to, or that it broke. Raises LedgerUnavailable."""
    try:
        return step()
    except LedgerUnavailable:
        raise
    except Exception:
        log.exception("step broke", job=job.id, state=job.state.value, tries=job.tries)
        return setback(job, services)


def together(
    do: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], job_of: Callable[[T], Job], services: Services
) -> Sequence[R | Event]:
    """Do it for all at once; where that breaks for each alone, so that one keeps no other from it."""
    if len(items) > 1:
        try:
            return do(items)
        except Exception:
            log.exception("broke together", jobs=len(items))
    return [guarded(job_of(item), partial(_first, do, item), services) for item in items]


def _first(do: Callable[[Sequence[T]], Sequence[R]], item: T) -> R:
    return do([item])[0]


def setback(job: Job, services: Services) -> Event:
    """What a step that broke means for a job: nothing but a pause."""
    message = "a step of ours broke; see the worker's log"
    if job.state is State.QUEUED:
        return events.Deferred(schedule.after(services.now(), min(2.0**job.tries, 300)), message, broke=True)
    if job.chores[:1] == (Chore.NOTICE,):
        return events.NoticeFailed(message)
    if job.state is State.ARCHIVING or job.ended:
        return events.ArchiveFailed("archive_failed", message)
    return events.Lost(message)


def worn_out(job: Job, services: Services) -> Event:
    """A step that took its worker down with it again and again is not tried for ever."""
    message = f"the step of a {job.state.value} job ended its worker {job.tries - 1} times"
    log.error("step given up", job=job.id, state=job.state.value)
    if job.state is State.QUEUED:
        return events.Barred(Error("input_rejected", message))
    if job.chores[:1] == (Chore.NOTICE,):
        return events.NoticeFailed(message, final=True)
    if job.state is State.ARCHIVING or job.ended:
        return events.ArchiveFailed("archive_failed", message, final=True)
    return events.Lost(message)
