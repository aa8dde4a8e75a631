"""Looks through the whole ledger, slowly: what does not agree is put right, said and counted.

A round is a generator that does a page at each step, so whoever runs it decides how fast. Any number may run; a repair
is made only where the record is still the one that was looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog

from rushes.shared.domain import counters, schedule
from rushes.shared.domain.job import Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.writes import COUNTERS
from rushes.shared.providers import PROVIDERS
from rushes.shared.services import Services

log = structlog.get_logger()

KINDS = ("submit", "parked", "poll")
LANES = (*(f"{kind}:{name}" for kind in KINDS for name in PROVIDERS), "archive", "notify", "retire")
STALE_UPLOAD_S = 86_400
MONEY = frozenset({"held", "usage"})


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that did not agree, and whether it does now."""

    what: str
    """nowhere, twice, unindexed, stray, unreadable, in_flight, money, uploads"""
    where: str
    repaired: bool


def audit(services: Services, repair: bool = True) -> Iterator[list[Finding]]:
    """One round over everything, a page at each step; raises LedgerUnavailable and ArchiveUnavailable."""
    inspection, counted = Inspection(services.ledger.store), Counter[counters.Line]()
    yield from _records(inspection, counted, repair)
    sets = [place(lane) for lane in LANES for place in (keys.due, keys.leased)]
    sets += [keys.standby(name) for name in PROVIDERS]
    for name in (*sets, *inspection.index_names()):
        for strays in inspection.misplaced(name, repair):
            yield [Finding("stray", f"{job_id} in {name}", repair) for job_id in strays]
    yield from _in_flight(inspection, repair)
    yield list(_money(services, counted))
    if repair:
        aborted = services.archive.abort_stale_uploads(STALE_UPLOAD_S, services.now())
        yield [Finding("uploads", f"{aborted} left half done", True)] if aborted else []


def whole_round(services: Services, repair: bool = True) -> list[Finding]:
    """A round at once: what was found, told and counted."""
    return [finding for page in audit(services, repair) for finding in tell(page, services)]


def tell(findings: list[Finding], services: Services) -> list[Finding]:
    """Log what was found, and count it in `rushes:audit`."""
    for finding in findings:
        log.warning("audit", what=finding.what, where=finding.where, repaired=finding.repaired)
        services.ledger.store.increase(keys.AUDIT, {finding.what: 1})
    return findings


def finished(services: Services) -> None:
    """Note that a round came to its end."""
    services.ledger.store.increase(keys.AUDIT, {"rounds": 1})
    services.ledger.store.remember(keys.AUDIT, {"round_at": services.now()})


def _records(inspection: Inspection, counted: Counter[counters.Line], repair: bool) -> Iterator[list[Finding]]:
    for page in inspection.jobs():
        jobs = [job for _, job in page if job]
        _count(counted, jobs)
        wrong = [Finding(what, job_id, repair) for job_id, what in inspection.repair(jobs, repair)]
        yield [*wrong, *(Finding("unreadable", job_id, False) for job_id, job in page if job is None)]


def _count(counted: Counter[counters.Line], jobs: Iterable[Job]) -> None:
    for job in jobs:
        counted.update({line: n for line, n in counters.entries(job).items() if line[0] in MONEY})


def _in_flight(inspection: Inspection, repair: bool) -> Iterator[list[Finding]]:
    """Jobs move while they are counted: what is off by the same twice, some time apart, is off."""
    first = inspection.in_flight(list(PROVIDERS))
    yield []
    second = inspection.in_flight(list(PROVIDERS))
    off = {name: by for name, by in second.items() if by and first.get(name) == by}
    for name, by in off.items() if repair else ():
        inspection.set_right(name, by)
    yield [Finding("in_flight", f"{name}: off by {by:+}", repair) for name, by in off.items()]


def _money(services: Services, counted: Counter[counters.Line]) -> Iterator[Finding]:
    """Days that are over and whose jobs are all still here; only told, for nobody knows which of the two is right."""
    now, retention_s = services.now(), services.settings.policy.retention_s
    first, today = counters.day_of(schedule.after(now, -retention_s)), counters.day_of(now)
    for line in sorted(line for line in counted if first < line[1] < today):
        key, field = COUNTERS[line[0]](line)
        held = int(services.ledger.store.counters(key).get(field, 0))
        if held != counted[line]:
            yield Finding("money", f"{'|'.join(line)}: counter {held}, records {counted[line]}", False)
