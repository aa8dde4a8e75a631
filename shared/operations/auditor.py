"""Audits the whole ledger, slowly: what does not agree is repaired, logged and counted.

A round is a generator that audits one page at each step, so its caller decides the speed. Any number may run at once: a
repair is made only if the record is still the one that was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import structlog

from rushes.shared.domain import counters, schedule
from rushes.shared.domain.job import Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.writes import COUNTERS
from rushes.shared.operations import batch_audit, bulk_audit
from rushes.shared.providers import PROVIDERS
from rushes.shared.services import Services

log = structlog.get_logger()

KINDS = ("submit", "parked", "poll")
LANES = (*(f"{kind}:{name}" for kind in KINDS for name in PROVIDERS), "archive", "notify", "erase", "retire", "expire")
STALE_UPLOAD_S = 86_400
MONEY = frozenset({"held", "usage"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that did not agree, and whether it was repaired."""

    what: str
    """nowhere, twice, unindexed, unlined, undated, stray, unreadable, in_flight, batch, money, uploads"""
    where: str
    repaired: bool


def audit(services: Services, repair: bool = True) -> Iterator[list[Finding]]:
    """One round over the whole ledger, a page at each step. Raises LedgerUnavailable and ArchiveUnavailable."""
    inspection, totals = Inspection(services.ledger.store), Counter[counters.Line]()
    yield from _records(inspection, totals, services, repair)
    sets = [place(lane) for lane in LANES for place in (keys.due, keys.leased)]
    sets += [*(keys.standby(name) for name in PROVIDERS), keys.START_BEFORE]
    lines = dict.fromkeys(inspection.line_places(list(PROVIDERS)))
    for name in chain(sets, lines, inspection.index_names(), inspection.label_names()):
        for job_ids in inspection.misplaced(name, repair):
            yield [Finding("stray", f"{job_id} in {name}", repair) for job_id in job_ids]
    yield from _in_flight(inspection, repair)
    for found in chain(batch_audit.differences(services, repair), bulk_audit.differences(services, repair)):
        yield [Finding(what, where, repair) for what, where in found]
    yield list(_money(services, totals))
    if repair:
        aborted = services.archive.abort_stale_uploads(STALE_UPLOAD_S, services.now())
        yield [Finding("uploads", f"{aborted} left half done", True)] if aborted else []


def whole_round(services: Services, repair: bool = True) -> list[Finding]:
    """A whole round at once; its findings, which are logged and counted too."""
    return [finding for page in audit(services, repair) for finding in report(page, services)]


def report(findings: list[Finding], services: Services) -> list[Finding]:
    """Log findings and count them in `{rushes}:audit`; returns them."""
    for finding in findings:
        log.warning("audit", what=finding.what, where=finding.where, repaired=finding.repaired)
        services.ledger.store.increase(keys.AUDIT, {finding.what: 1})
    return findings


def record_round(services: Services) -> None:
    """Record the end of a round in `{rushes}:audit`."""
    services.ledger.store.increase(keys.AUDIT, {"rounds": 1})
    services.ledger.store.remember(keys.AUDIT, {"round_at": services.now()})


def _records(
    inspection: Inspection, totals: Counter[counters.Line], services: Services, repair: bool
) -> Iterator[list[Finding]]:
    for page in inspection.jobs():
        jobs = [job for _, job in page if job]
        _count(totals, jobs)
        findings = [Finding(what, job_id, repair) for job_id, what in inspection.repair(jobs, repair)]
        undated = inspection.repair_deadlines(jobs, services.now(), repair)
        findings += [Finding("undated", job_id, repair) for job_id in undated]
        yield [*findings, *(Finding("unreadable", job_id, False) for job_id, job in page if job is None)]


def _count(totals: Counter[counters.Line], jobs: Iterable[Job]) -> None:
    for job in jobs:
        totals.update({line: n for line, n in counters.entries(job).items() if line[0] in MONEY})


def _in_flight(inspection: Inspection, repair: bool) -> Iterator[list[Finding]]:
    """Count twice, some time apart: jobs move meanwhile, so only a difference that both counts have is a finding."""
    kinds: tuple[tuple[Callable[[], dict[str, int]], Callable[[str, int], None]], ...] = (
        (lambda: inspection.in_flight(list(PROVIDERS)), inspection.set_right),
        (inspection.tenants_in_flight, inspection.set_tenant_right),
    )
    first = [count() for count, _ in kinds]
    yield []
    for (count, set_right), before in zip(kinds, first, strict=True):
        off = {name: by for name, by in count().items() if by and before.get(name) == by}
        for name, by in off.items() if repair else ():
            set_right(name, by)
        yield [Finding("in_flight", f"{name}: off by {by:+}", repair) for name, by in off.items()]


def _money(services: Services, totals: Counter[counters.Line]) -> Iterator[Finding]:
    """Compare the money of past days whose jobs are all still here. It is not repaired: either side may be wrong."""
    now, retention_s = services.now(), services.settings.policy.retention_s
    first, today = counters.day_of(schedule.after(now, -retention_s)), counters.day_of(now)
    for line in sorted(line for line in totals if first < line[1] < today):
        key, field = COUNTERS[line[0]](line)
        counter = int(services.ledger.store.counters(key).get(field, 0))
        if counter != totals[line]:
            yield Finding("money", f"{'|'.join(line)}: counter {counter}, records {totals[line]}", False)
