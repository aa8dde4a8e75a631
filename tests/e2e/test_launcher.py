"""`python -m rushes.worker`: one Celery worker a core, and none that outlives its launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from whole_stack import PATIENCE_S, Site

from rushes.deploy.sandbox.stack import Stack


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    env = {"SANDBOX_TASK_SECONDS": "1", "RUSHES_WORKER_PROCESSES": "2"}
    with Stack(tmp_path_factory.mktemp("crew"), extra_env=env) as stack:
        yield Site(stack)


def children(pid: int) -> set[int]:
    listed = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return {int(line) for line in listed.stdout.split()}


def eventually(fact: Callable[[], bool]) -> bool:
    give_up_at = time.monotonic() + PATIENCE_S
    while not fact() and time.monotonic() < give_up_at:
        time.sleep(0.1)
    return fact()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def crewed(site: Site) -> tuple[int, set[int]]:
    launcher = site.stack.processes()["worker"]
    assert eventually(lambda: len(children(launcher)) == 2)
    return launcher, children(launcher)


def test_a_worker_that_was_killed_is_started_again(crew: Site) -> None:
    launcher, before = crewed(crew)
    os.kill(min(before), signal.SIGKILL)
    assert eventually(lambda: len(children(launcher) - before) == 1)
    assert crew.wait(crew.text("after a kill"))["status"] == "completed"


def test_workers_whose_launcher_was_killed_end_too(crew: Site) -> None:
    launcher, before = crewed(crew)
    os.kill(launcher, signal.SIGKILL)
    assert eventually(lambda: all(map(gone, before)))
    assert crew.wait(crew.text("after the launcher"))["status"] == "completed"


def test_told_to_stop_all_of_them_end_at_once(crew: Site) -> None:
    launcher, before = crewed(crew)
    os.kill(launcher, signal.SIGTERM)
    assert eventually(lambda: all(map(gone, before)))


def test_where_no_worker_can_start_the_launcher_gives_up(crew: Site, tmp_path: Path) -> None:
    env = {**crew.stack.env, "RUSHES_BROKER_URL": "redis://127.0.0.1:1/0?socket_timeout=never"}
    ended = subprocess.run(["python", "-m", "rushes.worker"], env=env, capture_output=True, check=False)
    assert ended.returncode != 0
