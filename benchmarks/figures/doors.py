"""One web process under load: the intake of callbacks and `POST /v1/jobs`, against a bare view with one Redis call."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks.figures import batches
from benchmarks.rig.load import RUSHES_REQUEST, send_jobs
from benchmarks.rig.measure import cpu_s, percentile
from benchmarks.rig.stack import READY_S, Rig
from benchmarks.rig.wire import Client
from benchmarks.table import Row, Size, at_least, below
from rushes.deploy.sandbox.ports import free_ports, http_status, wait_until

JOBS, CONNECTIONS = 200, 16
AUTH = {"Authorization": "Bearer bench-key"}
JSON = {"Content-Type": "application/json"}

Knock = tuple[str, dict[str, str], bytes]
"""Path, headers and body of one POST."""


class Door:
    """A web process at a port; POSTs from `knocks` go to it."""

    def __init__(self, port: int, pid: int, knocks: Iterator[Knock]) -> None:
        self._port, self.pid, self._knocks = port, pid, knocks
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.answered, self.refused, self.seconds, self.cpu_s = 0, 0, 0.0, 0.0

    def round(self, seconds: float) -> None:
        """As many as it takes, over 16 connections."""
        began_at, cpu_before = time.monotonic(), cpu_s(self.pid)
        self.answered += asyncio.run(self._closed(began_at + seconds))
        self.seconds += time.monotonic() - began_at
        self.cpu_s += cpu_s(self.pid) - cpu_before

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.answered / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Milliseconds a request."""
        return 1000 * self.cpu_s / self.answered

    def at_rate(self, rate: float, seconds: float) -> list[float]:
        """Seconds that each took, sent at a steady rate whatever comes back."""
        return asyncio.run(self._open(rate, round(rate * seconds)))

    async def _closed(self, until: float) -> int:
        client = Client(f"http://127.0.0.1:{self._port}", CONNECTIONS)

        async def one() -> int:
            count = 0
            while time.monotonic() < until:
                count += await self._knock(client)
            return count

        counts = await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
        client.close()
        return sum(counts)

    async def _open(self, rate: float, count: int) -> list[float]:
        client = Client(f"http://127.0.0.1:{self._port}", 200)
        begin_at = time.monotonic() + 0.1

        async def one(number: int) -> float:
            due_at = begin_at + number / rate
            await asyncio.sleep(due_at - time.monotonic())
            await self._knock(client)
            return time.monotonic() - due_at

        taken = await asyncio.gather(*(one(number) for number in range(count)))
        client.close()
        return list(taken)

    async def _knock(self, client: Client) -> bool:
        """Whether it was taken; a 503 is counted, for on a machine with too much to do Redis may be too slow."""
        path, headers, body = next(self._knocks)
        answer = await client.call("POST", path, headers, body)
        self.refused += answer.status == 503
        if answer.status not in (200, 202, 503):
            raise RuntimeError(f"{path} answers {answer.status} {answer.body[:200]!r}")
        return answer.status != 503


def start_rushes(rig: Rig) -> None:
    """Start Rushes; a scheduler must have compared the ledger with the journal before web is ready."""
    rig.start_rushes(RUSHES_PUBLIC_URL=rig.web_url)


def leave_web_alone(rig: Rig) -> None:
    """End worker and scheduler, so that jobs stay as they are."""
    for name in ("worker", "scheduler"):
        rig.processes[name].terminate()
        rig.processes[name].wait()


def _start_bare(rig: Rig, port: int) -> int:
    argv = ["gunicorn", "--config", "python:rushes.deploy.gunicorn_config", "benchmarks.baseline.bare_view:app"]
    pid = rig.processes.start("bare", argv, {**rig.env, "PORT": str(port), "RUSHES_PUBLIC_URL": rig.web_url})
    wait_until(lambda: http_status(port, "/healthz") == 200, READY_S, "the bare view")
    return pid


