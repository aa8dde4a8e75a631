"""The ledger's twin in memory, for tests: the same programs over dictionaries, one caller at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rushes.shared.domain import fair_shares, start_deadline
from rushes.shared.ledger import keys, memory_lines, memory_nudges, memory_repairs
from rushes.shared.ledger.memory_lines import Lines, Terms, lowest
from rushes.shared.ledger.memory_tables import MemoryTables
from rushes.shared.ledger.store import (
    Commit,
    ExpectedPlaces,
    IdempotencyEntry,
    LaneRoom,
    LeaseRequest,
    QuarantineLimits,
    Verdict,
    Writes,
)


class MemoryStore(MemoryTables):
    """Does what `lua/` does; the contract tests run on both."""

    def create(self, job_id: str, record: str, writes: Writes, once: IdempotencyEntry | None = None) -> str:
        name = keys.record(job_id)
        if name in self.strings:
            return ""
        if first := self._first_of(once, writes):
            return first
        self._write(writes.keys, writes.commands, writes.first_key)
        self.strings[name] = record
        self.wake()
        return ""

    def _first_of(self, once: IdempotencyEntry | None, writes: Writes) -> str:
        """What an idempotency key holds already, or why it cannot be known; empty where it is ours from now on."""
        if once is None:
            return ""
        if first := self._known(once):
            return first
        mark = writes.keys[once.mark - writes.first_key] if once.mark else None
        marked = self.hashes[mark].get("server") if mark else self.server()
        if marked != self.server():
            return "elsewhere" if marked else "unmarked"
        self.hashes[keys.IDEMPOTENCY][once.name] = once.value
        return ""

    def create_batch(
        self, batch_id: str, records: Mapping[str, str], writes: Writes, once: IdempotencyEntry | None = None
    ) -> str:
        if keys.record(batch_id) in self.strings:
            return ""
        if first := self._first_of(once, writes):
            return first
        self._write(writes.keys, writes.commands, writes.first_key)
        self.strings.update({keys.record(record_id): record for record_id, record in records.items()})
        self.wake()
        return ""

    def commit(self, commits: Sequence[Commit]) -> list[Verdict]:
        return [self._commit(commit) for commit in commits]

    def _commit(self, commit: Commit) -> Verdict:
        name = keys.record(commit.job_id)
        old = self.strings.get(name)
        if old is None:
            return Verdict("gone")
        version, operation = old.split(" ", 2)[:2]
        if operation == commit.operation:
            return Verdict("done")
        if int(version) != commit.version:
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
            if kind == "month":
                days = [writes.keys[day - writes.first_key] for day in rest[-1]]
                value = self._below(days, *rest[:-1])
            else:
                value = GATES[kind](self, key, *rest) if kind in GATES else self._below([key], *rest)
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

    def _stop_gate(self, key: str, now: int) -> str | None:
        until = self.hashes[key].get("stopped_until", "0")
        return until if int(until) > now else None

    def _trial_gate(self, key: str, now: int) -> str | None:
        strikes, trial = (int(self.hashes[key].get(name, "0")) for name in ("strikes", "trial_until"))
        return str(trial) if strikes > 0 and trial > now else None

    def _window_gate(self, key: str, limit: int, since: int) -> str | None:
        self._drop_before(key, since)
        if len(self.zsets[key]) < limit:
            return None
        return f"{min(self.zsets[key].values()):.0f}" if self.zsets[key] else ""

    def _below(self, names: Sequence[str], field: str, step: int, limit: int) -> str | None:
        count = sum(int(self.hashes[name].get(field, "0")) for name in names)
        return None if count + step <= limit else str(count)

    def claim(
        self, lanes: Sequence[LaneRoom], now: int, lease: int, window_ms: int
    ) -> tuple[int | None, list[tuple[str, str]]]:
        claimed: list[tuple[str, str]] = []
        soonest: list[float] = []
        left: list[tuple[LaneRoom, int, float | None]] = []
        terms: dict[str, Terms] = {}
        for lane in filter(self._has_jobs, lanes):
            ids, room, opens = self._claim(lane, now, lease, window_ms, soonest, terms)
            claimed += [(lane.lane, job_id) for job_id in ids]
            left.append((lane, 0 if self._paused_until(lane) > now else room, opens))
        for lane, room, opens in left:
            claimed += [(lane.lane, job_id) for job_id in self._stand_in(lane, room, opens, now, lease, soonest, terms)]
        return (int(min(soonest)) if soonest else None), claimed

    def _has_jobs(self, lane: LaneRoom) -> bool:
        if lane.gateway:
            return any(self.zsets.get(name) for name in keys.gateway_sets(lane.gateway))
        due = keys.START_BEFORE if lane.lane == start_deadline.LANE else keys.due(lane.lane)
        return bool(self.zsets.get(due) or self.zsets.get(keys.leased(lane.lane)))

    def _claim(
        self,
        lane: LaneRoom,
        now: int,
        lease: int,
        window_ms: int,
        soonest: list[float],
        terms: dict[str, Terms],
    ) -> tuple[list[str], int, float | None]:
        expires = lane.lane == start_deadline.LANE
        due = self.zsets[keys.START_BEFORE if expires else keys.due(lane.lane)]
        leased = self.zsets[keys.leased(lane.lane)]
        claimed = self._ripe(leased, now)[: lane.room]
        leased.update(dict.fromkeys(claimed, float(lease)))
        if lane.gateway and self._paused_until(lane) <= now:
            memory_lines.unpark(self, lane.gateway, now)
        room, opens = self._allowance(lane, now, window_ms, len(leased))
        taken = self._ripe(due, now)[: max(room, 0)]
        for job_id in taken:
            del due[job_id]
        taken = [job_id for job_id in taken if not expires or self._out_of_line(job_id)]
        leased.update(dict.fromkeys(taken, float(lease)))
        left = max(room, 0) - len(taken)
        head = lowest(due)
        if head is not None and head <= now and left <= 0:
            head = opens
        moments = [head]
        if lane.gateway:
            own = Lines(self, "submit", lane.gateway, now, terms)
            own.ripen()
            while left > 0 and (job := own.take()):
                self._give_on_account(own, lane, *job, lease)
                taken.append(job[0])
                left -= 1
            moments += _come_again(own, left, opens)
        moments.append(lowest(leased))
        soonest += [at for at in moments if at is not None]
        return claimed + taken, left, opens

    def _stand_in(
        self,
        lane: LaneRoom,
        room: int,
        opens: float | None,
        now: int,
        lease: int,
        soonest: list[float],
        terms: dict[str, Terms],
    ) -> list[str]:
        if not lane.gateway:
            return []
        standby, claimed = self.zsets[keys.standby(lane.gateway)], []
        for job_id in self._ripe(standby, now)[:room]:
            del standby[job_id]
            if self._out_of_line(job_id):
                self.zsets[keys.leased(lane.lane)][job_id] = float(lease)
                claimed.append(job_id)
        left = room - len(claimed)
        head = lowest(standby)
        if head is not None and head <= now and left <= 0:
            head = opens
        own, others = (Lines(self, kind, lane.gateway, now, terms) for kind in ("submit", "standby"))
        others.ripen()
        while left > 0 and (job := others.take()):
            if self._out_of_line(job[0]):
                others.charge(job[1], self._give_on_account(own, lane, *job, lease))
                claimed.append(job[0])
                left -= 1
        soonest += [at for at in (head, *_come_again(others, left, opens)) if at is not None]
        return claimed

    def _give_on_account(self, own: Lines, lane: LaneRoom, job_id: str, tenant: str, lease: int) -> int:
        ticket = self.hashes[keys.QUEUED].get(job_id, f":{fair_shares.UNPRICED}")
        cost, terms = int(ticket.rpartition(":")[2]), own.terms_of(tenant)
        own.charge(tenant, cost)
        self.hashes[keys.charged(lane.gateway)][job_id] = str(cost)
        if terms.left is not None:
            terms.left -= 1
        self.zsets[keys.leased(lane.lane)][job_id] = float(lease)
        return cost

    def _out_of_line(self, job_id: str) -> bool:
        lines = (keys.due("submit:"), keys.due("parked:"))
        return any(line.pop(job_id, None) for name, line in self.zsets.items() if name.startswith(lines))

    def unpark(self, gateway: str) -> None:
        memory_lines.unpark_lines(self, gateway)

    def _paused_until(self, lane: LaneRoom) -> int:
        if not lane.gateway:
            return 0
        paused = [int(self.hashes[keys.gateway(name)].get("paused_until", 0)) for name in lane.labels]
        return max(min(paused, default=0), int(self.hashes[keys.gateway(lane.gateway)].get("stopped_until", 0)))

    def _allowance(self, lane: LaneRoom, now: int, window_ms: int, out: int) -> tuple[int, float | None]:
        room = lane.room - out
        if not lane.gateway:
            return room, None
        if self._paused_until(lane) > now:
            return min(room, 50), None
        found = [self._room_of(lane, name, now, window_ms) for name in lane.labels]
        free = min(sum(max(given, 0) for _, given, _, _ in found), sum(more for more, _, _, _ in found) - out)
        open_ = [on_trial for _, _, on_trial, opens in found if opens is None]
        if all(open_):  # one job each shows whether they are well again
            free = min(free, len(open_) - out)
        return min(room, free), min((opens for *_, opens in found if opens is not None), default=None)

    def _room_of(self, lane: LaneRoom, name: str, now: int, window_ms: int) -> tuple[int, int, bool, float | None]:
        """As `room_of` in claim.lua."""
        health, window = self.hashes[keys.gateway(name)], keys.window(name)
        paused, strikes, trial = (int(health.get(field, 0)) for field in ("paused_until", "strikes", "trial_until"))
        if paused > now:
            return 0, 0, strikes > 0, paused
        self._drop_before(window, now - window_ms)
        left = lane.submits_per_minute - len(self.zsets[window])
        if left <= 0:
            return 0, 0, strikes > 0, min(self.zsets[window].values(), default=now) + window_ms + 1
        places = lane.max_in_flight - int(self.hashes[keys.IN_FLIGHT].get(name, "0"))
        if strikes == 0:
            return places, min(left, places), False, None
        return (0, 0, True, trial) if trial > now else (places, min(1, left, places), True, None)

    def open_tickets(self, openings: Sequence[LeaseRequest], operation: str) -> list[str | None]:
        return [self._open(opening, operation) for opening in openings]

    def _open(self, opening: LeaseRequest, operation: str) -> str | None:
        leased, name = self.zsets[keys.leased(opening.lane)], keys.record(opening.job_id)
        old = self.strings.get(name)
        if old is None:
            leased.pop(opening.job_id, None)
            return None
        header, _, body = old.partition("\n")
        version, last_operation, tries, rest = header.split(" ", 3)
        if last_operation == operation:
            return old
        if leased.get(opening.job_id) != opening.lease:
            return None
        leased[opening.job_id] = float(opening.new_lease)
        self.strings[name] = f"{int(version) + 1} {operation} {int(tries) + 1} {rest}\n{body}"
        return self.strings[name]

    def renew(self, requests: Sequence[LeaseRequest]) -> list[bool]:
        return [self._renewed(request) for request in requests]

    def _renewed(self, request: LeaseRequest) -> bool:
        leased = self.zsets[keys.leased(request.lane)]
        if leased.get(request.job_id) not in (request.lease, request.new_lease):
            return False
        leased[request.job_id] = float(request.new_lease)
        return True

    def nudge(self, lane: str, job_id: str, nudge: str, now: int) -> str:
        name = keys.record(job_id)
        old = self.strings.get(name)
        if old is None:
            return "unknown"
        header, _, body = old.partition("\n")
        version, operation, tries, live, old_hint, tasks = header.split(" ")
        if live == "0":
            return "ended"
        if memory_nudges.is_strange(tasks, nudge):
            return "strange"
        if old_hint == nudge:
            return "noted"
        hint = memory_nudges.joined(old_hint, nudge)
        if memory_nudges.same(hint, old_hint) and job_id not in self.zsets[keys.leased(lane)]:
            return "noted"
        self.strings[name] = f"{int(version) + 1} {operation} {tries} {live} {hint} {tasks}\n{body}"
        if job_id in self.zsets[keys.due(lane)]:
            self.zsets[keys.due(lane)][job_id] = float(now)
            self.bell.set()
        return "noted"

    def quarantine(
        self, callback_id: str, job_id: str, gateway: str, callback: str, now: int, limits: QuarantineLimits
    ) -> bool:
        kept, since = self.hashes[keys.QUARANTINE], self.zsets[keys.QUARANTINE_AT]
        if callback_id in kept:
            return kept[callback_id] == callback
        self._increase(keys.QUARANTINE_COUNT, gateway, 1)
        for old in [old for old, at in since.items() if at <= limits.since]:
            self.release(old)
        if sum(old.startswith(job_id) for old in since) >= limits.of_a_job:
            return False
        for old in sorted(since, key=lambda old: (since[old], old))[: max(len(since) - limits.in_all + 1, 0)]:
            self.release(old)
        kept[callback_id], since[callback_id] = callback, float(now)
        return True

    def release(self, callback_id: str) -> bool:
        self.zsets[keys.QUARANTINE_AT].pop(callback_id, None)
        return self.hashes[keys.QUARANTINE].pop(callback_id, None) is not None

    def repair(self, standings: Sequence[ExpectedPlaces], repair: bool) -> list[list[str]]:
        return [memory_repairs.repair(self, standing, repair) for standing in standings]

    def remove_misplaced(self, name: str, job_id: str, version: int | None, repair: bool) -> bool:
        return memory_repairs.remove_misplaced(self, name, job_id, version, repair)


def _come_again(lines: Lines, room: int, opens: float | None) -> list[float | None]:
    """When to come again for a line."""
    return [lowest(lines.later), lowest(lines.capped), opens if room <= 0 and lines.turns else None]


GATES: dict[str, Callable[..., str | None]] = {
    "lease": MemoryStore._lease_gate,
    "whole": MemoryStore._whole_gate,
    "pause": MemoryStore._pause_gate,
    "stop": MemoryStore._stop_gate,
    "trial": MemoryStore._trial_gate,
    "window": MemoryStore._window_gate,
}
