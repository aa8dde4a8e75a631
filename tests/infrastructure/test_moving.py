"""A site moves to another Redis with jobs under way: a replica is promoted, or the journal fills an empty one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import servers
from patience import wait_until
from servers import RedisSite
from site_steps import readiness
from trial import USUAL, Trial
from whole_stack import Site

from rushes.deploy.sandbox import PROCFILE
from rushes.deploy.sandbox.stack import Stack
from rushes.deploy.sandbox.supervisor import Supervisor, procfile

pytestmark = pytest.mark.infrastructure


def nothing(old: RedisSite, new: RedisSite) -> None:
    """The new one is empty."""


def replicate(old: RedisSite, new: RedisSite) -> None:
    with new.client() as client:
        client.replicaof("127.0.0.1", str(old.port))
        wait_until(lambda: client.info("replication").get("master_link_status") == "up", "a replica that is in step")


def promote(old: RedisSite, new: RedisSite) -> None:
    """When no process writes any more, and the replica has all."""
    with old.client() as source, new.client() as client:
        wait_until(
            lambda: offset(source, "master_repl_offset") <= offset(client, "slave_repl_offset"), "the last write"
        )
        client.replicaof("NO", "ONE")


def offset(client, name: str) -> int:  # type: ignore[no-untyped-def]
    return int(client.info("replication")[name])


Step = Callable[[RedisSite, RedisSite], None]


@pytest.mark.parametrize(
    ("before", "at_rest"), [(replicate, promote), (nothing, nothing)], ids=["replica promotion", "journal"]
)
def test_a_site_moves_to_another_redis_and_loses_no_paid_job(before: Step, at_rest: Step, tmp_path: Path) -> None:
    old, new = (
        RedisSite(tmp_path / name, servers.redis_7(), "masteruser watcher", "masterauth change-me")
        for name in ("old", "new")
    )
    with (
        old.running() as old_server,
        new.running(),
        Stack(tmp_path / "stack", extra_env={**USUAL, **old.env, "SANDBOX_TASK_SECONDS": "4"}) as stack,
    ):
        site = Site(stack)
        trial = Trial(site)
        before(old, new)
        for job in trial.submit("before"):
            site.wait_for(job, "running", "archiving")

        stack._processes.stop()
        at_rest(old, new)
        old_server.stop()
        stack._processes = Supervisor(procfile(PROCFILE, {**stack.env, **new.env}), [stack._log])
        stack._processes.start()

        wait_until(lambda: is_ready(site), "readiness")
        trial.submit("after", pairs=1)
        trial.judge()


def is_ready(site: Site) -> bool:
    try:
        return readiness(site)[0] == 200
    except OSError:
        return False
