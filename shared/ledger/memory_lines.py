"""The lines of tenants in the ledger's twin in memory: whose turn it is, as `lua/claim.lua` has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rushes.shared.ledger import keys
from rushes.shared.ledger.memory_tables import MemoryTables

RIPEN, RETURN, CAPPED_MS = 200, 50, 500
UNPARK, BITE = 100, 20


@dataclass(slots=True)
class Terms:
    """A tenant's share in thousandths, and how many more jobs gateways may have of it; None for any number."""

    share: int
    left: int | None


def first(zset: Mapping[str, float]) -> tuple[str, float] | None:
    """The member with the lowest score, and that."""
    head = min(zip(zset.values(), zset, strict=True), default=None)
    return head and (head[1], head[0])


def lowest(zset: Mapping[str, float]) -> float | None:
    return min(zset.values(), default=None)


def charged_for(cost: int, share: int) -> int:
    """By how much a tenant's virtual time goes on."""
    return -(-cost * 1000 // share)


class Lines:
    """The lines of one gateway and kind, at one moment."""

    def __init__(self, tables: MemoryTables, kind: str, gateway: str, now: int, terms: dict[str, Terms]) -> None:
        self._tables, self._now, self._terms = tables, now, terms
        self._prefix = keys.standby(gateway) if kind == "standby" else keys.due(f"{kind}:{gateway}")
        later, waiting, turns, lines, capped = keys.line_sets(kind, gateway)
        zsets = tables.zsets
        self.later, self.waiting, self.turns = zsets[later], zsets[waiting], zsets[turns]
        self.capped, self.lines = zsets[capped], tables.hashes[lines]

    def terms_of(self, tenant: str) -> Terms:
        if tenant not in self._terms:
            share, _, cap = self._tables.hashes[keys.TENANTS].get(tenant, "1000:").partition(":")
            busy = int(self._tables.hashes[keys.TENANTS_IN_FLIGHT].get(tenant, "0"))
            self._terms[tenant] = Terms(int(share), int(cap) - busy if cap else None)
        return self._terms[tenant]

    def ripen(self) -> None:
        """Let lines whose first job has come due take their turns from now on."""
        ripe = sorted((at, line) for line, at in self.later.items() if at <= self._now)[:RIPEN]
        for _, line in ripe:
            del self.later[line]
            head = first(self._jobs(line))
            if head and head[1] > self._now:
                self.later[line] = head[1]
            elif head:
                tenant, _, priority = line.rpartition(":")
                self._mark_line(tenant, priority)
                if tenant not in self.capped:
                    self.waiting[line] = head[1]
        back = sorted((at, tenant) for tenant, at in self.capped.items() if at <= self._now)[:RETURN]
        for _, tenant in back:
            self._come_back(tenant)

    def take(self) -> tuple[str, str] | None:
        """Take the next job out of the line: its id and tenant; None where nobody waits."""
        while head := first(self.turns):
            tenant = head[0]
            left = self.terms_of(tenant).left
            if left is not None and left <= 0:
                self._set_aside(tenant)
                continue
            for line in self._lines_of(tenant):
                job = first(self._jobs(line))
                if job and job[1] <= self._now:
                    self._remove(line, job[0])
                    return job[0], tenant
            self._leave(tenant)
        return None

    def charge(self, tenant: str, cost: int) -> None:
        """Let the tenant's virtual time go on by what a job costs over its share."""
        if tenant in self.turns:
            self.turns[tenant] += charged_for(cost, self.terms_of(tenant).share)

    def _jobs(self, line: str) -> dict[str, float]:
        return self._tables.zsets[f"{self._prefix}:{line}"]

    def _remove(self, line: str, job_id: str) -> None:
        jobs = self._jobs(line)
        del jobs[job_id]
        self.waiting.pop(line, None)
        head = lowest(jobs)
        if head is not None:
            self.waiting[line] = head

    def _lines_of(self, tenant: str) -> list[str]:
        return [f"{tenant}:{priority}" for priority in self.lines.get(tenant, "")]

    def _mark_line(self, tenant: str, priority: str) -> None:
        known = self.lines.get(tenant)
        if known is None:
            self._join(tenant)
        self.lines[tenant] = "".join(sorted({*(known or ""), priority}, reverse=True))

    def _join(self, tenant: str) -> None:
        self.turns[tenant] = lowest(self.turns) or 0

    def _leave(self, tenant: str) -> None:
        for line in self._lines_of(tenant):
            self.waiting.pop(line, None)
            head = lowest(self._jobs(line))
            if head is not None:
                self.later[line] = min(head, self.later.get(line, head))
        self.lines.pop(tenant, None)
        del self.turns[tenant]

    def _set_aside(self, tenant: str) -> None:
        for line in self._lines_of(tenant):
            self.waiting.pop(line, None)
        del self.turns[tenant]
        self.capped[tenant] = self._now + CAPPED_MS

    def _come_back(self, tenant: str) -> None:
        del self.capped[tenant]
        for line in self._lines_of(tenant):
            head = lowest(self._jobs(line))
            if head is not None:
                self.waiting[line] = head
        self._join(tenant)


def unpark(tables: MemoryTables, gateway: str, now: int) -> None:
    """Let jobs that wait for the end of a pause come back to their places in the line: of each line some in turn."""
    zsets, parked, due = tables.zsets, keys.due(f"parked:{gateway}"), keys.due(f"submit:{gateway}")
    later, parked_lines = zsets[keys.later("submit", gateway)], zsets[keys.later("parked", gateway)]
    for job_id in _oldest(zsets[parked], UNPARK):
        zsets[due][job_id] = zsets[parked].pop(job_id)
    left = UNPARK
    while left > 0 and (head := first(parked_lines)):
        line = head[0]
        waiting = zsets[f"{parked}:{line}"]
        jobs = _oldest(waiting, BITE)
        if jobs:
            later[line] = min(waiting[jobs[0]], later.get(line, waiting[jobs[0]]))
        for job_id in jobs:
            zsets[f"{due}:{line}"][job_id] = waiting.pop(job_id)
        if len(jobs) < BITE:
            del parked_lines[line]
        else:
            parked_lines[line] = float(now)
        left -= max(len(jobs), 1)


def unpark_lines(tables: MemoryTables, gateway: str) -> None:
    """Let all of them come back at once."""
    while tables.zsets[keys.later("parked", gateway)]:
        unpark(tables, gateway, 0)


def _oldest(zset: Mapping[str, float], limit: int) -> list[str]:
    return sorted(zset, key=lambda job_id: (zset[job_id], job_id))[:limit]
