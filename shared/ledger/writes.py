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


def _write_standby(writes: Writes, job_id: str, change: Change) -> None:
    for gateway in change.no_longer_standby:
        writes.add("ZREM", keys.standby(gateway), job_id)
    for gateway, since in change.standby.items():
        writes.add("ZADD", keys.standby(gateway), since, job_id)
