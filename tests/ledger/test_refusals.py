"""What Redis or a proxy says in words of its own is an outage; what shows a mistake of ours is not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
from factories import job
from patience import PATIENCE_S
from redis_server import RedisServer
from test_outages import CALLS

from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger import keys, refusals
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable


class Refuser:
    """A server, or a proxy before one, that answers every command with the same words."""

    def __init__(self) -> None:
        self.words = ""
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.door.getsockname()[1]}/0"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._refuse, args=(self.door.accept()[0],), daemon=True).start()

    def _refuse(self, line: socket.socket) -> None:
        with suppress(OSError), line, line.makefile("rb") as commands:
            while head := commands.readline():
                names = []
                for _ in range(int(head[1:])):
                    size = int(commands.readline()[1:])
                    names.append(commands.read(size + 2)[:-2])
                line.sendall(b"+OK\r\n" if names[0] in (b"CLIENT", b"SELECT") else f"-{self.words}\r\n".encode())


@pytest.fixture(scope="module")
def refuser() -> Iterator[Refuser]:
    made = Refuser()
    yield made
    made.door.close()


THEIRS = (
    "ERR max requests limit exceeded. Limit: 10000, Usage: 10000.",
    "ERR upstream failure",
    "upstream failure",
    "no upstream host",
    "CLUSTERDOWN The cluster is down",
    "CLUSTERDOWN Hash slot not served",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "NOPERM this user has no permissions to run the 'evalsha' command",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "LOADING Redis is loading the dataset in memory",
    "MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.",
    "NOREPLICAS Not enough good replicas to write.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "UNKILLABLE Sorry",
    "ERR max number of clients reached",
    "ERR unknown command 'evalsha', with args beginning with: 'f00' '1' 'a secret of a caller'",
    "ERR the quota of this database is used up",
    "ERR Error running script (call to f_1a): @user_script:9: @user_script: 9: -MISCONF Errors writing to the AOF file",
    "ERR Error running script (call to f_1a): @user_script:9: @user_script: 9: The user executing the script can't",
    "NOREPLICAS Not enough good replicas to write. script: 1a, on @user_script:9.",
    "ERR ACL failure in script: User ledger has no permissions to run 'zadd' script: 1a, on @user_script:9.",
)


@pytest.mark.parametrize("words", THEIRS)
def test_words_of_a_server_or_a_proxy_are_an_outage_for_every_call(refuser: Refuser, words: str) -> None:
    refuser.words = words
    with connect(refuser.url, PATIENCE_S) as client:
        ledger = Ledger(RedisStore(client), Policy())
        for name, call in CALLS.items():
            with pytest.raises(LedgerUnavailable) as outage:
                call(ledger)
            assert len(str(outage.value)) > 3, name
            assert "secret" not in str(outage.value)


OURS = (
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "WRONGTYPE Operation against a key holding the wrong kind of value script: 1a, on @user_script:1.",
    "ERR Error running script (call to f_1a): @user_script:1: WRONGTYPE Operation against a key",
    "ERR wrong number of arguments for 'zadd' command",
    "ERR Wrong number of args calling Redis command from script script: 1a, on @user_script:1.",
    "ERR Error running script (call to f_1a): @user_script:1: @user_script: 1: Wrong number of args calling Redis",
    "ERR Error compiling script (new function): user_script:1: '=' expected near '1'",
    "ERR user_script:1: attempt to index local 'x' (a nil value) script: 1a, on @user_script:1.",
    "ERR Error running script (call to f_1a): @user_script:1: user_script:1: attempt to index local 'x' (a nil value)",
    "ERR value is not an integer or out of range",
    "ERR syntax error",
)


@pytest.mark.parametrize("words", OURS)
def test_words_that_show_a_mistake_of_ours_are_none(refuser: Refuser, words: str) -> None:
    refuser.words = words
    with connect(refuser.url, PATIENCE_S) as client, pytest.raises(redis.ResponseError):
        Ledger(RedisStore(client), Policy()).create(job())


def test_a_mistake_in_a_program_is_told_from_a_command_that_was_refused_in_one(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("text", "no number")
        mistakes = ("return ({}).x.y", "retur 1", "redis.call('ZADD', 'text', 1, 'a')", "redis.call('INCR', 'text')")
        for program in (*mistakes, "redis.call('SET', 'a')", "redis.call('FOO')", "error('a word')"):
            assert refusals.is_our_mistake(refusal(client, program)), program
        client.config_set("min-replicas-to-write", 1)
        assert not refusals.is_our_mistake(refusal(client, "redis.call('SET', 'a', 1)"))


def refusal(client: redis.Redis, program: str) -> redis.RedisError:
    with pytest.raises(redis.ResponseError) as refused:
        client.eval(program, 0)
    return refused.value


def test_the_cause_is_the_same_for_each_call_that_it_befalls(own_redis: RedisServer) -> None:
    causes = set()
    with redis.Redis.from_url(own_redis.url) as admin, connect(own_redis.url, PATIENCE_S) as client:
        admin.config_set("maxmemory", 1)
        ledger = Ledger(RedisStore(client), Policy())
        for name in ("create", "alive", "pause"):
            with pytest.raises(LedgerUnavailable) as outage:
                CALLS[name](ledger)
            causes.add(str(outage.value))
    assert causes == {"OOM command not allowed when used memory > 'maxmemory'."}


def test_who_may_not_ask_which_server_it_is_learns_no_name(own_redis: RedisServer) -> None:
    with redis.Redis.from_url(own_redis.url) as admin:
        admin.execute_command("ACL", "SETUSER", "no-info", "on", ">word", "~*", "+@all", "-info")
    with connect(own_redis.url.replace("//", "//no-info:word@"), PATIENCE_S) as client:
        assert RedisStore(client).server() == ""
        RedisStore(client).keep(keys.MARK, "still served", 9)
