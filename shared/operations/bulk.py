"""Bulk actions: what one would do, and the act on one job. The worker does the turns (worker/bulk_turn.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from rushes.shared.domain import bulk, events, money
from rushes.shared.domain.bulk import Action, Bulk
from rushes.shared.domain.ids import new_id
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.job_filter import JobFilter
from rushes.shared.intake.intake import LEDGER_INCOMPLETE, Unacceptable
from rushes.shared.operations.retry import only_retry_key, retry
from rushes.shared.services import Services

# A dry run and the count at the beginning look at so many jobs at the most: a caller waits.
COUNTED = 20_000
PAGE = 500


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a bulk action would do: jobs, what their retries would cost, and how many of them have no price.

    Where it is not `complete` there are more.
    """

    count: int
    cost_usd: Decimal
    unpriced: int
    complete: bool


def forecast(action: Action, wanted: JobFilter, scope: str | None, services: Services) -> Forecast:
    """Count the jobs that fit and to which the action can do something."""
    narrowed = bulk.narrowed(wanted, action)
    if narrowed and action is not Action.RETRY and (known := services.ledger.search.count(scope, narrowed)) is not None:
        return Forecast(known, money.ZERO, 0, complete=True)
    count, unpriced, cost_usd, cursor, looked_at = 0, 0, money.ZERO, "", 0
    while narrowed:
        page = services.ledger.search.page(scope, narrowed, PAGE, cursor, scanned=PAGE)
        count += len(page.jobs)
        if action is Action.RETRY:
            unpriced += sum(job.estimated_usd is None for job in page.jobs)
            cost_usd += sum((job.estimated_usd or money.ZERO for job in page.jobs), money.ZERO)
        if page.cursor is None:
            break
        cursor, looked_at = page.cursor, looked_at + PAGE
        if looked_at >= COUNTED:
            return Forecast(count, cost_usd, unpriced, complete=False)
    return Forecast(count, cost_usd, unpriced, complete=True)


def begin(
    action: Action, wanted: JobFilter, tenant: str, scope: str | None, services: Services, bulk_id: str | None = None
) -> Bulk:
    """Write a bulk action down; the workers carry it out."""
    now = services.now()
    found = forecast(action, wanted, scope, services)
    begun = Bulk(
        id=bulk_id or new_bulk_id(now),
        tenant=tenant,
        scope=scope,
        action=action,
        wanted=wanted,
        created_at=now,
        matched=found.count if found.complete else None,
    )
    services.ledger.bulk_actions.create(begun)
    return services.ledger.bulk_actions.get(begun.id) or begun


def new_bulk_id(now: int) -> str:
    return bulk.PREFIX + new_id(now).removeprefix("job_")


def act(job: Job, action: Bulk, services: Services) -> str:
    """Do it to one job, once however often this is called; what came of it, as a word. Raises LedgerUnavailable.

    Raises Unacceptable 503 where the ledger may lack the first call's result: then it is to be called again.
    """
    if bulk.touched(job, action.id):
        return DONE[action.action]
    return ACTS[action.action](job, action, services)


def _cancel(job: Job, action: Bulk, services: Services) -> str:
    return _moved(job, action, events.Canceled(by=action.id), services) or "not_cancelable"


def _retry(job: Job, action: Bulk, services: Services) -> str:
    try:  # the key makes it one new job, also if a worker died after it was made
        receipt = retry(job, services, services.now(), only_retry_key(job))
    except Unacceptable as refused:
        if refused is LEDGER_INCOMPLETE:
            raise
        return refused.code
    return DONE[Action.RETRY] if receipt.job.created_at >= action.created_at else "already_retried"


def _notify(job: Job, action: Bulk, services: Services) -> str:
    if job.erase_asked_at is not None:
        return "erased"
    if job.callback_url is None:
        return "no_callback_url"
    return _moved(job, action, events.Recalled(by=action.id), services) or "not_ended"


def _erase(job: Job, action: Bulk, services: Services) -> str:
    if job.erase_asked_at is not None:
        return "already_erased"
    return _moved(job, action, events.ErasureRequested(action.id), services) or "not_ended"


def _moved(job: Job, action: Bulk, event: events.Event, services: Services) -> str | None:
    after = services.ledger.apply(job.id, event, services.now())
    return DONE[action.action] if after and bulk.touched(after, action.id) else None


DONE: Mapping[Action, str] = {
    Action.CANCEL: State.CANCELED.value,
    Action.RETRY: "retried",
    Action.NOTIFY: "notified",
    Action.ERASE: "erased",
}
ACTS: Mapping[Action, Callable[[Job, Bulk, Services], str]] = {
    Action.CANCEL: _cancel,
    Action.RETRY: _retry,
    Action.NOTIFY: _notify,
    Action.ERASE: _erase,
}
