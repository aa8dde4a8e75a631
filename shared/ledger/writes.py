"""The commands that carry out what a move writes: lanes, indexes and counters by their keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rushes.shared.domain.changes import SILENT, Change
from rushes.shared.domain.counters import Line
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Writes

# Counter → its hash and the field in it.
COUNTERS: Mapping[str, Callable[[Line], tuple[str, str]]] = {
    "inflight": lambda line: (keys.IN_FLIGHT, line[1]),
    "tenant_inflight": lambda line: (keys.TENANTS_IN_FLIGHT, line[1]),
    "held": lambda line: (keys.committed(line[1]), line[2]),
    "usage": lambda line: (keys.usage(line[1]), "|".join(line[2:])),
    "tally": lambda line: (keys.TALLY, "|".join(line[1:])),
    "bills": lambda line: (keys.bills(line[1]), line[2]),
    "times": lambda line: (keys.times(line[1]), line[2]),
    SILENT: lambda line: (keys.gateway(line[1]), SILENT),
}


def write_change(writes: Writes, job_id: str, change: Change) -> Writes:
    """Add the commands of a change to a program's."""
    _write_lanes(writes, job_id, change)
    _write_standby(writes, job_id, change)
    _write_account(writes, job_id, change)
    if change.no_longer_start_before:
        writes.add("ZREM", keys.START_BEFORE, job_id)
    if change.start_before is not None:
        writes.add("ZADD", keys.START_BEFORE, change.start_before, job_id)
    if change.no_longer_indexed:
        writes.add("ZREM", keys.index_name(change.no_longer_indexed), job_id)
    if change.index:
        name = keys.index_name(change.index)
        writes.add("ZADD", name, 0, job_id)
        writes.add("SADD", keys.INDEXES, name)
    for line, step in change.counts.items():
        key, field = COUNTERS[line[0]](line)
        writes.add("HINCRBY", key, field, step)
    for gateway, fields in change.forgotten.items():
        writes.add("HDEL", keys.gateway(gateway), *fields)
    return writes


def _write_lanes(writes: Writes, job_id: str, change: Change) -> None:
    for lane in change.released:
        writes.add("ZREM", keys.leased(lane), job_id)
    for lane in change.no_longer_due:
        writes.add("ZREM", keys.due(lane), job_id)
    if change.due:
        lane, due_at = change.due
        writes.add("ZADD", keys.due(lane), due_at, job_id)
        kind, _, place = lane.partition(":")
        gateway, _, line = place.partition(":")
        if line:  # a line that is in none of these would be forgotten (lua/claim.lua)
            writes.add("ZADD", keys.later(kind, gateway), *(("LT", due_at) if kind == "submit" else ("NX", 0)), line)


def _write_standby(writes: Writes, job_id: str, change: Change) -> None:
    for gateway in change.no_longer_standby:
        writes.add("ZREM", keys.standby(gateway), job_id)  # of an older version
        writes.add("ZREM", keys.standby_line(gateway, change.line), job_id)
    for gateway, since in change.standby.items():
        writes.add("ZADD", keys.standby_line(gateway, change.line), since, job_id)
        writes.add("ZADD", keys.later("standby", gateway), "LT", since, change.line)


def _write_account(writes: Writes, job_id: str, change: Change) -> None:
    if change.no_longer_queued:
        writes.add("HDEL", keys.QUEUED, job_id)
    if change.queued is not None:
        writes.add("HSET", keys.QUEUED, job_id, change.queued)
    for gateway, cost in change.settled.items():
        times = [keys.turns("submit", gateway), keys.served("submit", gateway), keys.TENANTS]
        writes.add("SETTLE", keys.charged(gateway), *map(writes.number, times), job_id, change.tenant, cost)
