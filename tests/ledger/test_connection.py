"""Commands that travel together over one connection of redis-py's pool."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import hiredis
import pytest
import redis
from patience import PATIENCE_S
from redis_server import RedisServer

from rushes.shared.ledger.connection import Command, call_all, connect


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator[redis.Redis]:
    with connect(own_redis.url, PATIENCE_S) as made:
        yield made


@pytest.fixture
def pool(client: redis.Redis) -> redis.ConnectionPool:
    return client.connection_pool


@pytest.fixture
def hasty(own_redis: RedisServer) -> Iterator[redis.ConnectionPool]:
    """A pool on which nobody waits for long."""
    with connect(own_redis.url, 0.2) as made:
        yield made.connection_pool


def in_time(commands: Callable[[], Any]) -> Any:
    """What commands give once they are answered in time; a busy machine may be late for a hasty caller."""
    while True:
        with suppress(redis.TimeoutError):
            return commands()


def call(pool: redis.ConnectionPool, *command: str | bytes | int, raw: bool = False) -> Any:
    (answer,) = call_all(pool, [command], raw)
    return answer


def connections(client: redis.Redis) -> int:
    return int(client.info("stats")["total_connections_received"])


def test_values_come_back_as_they_were_sent(pool: redis.ConnectionPool) -> None:
    values: list[str | bytes | int] = ["", "two\r\nlines", "ключ 🗝", b"\x00\xff\r\n", 7, "x" * 100_000]
    call(pool, "RPUSH", "values", *values)
    expected = [value if isinstance(value, bytes) else str(value).encode() for value in values]
    assert call(pool, "LRANGE", "values", 0, -1, raw=True) == expected
    assert call(pool, "LINDEX", "values", 2) == values[2]


def test_calls_one_after_another_share_a_connection_also_after_a_refusal(
    pool: redis.ConnectionPool, client: redis.Redis
) -> None:
    call(pool, "SET", "text", "one")
    before = connections(client)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        call(pool, "LPUSH", "text", "two")
    assert call(pool, "GET", "text") == "one"
    assert connections(client) == before


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(
    hasty: redis.ConnectionPool, own_redis: RedisServer
) -> None:
    in_time(lambda: call(hasty, "SET", "text", "one"))
    own_redis.freeze()
    with pytest.raises(redis.TimeoutError):
        call(hasty, "INCR", "number")
    own_redis.thaw()
    assert in_time(lambda: call(hasty, "GET", "text")) == "one"


def test_a_connection_whose_answer_nobody_waited_for_is_closed(
    pool: redis.ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    call(pool, "SET", "text", "one")
    with monkeypatch.context() as patched:
        patched.setattr(redis.Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call(pool, "INCR", "number")
    assert call(pool, "GET", "text") == "one"


def test_a_connection_that_the_server_has_closed_is_made_anew(pool: redis.ConnectionPool, client: redis.Redis) -> None:
    call(pool, "SET", "text", "one")
    client.client_kill_filter(_type="normal", skipme=False)
    assert call(pool, "GET", "text") == "one"


def test_a_connection_that_its_pool_disowns_is_used_no_more(
    pool: redis.ConnectionPool, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(pool, "SET", "text", "one")
    before = connections(client)
    with monkeypatch.context() as patched:
        patched.setattr(pool, "owns_connection", lambda connection: False)
        assert call(pool, "GET", "text") == "one"
    assert call(pool, "GET", "text") == "one"
    assert connections(client) == before + 1


def test_a_refusal_leaves_the_connection_to_the_next_call(client: redis.Redis) -> None:
    """A pool that loses connections would be empty after a thousand refusals."""
    client.connection_pool.max_connections = 1
    for _ in range(3):
        with pytest.raises(redis.ResponseError):
            call(client.connection_pool, "NOSUCHCOMMAND")
    assert call(client.connection_pool, "PING") == "PONG"


# --- many at once


def test_commands_that_are_sent_together_are_answered_in_their_order(pool: redis.ConnectionPool) -> None:
    commands: list[Command] = [["SET", "number", 1], ["INCR", "number"], ["GET", b"number"]]
    assert call_all(pool, commands) == ["OK", 2, "2"]
    assert call_all(pool, commands, raw=True) == [b"OK", 2, b"2"]


def test_commands_that_are_sent_together_are_one_message_over_one_connection(
    pool: redis.ConnectionPool, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(pool, "PING")
    before, messages = connections(client), list[object]()
    send = redis.Connection.send_packed_command

    def noted(connection: redis.Connection, message: Any, **options: Any) -> None:
        messages.extend(message)
        send(connection, message, **options)

    monkeypatch.setattr(redis.Connection, "send_packed_command", noted)
    call_all(pool, [("INCR", "number")] * 50)
    assert messages == [hiredis.pack_command(("INCR", "number")) * 50]
    monkeypatch.undo()
    assert connections(client) == before


@pytest.mark.parametrize("raw", [False, True])
def test_where_one_is_refused_it_is_raised_and_the_others_are_carried_out(
    pool: redis.ConnectionPool, client: redis.Redis, raw: bool
) -> None:
    call(pool, "SET", "text", "one")
    before = connections(client)
    with pytest.raises(redis.ResponseError, match="not an integer"):
        call_all(pool, [("SET", "first", 1), ("INCR", "text"), ("SET", "last", 3)], raw)
    assert call(pool, "MGET", "first", "text", "last") == ["1", "one", "3"]
    assert call_all(pool, [("GET", "first"), ("GET", "last")]) == ["1", "3"]
    assert connections(client) == before


def test_of_several_that_are_refused_the_first_is_raised_as_what_it_is(pool: redis.ConnectionPool) -> None:
    call(pool, "SET", "text", "one")
    with pytest.raises(redis.exceptions.NoScriptError):
        call_all(pool, [("PING",), ("EVALSHA", "0" * 40, 0), ("INCR", "text")])
    assert call(pool, "GET", "text") == "one"


def test_a_connection_on_which_not_all_answers_came_is_closed(
    pool: redis.ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, turns = redis.Connection.read_response, iter([True, False])

    def interrupted(connection: redis.Connection, **options: Any) -> Any:
        if next(turns):
            return read(connection, **options)
        raise KeyboardInterrupt

    call(pool, "SET", "text", "one")
    with monkeypatch.context() as patched:
        patched.setattr(redis.Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call_all(pool, [("INCR", "number")] * 3)
    assert call(pool, "GET", "text") == "one"


def test_answers_that_come_too_late_are_not_taken_for_the_next_ones(
    hasty: redis.ConnectionPool, own_redis: RedisServer
) -> None:
    in_time(lambda: call(hasty, "SET", "text", "one"))
    own_redis.freeze()
    with pytest.raises(redis.TimeoutError):
        call_all(hasty, [("INCR", "number")] * 3)
    own_redis.thaw()
    assert in_time(lambda: call_all(hasty, [("GET", "text")] * 2)) == ["one", "one"]


def test_as_many_call_at_once_as_there_are_threads(own_redis: RedisServer) -> None:
    with connect(own_redis.url, PATIENCE_S) as client, ThreadPoolExecutor(150) as threads:
        pool = client.connection_pool
        all_there = threading.Barrier(150, timeout=PATIENCE_S)
        calls = threads.map(lambda number: (all_there.wait(), call(pool, "BLPOP", f"list-{number}", 1))[1], range(150))
        assert list(calls) == [None] * 150
