"""A setting that is missing or malformed stops every process at start, with one line that names it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from patience import PATIENCE_S
from real_server import launch
from receiver_steps import AWS, environment

from rushes.deploy.sandbox.ports import free_ports

PROCESSES = ("web", "worker", "scheduler")
REQUIRED = ("REDIS_URL", "RUSHES_API_KEYS", "RUSHES_S3_BUCKET", "RUSHES_SECRET_KEY")


def stopped(name: str, env: dict[str, str]) -> str:
    """The one line with which a process ends that does not start."""
    process = launch(name, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode not in (0, None)
    assert out == b""
    (line,) = err.decode().splitlines()
    return line


@pytest.mark.parametrize("name", PROCESSES)
def test_without_settings_no_process_starts_and_one_line_names_them_all(name: str) -> None:
    line = stopped(name, {})

    assert [setting for setting in REQUIRED if setting not in line] == []


def test_what_is_malformed_is_named_in_the_same_line() -> None:
    env = environment(REDIS_URL="http://x", RUSHES_SECRET_KEY=None, PORT="eighty", AWS_ENDPOINT_URL_S3="localhost:9000")

    line = stopped("web", env)  # whose gunicorn would trip over PORT by itself

    assert [n for n in ("REDIS_URL", "RUSHES_SECRET_KEY", "PORT", "AWS_ENDPOINT_URL_S3") if n not in line] == []


@pytest.mark.parametrize("name", PROCESSES)
def test_redis_addresses_that_no_client_takes_are_named_in_one_line_without_their_password(name: str) -> None:
    url = "redis://:s3cr3t/@127.0.0.1:1/0"

    line = stopped(name, {**AWS, **environment(REDIS_URL=url, RUSHES_BROKER_URL=url)})

    assert line.startswith("settings: ")
    assert [setting for setting in ("REDIS_URL: ", "RUSHES_BROKER_URL: ") if setting not in line] == []
    assert "s3cr3t" not in line


# What kombu does not take, what nobody knows and what has no driver: worker and scheduler look at it in one place.
@pytest.mark.parametrize(
    ("name", "url"),
    [("worker", "amqp://:s3cr3t/@127.0.0.1:1//"), ("web", "foo://s3cr3t"), ("scheduler", "zookeeper://:s3cr3t@h:1")],
)
def test_a_broker_that_cannot_be_used_is_named_in_one_line_without_its_password(name: str, url: str) -> None:
    line = stopped(name, {**AWS, **environment(RUSHES_BROKER_URL=url)})

    assert line.startswith("settings: RUSHES_BROKER_URL: ")
    assert "s3cr3t" not in line


def test_a_price_table_that_cannot_be_read_is_not_tried_again_for_ever(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('version = "ours"\n[[price]]\ngateway = "nobody"\n', "utf-8")
    (port,) = free_ports(1)
    env = {**AWS, **environment(RUSHES_PRICES_FILE=str(prices), PORT=str(port))}

    line = stopped("web", env)

    assert "RUSHES_PRICES_FILE" in line
    assert "gateway" in line
