"""A site on a Redis of others, which dies while jobs are under way: none is lost, none is paid twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import servers
from certificates import Authority
from patience import wait_until
from servers import RedisSite
from site_steps import alive, readiness
from trial import USUAL, Trial, bad_findings
from whole_stack import Site

from rushes.deploy.sandbox.ports import free_ports
from rushes.deploy.sandbox.stack import Stack


@dataclass(frozen=True)
class Ground:
    """What a site stands on: its settings, and what happens there."""

    env: Mapping[str, str]
    trouble: Callable[[], None]


@contextmanager
def a_redis(folder: Path, executable: str, authority: Authority | None = None) -> Iterator[Ground]:
    """It is killed, and started again with what it had written."""
    site = RedisSite(folder / "redis", executable, authority=authority)
    with site.running() as server:

        def kill() -> None:
            was = server.pid
            server.kill()
            wait_until(lambda: server.pid not in (None, was) and site.answers(), "Redis again")

        yield Ground(site.env, kill)


def over_tls(name: str) -> Callable[[Path], contextmanager[Ground]]:  # type: ignore[type-arg]
    return lambda folder: a_redis(folder, servers.REDIS[name](), Authority(folder / "tls"))


@contextmanager
def sentinels(folder: Path) -> Iterator[Ground]:
    """Three Sentinels, and a master with two replicas of which one must have each write; the master dies for good."""
    executable = servers.redis_7()
    sites = [RedisSite(folder / f"redis{n}", executable, "min-replicas-to-write 1") for n in range(3)]
    master = sites[0]
    for site in sites:
        replica = [] if site is master else [f"replicaof 127.0.0.1 {master.port}"]
        with site.conf.open("a", encoding="utf-8") as conf:
            conf.write("\n".join([*replica, "masteruser watcher", "masterauth change-me"]) + "\n")
    ports = free_ports(3)
    with ExitStack() as stack:
        master_server = stack.enter_context(sites[0].running())
        for site in sites[1:]:
            stack.enter_context(site.running())
        for port in ports:
            conf = folder / f"sentinel{port}.conf"
            lines = [
                f"port {port}",
                "bind 127.0.0.1",
                f"sentinel monitor mymaster 127.0.0.1 {master.port} 2",
                "sentinel auth-user mymaster watcher",
                "sentinel auth-pass mymaster change-me",
                "sentinel down-after-milliseconds mymaster 1000",
                "sentinel failover-timeout mymaster 10000",
            ]
            conf.write_text("\n".join(lines) + "\n", "utf-8")
            stack.enter_context(servers.running("sentinel", [executable, str(conf), "--sentinel"]))
        asked = [stack.enter_context(redis.Redis(port=port, decode_responses=True)) for port in ports]
        wait_until(lambda: all(knows_all(each) for each in asked), "Sentinels that know each other and the replicas")
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)

        def kill() -> None:
            master_server.stop()
            wait_until(lambda: asked[0].sentinel_master("mymaster")["port"] != master.port, "another master")

        addresses = {user: f"sentinel://{user}:change-me@{hosts}/mymaster/0" for user in ("ledger", "broker")}
        yield Ground({"REDIS_URL": addresses["ledger"], "RUSHES_BROKER_URL": addresses["broker"]}, kill)


def knows_all(sentinel: redis.Redis) -> bool:
    try:
        state = sentinel.sentinel_master("mymaster")
    except redis.RedisError:
        return False
    return (state["num-other-sentinels"], state["num-slaves"]) == (2, 2)


GROUNDS: Mapping[str, Callable[[Path], contextmanager[Ground]]] = {  # type: ignore[type-arg]
    **{name: lambda folder, found=found: a_redis(folder, found()) for name, found in servers.REDIS.items()},
    "TLS": over_tls("Redis 7.0"),
    "Sentinels": sentinels,
}


# The one that is there without `make infrastructure`.
NAMES = [name if name == "Redis 6.2" else pytest.param(name, marks=pytest.mark.infrastructure) for name in GROUNDS]


@pytest.mark.parametrize("ground", NAMES)
def test_a_redis_that_dies_loses_no_job_and_pays_for_none_twice(ground: str, tmp_path: Path) -> None:
    with GROUNDS[ground](tmp_path) as found, Stack(tmp_path / "stack", extra_env={**USUAL, **found.env}) as stack:
        site = Site(stack)
        trial = Trial(site)
        assert bad_findings(site) == []
        wait_until(lambda: len(alive(site)["workers"]) == 2, "workers")
        before = alive(site)
        for job in trial.submit("before"):
            site.wait_for(job, "running", "archiving")

        found.trouble()

        trial.submit("after")
        trial.judge()
        wait_until(lambda: readiness(site)[0] == 200, "readiness")
        assert alive(site) == before
