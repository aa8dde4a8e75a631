"""Redis gone with everything in it while jobs are under way: the journal gives back what was paid for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import redis
from whole_stack import PATIENCE_S, Site

from rushes.shared.client import ENDED, ApiError


def wait(site: Site, job_id: str) -> dict[str, Any]:
    """The job at its end; for a while nobody knows it."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        with suppress(ApiError):
            job = site.insist(lambda: site.client.get(job_id))
            if job["status"] in ENDED:
                return dict(job)
        time.sleep(0.2)
    raise AssertionError(f"{job_id} did not come back")


def lose_redis(site: Site) -> None:
    """All data are gone, from the disk too, and another server comes up in its place."""
    with redis.Redis(port=site.stack.ports.redis) as client:
        client.flushall()
    os.kill(site.stack.processes()["redis"], signal.SIGKILL)


def recover(site: Site) -> dict[str, Any]:
    command = [sys.executable, "-m", "rushes.shared.cli.main", "recover", "--json"]
    done = subprocess.run(command, env=site.stack.env, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_a_lost_redis_is_rebuilt_by_itself_and_nothing_is_paid_twice(site: Site) -> None:
    ended = site.wait(site.text("lost-ended"))
    for gateway in ("apimart", "apimodels"):  # none of them comes to its end before Redis is lost
        site.control("POST", "faults", {"gateway": gateway, "fault": "unknown_status", "stage": "query", "times": -1})
    jobs = [site.motion("lost-motion"), site.text("lost-text"), site.motion("lost-motion-2")]
    for job in jobs:
        site.wait_for(job, "running")
    lose_redis(site)
    site.control("DELETE", "faults")

    found = [wait(site, job) for job in jobs]
    assert [job["status"] for job in found] == ["completed"] * 3
    tasks = [job["attempts"][-1]["task_id"] for job in (ended, *found)]
    billed = Counter(bill["task_id"] for bill in site.books("bills"))
    assert billed == dict.fromkeys(tasks, 1)
    again = recover(site)
    assert (again["put_back"], again["answered"], again["known"], again["ended"]) == ([], [], 3, 1)
    assert site.wait(site.text("lost-after"))["status"] == "completed"
