"""The limit: the same work in one asyncio program that forgets everything when it ends.

Raw asyncio protocols over kept connections (no aiohttp), SigV4 by hand: there is hardly less that a Python program
could do for a job. It makes its warm jobs, says that it is ready, and waits for a line on its standard input. Each job
is submitted, polled, fetched, hashed, put, and gets a manifest; with `--policy backoff` the pauses between polls double
from `--poll-s` to 16 times.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from benchmarks.rig.wire import Client

DOOR = "/api/v1/video/generations"
JSON = {"Content-Type": "application/json"}
ARCHIVES_AT_ONCE, SUBMITS_AT_ONCE, CONNECTIONS = 16, 32, 64
REQUEST = {"model": "kling-v3", "mode": "std", "duration": "5", "aspect_ratio": "16:9"}

POLICIES: Mapping[str, Callable[[float, int], float]] = {
    "fixed": lambda poll_s, tries: poll_s,
    "backoff": lambda poll_s, tries: poll_s * 2 ** min(tries, 4),
}


class Signer:
    """AWS Signature Version 4 for one service and region, its key kept for the day."""

    def __init__(self, key_id: str, secret: str, region: str) -> None:
        self._key_id, self._secret, self._region = key_id, secret, region
        self._day, self._key = "", b""

    def signed(self, method: str, host: str, path: str, headers: Mapping[str, str], sha256: str) -> dict[str, str]:
        """The headers with their signature."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        sent = {**headers, "x-amz-content-sha256": sha256, "x-amz-date": stamp}
        lines = sorted([("host", host), *((name.lower(), value) for name, value in sent.items())])
        names = ";".join(name for name, _ in lines)
        head = "".join(f"{name}:{value}\n" for name, value in lines)
        asked = f"{method}\n{path}\n\n{head}\n{names}\n{sha256}"
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(asked.encode()).hexdigest()}"
        seal = hmac.new(self._day_key(stamp[:8]), text.encode(), "sha256").hexdigest()
        word = f"AWS4-HMAC-SHA256 Credential={self._key_id}/{scope}, SignedHeaders={names}, Signature={seal}"
        return {**sent, "Authorization": word}

    def _day_key(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._secret}".encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key = day, key
        return self._key


class Program:
    """All jobs of one run."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._gateway = Client(os.environ["APIMODELS_BASE_URL"], CONNECTIONS)
        self._s3 = Client(os.environ["AWS_ENDPOINT_URL_S3"], CONNECTIONS)
        self._signer = Signer(
            os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_REGION"]
        )
        self._key = {"Authorization": f"Bearer {os.environ['APIMODELS_API_KEY']}"}
        self._submits, self._archives = asyncio.Semaphore(SUBMITS_AT_ONCE), asyncio.Semaphore(ARCHIVES_AT_ONCE)
        self._pause_s = POLICIES[given.policy]

    async def warm(self) -> None:
        """A few jobs before it is measured, so that connections stand."""
        await asyncio.gather(*(self._job(-1 - number, 0) for number in range(self._given.warm)))

    async def run(self) -> None:
        """All of them, at once or at a steady rate."""
        pace_s = 1 / self._given.rate if self._given.rate else 0
        jobs = (self._job(number, number * pace_s) for number in range(self._given.jobs))
        await asyncio.gather(*jobs, return_exceptions=self._given.resume)

    async def _job(self, number: int, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        if self._given.resume and await self._has_manifest(number):
            return
        async with self._submits:
            body = json.dumps({**REQUEST, "prompt": f"a red kite over the sea, take {number}"}).encode()
            answer = await self._gateway.call("POST", DOOR, {**JSON, **self._key}, body)
        task_id = answer.json()["data"]["taskId"]
        url = await self._finished(task_id)
        async with self._archives:
            await self._archive(number, task_id, url)

    async def _finished(self, task_id: str) -> str:
        tries = 0
        while True:
            await asyncio.sleep(self._pause_s(self._given.poll_s, tries))
            tries += 1
            answer = await self._gateway.call("GET", f"{DOOR}?task_id={task_id}", self._key)
            data = answer.json()["data"]
            if data["state"] == "completed":
                return str(data["resultUrls"][0])

    async def _archive(self, number: int, task_id: str, url: str) -> None:
        clip = (await self._gateway.call("GET", urlsplit(url).path, self._key)).body
        digest = hashlib.sha256(clip).hexdigest()
        await self._put(number, "video.mp4", clip, digest, {"Content-Type": "video/mp4", "x-amz-meta-sha256": digest})
        manifest = json.dumps({"job": number, "task_id": task_id, "size": len(clip), "sha256": digest}).encode()
        await self._put(number, "manifest.json", manifest, hashlib.sha256(manifest).hexdigest(), JSON)

    async def _has_manifest(self, number: int) -> bool:
        path = f"/{os.environ['RUSHES_S3_BUCKET']}/jobs/{number}/manifest.json"
        sent = self._signer.signed("GET", self._s3.host, path, {}, hashlib.sha256(b"").hexdigest())
        return (await self._s3.call("GET", path, sent)).status == 200

    async def _put(self, number: int, name: str, body: bytes, sha256: str, headers: Mapping[str, str]) -> None:
        path = f"/{os.environ['RUSHES_S3_BUCKET']}/jobs/{number}/{name}"
        sent = self._signer.signed("PUT", self._s3.host, path, headers, sha256)
        answer = await self._s3.call("PUT", path, sent, body)
        if answer.status != 200:
            raise RuntimeError(f"S3 answers {answer.status}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0, help="jobs a second; 0: all at once")
    parser.add_argument("--poll-s", type=float, default=2)
    parser.add_argument("--policy", choices=sorted(POLICIES), default="fixed")
    parser.add_argument("--warm", type=int, default=0, help="jobs before it is ready")
    parser.add_argument("--resume", action="store_true", help="leave out what has a manifest; a failed job fails alone")
    asyncio.run(_run(parser.parse_args()))


async def _run(given: argparse.Namespace) -> None:
    program = Program(given)
    await program.warm()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await program.run()
    await asyncio.to_thread(sys.stdin.readline)  # live on until the meters have been read


if __name__ == "__main__":
    main()
