"""The three systems behind one face: start, take jobs, and be measured until the last manifest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rig.load import BY_HAND_REQUEST, RUSHES_REQUEST, send_jobs
from benchmarks.rig.measure import percentile, spent
from benchmarks.rig.stack import READY_S, ROOT, Rig
from benchmarks.table import AIOHTTP
from rushes.deploy.sandbox.ports import wait_until

SETTLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Work:
    """What all systems are given alike; seconds, and jobs a second (0: all at once)."""

    jobs: int = 2000
    rate: float = 0
    median_s: float = 1.0
    sigma: float = 0.3
    shape: str = "lognormal"
    poll_s: float = 1.0
    callbacks: bool = False
    policy: str = "fixed"
    tls: bool = False

    @property
    def timeout_s(self) -> float:
        """For a machine a tenth as fast as any that was seen."""
        return 180 + self.jobs / 10 + (self.jobs / self.rate if self.rate else 0)

    def pace(self) -> dict[str, float | str]:
        """What the gateway is told."""
        return {"median_s": self.median_s, "sigma": self.sigma, "shape": self.shape}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen; `lags_s` from finished-there to manifest-here."""

    jobs: int
    jobs_per_s: float
    cpu_ms: Mapping[str, float]
    polls_per_job: float
    lags_s: list[float] = field(repr=False)

    @property
    def cpu_ms_per_job(self) -> float:
        return sum(self.cpu_ms.values())

    def lag_s(self, share: float) -> float:
        """A percentile of the lag."""
        return percentile(self.lags_s, share)

    @property
    def mean_lag_s(self) -> float:
        return sum(self.lags_s) / len(self.lags_s)


class System(ABC):
    """One measured system on a rig of its own."""

    name = ""
    path = ""
    request: Mapping[str, object] = RUSHES_REQUEST
    warm_jobs = 30

    @abstractmethod
    def start(self, rig: Rig, work: Work) -> None:
        """Start its processes, and let them warm up."""

    def give(self, rig: Rig, work: Work) -> None:
        """Hand it the jobs; returns when it has them."""
        asyncio.run(send_jobs(rig.web_url, self.path, self.request, work.jobs, work.rate))

    def warm(self, rig: Rig) -> None:
        """A few jobs, so that modules are loaded and connections stand."""
        rig.gateway("/_rig/pace", {"median_s": 0.1})
        asyncio.run(send_jobs(rig.web_url, self.path, self.request, self.warm_jobs))
        wait_for_manifests(rig, self.warm_jobs, 60)


class Rushes(System):
    """Rushes, by its Procfile."""

    name = "rushes"
    path = "/v1/jobs"

    def __init__(self, root: Path = ROOT, **env: str) -> None:
        """`root` is the checkout that is run, `env` further settings."""
        self._root, self._env = root, env

    def start(self, rig: Rig, work: Work) -> None:
        env = {"RUSHES_POLL_FIRST_S": str(work.poll_s), "RUSHES_POLL_MAX_S": str(max(work.poll_s, 120)), **self._env}
        if work.callbacks:
            env["RUSHES_PUBLIC_URL"] = rig.web_url
        rig.start_rushes(self._root, **env)
        self.warm(rig)


class ByHand(System):
    """Celery as written by hand; `pool` is what its worker is run with."""

    name = "celery"
    path = "/jobs"
    request = BY_HAND_REQUEST
    pool = ("--pool", "prefork", "--concurrency", "8")

    def start(self, rig: Rig, work: Work) -> None:
        rig.start(self.commands(rig), "/healthz", BY_HAND_POLL_S=str(work.poll_s))
        self.warm(rig)

    def commands(self, rig: Rig) -> dict[str, list[str]]:
        """Its processes, by name."""
        module = "benchmarks.baseline.celery_by_hand"
        gunicorn = ["gunicorn", "--threads", "32", "--log-level", "warning", "--bind", f"127.0.0.1:{rig.web_port}"]
        celery = [sys.executable, "-m", "celery", "--app", module, "worker", "--loglevel", "WARNING", *self.pool]
        return {"web": [sys.executable, "-m", *gunicorn, f"{module}:web"], "worker": celery}


