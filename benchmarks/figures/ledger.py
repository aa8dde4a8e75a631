"""The ledger when it is full: bytes a job, a scheduler's turn, an idle stack, and the day after an outage."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import redis

from benchmarks.rig.load import RUSHES_REQUEST, send_jobs
from benchmarks.rig.measure import memory_mib, redis_info, spent
from benchmarks.rig.stack import ROOT, Rig
from benchmarks.rig.systems import wait_for_manifests
from benchmarks.table import Row, Size, at_most, below
from rushes.deploy.sandbox.supervisor import procfile
from rushes.shared.domain import schedule
from rushes.shared.ledger import keys
from rushes.shared.services import Services, build
from rushes.worker.scheduler import Scheduler

MILLION = 1_000_000
CHUNK = 10_000
GATEWAY = "apimodels"
# The tenant of the rig's jobs, at the usual priority.
LINE = "bench:5"
CAP = 20
IDLE_S, IDLE_QUICK_S = 20, 8


def _services(rig: Rig, **env: str) -> Services:
    """Rushes' own parts in this process."""
    os.environ.update({**rig.env, **env})  # boto3 reads its own variables there
    return build(os.environ)


def _client(rig: Rig) -> Any:
    return redis.Redis.from_url(rig.env["REDIS_URL"])


def memory(size: Size) -> list[Row]:
    """Bytes in Redis for each job that waits: its record, all indexes, its idempotency key."""
    count = 3000 if size.quick else 20_000
    with Rig() as rig:
        services = _services(rig)
        _client(rig).config_set("appendfsync", "no")
        before = _used(rig)
        for number in range(count):
            request = {**RUSHES_REQUEST, "prompt": f"a red kite over the sea at dawn, seen from a boat, take {number}"}
            services.intake.accept(request, "bench", f"order-{number:032d}", services.now())
        bytes_a_job = (_used(rig) - before) / count
    return [
        below(f"memory in Redis a waiting job (of {count:,})", bytes_a_job, "bytes", 1000),
        below("a million waiting jobs, from that", bytes_a_job * MILLION / 1e9, "GB", 1),
    ]


def _used(rig: Rig) -> int:
    return int(redis_info(rig.redis_port, "memory")["used_memory"])


def turn(size: Size) -> list[Row]:
    """One turn of the scheduler that hands out twenty tickets, with a million jobs due in the same lane, or 10,000."""
    with Rig() as few, Rig() as many:
        turners = Turner(few, CHUNK), Turner(many, MILLION)
        for _ in range(100):
            for turner in turners:
                turner.turn()
    small, large = (statistics.median(turner.taken_ms) for turner in turners)
    return [at_most("a scheduler's turn, 1,000,000 waiting", large, small, "ms", "10,000 waiting", 1.5)]


class Turner:
    """A scheduler of its own over a lane with so many jobs; what it hands out is taken back."""

    def __init__(self, rig: Rig, count: int) -> None:
        self._services = _services(rig, APIMODELS_MAX_IN_FLIGHT=str(CAP))
        self._client = _client(rig)
        self._handed: list[tuple[str, str, int]] = []
        self._scheduler = Scheduler(self._services, self._handed.extend)
        self.taken_ms: list[float] = []
        _fill(rig, "0", count, int(time.time() * 1000) - schedule.DAY)

    def turn(self) -> None:
        """One turn, timed."""
        began_at = time.perf_counter()
        self._scheduler.turn(self._services.now())
        self.taken_ms.append(1000 * (time.perf_counter() - began_at))
        _take_back(self._client, self._handed)


def _fill(rig: Rig, mark: str, count: int, due_at: int) -> None:
    """Ids of jobs, due one after the other from that moment; nothing but the line knows of them."""
    client = _client(rig)
    client.config_set("appendfsync", "no")
    for start in range(0, count, CHUNK):
        numbers = range(start, min(start + CHUNK, count))
        client.zadd(_line(), {f"job_{mark}{number:025d}": due_at + number for number in numbers})
        client.zadd(keys.later("submit", GATEWAY), {LINE: due_at}, lt=True)
    client.config_set("appendfsync", "always")


def _line() -> str:
    return keys.due(f"submit:{GATEWAY}:{LINE}")


