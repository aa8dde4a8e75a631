"""Connections to the ledger's Redis, on redis-py's own pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from rushes.shared.ledger.address import parse
from rushes.shared.ledger.cluster import ShardConnection, ShardConnectionOverTLS, SlotOwner

pack_command: Any = hiredis.pack_command  # its stub knows tuples of one element only
Command = Sequence[str | bytes | int]
# redis-py 8 retries each command ten times, scripts too, and blocks 59 s on a frozen server (measured 2026-11).
ONCE = {"retry": Retry(NoBackoff(), 0)}
# Unless it is told, redis-py 8 reads its version out of its own package at each connection: 0.5 ms of CPU (measured
# 2026-11). Version 6 knows no such option.
DRIVER = {"driver_info": redis.DriverInfo()} if hasattr(redis, "DriverInfo") else {}
# One for each thread that may call at a time; redis-py 8 refuses the 101st if it is not told.
MAX_CONNECTIONS = 1000


def connect(url: str, timeout_s: float) -> redis.Redis:
    """A client that never retries by itself and never waits longer than `timeout_s` a call; it connects at its first.

    Raises ValueError, with no value of the address in it, where the address cannot be read.
    """
    address = parse(url)
    limits: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": min(timeout_s, 2)}
    if not address.path:
        limits["socket_keepalive"] = True
    kept = {"decode_responses": True, "max_connections": MAX_CONNECTIONS}
    options = {**limits, **address.options, **ONCE, **DRIVER, **kept}
    if address.path:
        return redis.Redis.from_pool(redis.ConnectionPool(redis.UnixDomainSocketConnection, **options))
    if not address.sentinels:
        owner = SlotOwner(((options["host"], options["port"]), *address.other_nodes))
        kind = ShardConnectionOverTLS if address.tls else ShardConnection
        return redis.Redis.from_pool(redis.ConnectionPool(kind, slot_owner=owner, **options))
    sentinel: Any = Sentinel(address.sentinels, sentinel_kwargs={**limits, **address.sentinel_options, **ONCE})  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(address.service, ssl=address.tls, **options)
    return client


def check(url: str) -> None:
    """Raise ValueError where redis-py makes no connections of this address; none is opened."""
    with connect(url, timeout_s=1) as client:
        pools = [client.connection_pool]
        if isinstance(client.connection_pool, SentinelConnectionPool):
            pools += [client.connection_pool.sentinel_manager.sentinels[0].connection_pool]
        try:
            for pool in pools:
                pool.make_connection()
        except (TypeError, redis.RedisError) as error:
            raise ValueError(f"redis-py does not take it: {error}") from None


def call_all(pool: redis.ConnectionPool, commands: Sequence[Command], raw: bool = False) -> list[Any]:
    """Send commands together and give their answers, as bytes where they are `raw`.

    Raises where one is refused; the others are carried out. redis-py's pipeline does the same at twice the CPU.
    """
    connection: Any = pool.get_connection()
    try:
        connection.send_packed_command([b"".join(pack_command(tuple(command)) for command in commands)])
        answers = [_answer(connection, raw) for _ in commands]
    except BaseException:  # an answer may come yet, and would be taken for that to the next call
        connection.disconnect()
        raise
    finally:
        pool.release(connection)
    for answer in answers:
        if isinstance(answer, redis.ResponseError):
            raise answer
    return answers


def _answer(connection: Any, raw: bool) -> Any:
    try:
        return connection.read_response(disable_decoding=raw)
    except redis.ResponseError as refused:  # an answer like any other
        return refused
