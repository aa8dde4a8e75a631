"""With RUSHES_WORKER_RUNS_SCHEDULER a worker runs the scheduler: it starts, ends and is started again with it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patience import PATIENCE_S, wait_until
from real_server import running
from receiver_steps import AWS, environment
from redis import Redis

from rushes.worker import hosted_scheduler, scheduler
from rushes.worker.hosted_scheduler import HostedScheduler, HostedSchedulerStep

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
scheduler.STALLED_S = {stalled_s}
scheduler.Scheduler.turn = {turn}
"""


@pytest.mark.parametrize(("turn", "stalled_s", "said"), [(STALLS, 0.5, STALLED), (BREAKS, 1000, "the scheduler broke")])
def test_a_scheduler_that_stalls_or_breaks_ends_its_worker_with_status_70(
    env: dict[str, str], tmp_path: Path, turn: str, stalled_s: float, said: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE.format(turn=turn, stalled_s=stalled_s))
    log = tmp_path / "log"
    with running("worker", {**env, "PYTHONPATH": str(tmp_path)}, log) as worker:
        assert worker.wait(PATIENCE_S) == 70
    assert count(said, log) == 1


def test_only_the_first_worker_of_a_machine_runs_it() -> None:
    step = object.__new__(HostedSchedulerStep)
    names = ["rushes-1@a", "rushes-2@a", "rushes-10@a", "celery@rushes-1@a"]
    assert [step.include_if(SimpleNamespace(hostname=name)) for name in names] == [True, False, False, False]


@pytest.mark.parametrize("way", ["stop", "terminate"])
@pytest.mark.parametrize(("has_failed", "status"), [(True, scheduler.EXIT_STALLED), (False, None)])
def test_however_celery_ends_its_steps_it_is_stopped(way: str, has_failed: bool, status: int | None) -> None:
    step, stopped = object.__new__(HostedSchedulerStep), list[bool]()
    hosted: Any = SimpleNamespace(stop=lambda: stopped.append(True), has_failed=has_failed)
    step._hosted, worker = hosted, SimpleNamespace(exitcode=None)
    getattr(step, way)(worker)
    assert (stopped, worker.exitcode) == ([True], status)


def hosted() -> HostedScheduler:
    nothing: Any = None
    return HostedScheduler(nothing, nothing)


def test_it_ends_after_the_turn_that_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    watchdogs: list[scheduler.Watchdog] = []
    turn_ended = threading.Event()

    def serve(app: object, services: object, stopping: Callable[[], bool], watchdog: scheduler.Watchdog) -> None:
        watchdogs.append(watchdog)
        while not stopping():
            time.sleep(0.001)
        time.sleep(0.05)
        turn_ended.set()

    monkeypatch.setattr(scheduler, "serve", serve)
    subject = hosted()
    subject.start()
    wait_until(lambda: len(watchdogs) == 1, "its turns")
    subject.stop()

    assert turn_ended.is_set()
    assert watchdogs[0]._stopped.is_set()  # or it would end the worker, which goes on


def test_a_worker_that_does_not_end_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A paid call that is out may come back; a step that hangs must not keep the worker without a scheduler."""
    done: list[tuple[str, object]] = []
    system = SimpleNamespace(
        getpid=lambda: 7,
        kill=lambda pid, number: done.append((f"kill {pid}", number)),
        _exit=lambda status: done.append(("exit", status)),
    )
    monkeypatch.setattr(hosted_scheduler, "os", system)
    monkeypatch.setattr(
        hosted_scheduler, "time", SimpleNamespace(sleep=lambda seconds: done.append(("sleep", seconds)))
    )
    subject = hosted()
    subject._end_worker()

    assert done == [("kill 7", signal.SIGTERM), ("sleep", hosted_scheduler.END_S), ("exit", scheduler.EXIT_STALLED)]
    assert subject.has_failed
