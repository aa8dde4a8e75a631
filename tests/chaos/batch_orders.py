"""Batches in the simulation: several orders in one request, under one budget, with one notification."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import parts

from rushes.shared.domain import batch, money
from rushes.shared.domain.job import Chore, Job

if TYPE_CHECKING:
    from simulation import Order, Simulation


@dataclass
class BatchOrder:
    """Orders that a caller enqueues together, and the id that the batch got."""

    marker: str
    orders: Sequence[Order]
    terms: dict[str, Any]
    id: str | None = None

    @property
    def budget_usd(self) -> Decimal | None:
        budget = self.terms.get("max_cost_usd")
        return Decimal(budget) if budget else None


def ask(simulation: Simulation, wanted: BatchOrder) -> None:
    """A caller insists until the batch is taken."""
    heard = False
    try:
        body = {"jobs": [order.body for order in wanted.orders], **wanted.terms}
        answer = simulation._call("/v1/batches", body, {"Idempotency-Key": wanted.marker})
        heard = answer.status_code in (200, 202)
        if heard:
            wanted.id = answer.json["id"]
            for order, job_id in zip(wanted.orders, answer.json["job_ids"], strict=True):
                simulation._taken(order, job_id)
        elif answer.status_code != 503:
            simulation.broke(f"the batch was not taken: {answer.status_code} {answer.text}")
    finally:
        if not heard:
            simulation.at(simulation.now + 2000, lambda: simulation._ask_batch(wanted))


def record_of(simulation: Simulation, wanted: BatchOrder) -> Job | None:
    """The record of a batch as it stands in the ledger."""
    raw = simulation.parts.raw([wanted.id])[0] if wanted.id else None
    return parts.decode(raw) if raw else None


def has_come_to_rest(simulation: Simulation, wanted: BatchOrder) -> bool:
    """Whether it owes nothing but to leave."""
    record = record_of(simulation, wanted)
    return record is not None and record.chores == (Chore.RETIRE,)


def held_usd(simulation: Simulation, wanted: BatchOrder) -> Decimal:
    """What the attempts of its jobs cost or may cost, by their records."""
    ids = {order.marker for order in wanted.orders}
    jobs = [job for job in simulation.jobs_seen.values() if job.request["prompt"] in ids]
    return sum((money.committed(job.attempts) for job in jobs), money.ZERO)


def wrong_with(simulation: Simulation, wanted: BatchOrder) -> Iterator[str]:
    """What is wrong with a batch at the end."""
    record = record_of(simulation, wanted)
    if record is None:
        yield f"{wanted.marker} is lost"
        return
    lines = batch.receipt(record) or []
    ends = [(order.id, simulation.jobs_seen[order.id or ""].state.value) for order in wanted.orders]
    if [(line["job_id"], line["status"]) for line in lines] != ends:
        yield f"{wanted.marker}: the receipt says {lines}, the jobs ended as {ends}"
    told = simulation.gateways.notices[record.id]
    if record.callback_url and len({(notice["webhook-id"], notice["type"]) for notice in told}) != 1:
        yield f"{wanted.marker}: its caller heard {told}"