class Bare(System):
    """One asyncio program without any durability. Like the others it makes a few jobs before it is measured."""

    name = "asyncio"
    program: tuple[str, ...] = (sys.executable, "-m", "benchmarks.baseline.bare_asyncio")

    def start(self, rig: Rig, work: Work) -> None:
        given = {"jobs": work.jobs, "rate": work.rate, "poll-s": work.poll_s, "policy": work.policy}
        argv = [*self.program, "--warm", str(self.warm_jobs)]
        argv += [part for name, value in given.items() for part in (f"--{name}", str(value))]
        rig.gateway("/_rig/pace", {"median_s": 0.1})
        rig.processes.start("program", argv, {**rig.env, **self.env(rig)}, stdin=subprocess.PIPE)
        rig.measured, rig.uses_redis = ("program",), False
        wait_until(lambda: "ready" in rig.processes.log("program"), READY_S, "the program")

    def env(self, rig: Rig) -> Mapping[str, str]:
        """Settings of its own."""
        return {}

    def give(self, rig: Rig, work: Work) -> None:
        line = rig.processes["program"].stdin
        assert line is not None
        line.write(b"go\n")
        line.flush()


class WithLibraries(Bare):
    """The same with aiohttp and aiobotocore, by an interpreter that has them; see README.md."""

    name = "aiohttp"
    program = (AIOHTTP, str(ROOT / "benchmarks/baseline/aiohttp_program.py"))

    def env(self, rig: Rig) -> Mapping[str, str]:
        """botocore believes its own list of authorities, if no other is named; aiohttp believes SSL_CERT_FILE."""
        bundle = rig.env.get("SSL_CERT_FILE")
        return {"AWS_CA_BUNDLE": bundle} if bundle else {}


SYSTEMS: Mapping[str, type[System]] = {system.name: system for system in (Rushes, ByHand, Bare, WithLibraries)}


def wait_for_manifests(rig: Rig, count: int, timeout_s: float) -> None:
    """Return when so many manifests stand in the bucket; raises TimeoutError."""
    give_up_at = time.monotonic() + timeout_s
    while (seen := rig.s3("/_rig/counts")["manifests"]) < count:
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"{seen} of {count} manifests after {timeout_s:g} s")
        time.sleep(0.1)


def run(name: str, work: Work) -> Outcome:
    """One system, started anew, from its first job to its last manifest."""
    return run_system(SYSTEMS[name](), work)


def run_system(system: System, work: Work) -> Outcome:
    """The same of a system that is made already."""
    with Rig(tls=work.tls) as rig:
        system.start(rig, work)
        return measured(system, rig, work)


def measured(system: System, rig: Rig, work: Work) -> Outcome:
    """The work done once by a system that runs; raises ValueError where the results are not as they must be."""
    time.sleep(SETTLE_S)
    rig.gateway("/_rig/pace", work.pace())
    rig.s3("/_rig/clear")
    meter = rig.meter()
    before, began_at = meter.read(), time.time()
    system.give(rig, work)
    wait_for_manifests(rig, work.jobs, work.timeout_s)
    time.sleep(SETTLE_S)
    cpu = spent(before, meter.read())
    return judged(rig, work, began_at, {part: 1000 * seconds / work.jobs for part, seconds in cpu.items()})


def judged(rig: Rig, work: Work, began_at: float, cpu_ms: Mapping[str, float]) -> Outcome:
    """Hold what came out against what went in: N manifests, N bills, every clip whole."""
    tasks = {task["id"]: task for task in rig.gateway("/_rig/tasks")}
    manifests, counts = rig.s3("/_rig/manifests"), rig.s3("/_rig/counts")
    if not len(tasks) == len(manifests) == work.jobs or counts["wrong"]:
        raise ValueError(f"{work.jobs} jobs, {len(tasks)} bills, {len(manifests)} manifests, {counts}")
    ended = {task_id_of(manifest["body"]): manifest["stored_at"] for manifest in manifests}
    return Outcome(
        jobs=work.jobs,
        jobs_per_s=work.jobs / (max(ended.values()) - began_at),
        cpu_ms=cpu_ms,
        polls_per_job=sum(task["polls"] for task in tasks.values()) / work.jobs,
        lags_s=[ended[task_id] - task["ends_at"] for task_id, task in tasks.items()],
    )


def task_id_of(manifest: Mapping[str, object]) -> str:
    """The gateway's name of the task, in the manifests of all three systems."""
    job = manifest["job"]
    return str(job["attempts"][-1]["task_id"] if isinstance(job, dict) else manifest["task_id"])
