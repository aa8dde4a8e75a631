"""The ledger in Redis 6.2 or later; the programs stand in `lua/`, the keys in keys.py."""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.ledger import keys
from shared.ledger.store import LaneRoom, LedgerUnavailable, Verdict, Writes

LUA = Path(__file__).with_name("lua")
# A call whose answer was lost is sent again this often; every program stands being run twice.
AGAIN = 2
AGAIN_PAUSE_S = 0.05

# A server that takes no writes now. Inside a program Redis 6.2 wraps the word in a plain error (seen with 6.2.14).
UNFIT = (redis.exceptions.ReadOnlyError, redis.exceptions.OutOfMemoryError, redis.exceptions.MasterDownError)
UNFIT_WORDS = ("OOM ", "READONLY ", "MASTERDOWN ", "MISCONF ", "NOREPLICAS ", "BUSY ")

T = TypeVar("T")


def connect(url: str, timeout_s: float) -> redis.Redis:
    """A client that never retries by itself and never waits longer than `timeout_s` a call.

    redis-py 8 retries each command ten times, scripts too, and blocks 59 s on a frozen server (measured 2026-11).
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, 2),
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }
    if url.startswith("sentinel://"):
        return _sentinel(url, options)
    return redis.Redis.from_url(url, **options)


def _sentinel(url: str, options: dict[str, Any]) -> redis.Redis:
    """`sentinel://[user:password@]host:port[,host:port…]/service[/db]`."""
    from redis.sentinel import Sentinel

    rest = url.removeprefix("sentinel://")
    credentials, _, rest = rest.rpartition("@")
    hosts, _, path = rest.partition("/")
    service, _, db = path.partition("/")
    user, _, password = credentials.partition(":")
    nodes = [(host.rpartition(":")[0], int(host.rpartition(":")[2])) for host in hosts.split(",")]
    sentinel: Any = cast(Any, Sentinel)(nodes, sentinel_kwargs=options)
    login = {"username": user or None, "password": password or None} if credentials else {}
    return cast(redis.Redis, sentinel.master_for(service or "mymaster", db=int(db or 0), **login, **options))


@cache
def _source(name: str) -> str:
    return (LUA / f"{name}.lua").read_text()


class RedisStore:
    """Runs the programs; raises LedgerUnavailable where Redis is out of reach. Safe for threads."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._scripts = {path.stem: client.register_script(_source(path.stem)) for path in LUA.glob("*.lua")}
        self._bell: redis.client.PubSub | None = None

    def _reach(self, call: Callable[[], T], again: int = AGAIN) -> T:
        while True:
            try:
                return call()
            except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError) as lost:
                again -= 1
                if again < 0:
                    raise LedgerUnavailable(type(lost).__name__) from None
                time.sleep(AGAIN_PAUSE_S)
            except redis.ResponseError as refused:
                if not (isinstance(refused, UNFIT) or any(word in str(refused) for word in UNFIT_WORDS)):
                    raise
                raise LedgerUnavailable(str(refused)) from None

    def _run(self, program: str, names: Sequence[str], arguments: Sequence[Any], again: int = AGAIN) -> Any:
        return self._reach(lambda: self._scripts[program](keys=list(names), args=list(arguments)), again)

    def records(self, job_ids: Sequence[str]) -> list[str | None]:
        if not job_ids:
            return []
        names = [keys.record(job_id) for job_id in job_ids]
        return cast(list[str | None], self._reach(lambda: self._client.mget(names)))

    def create(
        self, job_id: str, record: str, idem_key: str, idem_value: str, idem_s: int, writes: Writes, ring: bool
    ) -> str:
        names = [keys.record(job_id), idem_key, *writes.keys]
        commands = json.dumps(writes.commands)
        return str(self._run("create", names, [record, idem_value, idem_s, commands, int(ring)]))

    def commit(
        self, job_id: str, version: int, operation: str, record: str, gates: list[list[Any]], writes: Writes, ring: bool
    ) -> Verdict:
        names = [keys.record(job_id), *writes.keys]
        arguments = [version, operation, record, json.dumps(gates), json.dumps(writes.commands), int(ring)]
        return Verdict(*self._run("commit", names, arguments))

    def claim(
        self, lanes: Sequence[LaneRoom], now: int, lease: int, window_ms: int
    ) -> tuple[int | None, list[tuple[str, str]]]:
        names = [keys.IN_FLIGHT]
        for lane in lanes:
            name = lane.gateway
            gated = [keys.gateway(name), keys.window(name), keys.due(f"parked:{name}")] if name else ["", "", ""]
            names += [keys.due(lane.lane), keys.leased(lane.lane), *gated]
        rooms = [[lane.room, lane.gateway, lane.max_in_flight, lane.submits_per_minute] for lane in lanes]
        # Not sent again when its answer is lost: what it leased is offered again when the leases run out.
        soonest, *pairs = self._run("claim", names, [now, lease, window_ms, json.dumps(rooms)], again=0)
        given = [(lanes[int(number) - 1].lane, job_id) for number, job_id in zip(pairs[::2], pairs[1::2], strict=True)]
        return (int(soonest) if soonest else None), given

    def begin(self, lane: str, job_id: str, lease: int, new_lease: int, operation: str) -> str | None:
        names = [keys.leased(lane), keys.record(job_id)]
        return cast(str | None, self._run("begin", names, [job_id, lease, new_lease, operation]))

    def renew(self, lane: str, job_id: str, lease: int, new_lease: int) -> bool:
        return bool(self._run("renew", [keys.leased(lane)], [job_id, lease, new_lease]))

    def nudge(self, lane: str, job_id: str, nudge: str, now: int) -> str:
        names = [keys.record(job_id), keys.due(lane), keys.leased(lane)]
        return str(self._run("nudge", names, [job_id, nudge, now]))

    def newest(self, indexes: Sequence[str], limit: int, before: str) -> list[str]:
        top = f"({before}" if before else "+"

        def read() -> list[list[str]]:
            # In one transaction: a job that moves on between two reads would be on the page twice, or not at all.
            with self._client.pipeline(transaction=True) as pipe:
                for name in indexes:
                    pipe.zrevrangebylex(name, top, "-", 0, limit)
                return cast(list[list[str]], pipe.execute())

        return list(heapq.merge(*self._reach(read), reverse=True))[:limit]

    def sizes(self, indexes: Sequence[str]) -> list[int]:
        def read() -> list[int]:
            with self._client.pipeline(transaction=False) as pipe:
                for name in indexes:
                    pipe.zcard(name)
                return cast(list[int], pipe.execute())

        return self._reach(read)

    def index_names(self) -> list[str]:
        return sorted(cast(set[str], self._reach(lambda: self._client.smembers(keys.INDEXES))))

    def counters(self, key: str) -> Mapping[str, str]:
        return cast(Mapping[str, str], self._reach(lambda: self._client.hgetall(key)))

    def remember(self, key: str, values: Mapping[str, str | int]) -> None:
        self._reach(lambda: self._client.hset(key, mapping=cast(Any, dict(values))))

    def strike(self, key: str, values: Mapping[str, str | int]) -> int:
        def write() -> int:
            with self._client.pipeline() as pipe:
                pipe.hincrby(key, "strikes", 1)
                if values:
                    pipe.hset(key, mapping=cast(Any, dict(values)))
                return int(pipe.execute()[0])

        return self._reach(write, again=0)

    def increase(self, key: str, field: str) -> None:
        self._reach(lambda: self._client.hincrby(key, field, 1), again=0)

    def forget(self, key: str) -> bool:
        return bool(self._reach(lambda: self._client.delete(key)))

    def heads(self, lanes: Sequence[str]) -> dict[str, int]:
        def read() -> list[list[tuple[str, float]]]:
            with self._client.pipeline(transaction=False) as pipe:
                for lane in lanes:
                    pipe.zrange(keys.due(lane), 0, 0, withscores=True)
                return cast(list[list[tuple[str, float]]], pipe.execute())

        found = self._reach(read)
        return {lane: int(head[0][1]) for lane, head in zip(lanes, found, strict=True) if head}

    def count_since(self, key: str, since: int) -> int:
        return int(self._reach(lambda: self._client.zcount(key, since, "+inf")))

    def ring(self) -> None:
        self._reach(lambda: self._client.publish(keys.BELL, ""))

    def listen(self, timeout_s: float) -> None:
        """Sleep until the bell rings, at most so long. For one thread only."""
        try:
            if self._bell is None:
                self._bell = cast(Any, self._client).pubsub(ignore_subscribe_messages=True)
                self._bell.subscribe(keys.BELL)
            deadline = time.monotonic() + timeout_s
            message = None
            while message is None and (left := deadline - time.monotonic()) > 0:
                message = self._bell.get_message(timeout=left)
            while message is not None:
                message = self._bell.get_message(timeout=0)
        except (redis.ConnectionError, redis.TimeoutError):
            self._bell = None
            time.sleep(min(timeout_s, 0.2))

    def ping(self) -> None:
        self._reach(self._client.ping, again=0)
