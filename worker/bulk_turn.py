"""A turn of a bulk action: some jobs, one after the other; the next worker goes on where its cursor stands."""

from __future__ import annotations

import time

import structlog

from rushes.shared.domain import bulk, schedule
from rushes.shared.domain.bulk import Bulk, Status
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.operations.bulk import act
from rushes.shared.services import Services
from rushes.worker.leases import acquire

log = structlog.get_logger()

PAGE = 50
PAUSE_S = 5


def run_bulk(ticket: Ticket, services: Services) -> None:
    """Open the ticket and make a turn. If the ledger goes out of reach, the lease runs out, and another goes on."""
    try:
        opened = services.ledger.bulk_actions.open(ticket, services.now())
        if opened is None:
            return
        action, tries, longer = opened
        lease = acquire(longer, services)
        try:
            make_turn(action, tries, services)
        finally:
            lease.release()
    except LedgerUnavailable as outage:
        log.warning("ledger out of reach", bulk=ticket.job_id, reason=str(outage))


def make_turn(action: Bulk, tries: int, services: Services) -> None:
    """Act on jobs until TURN_S are over or none is left. Of two workers, one moves the cursor, and the other stops."""
    actions, ends_at_s = services.ledger.bulk_actions, time.monotonic() + bulk.TURN_S
    at_work: Bulk | None = action
    while at_work and at_work.status is Status.RUNNING:
        if at_work.planned:
            job_id = at_work.planned[0]
            outcome = outcome_of(job_id, at_work, tries, services)
            if outcome is None:
                actions.end_turn(at_work, schedule.after(services.now(), PAUSE_S))
                return
            at_work, tries = actions.advance(at_work, job_id, outcome), 0
        else:
            at_work = plan(at_work, services)
        if at_work and time.monotonic() >= ends_at_s:
            actions.end_turn(at_work, services.now())
            return


def plan(action: Bulk, services: Services) -> Bulk | None:
    """The action with its next jobs written down; ended where there are none. None where another worker goes on."""
    actions, wanted = services.ledger.bulk_actions, bulk.narrowed(action.wanted, action.action)
    cursor = action.cursor or action.bound
    page = services.ledger.search.page(action.scope, wanted, PAGE, cursor) if wanted else None
    if page and (page.jobs or page.cursor):
        return actions.plan(action, [job.id for job in page.jobs], cursor if page.jobs else page.cursor or cursor)
    return actions.end(action.id, Status.COMPLETED, services.now())


def outcome_of(job_id: str, action: Bulk, tries: int, services: Services) -> str | None:
    """What came of one job; None while the ledger is compared with the journal: then it has to wait.

    A job at which worker after worker ends is left out.
    """
    if tries > schedule.CRASHES:
        log.error("bulk action gives a job up", bulk=action.id, job=job_id)
        return "given_up"
    try:
        job = services.ledger.get(job_id)
        return act(job, action, services) if job else "gone"
    except LedgerUnavailable:
        raise
    except Unacceptable:
        return None
    except Exception:
        log.exception("bulk action broke", bulk=action.id, job=job_id)
        return "internal"
