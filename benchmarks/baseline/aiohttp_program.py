"""The limit as people would write it: one asyncio program with aiohttp and aiobotocore that forgets everything.

aiobotocore asks for an older botocore than boto3 does, so it is run by an interpreter of its own (README.md), and
imports nothing of ours. It makes its warm jobs, says that it is ready, and waits for a line on its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

DOOR = os.environ["APIMODELS_BASE_URL"] + "/api/v1/video/generations"
ARCHIVES_AT_ONCE, SUBMITS_AT_ONCE, CONNECTIONS = 16, 32, 64
REQUEST = {"model": "kling-v3", "mode": "std", "duration": "5", "aspect_ratio": "16:9"}


class Program:
    """All jobs of one run."""

    def __init__(self, http: aiohttp.ClientSession, s3: Any, poll_s: float) -> None:
        self._http, self._s3, self._poll_s = http, s3, poll_s
        self._submits, self._archives = asyncio.Semaphore(SUBMITS_AT_ONCE), asyncio.Semaphore(ARCHIVES_AT_ONCE)

    async def job(self, number: int, wait_s: float) -> None:
        """Submit, poll, archive."""
        await asyncio.sleep(wait_s)
        async with self._submits:
            request = {**REQUEST, "prompt": f"a red kite over the sea, take {number}"}
            async with self._http.post(DOOR, json=request) as answer:
                task_id = (await answer.json())["data"]["taskId"]
        url = await self._finished(task_id)
        async with self._archives:
            await self._archive(number, task_id, url)

    async def _finished(self, task_id: str) -> str:
        while True:
            await asyncio.sleep(self._poll_s)
            async with self._http.get(DOOR, params={"task_id": task_id}) as answer:
                data = (await answer.json())["data"]
            if data["state"] == "completed":
                return str(data["resultUrls"][0])

    async def _archive(self, number: int, task_id: str, url: str) -> None:
        async with self._http.get(url) as answer:
            clip = await answer.read()
        digest = hashlib.sha256(clip).hexdigest()
        place = {"Bucket": os.environ["RUSHES_S3_BUCKET"]}
        video = {"Key": f"jobs/{number}/video.mp4", "ContentType": "video/mp4", "Metadata": {"sha256": digest}}
        await self._s3.put_object(**place, **video, Body=clip)
        manifest = json.dumps({"job": number, "task_id": task_id, "size": len(clip), "sha256": digest}).encode()
        target = {"Key": f"jobs/{number}/manifest.json", "ContentType": "application/json"}
        await self._s3.put_object(**place, **target, Body=manifest)


async def run(options: argparse.Namespace) -> None:
    """All jobs, at once or at a steady rate."""
    headers = {"Authorization": f"Bearer {os.environ['APIMODELS_API_KEY']}"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    config = AioConfig(max_pool_connections=CONNECTIONS, s3={"addressing_style": "path"})
    pace_s = 1 / options.rate if options.rate else 0
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers) as http,
        get_session().create_client("s3", config=config) as s3,
    ):
        program = Program(http, s3, options.poll_s)
        await asyncio.gather(*(program.job(-1 - number, 0) for number in range(options.warm)))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(program.job(number, number * pace_s) for number in range(options.jobs)))
        await asyncio.to_thread(sys.stdin.readline)  # live on until the meters have been read


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0, help="jobs a second; 0: all at once")
    parser.add_argument("--poll-s", type=float, default=2)
    parser.add_argument("--warm", type=int, default=0, help="jobs before it is ready")
    parser.add_argument("--policy", choices=["fixed"], default="fixed")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
