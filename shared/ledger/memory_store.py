"""The ledger's twin in memory, for tests: the same programs over dictionaries, one caller at a time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rushes.shared.ledger import keys, memory_nudges
from rushes.shared.ledger.store import Bounds, Commit, LaneRoom, Once, Opening, Standing, Verdict, Writes


class MemoryStore:
    """Does what `lua/` does; the contract tests run on both."""

    def __init__(self) -> None:
        self.strings: dict[str, str] = {}
        self.zsets: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self.hashes: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.sets: defaultdict[str, set[str]] = defaultdict(set)
        self.bell = threading.Event()

    # --- commands that a program may write

    def _write(self, names: Sequence[str], commands: Sequence[Sequence[Any]], first_key: int) -> None:
        for command, number, *arguments in commands:
            self._command(command, names[number - first_key], arguments)

    def _command(self, command: str, key: str, arguments: Sequence[Any]) -> None:
        does: dict[str, Callable[[], Any]] = {
            "ZADD": lambda: self.zsets[key].update({arguments[1]: float(arguments[0])}),
            "ZREM": lambda: self.zsets[key].pop(arguments[0], None),
            "SADD": lambda: self.sets[key].add(arguments[0]),
            "HINCRBY": lambda: self._increase(key, *arguments),
            "HDEL": lambda: self.forget(key, arguments),
            "DEL": lambda: self.strings.pop(key, None),
        }
        does[command]()

    def _increase(self, key: str, field: str, step: int) -> None:
        self.hashes[key][field] = str(int(self.hashes[key].get(field, "0")) + int(step))

    # --- programs

    def create(self, job_id: str, record: str, writes: Writes, once: Once | None = None) -> str:
        name = keys.record(job_id)
        if name in self.strings:
            return ""
        if once:
            if once.key in self.strings:
                return self.strings[once.key]
            mark = writes.keys[once.mark - writes.first_key] if once.mark else None
            marked = self.hashes[mark].get("server") if mark else self.server()
            if marked != self.server():
                return "elsewhere" if marked else "unmarked"
            self.strings[once.key] = once.value
        self._write(writes.keys, writes.commands, writes.first_key)
        self.strings[name] = record
        self.wake()
        return ""

    def commit(self, commits: Sequence[Commit]) -> list[Verdict]:
        return [self._commit(one) for one in commits]

    def _commit(self, commit: Commit) -> Verdict:
        name = keys.record(commit.job_id)
        old = self.strings.get(name)
        if old is None:
            return Verdict("gone")
        held_version, held_operation = old.split(" ", 2)[:2]
        if held_operation == commit.operation:
            return Verdict("done")
        if int(held_version) != commit.version:
            return Verdict("conflict", old)
        shut = self._shut(commit.gates, commit.writes)
        if shut:
            return shut
        self._write(commit.writes.keys, commit.writes.commands, commit.writes.first_key)
        if commit.record:
            self.strings[name] = commit.record
        else:
            del self.strings[name]
        if commit.wakes:
            self.wake()
        return Verdict("done")

    def _shut(self, gates: Sequence[Sequence[Any]], writes: Writes) -> Verdict | None:
        for kind, number, *rest in gates:
            key = writes.keys[number - writes.first_key]
            value = GATES[kind](self, key, *rest) if kind in GATES else self._below(key, *rest)
            if value is not None:
                return Verdict("shut", kind, value)
        return None

    def _lease_gate(self, key: str, member: str, score: float) -> str | None:
        return None if self.zsets[key].get(member) == score else ""

    def _whole_gate(self, key: str) -> str | None:
        return None if self.hashes[key].get("server") in (None, self.server()) else ""

    def _pause_gate(self, key: str, now: int) -> str | None:
        until = max(int(self.hashes[key].get(name, "0")) for name in ("paused_until", "stopped_until"))
        return str(until) if until > now else None

    def _window_gate(self, key: str, limit: int, since: int) -> str | None:
        self._drop_before(key, since)
        if len(self.zsets[key]) < limit:
            return None
        return f"{min(self.zsets[key].values()):.0f}" if self.zsets[key] else ""

    def _below(self, key: str, field: str, step: int, limit: int) -> str | None:
        held = int(self.hashes[key].get(field, "0"))
        return None if held + step <= limit else str(held)

    def _drop_before(self, key: str, since: float) -> None:
        self.zsets[key] = {member: score for member, score in self.zsets[key].items() if score >= since}

    def claim(
        self, lanes: Sequence[LaneRoom], now: int, lease: int, window_ms: int
    ) -> tuple[int | None, list[tuple[str, str]]]:
        given: list[tuple[str, str]] = []
        soonest: list[float] = []
        left: list[tuple[LaneRoom, int, float | None]] = []
        for lane in lanes:
            ids, room, opens = self._claim(lane, now, lease, window_ms, soonest)
            given += [(lane.lane, job_id) for job_id in ids]
            left.append((lane, 0 if self._paused_until(lane.gateway) > now else room, opens))
        for lane, room, opens in left:
            given += [(lane.lane, job_id) for job_id in self._stand_in(lane, room, opens, now, lease, soonest)]
        return (int(min(soonest)) if soonest else None), given

    def _claim(
        self, lane: LaneRoom, now: int, lease: int, window_ms: int, soonest: list[float]
    ) -> tuple[list[str], int, float | None]:
        due, leased = self.zsets[keys.due(lane.lane)], self.zsets[keys.leased(lane.lane)]
        given = self._ripe(leased, now)[: lane.room]
        leased.update(dict.fromkeys(given, float(lease)))
        self._unpark(lane, now)
        room, opens = self._allowance(lane, now, window_ms, len(leased))
        taken = self._ripe(due, now)[: max(room, 0)]
        for job_id in taken:
            del due[job_id]
            leased[job_id] = float(lease)
        head = min(due.values(), default=None)
        if head is not None and head <= now and room <= len(taken):
            head = opens
        soonest += [at for at in (head, min(leased.values(), default=None)) if at is not None]
        return given + taken, max(room, 0) - len(taken), opens

    def _stand_in(
        self, lane: LaneRoom, room: int, opens: float | None, now: int, lease: int, soonest: list[float]
    ) -> list[str]:
        if not lane.gateway:
            return []
        standby, given = self.zsets[keys.standby(lane.gateway)], []
        for job_id in self._ripe(standby, now)[:room]:
            del standby[job_id]
            if self._out_of_line(job_id):
                self.zsets[keys.leased(lane.lane)][job_id] = float(lease)
                given.append(job_id)
        head = min(standby.values(), default=None)
        if head is not None and head <= now and room <= len(given):
            head = opens
        soonest += [] if head is None else [head]
        return given

    def _out_of_line(self, job_id: str) -> bool:
        lines = (keys.due("submit:"), keys.due("parked:"))
        return any(line.pop(job_id, None) for name, line in self.zsets.items() if name.startswith(lines))

    def _unpark(self, lane: LaneRoom, now: int) -> None:
        parked = self.zsets[keys.due(f"parked:{lane.gateway}")]
        if not parked or self._paused_until(lane.gateway) > now:
            return
        for job_id in sorted(parked, key=lambda job_id: (parked[job_id], job_id))[:100]:
            self.zsets[keys.due(lane.lane)][job_id] = parked.pop(job_id)

    def _paused_until(self, gateway: str) -> int:
        health = self.hashes[keys.gateway(gateway)]
        return max(int(health.get("paused_until", 0)), int(health.get("stopped_until", 0)))

    def _ripe(self, zset: Mapping[str, float], now: int) -> list[str]:
        return sorted((job_id for job_id, at in zset.items() if at <= now), key=lambda job_id: (zset[job_id], job_id))

    def _allowance(self, lane: LaneRoom, now: int, window_ms: int, out: int) -> tuple[int, float | None]:
        room = lane.room - out
        if not lane.gateway:
            return room, None
        health = self.hashes[keys.gateway(lane.gateway)]
        if self._paused_until(lane.gateway) > now:
            return min(room, 50), None
        window = keys.window(lane.gateway)
        self._drop_before(window, now - window_ms)
        left = lane.submits_per_minute - len(self.zsets[window])
        if left <= 0:
            return 0, min(self.zsets[window].values(), default=now) + window_ms + 1
        busy = int(self.hashes[keys.IN_FLIGHT].get(lane.gateway, "0"))
        free = min(room, left, lane.max_in_flight - busy - out)
        return (min(free, 1 - out) if int(health.get("strikes", 0)) > 0 else free), None

    def open_tickets(self, openings: Sequence[Opening], operation: str) -> list[str | None]:
        return [self._open(opening, operation) for opening in openings]

    def _open(self, opening: Opening, operation: str) -> str | None:
        leased, name = self.zsets[keys.leased(opening.lane)], keys.record(opening.job_id)
        old = self.strings.get(name)
        if old is None:
            leased.pop(opening.job_id, None)
            return None
        header, _, body = old.partition("\n")
        version, held_operation, tries, rest = header.split(" ", 3)
        if held_operation == operation:
            return old
        if leased.get(opening.job_id) != opening.lease:
            return None
        leased[opening.job_id] = float(opening.new_lease)
        self.strings[name] = f"{int(version) + 1} {operation} {int(tries) + 1} {rest}\n{body}"
        return self.strings[name]

    def renew(self, openings: Sequence[Opening]) -> list[bool]:
        return [self._renewed(one) for one in openings]

    def _renewed(self, one: Opening) -> bool:
        leased = self.zsets[keys.leased(one.lane)]
        if leased.get(one.job_id) not in (one.lease, one.new_lease):
            return False
        leased[one.job_id] = float(one.new_lease)
        return True

    def nudge(self, lane: str, job_id: str, nudge: str, now: int) -> str:
        name = keys.record(job_id)
        old = self.strings.get(name)
        if old is None:
            return "unknown"
        header, _, body = old.partition("\n")
        version, operation, tries, live, held, tasks = header.split(" ")
        if live == "0":
            return "ended"
        if memory_nudges.is_strange(tasks, nudge):
            return "strange"
        if held == nudge:
            return "noted"
        hint = memory_nudges.joined(held, nudge)
        if memory_nudges.same(hint, held) and job_id not in self.zsets[keys.leased(lane)]:
            return "noted"
        self.strings[name] = f"{int(version) + 1} {operation} {tries} {live} {hint} {tasks}\n{body}"
        if job_id in self.zsets[keys.due(lane)]:
            self.zsets[keys.due(lane)][job_id] = float(now)
            self.bell.set()
        return "noted"

    def quarantine(self, stray_id: str, job_id: str, gateway: str, stray: str, now: int, bounds: Bounds) -> bool:
        held, since = self.hashes[keys.QUARANTINE], self.zsets[keys.QUARANTINE_AT]
        if stray_id in held:
            return held[stray_id] == stray
        self._increase(keys.QUARANTINE_COUNT, gateway, 1)
        for old in [old for old, at in since.items() if at <= bounds.since]:
            self.release(old)
        if sum(old.startswith(job_id) for old in since) >= bounds.of_a_job:
            return False
        for old in sorted(since, key=lambda old: (since[old], old))[: max(len(since) - bounds.in_all + 1, 0)]:
            self.release(old)
        held[stray_id], since[stray_id] = stray, float(now)
        return True

    def release(self, stray_id: str) -> bool:
        self.zsets[keys.QUARANTINE_AT].pop(stray_id, None)
        return self.hashes[keys.QUARANTINE].pop(stray_id, None) is not None

    # --- reads

    def records(self, job_ids: Sequence[str]) -> list[str | None]:
        return [self.strings.get(keys.record(job_id)) for job_id in job_ids]

    def newest(self, indexes: Sequence[str], limit: int, before: str) -> list[str]:
        found = {job_id for name in indexes for job_id in self.zsets[name] if not before or job_id < before}
        return sorted(found, reverse=True)[:limit]

    def oldest(self, indexes: Sequence[str], limit: int) -> list[str]:
        return sorted(job_id for name in indexes for job_id in self.zsets[name])[:limit]

    def sizes(self, indexes: Sequence[str]) -> list[int]:
        return [len(self.zsets[name]) for name in indexes]

    def index_names(self) -> list[str]:
        return sorted(self.sets[keys.INDEXES])

    def keep(self, key: str, value: str, seconds: int) -> None:
        self.strings.setdefault(key, value)

    def text(self, key: str) -> str | None:
        return self.strings.get(key)

    def counters(self, key: str) -> Mapping[str, str]:
        return dict(self.hashes[key])

    def remember(self, key: str, values: Mapping[str, str | int]) -> None:
        self.hashes[key].update({name: str(value) for name, value in values.items()})

    def strike(self, key: str, values: Mapping[str, str | int]) -> int:
        self._increase(key, "strikes", 1)
        self.remember(key, values)
        return int(self.hashes[key]["strikes"])

    def increase(self, key: str, steps: Mapping[str, int]) -> None:
        for field, step in steps.items():
            self._increase(key, field, step)

    def forget(self, key: str, fields: Sequence[str]) -> None:
        for field in fields:
            self.hashes[key].pop(field, None)

    def move(self, source: str, target: str) -> None:
        self.zsets[target].update(self.zsets.pop(source, {}))

    def ripe(self, places: Sequence[tuple[str, int]], limit: int) -> list[list[tuple[str, int]]]:
        found = [(self.zsets[key], until) for key, until in places]
        return [[(job_id, int(held[job_id])) for job_id in self._ripe(held, until)[:limit]] for held, until in found]

    def halve_counts(self, key: str, prefix: str, above: int) -> None:
        counts = {field: int(count) for field, count in self.hashes[key].items() if field.startswith(prefix)}
        if sum(counts.values()) <= above:
            return
        for field, count in counts.items():
            del self.hashes[key][field]
            if count > 1:
                self.hashes[key][field] = str(count // 2)

    def count_since(self, key: str, since: int) -> int:
        return sum(score >= since for score in self.zsets[key].values())

    def wake(self) -> None:
        self.bell.set()

    def listen(self, timeout_s: float) -> None:
        self.bell.wait(timeout_s)
        self.bell.clear()

    def ping(self) -> None:
        return None

    def server(self) -> str:
        return "memory"

    # --- audits

    def page(self, name: str | None, cursor: int, count: int) -> tuple[int, list[str]]:
        prefix = keys.record("")
        found = [key.removeprefix(prefix) for key in self.strings if key.startswith(prefix)]
        return 0, sorted(found if name is None else self.zsets[name])

    def repair(self, standings: Sequence[Standing], repair: bool) -> list[list[str]]:
        return [self._repair(one, repair) for one in standings]

    def _repair(self, one: Standing, repair: bool) -> list[str]:
        if not self._unmoved(one.job_id, one.version):
            return []
        standing = [place for place in one.places if one.job_id in self.zsets[place]]
        found = {
            "unindexed": one.job_id not in self.zsets[one.index],
            "nowhere": bool(one.places) and not standing,
            "twice": len(standing) > 1,
        }
        if repair:
            self._put_right(one, standing, found)
        return [what for what, is_so in found.items() if is_so]

    def _put_right(self, one: Standing, standing: list[str], found: Mapping[str, bool]) -> None:
        if found["unindexed"]:
            self.zsets[one.index][one.job_id] = 0.0
            self.sets[keys.INDEXES].add(one.index)
        if found["nowhere"]:
            self.zsets[one.places[0]][one.job_id] = float(one.due_at)
            self.bell.set()
        for place in standing[:-1]:
            del self.zsets[place][one.job_id]

    def _unmoved(self, job_id: str, version: int | None) -> bool:
        old = self.strings.get(keys.record(job_id))
        return (int(old.split(" ", 1)[0]) if old else None) == version

    def remove_misplaced(self, name: str, job_id: str, version: int | None, repair: bool) -> bool:
        if not self._unmoved(job_id, version) or job_id not in self.zsets[name]:
            return False
        if repair:
            del self.zsets[name][job_id]
        return True

    def tally(self, key: str, indexes: Sequence[str]) -> tuple[Mapping[str, str], dict[str, int]]:
        return self.counters(key), dict(zip(indexes, self.sizes(indexes), strict=True))


GATES: dict[str, Callable[..., str | None]] = {
    "lease": MemoryStore._lease_gate,
    "whole": MemoryStore._whole_gate,
    "pause": MemoryStore._pause_gate,
    "window": MemoryStore._window_gate,
}
