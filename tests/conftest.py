"""What every floor of the tests stands on: a real Redis, and the ledger over both of its stores."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import libraries
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
from rushes.worker import small_clips

# Those that wait for whole stacks, browsers and other servers first: what is left at the end is short, and nobody waits
# for one long file.
LONGEST_FIRST = (
    "e2e",
    "console",
    "infrastructure",
    "chaos",
    "flow",
    "receiver",
    "sandbox",
    "archive",
    "unit/http_client",
)
LONG_FILES = ("ledger/test_refusals.py", "ledger/test_fair_shares.py", "unit/test_doctor.py", "unit/test_probe.py")
libraries.do_once()
# What is collected stays to the end, thousands of tests: the garbage collector need not go through it again and again.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on what is made is also dropped."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the folders and those files; within each all stays as it stands there."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST_FIRST)}

    def place(item: pytest.Item) -> int:
        if not item.path.is_relative_to(here):
            return 0
        return min((places[path] for path in (item.path, *item.path.parents) if path in places), default=len(places))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _own_ids() -> None:
    """The clock of one test is no past of the next one's."""
    ids.FACTORY.reset()


@pytest.fixture(autouse=True)
def _own_clip_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """How the clips of one test were copied tells nothing of those of the next."""
    monkeypatch.setattr(small_clips, "SIZES", small_clips.ClipSizes())


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
