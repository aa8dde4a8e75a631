"""Empty stores, as many as are asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Store


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is logged on the way is nobody's concern here, and a traceback in colours takes a second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(params=["memory", "redis"])
def fresh(request: pytest.FixtureRequest) -> Callable[[], Store]:
    """Gives an empty store, as often as it is asked: the twin in memory, or the real Redis with the real Lua."""
    if request.param == "memory":
        return MemoryStore
    return request.getfixturevalue("fresh_redis")  # type: ignore[no-any-return]


@pytest.fixture
def fresh_redis(redis_store: RedisStore) -> Callable[[], RedisStore]:
    def emptied() -> RedisStore:
        redis_store._client.flushdb()
        pool = redis_store._client.connection_pool
        pool.disconnect()  # a store keeps its connections for as long as it lives
        pool.reset()
        return RedisStore(redis_store._client)

    return emptied