def _take_back(client: Any, handed: list[tuple[str, str, int]]) -> None:
    if not handed:
        raise ValueError("the scheduler handed out nothing")
    with client.pipeline() as pipe:
        for lane, job_id, _ in handed:
            pipe.zrem(keys.leased(lane), job_id)
            pipe.zadd(_line(), {job_id: 1})
        pipe.execute()
    handed.clear()


def idle(size: Size) -> list[Row]:
    """CPU of a stack with nothing to do."""
    seconds = IDLE_QUICK_S if size.quick else IDLE_S
    with Rig() as rig:
        rig.start_rushes()
        time.sleep(5)
        meter = rig.meter()
        before = meter.read()
        time.sleep(seconds)
        used = spent(before, meter.read())
    print(f"  {', '.join(f'{part} {100 * cpu / seconds:.2f} %' for part, cpu in used.items())}", flush=True)
    return [below("idle: scheduler and worker", 100 * (used["scheduler"] + used["worker"]) / seconds, "% of a core", 1)]


def recovery(size: Size) -> list[Row]:
    """Everything due at once after an outage: a million waiting, the oldest of them real, and a gateway with a cap."""
    count, caps = (100 if size.quick else 300), {"APIMODELS_MAX_IN_FLIGHT": str(CAP)}
    with Rig() as rig:
        order = _wait_out(rig, count)
        alone = _drained(rig, count, caps, order)
    with Rig() as rig:
        order = _wait_out(rig, count)
        _fill(rig, "7", MILLION, int(time.time() * 1000))
        crowded = _drained(rig, count, caps, order)
    return [
        Row(
            "drained after an outage, a million behind",
            f"{crowded['rate']:.1f} jobs/s",
            f"nobody behind: {alone['rate']:.1f} jobs/s",
            f"{crowded['rate'] / alone['rate']:.2f} ×",
            "≥ 0.9 ×",
            crowded["rate"] >= 0.9 * alone["rate"],
        ),
        below("most at the gateway at once", crowded["most"], "jobs", CAP),
        below("places that a submit came out of turn, most", crowded["displaced"], "places", 2 * CAP),
        below("memory of worker and scheduler, grown by", crowded["grown_mib"], "MiB", 32),
    ]


def _wait_out(rig: Rig, count: int) -> Sequence[str]:
    """Real jobs that wait while nothing but web runs; their prompts, in order."""
    rig.start_rushes()
    for name in ("worker", "scheduler"):
        rig.processes[name].kill()
        rig.processes[name].wait()
    asyncio.run(send_jobs(rig.web_url, "/v1/jobs", RUSHES_REQUEST, count, connections=1))
    return [f"a red kite over the sea, take {number}" for number in range(count)]


def _drained(rig: Rig, count: int, caps: Mapping[str, str], order: Sequence[str]) -> dict[str, float]:
    """The worker and the scheduler come back."""
    rig.gateway("/_rig/pace", {"median_s": 0.5})
    env = {**rig.env, **caps, "RUSHES_POLL_FIRST_S": "0.5"}
    for name, argv in _commands(env).items():
        rig.processes.start(name, argv, env)
    began_at = time.time()
    wait_for_manifests(rig, 10, 60)
    pids = rig.processes.pids(("worker", "scheduler"))
    memory_before = sum(memory_mib(pid) for pid in pids.values())
    wait_for_manifests(rig, count, 180)
    ended_at = max(manifest["stored_at"] for manifest in rig.s3("/_rig/manifests"))
    grown_mib = sum(memory_mib(pid) for pid in pids.values()) - memory_before
    tasks = rig.gateway("/_rig/tasks")
    came = [order.index(task["prompt"]) for task in tasks if task["prompt"] in order]
    first_at = min(task["accepted_at"] for task in tasks)
    return {
        "rate": count / (ended_at - max(first_at, began_at)),
        "most": rig.gateway("/_rig/counts")["most"],
        "displaced": max(abs(place - number) for place, number in enumerate(came)),
        "grown_mib": max(grown_mib, 0),
    }


def _commands(env: Mapping[str, str]) -> dict[str, Sequence[str]]:
    return {name: command.argv for name, command in procfile(ROOT / "Procfile", env).items() if name != "web"}
