"""With RUSHES_WORKER_RUNS_SCHEDULER a worker runs the scheduler: it starts, ends and is started again with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from patience import PATIENCE_S, wait_until
from real_server import running
from receiver_steps import AWS, environment
from redis import Redis

STARTED, STALLED = "scheduler started", "the scheduler has stalled"


@pytest.fixture
def env(served_redis_url: str) -> dict[str, str]:
    """Of processes over an empty Redis."""
    with Redis.from_url(served_redis_url) as redis:
        redis.flushall()
        redis.config_resetstat()
    mode = {"RUSHES_WORKER_RUNS_SCHEDULER": "true", "RUSHES_WORKER_PROCESSES": "1"}
    return {**environment(REDIS_URL=served_redis_url, **mode), **AWS, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}


def count(text: str, log: Path) -> int:
    return log.read_text().count(text)


def claims(env: dict[str, str]) -> int:
    """How often programs of the ledger ran; without a job only a scheduler runs one again and again."""
    with Redis.from_url(env["REDIS_URL"]) as redis:
        return int(redis.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


# To Celery the second is a failure: it waits for no step.
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_a_signal_ends_both(env: dict[str, str], tmp_path: Path, number: signal.Signals, status: int) -> None:
    log = tmp_path / "log"
    with running("worker", env, log) as worker:
        wait_until(lambda: count(STARTED, log) == 1, "the scheduler")
        before = claims(env)
        wait_until(lambda: claims(env) > before, "its turns")

        worker.send_signal(signal.SIGHUP)  # Celery starts itself anew in the same process
        wait_until(lambda: count(STARTED, log) == 2, "the scheduler of the worker that started anew")

        worker.send_signal(number)
        assert worker.wait(PATIENCE_S) == status
    assert count(STALLED, log) == 0


def test_the_first_of_several_workers_runs_it_and_so_does_the_one_that_follows_it(
    env: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with running("worker", {**env, "RUSHES_WORKER_PROCESSES": "2"}, log) as launcher:
        wait_until(lambda: count(STARTED, log) == 1, "the scheduler")
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        wait_until(lambda: count(STARTED, log) == 2, "the scheduler of the worker that was started again")

        launcher.terminate()
        assert launcher.wait(PATIENCE_S) == 0
    assert count(STARTED, log) == 2


def test_without_the_setting_no_worker_runs_it(env: dict[str, str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with (
        running("worker", {**env, "RUSHES_WORKER_RUNS_SCHEDULER": ""}, log) as worker,
        Redis.from_url(env["REDIS_URL"]) as redis,
    ):
        wait_until(lambda: "cmdstat_brpop" in redis.info("commandstats"), "its work")
        worker.terminate()
        assert worker.wait(PATIENCE_S) == 0
    assert count(STARTED, log) == 0


# Python runs a module of this name at its start.
STALLS = "lambda self, now: time.sleep(1000)"
BREAKS = "lambda self, now: 1 / 0"
SITECUSTOMIZE = """
import time
from rushes.worker import scheduler
scheduler.STALLED_S = 0.5
scheduler.Scheduler.turn = {turn}
"""


@pytest.mark.parametrize(("turn", "said"), [(STALLS, STALLED), (BREAKS, "the scheduler broke")])
def test_a_scheduler_that_stalls_or_breaks_ends_its_worker_with_status_70(
    env: dict[str, str], tmp_path: Path, turn: str, said: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE.format(turn=turn))
    log = tmp_path / "log"
    with running("worker", {**env, "PYTHONPATH": str(tmp_path)}, log) as worker:
        assert worker.wait(PATIENCE_S) == 70
    assert count(said, log) == 1
