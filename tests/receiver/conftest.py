"""The receiver's app: over a ledger in memory for speed, over each store in turn where that could matter."""

from __future__ import annotations

from collections.abc import Iterator
from threading import BoundedSemaphore

import pytest
import redis_server
from patience import PATIENCE_S
from real_server import Server, serving
from receiver_steps import AWS, BUCKET, Web, parts_over

from rushes.deploy.sandbox import s3
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Store
from rushes.webhook_receiver import jobs_api

NO_S3 = "http://127.0.0.1:1"


@pytest.fixture(scope="session", autouse=True)
def aws() -> Iterator[None]:
    """No credentials of the machine's own; the S3 of most tests is only ever signed for."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**AWS, "AWS_ENDPOINT_URL_S3": NO_S3}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A real S3 API with the bucket in it."""
    with s3.running(BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def served_redis_url() -> Iterator[str]:
    """A Redis of a module's own, for processes that outlive a test: nobody empties it under them."""
    with redis_server.running() as server:
        yield server.url


@pytest.fixture(scope="module")
def server(served_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The receiver of a module's own, as gunicorn serves it; no S3 answers it."""
    log = tmp_path_factory.mktemp("web") / "log"
    with serving(log, REDIS_URL=served_redis_url, AWS_ENDPOINT_URL_S3=NO_S3) as server:
        yield server


@pytest.fixture(scope="module")
def ledger(served_redis_url: str) -> Ledger:
    """The one that the module's processes keep, and not that of tests/conftest.py."""
    return Ledger(RedisStore(connect(served_redis_url, PATIENCE_S)), Policy())


@pytest.fixture(autouse=True)
def no_streams_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server closes every answer; a test client forgets those that nobody read."""
    monkeypatch.setattr(jobs_api, "STREAMS", BoundedSemaphore(jobs_api.STREAMS_MAX))


@pytest.fixture
def web() -> Web:
    return Web(parts_over(MemoryStore()))


@pytest.fixture(scope="session")
def door() -> Web:
    """One app for all tests that leave nothing behind which another could stumble over."""
    return Web(parts_over(MemoryStore()))


@pytest.fixture
def web_on_each(store: Store) -> Web:
    """Over the ledger in memory and over the real Redis, in turn."""
    return Web(parts_over(store))
