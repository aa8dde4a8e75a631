"""What a failed step means for its job: it is delayed, and tried ever more slowly, but not for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import structlog

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Chore, Error, Job, State
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.services import AccountMissing, Services

log = structlog.get_logger()
# A job whose account is missing waits, however long, and looks again after this long.
ACCOUNT_RETRY_S = 60
T = TypeVar("T")
R = TypeVar("R")


def guard_step(job: Job, step: Callable[[], T], services: Services) -> T | Event:
    """The result of a step, or the event of its failure. Raises LedgerUnavailable."""
    try:
        return step()
    except LedgerUnavailable:
        raise
    except AccountMissing as missing:
        return events.Deferred(schedule.after(services.now(), ACCOUNT_RETRY_S), str(missing))
    except Exception:
        log.exception("step broke", job=job.id, state=job.state.value, tries=job.tries)
        return failure_event(job, services)


def guard_batch(
    function: Callable[[Sequence[T]], Sequence[R]], items: Sequence[T], job_of: Callable[[T], Job], services: Services
) -> Sequence[R | Event]:
    """The results for all items together; if that fails, for each alone, so that one does not stop the others."""
    if len(items) > 1:
        try:
            return function(items)
        except Exception:
            log.exception("broke together", jobs=len(items))
    return [guard_step(job_of(item), partial(_call_for_one, function, item), services) for item in items]


def _call_for_one(function: Callable[[Sequence[T]], Sequence[R]], item: T) -> R:
    return function([item])[0]


def failure_event(job: Job, services: Services) -> Event:
    """The event of a failed step: it only delays the job."""
    message = "a step of ours broke; see the worker's log"
    if job.state is State.QUEUED:
        return events.Deferred(schedule.after(services.now(), min(2.0**job.tries, 300)), message, broke=True)
    if job.chores[:1] == (Chore.NOTICE,):
        return events.NoticeFailed(message)
    if job.chores[:1] in ((Chore.ERASE,), (Chore.RETIRE,)):
        return events.ErasureDelayed(message)
    if job.state is State.ARCHIVING or job.ended:
        return events.ArchiveFailed("archive_failed", message)
    return events.Lost(message)


def crash_limit_event(job: Job, services: Services) -> Event:
    """The event of a step that ended its worker too many times; it is not tried again."""
    message = f"the step of a {job.state.value} job ended its worker {job.tries - 1} times"
    log.error("step given up", job=job.id, state=job.state.value)
    if job.state is State.QUEUED:
        return events.Barred(Error("input_rejected", message))
    if job.chores[:1] == (Chore.NOTICE,):
        return events.NoticeFailed(message, final=True)
    if job.chores[:1] in ((Chore.ERASE,), (Chore.RETIRE,)):
        return events.ErasureDelayed(message)
    if job.state is State.ARCHIVING or job.ended:
        return events.ArchiveFailed("archive_failed", message, final=True)
    return events.Lost(message)
