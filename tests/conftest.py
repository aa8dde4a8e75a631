"""What every floor of the tests stands on: a real Redis, and the ledger over both of its stores."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import botocore.session
import pytest
import redis
from patience import PATIENCE_S
from redis_server import RedisServer, running

from rushes.shared.domain import ids
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Store

# Each world of a test has sessions of boto of its own, and each would read the model of S3 again (0.1 s of CPU).
botocore.session.create_loader = cache(botocore.session.create_loader)


@pytest.fixture(autouse=True)
def _own_ids() -> None:
    """The clock of one test is no past of the next one's."""
    ids.FACTORY.reset()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis that all tests of this process share; `empty_redis_url` is the same one, emptied first."""
    with running() as server:
        yield server.url


@pytest.fixture
def empty_redis_url(redis_url: str) -> str:
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    return redis_url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that a test may freeze and stop."""
    with running() as server:
        yield server


@pytest.fixture
def redis_store(empty_redis_url: str) -> Iterator[RedisStore]:
    with connect(empty_redis_url, PATIENCE_S) as client:
        yield RedisStore(client)


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store of the ledger in turn: the twin in memory and the real one."""
    return MemoryStore() if request.param == "memory" else request.getfixturevalue("redis_store")


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store, Policy())
