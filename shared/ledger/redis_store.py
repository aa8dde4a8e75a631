"""The ledger in Redis 6.2 or later. Its programs are Lua scripts in `lua/`; the names of the keys are in keys.py."""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar, cast

import redis

from rushes.shared.compact_json import compact
from rushes.shared.ledger import claim_call, keys, refusals
from rushes.shared.ledger.bell import Bell
from rushes.shared.ledger.cluster import follow
from rushes.shared.ledger.compression import pack, unpack
from rushes.shared.ledger.connection import call_all
from rushes.shared.ledger.store import (
    Commit,
    ExpectedPlaces,
    IdempotencyEntry,
    LaneRoom,
    LeaseRequest,
    LedgerUnavailable,
    QuarantineLimits,
    Verdict,
    Writes,
)

LUA = Path(__file__).with_name("lua")
USES = re.compile(r"\(uses (parts/\w+\.lua)\)")
# How many times a call is repeated after its answer was lost. Every program can safely run twice. Calls that must
# not be repeated, or need not be, pass 0.
RETRIES = 2
RETRY_PAUSE_S = 0.05
UNPARKED_LINES = 100  # so many lines of tenants are moved in one program: others wait for it

T = TypeVar("T")


@cache
def _source(name: str) -> str:
    """A program, behind the functions that it names in its first line."""
    text = (LUA / f"{name}.lua").read_text()
    parts = USES.findall(text.partition("\n")[0])
    return "".join([*((LUA / part).read_text() for part in parts), text])


def _arguments(commit: Commit) -> tuple[list[str], list[Any]]:
    names = [keys.record(commit.job_id), *commit.writes.keys, keys.BELL]
    body = pack(commit.record, commit.job_id) if commit.record else b""
    gates, commands = compact(commit.gates), compact(commit.writes.commands)
    return names, [commit.version, commit.operation, body, gates, commands, int(commit.wakes)]


def _key_names(once: IdempotencyEntry | None) -> list[str]:
    # Never '': a cluster has it in another slot.
    return [keys.IDEMPOTENCY, once.earlier_key if once else keys.IDEMPOTENCY]


def _once(once: IdempotencyEntry | None, writes: Writes) -> list[Any]:
    key = [once.name, once.value, once.since] if once else ["", "", ""]
    return [*key, compact(writes.commands), once.mark if once else 0]


def _verdict(job_id: str, kind: bytes, *details: bytes) -> Verdict:
    if kind == b"conflict":
        return Verdict("conflict", unpack(details[0], job_id))
    return Verdict(kind.decode(), *(word.decode() for word in details))


def _unpacked(stored: bytes | None, record_id: str) -> str | None:
    return unpack(stored, record_id) if stored else None


