"""The short way to Redis: what redis-py's own way promises, it promises too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import redis
from patience import PATIENCE_S
from redis_server import RedisServer

from shared.ledger.lines import Lines, packed
from shared.ledger.redis_store import connect


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator[redis.Redis]:
    with connect(own_redis.url, PATIENCE_S) as made:
        yield made


@pytest.fixture
def lines(client: redis.Redis) -> Lines:
    return Lines(client.connection_pool)


@pytest.fixture
def hasty(own_redis: RedisServer) -> Iterator[Lines]:
    """Lines on which nobody waits for long."""
    with connect(own_redis.url, 0.2) as made:
        yield Lines(made.connection_pool)


def in_time(call: Callable[[], Any]) -> Any:
    """What a call gives once it is answered in time; a busy machine may be late for a hasty caller."""
    while True:
        with suppress(redis.TimeoutError):
            return call()


def connections(client: redis.Redis) -> int:
    return int(client.info("stats")["total_connections_received"])


def test_what_is_said_comes_back_as_it_was_said(lines: Lines) -> None:
    said: list[str | bytes | int] = ["", "two\r\nlines", "ключ 🗝", b"\x00\xff\r\n", 7, "x" * 100_000]
    lines.call("RPUSH", "said", *said)
    expected = [part if isinstance(part, bytes) else str(part).encode() for part in said]
    assert lines.call("LRANGE", "said", 0, -1, raw=True) == expected
    assert lines.call("LINDEX", "said", 2) == said[2]


def test_calls_one_after_another_share_a_line_also_after_a_refusal(lines: Lines, client: redis.Redis) -> None:
    lines.call("SET", "text", "one")
    before = connections(client)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        lines.call("LPUSH", "text", "two")
    assert lines.call("GET", "text") == "one"
    assert connections(client) == before


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(hasty: Lines, own_redis: RedisServer) -> None:
    in_time(lambda: hasty.call("SET", "text", "one"))
    own_redis.freeze()
    with pytest.raises(redis.TimeoutError):
        hasty.call("INCR", "number")
    own_redis.thaw()
    assert in_time(lambda: hasty.call("GET", "text")) == "one"


def test_a_line_whose_answer_nobody_waited_for_is_cut(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    lines.call("PING")
    with monkeypatch.context() as patched:
        patched.setattr(redis.Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lines.call("INCR", "number")
    assert [line._sock for line in lines._idle] == [None]
    assert lines.call("GET", "number") in (None, "1")


def test_a_line_that_the_server_has_cut_is_laid_anew(lines: Lines, client: redis.Redis) -> None:
    lines.call("SET", "text", "one")
    client.client_kill_filter(_type="normal", skipme=True)
    assert lines.call("GET", "text") == "one"


def test_a_line_that_its_pool_disowns_is_laid_anew(
    lines: Lines, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines.call("SET", "text", "one")
    before = connections(client)
    monkeypatch.setattr(client.connection_pool, "owns_connection", lambda line: False)
    assert lines.call("GET", "text") == "one"
    monkeypatch.undo()
    assert connections(client) == before + 1


def test_a_line_of_the_parent_process_is_left_to_it(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    lines.call("PING")
    (parents,) = lines._idle
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert lines.call("PING") == "PONG"
    assert parents not in lines._idle
    assert parents._sock is not None


# --- many at once


def test_what_is_sent_together_is_answered_in_its_order(lines: Lines) -> None:
    commands: list[list[str | bytes | int]] = [["SET", "number", 1], ["INCR", "number"], ["GET", b"number"]]
    assert lines.call_all(commands) == ["OK", 2, "2"]
    assert lines.call_all(commands, raw=True) == [b"OK", 2, b"2"]


def test_what_is_sent_together_is_one_message_over_one_line(
    lines: Lines, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines.call("PING")
    before, said = connections(client), list[object]()
    send = redis.Connection.send_packed_command

    def noted(line: redis.Connection, command: object, **options: Any) -> None:
        said.append(command)
        send(line, command, **options)

    monkeypatch.setattr(redis.Connection, "send_packed_command", noted)
    lines.call_all([("INCR", "number")] * 50)
    assert said == [[packed(("INCR", "number")) * 50]]
    assert connections(client) == before


@pytest.mark.parametrize("raw", [False, True])
def test_one_that_is_refused_is_raised_and_the_others_are_carried_out(
    lines: Lines, client: redis.Redis, raw: bool
) -> None:
    lines.call("SET", "text", "one")
    before = connections(client)
    with pytest.raises(redis.ResponseError, match="not an integer"):
        lines.call_all([("SET", "first", 1), ("INCR", "text"), ("SET", "last", 3)], raw)
    assert lines.call("MGET", "first", "text", "last") == ["1", "one", "3"]
    assert lines.call_all([("GET", "first"), ("GET", "last")]) == ["1", "3"]
    assert connections(client) == before


def test_of_several_that_are_refused_the_first_is_raised_as_what_it_is(lines: Lines) -> None:
    lines.call("SET", "text", "one")
    with pytest.raises(redis.exceptions.NoScriptError):
        lines.call_all([("PING",), ("EVALSHA", "0" * 40, 0), ("INCR", "text")])
    assert lines.call("GET", "text") == "one"


def test_a_line_on_which_not_all_answers_came_is_cut(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    read, turns = redis.Connection.read_response, iter([True, False])

    def interrupted(line: redis.Connection, **options: Any) -> Any:
        if next(turns):
            return read(line, **options)
        raise KeyboardInterrupt

    lines.call("SET", "text", "one")
    with monkeypatch.context() as patched:
        patched.setattr(redis.Connection, "read_response", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lines.call_all([("INCR", "number")] * 3)
    assert [line._sock for line in lines._idle] == [None]
    assert lines.call("GET", "text") == "one"


def test_answers_that_come_too_late_are_not_taken_for_the_next_ones(hasty: Lines, own_redis: RedisServer) -> None:
    in_time(lambda: hasty.call("SET", "text", "one"))
    own_redis.freeze()
    with pytest.raises(redis.TimeoutError):
        hasty.call_all([("INCR", "number")] * 3)
    own_redis.thaw()
    assert in_time(lambda: hasty.call_all([("GET", "text")] * 2)) == ["one", "one"]


def test_as_many_call_at_once_as_there_are_threads(own_redis: RedisServer) -> None:
    with connect(own_redis.url, PATIENCE_S) as client, ThreadPoolExecutor(150) as threads:
        lines = Lines(client.connection_pool)
        all_there = threading.Barrier(150, timeout=PATIENCE_S)
        calls = threads.map(lambda number: (all_there.wait(), lines.call("BLPOP", f"list-{number}", 1))[1], range(150))
        assert list(calls) == [None] * 150
