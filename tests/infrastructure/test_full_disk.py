"""A disk that is full: that of Redis, of the bucket and of what is temporary at once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import servers
from patience import wait_until
from servers import RedisSite
from site_steps import alive, readiness
from trial import USUAL, Trial
from whole_stack import Site

from rushes.deploy.sandbox.stack import Stack

pytestmark = pytest.mark.infrastructure

SIZE = "32m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    refused = subprocess.run(mount, capture_output=True, text=True, check=False)
    if refused.returncode:
        pytest.skip(f"no disk can be mounted here: {refused.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """To the last byte."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_loses_no_job_and_pays_for_none_twice(disk: Path, tmp_path: Path) -> None:
    temporary = disk / "tmp"
    temporary.mkdir()
    redis_site = RedisSite(disk / "redis", servers.redis_7())
    with redis_site.running(), servers.store("rclone", disk / "bucket") as bucket:
        env = {**USUAL, **bucket, **redis_site.env, "TMPDIR": str(temporary)}
        with Stack(tmp_path / "stack", extra_env=env) as stack:
            site = Site(stack)
            trial = Trial(site)
            wait_until(lambda: len(alive(site)["workers"]) == 2, "workers")
            before = alive(site)
            for job in trial.submit("before", pairs=2):
                site.wait_for(job, "running", "archiving")

            filler = fill(disk)
            # With `appendfsync always` Redis ends where a write does not reach the disk, and is started again.
            wait_until(lambda: readiness(site)[0] == 503, "readiness to tell")
            os.unlink(filler)

            wait_until(lambda: readiness(site)[0] == 200, "readiness")
            trial.submit("after", pairs=1)
            trial.judge()
            assert alive(site) == before
