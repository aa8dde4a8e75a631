"""Writing down what was heard of some jobs, together."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.services import Services
from rushes.worker.leases import Lease

log = structlog.get_logger()

InHand = tuple[Job, Lease]


def write(news: Sequence[tuple[Job, Event]], services: Services) -> None:
    """Write it down; what cannot be written keeps nothing else from it. Raises LedgerUnavailable, at the end."""
    try:
        services.ledger.apply_all(news, services.now())
        return
    except LedgerUnavailable:
        raise
    except Exception as broken:
        log.warning("not written together", jobs=len(news), reason=repr(broken))
    losses = [lost for job, event in news if (lost := _alone(job, event, services))]
    if losses:
        raise losses[0]


def _alone(job: Job, event: Event, services: Services) -> LedgerUnavailable | None:
    try:
        services.ledger.apply(job.id, event, services.now(), known=job)
    except LedgerUnavailable as lost:
        return lost
    except Exception:
        log.exception("not written", job=job.id, fact=type(event).__name__)
    return None


def write_down(facts: Sequence[tuple[InHand, Event | None]], services: Services) -> None:
    """Write down what was heard of some jobs, as far as the ledger is within reach, and let go of them."""
    news = [(job, event) for (job, _), event in facts if event]
    try:
        if news:
            write(news, services)
    except LedgerUnavailable as lost:
        log.warning("ledger out of reach", jobs=len(news), reason=str(lost))
    finally:
        for (_, mine), _ in facts:
            mine.let_go()
