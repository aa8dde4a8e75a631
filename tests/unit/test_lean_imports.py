"""What libraries import is left out of our processes, and is there for whoever asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """What a fresh Python prints."""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("import rich", "rich"),
        ("import opentelemetry.sdk.metrics", "opentelemetry.sdk.metrics"),
        ("import yaml", "yaml"),
        ("import greenlet", "greenlet"),
        ("from redis.asyncio import Redis", "redis.asyncio.client"),
        ("import redis; redis.asyncio.from_url", "redis.asyncio.client"),
        ("import redis.asyncio.client", "redis.asyncio.client"),
    ],
)
def test_what_was_left_out_can_be_imported_later(statement: str, name: str) -> None:
    code = f"import rushes.worker, sys; print({name!r} in sys.modules); {statement}; print({name!r} in sys.modules)"
    assert run(code).split() == ["False", "True"]


def test_what_somebody_has_imported_before_stays() -> None:
    code = (
        "import rich, asyncio, redis.asyncio as a, sys; import rushes.worker; print(sys.modules['redis.asyncio'] is a)"
    )
    assert run(code) == "True"


def test_the_exporter_of_spans_still_finds_its_library() -> None:
    code = (
        "import rushes.worker, threading; from rushes.shared import tracing\n"
        "observer = tracing.move_observer({'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:1'}, print)\n"
        "print(observer is not print)"
    )
    assert run(code) == "True"


def test_threads_that_ask_at_once_all_get_the_whole_module() -> None:
    code = (
        "import rushes.worker, redis, threading\n"
        "got = []\n"
        "threads = [threading.Thread(target=lambda: got.append(redis.asyncio.from_url)) for _ in range(8)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
        "print(len(got))"
    )
    assert run(code) == "8"


def test_the_broker_check_comes_after_our_transport() -> None:
    """kombu keeps the transport that it finds first, and a launcher checks the broker before it starts workers."""
    code = (
        "from rushes.shared.settings import load; from rushes.worker import broker; from kombu import Connection\n"
        "broker.check(load({'REDIS_URL': 'redis://h', 'RUSHES_API_KEYS': 'a:' + 'k' * 20, 'RUSHES_S3_BUCKET': 'clips',"
        " 'RUSHES_SECRET_KEY': 'x' * 40}))\n"
        "print(Connection('redis://h').transport.Channel.__name__)"
    )
    assert run(code) == "RedisChannel"
