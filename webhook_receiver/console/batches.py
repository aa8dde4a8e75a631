"""The pages of batches: the list, and one batch with its progress, its money and what failed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from rushes.shared.domain import batch as batch_module
from rushes.shared.domain import money
from rushes.shared.domain.job import ENDED, Job, State
from rushes.shared.intake.batch_document import errors
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.operations.retry import only_retry_key, retry
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.batches_api import BATCH_ID, cancel_batch, visible_batch
from rushes.webhook_receiver.console import console, labels
from rushes.webhook_receiver.console.session import require_sign_in

PAGE = 40
# So many of the jobs that came to nothing are listed.
LISTED = 50
REFRESH_S, REFRESH_ENDED_S = 3, 30
# A retry asks the gateway of each job whether it still has the clip: the page waits at most this long.
RETRY_S = 20.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is, and what it costs."""

    jobs: int
    ended: int
    counts: dict[State, int]
    errors: dict[str, int]
    estimated_usd: Decimal
    reserved_usd: Decimal
    cost_usd: Decimal
    wasted_usd: Decimal
    seconds: float
    budget_usd: Decimal | None
    is_canceled: bool
    ended_at: int | None

    @property
    def has_ended(self) -> bool:
        return self.ended_at is not None

    @property
    def share_of_budget(self) -> float:
        """Spent and reserved, in hundredths of the budget."""
        return float(100 * (self.cost_usd + self.reserved_usd) / self.budget_usd) if self.budget_usd else 0.0


def progress_of(batch: Job) -> Progress:
    counts = services().ledger.batches.counts(batch.id)
    held, actual = counts.get(batch_module.HELD, 0), counts.get("actual", 0)
    budget = batch.request.get("max_cost_usd")
    is_open = counts.get(batch_module.OPEN, 0) > 0
    return Progress(
        jobs=len(batch_module.job_ids(batch)),
        ended=sum(counts.get(state.value, 0) for state in ENDED),
        counts={state: counts[state.value] for state in State if counts.get(state.value)},
        errors=errors(counts),
        estimated_usd=money.from_units(counts.get("estimated", 0)),
        reserved_usd=money.from_units(held - actual),
        cost_usd=money.from_units(actual),
        wasted_usd=money.from_units(counts.get("wasted", 0)),
        seconds=counts.get("made_ms", 0) / 1000,
        budget_usd=Decimal(budget) if budget else None,
        is_canceled=bool(counts.get(batch_module.STOPPED)),
        ended_at=None if is_open else counts.get(batch_module.ENDED_AT, batch.created_at),
    )


@console.get("/batches")
def batches_page() -> str:
    """Batches, newest first."""
    visitor = require_sign_in()
    before = request.args.get("before", "")
    before = before if BATCH_ID.fullmatch(before) else ""
    found = services().ledger.batches.newest(visitor.scope, PAGE + 1, before)
    return render_template(
        "batches.html",
        now=services().now(),
        visitor=visitor,
        rows=[(batch, progress_of(batch)) for batch in found[:PAGE]],
        older=found[PAGE - 1].id if len(found) > PAGE else None,
        states=labels.STATES,
    )


@console.get("/batches/<batch_id>")
def batch_page(batch_id: str) -> str:
    """A batch."""
    batch = visible_batch(batch_id, require_sign_in())
    progress = progress_of(batch)
    return render_template(
        "batch.html",
        now=services().now(),
        batch=batch,
        progress=progress,
        losses=losses(batch) if progress.errors or progress.counts.get(State.FAILED) else [],
        listed=LISTED,
        states=labels.STATES,
        refresh_s=REFRESH_ENDED_S if progress.has_ended else REFRESH_S,
    )


def losses(batch: Job) -> list[Job]:
    """The first jobs that failed, or ended without having been submitted for a reason."""
    jobs = services().ledger.batches.jobs(batch)
    return [job for job in jobs if job and job.ended and job.error][:LISTED]


@console.post("/batches/<batch_id>/cancel")
def cancel_batch_form(batch_id: str) -> AnyResponse:
    """Cancel what no gateway has yet."""
    batch = cancel_batch(visible_batch(batch_id, require_sign_in()))
    return _redirect_to_batch(batch, "batch_canceled")


@console.post("/batches/<batch_id>/retry")
def retry_batch_form(batch_id: str) -> AnyResponse:
    """Try the failed jobs again, each as a new job."""
    batch = visible_batch(batch_id, require_sign_in())
    return _redirect_to_batch(batch, "batch_retried" if retry_failed(batch) else "batch_retried_partly")


def retry_failed(batch: Job) -> bool:
    """Try each failed job again, once, however often this is asked for; False where not all could be."""
    give_up_at, all_retried = time.monotonic() + RETRY_S, True
    for job in services().ledger.batches.jobs(batch):
        if job is None or job.state is not State.FAILED:
            continue
        if time.monotonic() > give_up_at:
            return False
        try:
            # A second click, or a second try after this process died, finds the first retry by this key.
            retry(job, services(), services().now(), only_retry_key(job))
        except Unacceptable:
            all_retried = False
    return all_retried


def _redirect_to_batch(batch: Job, done: str) -> AnyResponse:
    return redirect(url_for("console.batch_page", batch_id=batch.id, done=done), 303)
