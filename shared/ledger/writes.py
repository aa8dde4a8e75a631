"""The commands that carry out what a move writes: lanes, indexes and counters by their keys.

Numbers are added as text: Redis 6.2 prints a number of a program with all its binary digits before a command reads it,
which takes longer than most commands (measured 2026-12).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rushes.shared.domain import batch
from rushes.shared.domain.changes import SILENT, Change
from rushes.shared.domain.counters import Line
from rushes.shared.domain.job import ENDED
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Writes

# Counter → its hash and the field in it.
COUNTERS: Mapping[str, Callable[[Line], tuple[str, str]]] = {
    "inflight": lambda line: (keys.IN_FLIGHT, line[1]),
    "tenant_inflight": lambda line: (keys.TENANTS_IN_FLIGHT, line[1]),
    "held": lambda line: (keys.committed(line[1]), line[2]),
    "usage": lambda line: (keys.usage(line[1]), "|".join(line[2:])),
    "tally": lambda line: (keys.TALLY, "|".join(line[1:])),
    "batch": lambda line: (keys.batch_counts(line[1]), line[2]),
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
        writes.add("ZADD", keys.START_BEFORE, str(change.start_before), job_id)
    _write_index(writes, job_id, change)
    _write_labels(writes, job_id, change)
    for line, step in change.counts.items():
        key, field = COUNTERS[line[0]](line)
        writes.add("HINCRBY", key, field, str(step))
    for gateway, fields in change.forgotten.items():
        writes.add("HDEL", keys.gateway(gateway), *fields)
    if change.batch_end:
        write_batch_end(writes, *change.batch_end)
    return writes


def write_batch_end(writes: Writes, batch_id: str, now: int) -> None:
    """Make a batch due if no job of it is open any more; after the counters, and so once: an end is never left."""
    counts = keys.batch_counts(batch_id)
    writes.add_when(counts, batch.OPEN, "0", "HSET", counts, batch.ENDED_AT, now)
    writes.add_when(counts, batch.OPEN, "0", "ZADD", keys.due(batch.LANE), now, batch_id)


def gathered(writes: Writes) -> Writes:
    """The same commands, those of one kind on one key joined: a thousand new jobs are a few commands."""
    groups: dict[tuple[str, int, str], dict[str, Any]] = {}
    joined = Writes(writes.keys, [], writes.first_key)
    for command, number, *arguments in writes.commands:
        if command not in JOINED:
            joined.commands.append([command, number, *arguments])
            continue
        flag = arguments.pop(0) if arguments[0] in FLAGS else ""
        members = groups.setdefault((command, number, flag), {})
        JOINED[command](members, flag, *arguments)
    for (command, number, flag), members in groups.items():
        joined.commands += _commands(command, number, flag, members)
    return joined


FLAGS = ("LT", "NX")


def _join_score(members: dict[str, Any], flag: str, score: int | str, member: str) -> None:
    known = members.get(member)
    if known is None or not flag or (flag == "LT" and int(score) < int(known)):
        members[member] = score


def _join_step(members: dict[str, Any], flag: str, field: str, step: int | str) -> None:
    members[field] = members.get(field, 0) + int(step)


JOINED: Mapping[str, Callable[..., None]] = {
    "ZADD": _join_score,
    "SADD": lambda members, flag, member: members.update({member: None}),
    "HINCRBY": _join_step,
}


def _commands(command: str, number: int, flag: str, members: Mapping[str, Any]) -> list[list[Any]]:
    """Lua unpacks at most some thousand values at once; members are fewer than JOBS_MAX."""
    if command == "HINCRBY":
        return [[command, number, field, step] for field, step in members.items()]
    if command == "SADD":
        return [[command, number, *members]]
    pairs = [value for member, score in members.items() for value in (score, member)]
    return [[command, number, *([flag] if flag else []), *pairs]]


def _write_lanes(writes: Writes, job_id: str, change: Change) -> None:
    for lane in change.released:
        writes.add("ZREM", keys.leased(lane), job_id)
    for lane in change.no_longer_due:
        writes.add("ZREM", keys.due(lane), job_id)
    if change.leased:
        lane, lease = change.leased
        writes.add("ZADD", keys.leased(lane), str(lease), job_id)
    if change.due:
        lane, due_at = change.due
        writes.add("ZADD", keys.due(lane), str(due_at), job_id)
        kind, _, place = lane.partition(":")
        gateway, _, line = place.partition(":")
        if line:  # a line that is in none of these would be forgotten (lua/claim.lua)
            moment = ("LT", str(due_at)) if kind == "submit" else ("NX", "0")
            writes.add("ZADD", keys.later(kind, gateway), *moment, line)


def _write_index(writes: Writes, job_id: str, change: Change) -> None:
    """`LIST` and `UNLIST` are of indexes with leaves (lua/parts/leaves.lua), which only a move comes into."""
    if old := change.no_longer_indexed:
        writes.add("UNLIST" if old.state in ENDED else "ZREM", keys.index_name(old), job_id)
    if new := change.index:
        name = keys.index_name(new)
        writes.add(*(("LIST", name) if new.state in ENDED and old else ("ZADD", name, "0")), job_id)
        writes.add("SADD", keys.INDEXES, name)


def _write_labels(writes: Writes, job_id: str, change: Change) -> None:
    for label in change.no_longer_labels:
        writes.add("ZREM", keys.label(label), job_id)
    for label in change.labels:
        writes.add("ZADD", keys.label(label), "0", job_id)


def _write_standby(writes: Writes, job_id: str, change: Change) -> None:
    for gateway in change.no_longer_standby:
        writes.add("ZREM", keys.standby(gateway), job_id)  # of an older version
        writes.add("ZREM", keys.standby_line(gateway, change.line), job_id)
    for gateway, since in change.standby.items():
        writes.add("ZADD", keys.standby_line(gateway, change.line), str(since), job_id)
        writes.add("ZADD", keys.later("standby", gateway), "LT", str(since), change.line)


def _write_account(writes: Writes, job_id: str, change: Change) -> None:
    if change.no_longer_queued:
        writes.add("HDEL", keys.QUEUED, job_id)
    if change.queued is not None:
        writes.add("HSET", keys.QUEUED, job_id, change.queued)
    for gateway, cost in change.settled.items():
        times = [keys.turns("submit", gateway), keys.TENANTS]
        writes.add("SETTLE", keys.charged(gateway), *map(writes.number, times), job_id, change.tenant, cost)