def _compared(rig: Rig, knocks: Callable[[], Iterator[Knock]], rounds: int, round_s: float) -> tuple[Door, Door]:
    """The receiver and the bare view, in turns."""
    (port,) = free_ports(1)
    bare_pid = _start_bare(rig, port)
    doors = Door(rig.web_port, rig.processes["web"].pid, knocks()), Door(port, bare_pid, knocks())
    for door in doors:
        door.round(0.5)
        door.forget()
    for _, door in itertools.product(range(rounds), doors):
        door.round(round_s)
    for name, door in zip(("rushes", "bare view"), doors, strict=True):
        print(
            f"  {name}: {door.rate:.0f} requests/s, {door.cpu_ms:.2f} ms CPU of web a request, {door.refused} × 503",
            flush=True,
        )
    return doors


def _p99_ms(doors: tuple[Door, Door], rate: float, rounds: int) -> tuple[float, float]:
    """Of both at the same steady rate, in turns of two seconds."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _, (door, seen) in itertools.product(range(rounds), zip(doors, taken, strict=True)):
        seen.extend(door.at_rate(rate, 2))
    rushes, bare = (1000 * percentile(seen, 0.99) for seen in taken)
    return rushes, bare


def by_cpu(key: str, figure: str, rushes: Door, bare: Door) -> Row:
    """The same ratio by the CPU of web, which a machine with other things to do does not change; no target."""
    cells = (f"{rushes.cpu_ms:.2f} ms a request", f"bare Flask view: {bare.cpu_ms:.2f} ms")
    ratio = bare.cpu_ms / rushes.cpu_ms
    return Row(f"{key}_cpu", f"{figure}, by CPU of web", *cells, f"{ratio:.2f} ×", value=rushes.cpu_ms, ratio=ratio)


def intake(size: Size) -> list[Row]:
    """Callbacks of jobs that wait, repeated in a storm; nothing but web runs, and the jobs stay as they are."""
    with Rig() as rig:
        start_rushes(rig)
        rig.gateway("/_rig/pace", {"median_s": 86_400})
        asyncio.run(send_jobs(rig.web_url, "/v1/jobs", RUSHES_REQUEST, JOBS))
        wait_until(lambda: rig.gateway("/_rig/counts")["bills"] == JOBS, 60, "submits")
        time.sleep(2)
        leave_web_alone(rig)
        called = [_callback(task) for task in rig.gateway("/_rig/callbacks")]
        rushes, bare = _compared(rig, lambda: itertools.cycle(called), 1 if size.quick else 4, 2)
        p99, bare_p99 = _p99_ms((rushes, bare), rushes.rate / 2, 1 if size.quick else 4)
    return [
        at_least("intake", "callback intake", rushes.rate, bare.rate, "requests/s", "bare Flask view", 0.9),
        by_cpu("intake", "callback intake", rushes, bare),
        below(
            "storm_p99", "callback storm at half of the maximum, p99", p99, "ms", 50, f"bare view: {bare_p99:.0f} ms"
        ),
    ]


def _callback(task: dict[str, Any]) -> Knock:
    return urlsplit(task["url"]).path, JSON, json.dumps(task["body"]).encode()


def post(size: Size) -> list[Row]:
    """New jobs, each under an idempotency key of its own; nothing but web runs."""
    with Rig() as rig:
        start_rushes(rig)
        leave_web_alone(rig)
        rushes, bare = _compared(rig, _new_jobs, 1 if size.quick else 4, 2)
        row = batches.batch(rig, 2 if size.quick else 5)
    return [
        at_least("post", "POST /v1/jobs", rushes.rate, bare.rate, "requests/s", "bare Flask view", 0.65),
        by_cpu("post", "POST /v1/jobs", rushes, bare),
        row,
    ]


def _new_jobs() -> Iterator[Knock]:
    for number in itertools.count():
        body = json.dumps({**RUSHES_REQUEST, "prompt": f"a red kite over the sea, take {number}"}).encode()
        yield "/v1/jobs", {**JSON, **AUTH, "Idempotency-Key": f"bench-{time.time_ns()}-{number}"}, body
