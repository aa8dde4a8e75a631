"""Jobs sent to a web process, at once or at a steady rate."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from benchmarks.rig.wire import Client

RUSHES_REQUEST = {"model": "kling-v3", "mode": "std", "duration": 5, "aspect_ratio": "16:9"}
BY_HAND_REQUEST = {"model": "kling-v3", "mode": "std", "duration": "5", "aspect_ratio": "16:9"}


async def send_jobs(
    url: str,
    path: str,
    request: Mapping[str, Any],
    count: int,
    rate: float = 0,
    connections: int = 16,
    with_keys: bool = True,
) -> None:
    """POST so many jobs, `rate` of them a second (0: as fast as they are taken); raises RuntimeError for a refusal.

    `with_keys`: each under an idempotency key of its own.
    """
    client = Client(url, connections)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer bench-key"}

    async def one(number: int) -> None:
        if rate:
            await asyncio.sleep(number / rate)
        body = json.dumps({**request, "prompt": f"a red kite over the sea, take {number}"}).encode()
        key = {"Idempotency-Key": f"bench-{time.time_ns()}-{number}"} if with_keys else {}
        answer = await client.call("POST", path, {**headers, **key}, body)
        if answer.status != 202:
            raise RuntimeError(f"a job was refused: {answer.status} {answer.body[:300]!r}")

    await asyncio.gather(*(one(number) for number in range(count)))
    client.close()