class RedisStore:
    """Runs the programs; raises LedgerUnavailable where Redis is out of reach. Safe for threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._pool = client.connection_pool
        self._scripts = {path.stem: client.register_script(_source(path.stem)) for path in LUA.glob("*.lua")}
        self._bell = Bell(client)

    def _reach(self, call: Callable[[], T], again: int = RETRIES) -> T:
        while True:
            try:
                return follow(call)
            except (redis.ConnectionError, redis.TimeoutError) as lost:
                again -= 1
                if again < 0:
                    raise LedgerUnavailable(refusals.cause(lost)) from None
                time.sleep(RETRY_PAUSE_S)
            except redis.RedisError as refused:
                if refusals.is_our_mistake(refused):
                    raise
                raise LedgerUnavailable(refusals.cause(refused)) from None

    def run(
        self, program: str, names: Sequence[str], arguments: Sequence[Any], again: int = RETRIES, raw: bool = False
    ) -> Any:
        """Run a program over these keys; what it answers."""
        return self._run_all(program, [(names, arguments)], again, raw)[0]

    def _run_all(
        self,
        program: str,
        calls: Sequence[tuple[Sequence[str], Sequence[Any]]],
        again: int = RETRIES,
        raw: bool = True,
    ) -> list[Any]:
        """Run a program once for each of `calls`, all sent together."""
        script = self._scripts[program]

        def call() -> list[Any]:
            try:
                return call_all(self._pool, [("EVALSHA", script.sha, len(n), *n, *a) for n, a in calls], raw)
            except redis.exceptions.NoScriptError:
                return call_all(self._pool, [("EVAL", str(script.script), len(n), *n, *a) for n, a in calls], raw)

        return self._reach(call, again)

    def records(self, job_ids: Sequence[str]) -> list[str | None]:
        if not job_ids:
            return []
        names = [keys.record(job_id) for job_id in job_ids]
        records = self._reach(lambda: call_all(self._pool, [("MGET", *names)], raw=True)[0])
        return list(map(_unpacked, records, job_ids))

    def create(self, job_id: str, record: str, writes: Writes, once: IdempotencyEntry | None = None) -> str:
        names = [keys.record(job_id), *_key_names(once), *writes.keys, keys.BELL]
        return str(self.run("create", names, [pack(record, job_id), *_once(once, writes)]))

    def create_batch(
        self, batch_id: str, records: Mapping[str, str], writes: Writes, once: IdempotencyEntry | None = None
    ) -> str:
        """Write a batch and its jobs, by their ids; all in one program, for nothing less is either done or not."""
        job_ids = [record_id for record_id in records if record_id != batch_id]
        names = [keys.record(batch_id), *_key_names(once), *map(keys.record, job_ids), *writes.keys, keys.BELL]
        arguments = [pack(records[each], each) for each in (batch_id, *job_ids)]
        arguments[1:1] = _once(once, writes)
        return str(self.run("create_batch", names, arguments))

    def commit(self, commits: Sequence[Commit]) -> list[Verdict]:
        answers = self._run_all("commit", [_arguments(commit) for commit in commits])
        return [_verdict(commit.job_id, *answer) for commit, answer in zip(commits, answers, strict=True)]

    def claim(
        self, lanes: Sequence[LaneRoom], now: int, lease: int, window_ms: int
    ) -> tuple[int | None, list[tuple[str, str]]]:
        """Lease due jobs. Returns when the next job is due, if any is, and the lane and id of each leased job."""
        # Not sent again when its answer is lost: what it leased is offered again when the leases run out.
        arguments = [now, lease, window_ms, *claim_call.rooms(lanes)]
        soonest, *pairs = self.run("claim", claim_call.keys_of(lanes), arguments, again=0)
        claimed = [
            (lanes[int(number) - 1].lane, job_id) for number, job_id in zip(pairs[::2], pairs[1::2], strict=True)
        ]
        return (int(soonest) if soonest else None), claimed

    def open_tickets(self, openings: Sequence[LeaseRequest], operation: str) -> list[str | None]:
        names = [name for o in openings for name in (keys.leased(o.lane), keys.record(o.job_id))]
        arguments = [value for o in openings for value in (o.job_id, o.lease, o.new_lease)]
        records = self.run("open_tickets", names, [operation, *arguments], raw=True)
        return [_unpacked(record, opening.job_id) for record, opening in zip(records, openings, strict=True)]

    def renew(self, requests: Sequence[LeaseRequest]) -> list[bool]:
        calls = [([keys.leased(r.lane)], [r.job_id, r.lease, r.new_lease]) for r in requests]
        return [bool(kept) for kept in self._run_all("renew", calls)]

    def nudge(self, lane: str, job_id: str, nudge: str, now: int) -> str:
        names = [keys.record(job_id), keys.due(lane), keys.leased(lane), keys.BELL]
        return str(self.run("nudge", names, [job_id, nudge, now]))

    def quarantine(
        self, callback_id: str, job_id: str, gateway: str, callback: str, now: int, limits: QuarantineLimits
    ) -> bool:
        names = [keys.QUARANTINE, keys.QUARANTINE_AT, keys.QUARANTINE_COUNT]
        bounds = [limits.of_a_job, limits.in_all, limits.since]
        return bool(self.run("quarantine", names, [callback_id, callback, now, job_id, gateway, *bounds]))

    def release(self, callback_id: str) -> bool:
        def write() -> bool:
            with self._client.pipeline() as pipe:
                pipe.zrem(keys.QUARANTINE_AT, callback_id)
                pipe.hdel(keys.QUARANTINE, callback_id)
                return bool(pipe.execute()[1])

        return self._reach(write)

    def newest(self, indexes: Sequence[str], limit: int, before: str, since: str = "") -> list[str]:
        top, bottom = f"({before}" if before else "+", f"[{since}" if since else "-"
        # In one program: a job that moves on between two reads would be on the page twice, or not at all.
        found = cast(list[list[str]], self.run("newest", indexes, [limit, top, bottom]) if indexes else [])
        # A job may stand under several names; it is one all the same.
        return list(islice((job_id for job_id, _ in groupby(heapq.merge(*found, reverse=True))), limit))

    def oldest(self, indexes: Sequence[str], limit: int) -> list[str]:
        def read() -> list[list[str]]:
            with self._client.pipeline(transaction=False) as pipe:
                for name in indexes:
                    pipe.zrangebylex(name, "-", "+", 0, limit)
                return cast(list[list[str]], pipe.execute())

        return list(heapq.merge(*self._reach(read)))[:limit]

    def sizes(self, indexes: Sequence[str]) -> list[int]:
        """How many stand in each; in an index of ended jobs with those in its leaves (lua/parts/leaves.lua)."""
        in_leaves = [keys.size(name) for name in indexes if keys.is_of_ended(name)]

        def read() -> tuple[list[int], dict[str, str | None]]:
            with self._client.pipeline(transaction=True) as pipe:  # or one that moves to a leaf counts twice
                for name in indexes:
                    pipe.zcard(name)
                for name in in_leaves:
                    pipe.get(name)
                answers = pipe.execute()
                return answers[: len(indexes)], dict(zip(in_leaves, answers[len(indexes) :], strict=True))

        counts, leaves = self._reach(read)
        return [count + int(leaves.get(keys.size(name)) or 0) for name, count in zip(indexes, counts, strict=True)]

    def index_names(self) -> list[str]:
        return sorted(cast(set[str], self._reach(lambda: self._client.smembers(keys.INDEXES))))

    def keep(self, key: str, value: str, seconds: int) -> bool:
        """Whether the key was free: what it holds already stays. Where an answer was lost, False may be wrong."""
        return bool(self._reach(lambda: self._client.set(key, value, ex=seconds, nx=True)))

    def known_keys(self, entries: Sequence[IdempotencyEntry]) -> list[str]:
        """What idempotency keys hold; '' for one that is not known."""
        if not entries:
            return []
        names = [keys.IDEMPOTENCY, *(entry.earlier_key for entry in entries)]
        return cast(list[str], self.run("known_keys", names, [entries[0].since, *(entry.name for entry in entries)]))

    def keep_key(self, entry: IdempotencyEntry) -> str:
        """What the key holds already, or ''. Where an answer was lost that may be what this call wrote."""
        names = [keys.IDEMPOTENCY, entry.earlier_key]
        return str(self.run("keep_key", names, [entry.name, entry.value, entry.since]))

    def counters(self, key: str) -> Mapping[str, str]:
        return cast(Mapping[str, str], self._reach(lambda: self._client.hgetall(key)))

    def remember(self, key: str, values: Mapping[str, str | int]) -> None:
        """Set fields of a hash; old values are replaced."""
        self._reach(lambda: self._client.hset(key, mapping=cast(Any, dict(values))))

    def strike(self, key: str, values: Mapping[str, str | int]) -> int:
        """Add 1 to the field `strikes` of a hash, set the other fields, and return the new number of strikes."""

        def write() -> int:
            with self._client.pipeline() as pipe:
                pipe.hincrby(key, "strikes", 1)
                if values:
                    pipe.hset(key, mapping=cast(Any, dict(values)))
                return int(pipe.execute()[0])

        return self._reach(write, again=0)

    def increase(self, key: str, steps: Mapping[str, int]) -> None:
        def write() -> None:
            with self._client.pipeline() as pipe:
                for field, step in steps.items():
                    pipe.hincrby(key, field, step)
                pipe.execute()

        self._reach(write, again=0)

    def forget(self, key: str, fields: Sequence[str]) -> None:
        """Delete fields of a hash."""
        self._reach(lambda: self._client.hdel(key, *fields))

    def move(self, source: str, target: str) -> None:
        """Move all of a sorted set into another; what is in both keeps the earlier time."""

        def write() -> None:
            with self._client.pipeline() as pipe:
                pipe.zunionstore(target, [target, source], aggregate="MIN")
                pipe.delete(source)
                pipe.execute()

        self._reach(write)

    def unpark(self, gateway: str) -> None:
        """Bring all jobs of a gateway that wait for the end of a pause back to their places in line."""
        names = [keys.due(f"submit:{gateway}"), keys.due(f"parked:{gateway}")]
        names += [keys.later("parked", gateway), keys.later("submit", gateway)]
        while self.run("unpark", names, [UNPARKED_LINES]) == UNPARKED_LINES:
            pass

    def ripe(self, places: Sequence[tuple[str, int]], limit: int) -> list[list[tuple[str, int]]]:
        """For each sorted set and time: the jobs in it that are due by then, at most `limit`, with their times."""

        def read() -> list[list[tuple[str, float]]]:
            with self._client.pipeline(transaction=False) as pipe:
                for key, until in places:
                    pipe.zrangebyscore(key, "-inf", until, 0, limit, withscores=True)
                return cast(list[list[tuple[str, float]]], pipe.execute())

        return [[(job_id, int(at)) for job_id, at in entries] for entries in self._reach(read)]

    def halve_counts(self, key: str, prefix: str, above: int) -> None:
        self.run("halve_counts", [key], [prefix, above], again=0)

    def count_since(self, key: str, since: int) -> int:
        return int(self._reach(lambda: self._client.zcount(key, since, "+inf")))

    def wake(self) -> None:
        self.run("wake", [keys.BELL], [])

    def listen(self, timeout_s: float) -> None:
        """Sleep until the bell rings, at most so long; for one thread only."""
        self._bell.listen(timeout_s)

    def time_ms(self) -> int:
        """The server's wall clock, in ms since the epoch."""
        seconds, microseconds = self._reach(self._client.time)
        return int(seconds) * 1000 + int(microseconds) // 1000

    def server(self) -> str:
        """Run id and replication id. One of them is new after a restart, and after a failover to a replica and back."""

        def read() -> list[dict[str, Any]]:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.info("server")
                pipe.info("replication")
                pipe.exists(keys.MARK)  # names a key, so that in a cluster the owner of the slot tells of itself
                try:
                    return cast(list[dict[str, Any]], pipe.execute()[:2])
                except redis.exceptions.NoPermissionError:
                    return []

        infos = self._reach(read)
        if not infos:
            return ""
        server, replication = infos
        return f"{server.get('run_id', '')}/{replication.get('master_replid', '')}"

    def page(self, name: str | None, cursor: int, count: int) -> tuple[int, list[str]]:
        """A page of the ids in a set, or of all jobs; the cursor is 0 at the end."""
        if name is None:
            after, names = self.names(keys.record(""), cursor, count)
            return after, [key.removeprefix(keys.record("")) for key in names]
        after, entries = self._reach(lambda: self._client.zscan(name, cursor, count=count))
        return int(after), [str(job_id) for job_id, _ in entries]

    def names(self, prefix: str, cursor: int, count: int) -> tuple[int, list[str]]:
        """A page of the keys that begin so; the cursor is 0 at the end."""

        def scan() -> tuple[int, list[str]]:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.scan(cursor, f"{prefix}*", count)
                pipe.exists(keys.MARK)  # names a key, as above: another node would find nothing
                return cast(tuple[int, list[str]], pipe.execute()[0])

        after, names = self._reach(scan)
        return int(after), list(map(str, names))

    def repair(self, standings: Sequence[ExpectedPlaces], repair: bool) -> list[list[str]]:
        """Report for each job which of its places in the indexes are wrong; correct them only if `repair` is True."""

        def run() -> list[list[str]]:
            with self._client.pipeline(transaction=False) as pipe:
                for standing in standings:
                    names = [keys.record(standing.job_id), standing.index, keys.INDEXES, keys.BELL]
                    names += [*standing.labels, *standing.places]
                    arguments: list[str | int] = [standing.version, standing.job_id, standing.due_at]
                    arguments += [int(repair), len(standing.labels)]
                    if line := standing.line:
                        names += [line.later, line.lines, line.turns, line.capped, keys.QUEUED]
                        arguments += [line.name, line.tenant, line.priority, line.ticket]
                    self._scripts["repair"](keys=names, args=arguments, client=pipe)
                return cast(list[list[str]], pipe.execute())

        return self._reach(run)

    def remove_misplaced(self, name: str, job_id: str, version: int | None, repair: bool) -> bool:
        """Whether a job stands in a set where it does not belong; it is removed only if `repair` is True."""
        arguments = ["" if version is None else version, job_id, int(repair)]
        return bool(self.run("remove_misplaced", [keys.record(job_id), name], arguments))

    def tally(self, key: str, indexes: Sequence[str]) -> tuple[Mapping[str, str], dict[str, int]]:
        """A hash of counters and the sizes of indexes of unfinished jobs, which have no leaves, at one moment."""

        def read() -> list[Any]:
            with self._client.pipeline(transaction=True) as pipe:
                pipe.hgetall(key)
                for name in indexes:
                    pipe.zcard(name)
                return pipe.execute()

        counters, *sizes = self._reach(read)
        return counters, dict(zip(indexes, sizes, strict=True))

    def check_writes(self) -> None:
        self.run("check_writes", [keys.CHECK], [], again=0)
