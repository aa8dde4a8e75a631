"""No process has in memory what it does not need: the modules of each, after it has started and done its work."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from patience import PATIENCE_S, wait_until
from real_server import running
from receiver_steps import AWS, environment
from redis import Redis

from rushes.deploy.sandbox.ports import free_ports, http_status

# Python runs a module of this name at its start.
SITECUSTOMIZE = """
import atexit, json, os, pathlib, sys
def write():
    pathlib.Path(os.environ["MODULES"], str(os.getpid())).write_text(json.dumps(sorted(sys.modules)))
atexit.register(write)
"""
# Optional imports of libraries, the halves of libraries that nobody uses, and what is for the shell.
NOWHERE = (
    *("opentelemetry", "psutil", "rich", "pygments", "greenlet", "yaml", "cffi", "idna"),
    *("redis.asyncio.client", "redis.asyncio.cluster"),
    *("requests", "boto3", "s3transfer", "prompt_toolkit", "click_repl", "rushes.shared.cli", "rushes.shared.client"),
)
ELSEWHERE = {
    "web": ("celery", "kombu", "billiard", "rushes.worker"),
    "worker": ("flask", "werkzeug", "jinja2", "gunicorn", "celery.bin", "rushes.webhook_receiver"),
    "scheduler": (
        *("flask", "werkzeug", "jinja2", "gunicorn", "celery.bin", "celery.apps", "celery.worker.consumer"),
        "rushes.webhook_receiver",
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_process_has_loaded_nothing_that_it_does_not_need(name: str, served_redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    modules = tmp_path / "modules"
    modules.mkdir()
    (port,) = free_ports(1)
    env = environment(REDIS_URL=served_redis_url, PORT=str(port), RUSHES_WORKER_PROCESSES="1")
    env |= {**AWS, "PYTHONPATH": str(tmp_path), "MODULES": str(modules), "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}

    with Redis.from_url(served_redis_url) as redis, running(name, env, tmp_path / "log") as process:
        redis.flushdb()
        redis.config_resetstat()

        def works() -> bool:
            if name == "web":
                return http_status(port, "/readyz") in (200, 503)
            commands = redis.info("commandstats")
            return ("cmdstat_brpop" if name == "worker" else "cmdstat_evalsha") in commands

        wait_until(works, "its work")
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)

    # gunicorn's master has the app for its workers.
    loaded = [set(json.loads(file.read_text())) for file in modules.iterdir()]
    unneeded = (*NOWHERE, *ELSEWHERE[name])
    assert loaded, os.listdir(tmp_path)
    assert name != "web" or all("rushes.webhook_receiver.app" in each for each in loaded)
    assert {module for each in loaded for module in each if module.startswith(unneeded)} == set()
