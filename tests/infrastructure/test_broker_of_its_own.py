"""A broker beside the ledger's Redis goes away: processes wait for it and say so once, readiness and doctor tell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rabbit_server
from patience import wait_until
from site_steps import alive, lines_since, log_of, readiness
from trial import Trial
from whole_stack import Site

from rushes.deploy.sandbox import redis as sandbox_redis
from rushes.deploy.sandbox.ports import free_ports
from rushes.deploy.sandbox.stack import Stack
from rushes.shared.operations import doctor

# Two workers, the scheduler and its watch of the broker, each for a few causes: refused, reset, loading.
LINES_MAX = 16


class OtherRedis:
    """A Redis for Celery alone, that goes away and comes back on its port."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self._folder, self._port, self.url = folder, port, f"redis://127.0.0.1:{port}/0"

    def start(self) -> None:
        self._context = sandbox_redis.running(self._folder, self._port)
        self._context.__enter__()

    def kill(self) -> None:
        self._context.__exit__(None, None, None)


@contextmanager
def other_redis(folder: Path) -> Iterator[OtherRedis]:
    server = OtherRedis(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


BROKERS = {"redis": other_redis, "rabbitmq": rabbit_server.running}


@pytest.fixture(params=["redis", pytest.param("rabbitmq", marks=pytest.mark.infrastructure)])
def broker_server(request: Any, tmp_path: Path) -> Iterator[Any]:
    with BROKERS[request.param](tmp_path) as server:
        yield server


def test_every_process_waits_for_a_broker_that_is_away_and_goes_on(broker_server: Any, tmp_path: Path) -> None:
    env = {
        "SANDBOX_TASK_SECONDS": "1",
        "RUSHES_WORKER_PROCESSES": "2",
        "RUSHES_BROKER_URL": broker_server.url,
    }
    with Stack(tmp_path / "stack", extra_env=env) as stack:
        site = Site(stack)
        wait_until(lambda: len(alive(site)["workers"]) == 2, "workers")
        trial = Trial(site)
        for job in trial.submit("before", pairs=1):
            site.wait(job)
        before, start = alive(site), len(log_of(site).read_text("utf-8"))

        broker_server.kill()
        trial.submit("meanwhile", pairs=1)  # they are accepted: the ledger has them
        wait_until(lambda: readiness(site)[0] == 503, "readiness to tell")
        assert set(readiness(site)[1]) == {"status", "broker", "oldest_overdue_s"}
        assert [finding.verdict for finding in doctor_on(stack)] == [doctor.BAD]
        wait_until(lambda: outages(site, start)["broker out of reach"] >= 3, "scheduler and workers")

        broker_server.start()
        trial.judge()
        wait_until(lambda: readiness(site)[0] == 200, "readiness")
        assert [finding.verdict for finding in doctor_on(stack)] == [doctor.OK]

        lines = lines_since(site, start)
        assert [line for line in lines if "Traceback" in line or "Unrecoverable" in line] == []
        assert outages(site, start).total() <= LINES_MAX
        assert alive(site) == before


def outages(site: Site, start: int) -> Counter[str]:
    broker_lines = [line[line.index("{") :] for line in lines_since(site, start) if "broker" in line and "{" in line]
    return Counter(event for line in broker_lines if not (event := json.loads(line)["event"]).startswith("over:"))


def doctor_on(stack: Stack) -> list[doctor.Finding]:
    return [finding for finding in doctor.examine(stack.env) if finding.name == "broker"]
