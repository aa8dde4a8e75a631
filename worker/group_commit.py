"""Writes the events of several jobs to the ledger together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.services import Services
from rushes.worker.leases import Lease, acquire

log = structlog.get_logger()

LeasedJob = tuple[Job, Lease]
Keeps = Callable[[Job], bool]
"""Says of a job after its move whether the caller keeps it for its next step (Ledger.apply_all)."""


def commit(
    events: Sequence[tuple[Job, Event]], services: Services, keeps: Keeps | None = None
) -> list[tuple[Job, Ticket]]:
    """Write each job's event; one that cannot be written does not stop the others. Raises LedgerUnavailable, last.

    Returns the jobs that the caller keeps, with their tickets.
    """
    try:
        if keeps:
            return services.ledger.apply_all(events, services.now(), keeps)
        services.ledger.apply_all(events, services.now())
        return []
    except LedgerUnavailable:
        raise
    except Exception as error:
        log.warning("not written together", jobs=len(events), reason=repr(error))
    outages = [outage for job, event in events if (outage := _commit_one(job, event, services))]
    if outages:
        raise outages[0]
    return []


def _commit_one(job: Job, event: Event, services: Services) -> LedgerUnavailable | None:
    try:
        services.ledger.apply(job.id, event, services.now(), known=job)
    except LedgerUnavailable as outage:
        return outage
    except Exception:
        log.exception("not written", job=job.id, fact=type(event).__name__)
    return None


def commit_and_release(
    outcomes: Sequence[tuple[LeasedJob, Event | None]], services: Services, keeps: Keeps | None = None
) -> list[LeasedJob]:
    """Write the events of jobs, if the ledger can be reached, and release their leases in any case.

    Returns the jobs that the caller keeps, under new leases.
    """
    events = [(job, event) for (job, _), event in outcomes if event]
    try:
        kept = commit(events, services, keeps) if events else []
        return [(job, acquire(ticket, services)) for job, ticket in kept]
    except LedgerUnavailable as outage:
        log.warning("ledger out of reach", jobs=len(events), reason=str(outage))
        return []
    finally:
        for (_, lease), _ in outcomes:
            lease.release()
