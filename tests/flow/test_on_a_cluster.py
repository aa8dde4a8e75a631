"""Jobs on one shard of a real cluster, whose slot moves and whose master dies on the way; the gateways' books judge."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from patience import PATIENCE_S
from redis_cluster import RedisCluster, running_cluster
from world import World

from rushes.shared.domain.job import State
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.worker.failover_guard import FailoverGuard

GATEWAYS = ("apimaster", "evolink", "apimodels", "newapi")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with running_cluster(replicas=1) as running:
        yield running


@pytest.fixture
def empty_redis_url(cluster: RedisCluster) -> str:
    with connect(cluster.url, PATIENCE_S) as client:
        client.flushdb()
    return cluster.url


def take_over(world: World, guard: FailoverGuard) -> None:
    """As a scheduler does where the ledger's server is another one: try until it answers, then read the journal."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            guard.check(world.clock())
        except LedgerUnavailable:
            if time.monotonic() > give_up_at:
                raise
            continue
        return


def test_every_job_is_paid_and_archived_once(open_world: Callable[..., World], cluster: RedisCluster) -> None:
    world = open_world(RUSHES_S3_PREFIX=f"{uuid.uuid4().hex}/")  # a journal of its own: the bucket is everybody's
    world.redis = world.ledger.store._client  # which knows the way
    guard = FailoverGuard(world.services)
    guard.check(world.clock())
    home, away = cluster.owner(), cluster.masters[0]
    jobs = [world.submit(world.request_for(name)) for name in GATEWAYS[:2]]
    for job_id in jobs:
        world.until(job_id, State.RUNNING)
    cluster.move_slot(away)
    take_over(world, guard)
    jobs += [world.submit(world.request_for(name)) for name in GATEWAYS[2:]]
    for job_id in jobs[2:]:
        world.until(job_id, State.RUNNING)
    cluster.move_slot(home)
    take_over(world, guard)
    world.redis.wait(1, 0)
    cluster.fail_over()
    take_over(world, guard)
    found = [world.finish(job_id) for job_id in jobs]

    assert [job.state for job in found] == [State.COMPLETED] * 4
    assert all("manifest.json" in world.bucket(job) for job in found)
    assert len(world.bills()) == 4
    assert len(world.ledger.overview.newest(None, 100)) == 4
