"""Audits the batches: their counters against the records of their jobs, and that one which has ended is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rushes.shared.domain import batch as batch_module
from rushes.shared.domain import counters, schedule
from rushes.shared.domain.job import Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import ExpectedPlaces
from rushes.shared.services import Services

PAGE = 20


def differences(services: Services, repair: bool) -> Iterator[list[tuple[str, str]]]:
    """(`batch` | `nowhere` | `twice` | `unindexed`, where) of each difference, batch by batch; repaired on `repair`."""
    before = ""
    while batches := services.ledger.batches.newest(None, PAGE, before):
        for batch in batches:
            yield [*_counters(batch, services, repair), *_place(batch, services, repair)]
        before = batches[-1].id


def _counters(batch: Job, services: Services, repair: bool) -> list[tuple[str, str]]:
    """Count twice: jobs move meanwhile, so only a difference that both counts have is a finding."""
    if batch_module.receipt(batch) is not None:
        return []  # it is closed: nothing moves any more, and its jobs leave one by one
    first = _off_by(batch, services)
    second = _off_by(batch, services) if first else {}
    off = {what: by for what, by in second.items() if first.get(what) == by}
    if off and repair:
        services.ledger.store.increase(keys.batch_counts(batch.id), {what: -by for what, by in off.items()})
    return [("batch", f"{batch.id} {what}: off by {by:+}") for what, by in off.items()]


def _off_by(batch: Job, services: Services) -> dict[str, int]:
    counts, jobs = services.ledger.batches.counts(batch.id), services.ledger.batches.jobs(batch)
    if None in jobs:  # what one that has left counted for cannot be told
        return {}
    lines = sum((counters.entries(job) for job in jobs if job), Counter[counters.Line]())
    standing = {line[2]: count for line, count in lines.items() if line[0] == "batch"}
    own = {batch_module.STOPPED, batch_module.ENDED_AT}
    names = sorted({*counts, *standing} - own)
    return {what: by for what in names if (by := counts.get(what, 0) - standing.get(what, 0))}


def _place(batch: Job, services: Services, repair: bool) -> list[tuple[str, str]]:
    """Whether it is in both lists; one that has ended stands in one place: it owes its notice, or waits to leave."""
    store, lane = services.ledger.store, schedule.lane(batch)
    # By the records: a counter that is wrong must not close a batch whose jobs go on.
    has_ended = lane is not None and _has_ended(batch, services)
    places = (keys.due(lane), keys.leased(lane)) if has_ended and lane else ()
    due_at = services.now() if batch.due_at is None else batch.due_at
    listed = (keys.batches(batch.tenant),)
    expected = ExpectedPlaces(batch.id, batch.version, keys.batches(None), places, due_at, labels=listed)
    problems = store.repair([expected], repair)[0]
    if repair and "nowhere" in problems and batch_module.ENDED_AT not in services.ledger.batches.counts(batch.id):
        store.remember(keys.batch_counts(batch.id), {batch_module.ENDED_AT: services.now()})
    return [(what, batch.id) for what in problems]


def _has_ended(batch: Job, services: Services) -> bool:
    if batch_module.receipt(batch) is not None:
        return True
    return all(job is None or job.ended for job in services.ledger.batches.jobs(batch))
