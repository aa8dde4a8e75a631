"""The ledger on one shard of a real cluster: the slot moves, its master dies, and each job is there once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import redis
from factories import NOW, POLICY, job
from ledger_steps import contents, created, running, submits
from patience import PATIENCE_S
from receiver_steps import AWS, environment
from redis_cluster import RedisCluster, running_cluster

from rushes.shared.ledger import keys, rehearsal, server_info
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.old_names import UpgradingStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import doctor
from rushes.shared.operations.doctor_trials import try_broker

T = TypeVar("T")


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[RedisCluster]:
    """Three masters; the address names the first, and the last has the slot."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: RedisCluster) -> RedisCluster:
    if shared_cluster.owner() is not shared_cluster.masters[2]:
        shared_cluster.move_slot(shared_cluster.masters[2])
    with connect(shared_cluster.url, PATIENCE_S) as client:
        client.flushdb()
    return shared_cluster


@pytest.fixture
def store(cluster: RedisCluster) -> Iterator[RedisStore]:
    with connect(cluster.url, PATIENCE_S) as client:
        yield UpgradingStore(client)


def until_answered(call: Callable[[], T]) -> T:
    """As a caller does that is told 503: the same call again."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except LedgerUnavailable:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


def test_every_program_runs_and_wake_ups_come_from_any_node(cluster: RedisCluster) -> None:
    assert rehearsal.run_programs(cluster.url) == {}
    assert rehearsal.ring(cluster.url) == ""


def test_a_ledger_follows_its_slot_to_another_node(cluster: RedisCluster, store: RedisStore) -> None:
    ledger = Ledger(store, POLICY)
    subject, before = running(ledger), store.server()
    cluster.move_slot(cluster.masters[1])
    assert store.server() != before  # what names no key goes along, too
    assert store.page(None, 0, 100)[1] == [subject.id]
    assert ledger.get(subject.id) == subject


def test_a_key_of_others_does_not_lead_it_away(cluster: RedisCluster, store: RedisStore) -> None:
    before = store.server()
    with pytest.raises(redis.exceptions.MovedError):
        store._client.type("rushes:indexes")
    owner = store._pool.connection_kwargs["slot_owner"]
    assert owner.address == ("127.0.0.1", cluster.owner().port)
    assert store.server() == before


def test_what_must_not_be_sent_twice_follows_too(cluster: RedisCluster, store: RedisStore) -> None:
    ledger = Ledger(store, POLICY)
    created(ledger, 2)
    cluster.move_slot(cluster.masters[1])
    assert len(ledger.claim([submits()], NOW + 1)[1]) == 2
    cluster.move_slot(cluster.masters[0])
    assert store.strike(keys.gateway("apimart"), {"why": "unavailable"}) == 1


def test_while_the_slot_is_moved_nothing_is_half_written(cluster: RedisCluster, store: RedisStore) -> None:
    ledger, target = Ledger(store, POLICY), cluster.masters[1]
    running(ledger)
    store._client.delete(keys.BELL)
    before = contents(store)
    cluster.begin_move(target)
    cluster.move_keys(target, len(before) // 2)
    with pytest.raises(LedgerUnavailable, match=r"TRYAGAIN|ASK"):
        ledger.create(job(created_at=NOW + 9), "order-7", "digest")
    cluster.move_keys(target)
    cluster.end_move(target)
    until_answered(store.server)
    assert contents(store) == before
    for _ in range(2):
        ledger.create(job(created_at=NOW + 9), "order-7", "digest")
    assert len(store.page(None, 0, 100)[1]) == 2


def test_a_node_that_is_away_at_the_start_is_passed_over(cluster: RedisCluster) -> None:
    with connect(cluster.urls.replace("//", "//127.0.0.1:1,", 1), PATIENCE_S) as client:
        assert until_answered(RedisStore(client).index_names) == []


def test_doctor_says_what_works_there_and_what_does_not(cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    found = {finding.name: finding for finding in doctor.check_redis(server_info.server(cluster.url))}
    assert found["redis.cluster"].verdict == found["redis.role"].verdict == doctor.OK
    broker = try_broker(environment(REDIS_URL=cluster.url), cluster.url)
    assert broker.verdict == doctor.BAD
    assert "RUSHES_BROKER_URL to another Redis" in broker.what
