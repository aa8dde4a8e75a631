"""Batches in the ledger, and their jobs brought to an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from factories import NOW, job, link, result
from ledger_steps import CAPS, submits, taken
from ledger_steps import engage as write_down
from ledger_steps import plan as attempt_plan

from rushes.shared.domain import batch, events
from rushes.shared.domain.job import Job
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.submits import Caps
from rushes.shared.ledger.tickets import Ticket

PRICE = 42_000_000  # what an attempt of the factories holds
CLIP_USD = Decimal("0.42")
DIGEST = "digest"


def new_batch(count: int = 3, budget_usd: Decimal | None = None, **terms: Any) -> tuple[Job, list[Job]]:
    """A batch that was accepted just now, and its jobs."""
    batch_id = batch.new_id(NOW)
    shared = {"batch_id": batch_id, "batch_budget_usd": budget_usd, "estimated_usd": CLIP_USD}
    jobs = [job(**shared) for _ in range(count)]
    return batch.record(batch_id, "acme", terms, [each.id for each in jobs], NOW), jobs


def taken_batch(ledger: Ledger, count: int = 3, budget_usd: Decimal | None = None, **terms: Any) -> Job:
    return ledger.batches.create(*new_batch(count, budget_usd, **terms))[0]


def caps(budget: int | None = None) -> Caps:
    """The caps of a submit in a batch that has so many clips' money."""
    return replace(CAPS, price=PRICE, batch_budget=None if budget is None else budget * PRICE)


def begin(ledger: Ledger, subject: Job, ticket: Ticket, budget: int | None = None, now: int = NOW) -> Job:
    return write_down(ledger, subject, ticket, events.Begun(attempt_plan(subject, now)), caps(budget), now)


def begun(ledger: Ledger, budget: int | None = None, now: int = NOW) -> Job:
    """The next job of the line, its submit written down; raises CapReached."""
    return begin(ledger, *taken(ledger, submits(), now), budget, now)


def completed(ledger: Ledger, cost_usd: Decimal = CLIP_USD, now: int = NOW) -> Job:
    """The next job of the line, brought to its clip."""
    subject = begun(ledger, now=now)
    ledger.apply(subject.id, events.Accepted("task-1", attempt=1), now)
    ledger.apply(subject.id, events.Succeeded(link(), cost_usd=cost_usd, made_s=Decimal(5)), now)
    moved = ledger.apply(subject.id, events.Archived(result()), now)
    assert moved is not None
    return moved


def end_all(ledger: Ledger, jobs: Sequence[str], now: int = NOW) -> None:
    for job_id in jobs:
        ledger.apply(job_id, events.Canceled(), now)


def recounted(ledger: Ledger, of: Job) -> dict[str, int]:
    """What the jobs of a batch come to, counted anew from their records."""
    from rushes.shared.domain import counters

    totals = counters.Counter[str]()
    for each in ledger.batches.jobs(of):
        assert each is not None
        for line, count in counters.entries(each).items():
            if line[0] == "batch":
                totals[line[2]] += count
    return {what: count for what, count in totals.items() if count}
