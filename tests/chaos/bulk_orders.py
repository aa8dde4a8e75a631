"""Bulk actions in the simulation: one thing done to every job that fits, once each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rushes.shared.domain import bulk
from rushes.shared.domain.bulk import Action, Bulk, Status

if TYPE_CHECKING:
    from simulation import Simulation


@dataclass
class BulkOrder:
    """What a caller wants done, when he asks for it, and the id that it got."""

    action: str
    filter: Mapping[str, str] = field(default_factory=dict)
    at_ms: int = 1500
    id: str | None = None


def ask(simulation: Simulation, wanted: BulkOrder) -> None:
    """A caller insists until the bulk action has begun."""
    heard = False
    try:
        body = {"action": wanted.action, "filter": dict(wanted.filter)}
        answer = simulation._call("/v1/bulk", body, {"Idempotency-Key": "bulk-0"})
        heard = answer.status_code in (200, 202)
        if heard:
            wanted.id = answer.json["id"]
        elif answer.status_code != 503:
            simulation.broke(f"the bulk action was not taken: {answer.status_code} {answer.text}")
    finally:
        if not heard:
            simulation.at(simulation.now + 2000, lambda: simulation._ask_bulk(wanted))


def record_of(simulation: Simulation, wanted: BulkOrder) -> Bulk | None:
    """The bulk action as it stands in the ledger, without an effect."""
    return simulation.parts.bulk_action(wanted.id) if wanted.id else None


def has_come_to_rest(simulation: Simulation, wanted: BulkOrder) -> bool:
    record = record_of(simulation, wanted)
    return record is not None and record.status is not Status.RUNNING


def wrong_with(simulation: Simulation, wanted: BulkOrder) -> Iterator[str]:
    """What is wrong with a bulk action at the end: it counts each job that it acted on, once."""
    record = record_of(simulation, wanted)
    if record is None:
        yield "the bulk action is lost"
        return
    jobs = simulation.jobs_seen.values()
    if record.action is Action.RETRY:
        acted = [job.retry_of for job in jobs if job.retry_of]
    else:
        acted = [job.id for job in jobs for note in job.history if (note.what, note.detail) == (bulk.NOTE, record.id)]
    twice = [job_id for job_id, count in Counter(acted).items() if count > 1]
    if twice:
        yield f"the bulk action acted twice on {twice}"
    if record.outcomes != ({WORDS[record.action]: len(acted)} if acted else {}):
        yield f"the bulk action counts {record.outcomes}, and acted on {acted}"


WORDS = {Action.RETRY: "retried", Action.CANCEL: "canceled"}
