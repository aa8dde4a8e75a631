"""A ledger of a version whose keys had no hash tag gets its new names once, and whatever happens meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from factories import NOW, POLICY, job
from ledger_steps import contents, created, running
from patience import PATIENCE_S
from redis_server import RedisServer
from redis_server import running as running_redis
from structlog.testing import capture_logs

from rushes.shared.ledger import keys, old_names, server_info
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.old_names import UpgradingStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import doctor

OLD_NAMES = {"rushes:indexes", "rushes:mark"}


def fill(store: RedisStore) -> dict[str, Any]:
    """A ledger with jobs in several places; all that is in it."""
    ledger = Ledger(store, POLICY)
    running(ledger)
    created(ledger, 3)
    ledger.create(job(created_at=NOW + 9), "order-7", "digest")
    store.keep(keys.idempotency_of_digest("acme", keys.digest("order-8")), "job_8 digest", 60)
    store.remember(keys.MARK, {"server": "this", "at": NOW})
    store._client.delete(keys.BELL)  # it ends after a second anyway
    return contents(store)


def age(client: Any) -> None:
    """The same ledger, as versions before the hash tag wrote it."""
    names = [name.replace("{rushes}", "rushes") for name in client.smembers(keys.INDEXES)]
    client.delete(keys.INDEXES)
    client.sadd(keys.INDEXES, *names)
    for name in client.keys("*"):
        client.rename(name, name.replace("{rushes}", "rushes"))


@pytest.fixture
def client(empty_redis_url: str) -> Iterator[redis.Redis]:
    with connect(empty_redis_url, PATIENCE_S) as made:
        yield made


@pytest.fixture
def before(client: redis.Redis) -> dict[str, Any]:
    """What an old ledger holds, under the new names."""
    held = fill(RedisStore(client))
    age(client)
    return held


def after(client: redis.Redis) -> dict[str, Any]:
    """What is there but the two keys that stay, and what the move adds."""
    held = contents(RedisStore(client))
    return {name: value for name, value in held.items() if name not in OLD_NAMES | {keys.AFTERLOOKS}}


def test_everything_is_there_under_its_new_name(client: redis.Redis, before: dict[str, Any]) -> None:
    store = UpgradingStore(client)
    with capture_logs() as logs:
        assert store.index_names() == sorted(before[keys.INDEXES])
    assert after(client) == before
    assert [line["event"] for line in logs] == ["the ledger has new key names"]


def test_a_key_that_ends_by_itself_still_does(client: redis.Redis, before: dict[str, Any]) -> None:
    UpgradingStore(client).index_names()
    (name,) = client.scan_iter("{rushes}:idem:*")
    assert client.ttl(name) > 0


def test_the_next_process_finds_it_done(client: redis.Redis, before: dict[str, Any]) -> None:
    UpgradingStore(client).index_names()
    with capture_logs() as logs:
        UpgradingStore(client).index_names()
    assert (after(client), logs) == (before, [])


def test_the_first_call_already_finds_the_jobs(client: redis.Redis, before: dict[str, Any]) -> None:
    first = Ledger(UpgradingStore(client), POLICY).create(job(created_at=NOW + 10), "order-7", "digest")
    assert first is not None
    assert after(client) == before


def test_calls_that_were_out_are_looked_up_in_the_journal(client: redis.Redis, before: dict[str, Any]) -> None:
    (moment,) = Ledger(UpgradingStore(client), POLICY).continuity.afterlooks().items()
    assert moment[0] - moment[1] == old_names.AFTERLOOK_MS + old_names.MARGIN_MS


def test_a_new_ledger_is_left_alone(client: redis.Redis) -> None:
    before = fill(UpgradingStore(client))
    UpgradingStore(client).index_names()
    assert contents(RedisStore(client)) == before


@pytest.mark.parametrize("command", [("SADD", "rushes:indexes", "x"), ("HGET", "rushes:mark", "server")])
def test_what_an_earlier_version_does_at_each_new_job_fails(
    client: redis.Redis, before: dict[str, Any], command: tuple[str, ...]
) -> None:
    UpgradingStore(client).index_names()
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.execute_command(*command)


def test_of_two_ledgers_none_is_touched(client: redis.Redis, before: dict[str, Any]) -> None:
    client.sadd(keys.INDEXES, "another")
    both = set(client.keys("*"))
    store = UpgradingStore(client)
    for _ in range(2):  # and no call gets past it
        with pytest.raises(LedgerUnavailable, match="two ledgers"):
            store.index_names()
    assert set(client.keys("*")) == both


@pytest.mark.parametrize("right", ["-rename", "-sadd", "-del"])
def test_a_right_that_is_missing_stops_it_before_it_begins(own_redis: RedisServer, right: str) -> None:
    with connect(own_redis.url, PATIENCE_S) as admin:
        held = fill(RedisStore(admin))
        age(admin)
        old = set(admin.keys("*"))
        admin.execute_command("ACL", "SETUSER", "less", "on", ">word", "~*", "&*", "+@all", right)
        url = own_redis.url.replace("//", "//less:word@")
        refused = pytest.raises(LedgerUnavailable, match=r"NOPERM|run this command")
        with connect(url, PATIENCE_S) as client, refused:
            UpgradingStore(client).index_names()
        left = {str(name) for name in admin.keys("*")} - {"{rushes}:check", "rushes:check"}
        assert left == old
        UpgradingStore(admin).index_names()
        assert {name: value for name, value in after(admin).items() if not name.endswith(":check")} == held


def test_who_may_not_see_the_old_names_is_told(own_redis: RedisServer) -> None:
    with connect(own_redis.url, PATIENCE_S) as admin:
        admin.execute_command("ACL", "SETUSER", "less", "on", ">word", "~{rushes}:*", "&*", "+@all")
        with connect(own_redis.url.replace("//", "//less:word@"), PATIENCE_S) as client, capture_logs() as logs:
            assert UpgradingStore(client).index_names() == []
    assert [(line["event"], "~rushes:*" in line["advice"]) for line in logs] == [
        ("keys of earlier versions cannot be seen", True)
    ]


def test_doctor_tells_of_it_beforehand_and_moves_nothing(
    client: redis.Redis, before: dict[str, Any], empty_redis_url: str
) -> None:
    old = set(client.keys("*"))
    assert "redis.key_names" in {finding.name for finding in doctor.check_redis(server_info.server(empty_redis_url))}
    assert set(client.keys("*")) == old
    UpgradingStore(client).index_names()
    assert not server_info.server(empty_redis_url).has_old_names
    assert after(client) == before


# --- a server that is killed in the middle


@contextmanager
def on_disk(folder: Path) -> Iterator[redis.Redis]:
    """A Redis that keeps every write; killed at the end."""
    options = ("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always", "--aof-use-rdb-preamble", "no")
    with running_redis(*options) as server, connect(server.url, PATIENCE_S) as client:
        yield client


def log_of_writes(folder: Path) -> Path:
    """Redis 7 keeps several files, of which the last increment grows."""
    return next(iter([*folder.glob("appendonlydir/*.incr.aof"), *folder.glob("appendonly.aof")]))


@pytest.mark.parametrize("part", [0.05, 0.5, 0.95])
def test_of_a_move_that_broke_off_nothing_is_left_and_the_next_does_it(part: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with on_disk(folder) as client:
            held = fill(RedisStore(client))
            age(client)
            begun = log_of_writes(folder).stat().st_size
            UpgradingStore(client).index_names()
        log = log_of_writes(folder)
        size = log.stat().st_size
        with log.open("r+b") as file:  # the disk has so much of it
            file.truncate(begun + int((size - begun) * part))
        with on_disk(folder) as client:
            assert {str(name).partition(":")[0] for name in client.keys("*")} == {"rushes"}
            UpgradingStore(client).index_names()
            assert after(client) == held
