"""Several hosts: a link that is cut and restored, and clocks that differ."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import servers
from patience import wait_until
from site_steps import readiness
from trial import USUAL, Trial
from whole_stack import Site

from rushes.deploy.sandbox import PROCFILE
from rushes.deploy.sandbox.ports import free_ports, http_status
from rushes.deploy.sandbox.stack import Ports, Stack

pytestmark = pytest.mark.infrastructure

RELAY, SHIFTED = Path(__file__).with_name("relay.py"), Path(__file__).with_name("shifted_clock")


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr)


class Hosts:
    """Network namespaces of this machine, each joined to a bridge by a link of its own."""

    def __init__(self, names: tuple[str, ...]) -> None:
        number = os.getpid()
        self._net, self._bridge = f"10.{200 + number % 50}.{number // 50 % 250}", f"rb{number}"
        self.here = f"{self._net}.1"
        self._spaces = {name: f"r{name[0]}{number}" for name in names}

    def address(self, name: str) -> str:
        return f"{self._net}.{2 + list(self._spaces).index(name)}"

    def run_at(self, name: str) -> list[str]:
        """What stands before a command that runs there."""
        return ["ip", "netns", "exec", self._spaces[name]]

    def link(self, name: str, state: str) -> None:
        """`down` cuts it: packets are lost, and nobody is told."""
        ip("link", "set", f"v{self._spaces[name]}", state)

    @contextmanager
    def up(self) -> Iterator[Hosts]:
        if os.getuid() != 0 or not shutil.which("ip"):
            pytest.skip("network namespaces need root and iproute2")
        with ExitStack() as stack:
            try:
                self._build(stack)
            except OSError as refused:
                pytest.skip(f"no network namespaces here: {refused}")
            yield self

    def _build(self, stack: ExitStack) -> None:
        ip("link", "add", self._bridge, "type", "bridge")
        stack.callback(ip, "link", "del", self._bridge)
        ip("addr", "add", f"{self.here}/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")
        for name, space in self._spaces.items():
            ip("netns", "add", space)
            stack.callback(ip, "netns", "del", space)
            ip("link", "add", f"v{space}", "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", f"v{space}", "master", self._bridge, "up")
            ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", space, "link", "set", device, "up")


@contextmanager
def three_hosts(folder: Path) -> Iterator[tuple[Site, Hosts]]:
    """Redis on one, web, scheduler and a worker on another, a worker on the third; all else is here."""
    (redis_port,) = free_ports(1)
    ports = Ports().with_free_ports()
    with Hosts(("data", "front", "rear")).up() as hosts, ExitStack() as stack:
        outside = [f"{port}" for port in (ports.gateways, ports.s3)]
        relays = {
            (): [(f"{hosts.here}:{port}", f"127.0.0.1:{port}") for port in outside]
            + [(f"127.0.0.1:{ports.web}", f"{hosts.address('front')}:{ports.web}")],
            **{
                tuple(hosts.run_at(name)): [(f"127.0.0.1:{port}", f"{hosts.here}:{port}") for port in outside]
                for name in ("front", "rear")
            },
        }
        for where, pairs in relays.items():
            argv = [*where, sys.executable, str(RELAY), *(address for pair in pairs for address in pair)]
            stack.enter_context(servers.running("relay", argv))
        options = ["--port", str(redis_port), "--dir", str(folder), "--appendonly", "yes", "--protected-mode", "no"]
        stack.enter_context(servers.running("redis", [*hosts.run_at("data"), servers.redis_7(), *options]))
        lines = dict(line.split(": ", 1) for line in PROCFILE.read_text("utf-8").splitlines())
        at = {"web": "front", "scheduler": "front", "worker": "front", "other": "rear"}
        commands = folder / "Procfile"
        commands.write_text(
            "".join(
                f"{name}: {' '.join(hosts.run_at(host))} {lines.get(name, lines['worker'])}\n"
                for name, host in at.items()
            ),
            "utf-8",
        )
        env = {**USUAL, "RUSHES_WORKER_PROCESSES": "1", "REDIS_URL": f"redis://{hosts.address('data')}:{redis_port}/0"}
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr("rushes.deploy.sandbox.stack.is_taken", lambda port: False)  # the relay to `web` listens here
        yield Site(stack.enter_context(Stack(folder / "stack", ports, commands=commands, extra_env=env))), hosts


def test_a_link_that_is_cut_and_restored_loses_no_job_and_pays_for_none_twice(tmp_path: Path) -> None:
    with three_hosts(tmp_path) as (site, hosts):
        trial = Trial(site)
        before = site.stack.processes()
        for job in trial.submit("before", pairs=2):
            site.wait_for(job, "running", "archiving")

        hosts.link("rear", "down")
        for job in trial.submit("without the rear", pairs=1):
            site.wait(job)
        hosts.link("data", "down")
        wait_until(lambda: readiness(site)[0] == 503, "readiness to tell")
        hosts.link("data", "up")
        wait_until(lambda: readiness(site)[0] == 200, "readiness")
        hosts.link("rear", "up")

        trial.submit("after", pairs=1)
        trial.judge()
        assert site.stack.processes() == before


@pytest.mark.parametrize(("scheduler_s", "worker_s"), [(90, -90), (-90, 90)])
def test_clocks_that_differ_lose_no_job_and_pay_for_none_twice(scheduler_s: int, worker_s: int, tmp_path: Path) -> None:
    lines = dict(line.split(": ", 1) for line in PROCFILE.read_text("utf-8").splitlines())
    ahead = {"web": 0, "scheduler": scheduler_s, "worker": worker_s}
    commands = tmp_path / "Procfile"
    commands.write_text(
        "".join(
            f"{name}: env PYTHONPATH={SHIFTED} CLOCK_AHEAD_S={ahead[name]} {line}\n" for name, line in lines.items()
        ),
        "utf-8",
    )
    with Stack(tmp_path / "stack", commands=commands, extra_env=USUAL) as stack:
        site = Site(stack)
        trial = Trial(site)
        trial.submit("a job", pairs=2)
        trial.judge()
        assert http_status(stack.ports.web, "/readyz") == 200
