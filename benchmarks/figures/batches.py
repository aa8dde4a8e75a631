"""A batch of a thousand jobs against a thousand POSTs, by the CPU of web and Redis."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from benchmarks.rig.load import RUSHES_REQUEST, send_jobs
from benchmarks.rig.measure import Meter
from benchmarks.rig.stack import Rig
from benchmarks.rig.wire import Client
from benchmarks.table import Row, at_most

JOBS = 1000
GOAL = 0.25
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer bench-key"}


def batch(rig: Rig, rounds: int) -> Row:
    """In turns, while nothing but web runs; each under idempotency keys. The least of several rounds."""
    meter = Meter(rig.processes.pids(["web"]), rig.redis_port)
    pairs = [(_cpu_ms(meter, _singly, rig), _cpu_ms(meter, _together, rig)) for _ in range(rounds)]
    singly, together = (min(taken) for taken in zip(*pairs, strict=True))
    figure = f"a batch of {JOBS:,} jobs, CPU of web and Redis"
    return at_most("batch", figure, together, singly, "ms", f"{JOBS:,} POSTs", GOAL)


def _cpu_ms(meter: Meter, send: Callable[[Rig, int], None], rig: Rig) -> float:
    before = sum(meter.read().values())
    send(rig, JOBS)
    return 1000 * (sum(meter.read().values()) - before)


def _singly(rig: Rig, count: int) -> None:
    asyncio.run(send_jobs(rig.web_url, "/v1/jobs", RUSHES_REQUEST, count))


def _together(rig: Rig, count: int) -> None:
    asyncio.run(_post(rig, count))


async def _post(rig: Rig, count: int) -> None:
    jobs = [{**RUSHES_REQUEST, "prompt": f"a red kite over the sea, take {number}"} for number in range(count)]
    client = Client(rig.web_url, 1)
    headers = {**HEADERS, "Idempotency-Key": f"batch-{time.time_ns()}"}
    answer = await client.call("POST", "/v1/batches", headers, json.dumps({"jobs": jobs}).encode())
    client.close()
    if answer.status != 202:
        raise RuntimeError(f"a batch was refused: {answer.status} {answer.body[:300]!r}")
