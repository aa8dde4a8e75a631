"""Writes the events of several jobs to the ledger together."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.services import Services
from rushes.worker.leases import Lease

log = structlog.get_logger()

LeasedJob = tuple[Job, Lease]


def commit(events: Sequence[tuple[Job, Event]], services: Services) -> None:
    """Write each job's event; one that cannot be written does not stop the others. Raises LedgerUnavailable, last."""
    try:
        services.ledger.apply_all(events, services.now())
        return
    except LedgerUnavailable:
        raise
    except Exception as error:
        log.warning("not written together", jobs=len(events), reason=repr(error))
    outages = [outage for job, event in events if (outage := _commit_one(job, event, services))]
    if outages:
        raise outages[0]


def _commit_one(job: Job, event: Event, services: Services) -> LedgerUnavailable | None:
    try:
        services.ledger.apply(job.id, event, services.now(), known=job)
    except LedgerUnavailable as outage:
        return outage
    except Exception:
        log.exception("not written", job=job.id, fact=type(event).__name__)
    return None


def commit_and_release(outcomes: Sequence[tuple[LeasedJob, Event | None]], services: Services) -> None:
    """Write the events of jobs, if the ledger can be reached, and release their leases in any case."""
    events = [(job, event) for (job, _), event in outcomes if event]
    try:
        if events:
            commit(events, services)
    except LedgerUnavailable as outage:
        log.warning("ledger out of reach", jobs=len(events), reason=str(outage))
    finally:
        for (_, lease), _ in outcomes:
            lease.release()
