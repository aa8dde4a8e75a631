"""The parts outside of a flow, each real and on a free port: gateways that pretend, an S3 API, who hears and calls."""

from __future__ import annotations

import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
import requests
import structlog
from account_steps import continued, keys_of
from outsiders import Listener
from patience import PATIENCE_S
from world import BUCKET, WEBHOOK_SECRET, World

from rushes.deploy.sandbox import s3
from rushes.deploy.sandbox.ports import free_ports, http_status, wait_until
from rushes.shared.storage.s3_clients import BucketRegions
from rushes.worker import steps

TASK_S = 0.1
# Loading the authorities costs as much as all else that a world is made of.
AUTHORITIES = cache(ssl.create_default_context)
ask_bucket = BucketRegions._ask_bucket
REGIONS: dict[str, tuple[str | None, bool]] = {}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What is logged on the way is nobody's concern here, and a traceback in colours takes a second."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def _a_turn_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of a flow look at each state that a job comes into; test_archives_after_polls.py does without that."""
    monkeypatch.setattr(steps, "KEPT_ARCHIVES", 0)


@pytest.fixture(autouse=True)  # of each test alone: other folders of this process ask for themselves
def bucket_regions() -> Iterator[None]:
    """Each bucket is asked once for its region, and not by each world; to ask takes a client of its own."""

    def asked_once(regions: BucketRegions, bucket: str) -> tuple[str | None, bool]:
        return REGIONS.get(bucket) or REGIONS.setdefault(bucket, ask_bucket(regions, bucket))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BucketRegions, "_ask_bucket", asked_once)
        yield


@pytest.fixture(scope="session")
def gateways_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the gateways play, in a process of their own."""
    port = free_ports(1)[0]
    data = str(tmp_path_factory.mktemp("gateways"))
    command = [sys.executable, "-m", "rushes.deploy.sandbox.gateways", "--port", str(port), "--data", data]
    env = {**os.environ, "SANDBOX_TASK_SECONDS": str(TASK_S), "SANDBOX_CALLBACK_REPEATS": "1"}
    env["SANDBOX_WEBHOOK_SECRET"] = WEBHOOK_SECRET
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: http_status(port, "/_sandbox/health") == 200, PATIENCE_S, "gateways")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3.running(BUCKET) as url:
        yield url


@pytest.fixture
def empty_s3_url(s3_url: str) -> str:
    """The same, emptied first: the server copies its whole bucket where versions are listed, as an erasure does."""
    with requests.Session() as session:
        assert session.post(f"{s3_url}/moto-api/reset", timeout=PATIENCE_S).ok
        assert session.put(f"{s3_url}/{BUCKET}", timeout=PATIENCE_S).ok
    return s3_url


@pytest.fixture(scope="session")
def porch() -> Iterator[Listener]:
    """Where the gateways' callbacks arrive; they are kept until a test hands them on."""
    with Listener.serving() as listener:
        yield listener


@pytest.fixture
def caller() -> Iterator[Listener]:
    """Who gave a callback_url."""
    with Listener.serving() as listener:
        yield listener


@pytest.fixture
def open_world(
    empty_redis_url: str, empty_s3_url: str, gateways_url: str, porch: Listener, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """open_world(callbacks=True, RUSHES_…="…"): the parts joined under these settings."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in _aws(empty_s3_url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ssl, "create_default_context", AUTHORITIES)
    opened: list[World] = []

    def open_(callbacks: bool = False, **settings: str) -> World:
        opened.append(World(empty_redis_url, gateways_url, porch, callbacks, settings))
        return opened[-1]

    with ExitStack() as stack:
        yield open_
        for world in opened:
            stack.callback(world.close)
        for world in opened:
            world.services.journal.flush()
            world.audit()


@pytest.fixture
def opened(open_world: Callable[..., World]) -> Callable[..., World]:
    """opened("apimart", "a", "b:drain", after=world): a world of these accounts, which may continue another."""

    def open_(gateway: str, *names: str, after: World | None = None, **settings: str) -> World:
        like = after or open_world()
        setting = f"{gateway.upper()}_API_KEY"
        world = open_world(**{setting: "", f"{setting}S": keys_of(like, *names), **settings})
        return continued(world, like)

    return open_


@pytest.fixture
def world(open_world: Callable[..., World]) -> World:
    """All gateways enabled; nobody can call back, so jobs are polled."""
    return open_world()


def _aws(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
