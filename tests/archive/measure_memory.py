"""Archives N clips of M MiB at once and prints the memory above idle: measure_memory.py ENDPOINT WAY N M.

WAY is "direct" or "boto": who sends the parts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import boto3
from botocore.config import Config
from botocore.credentials import Credentials

from rushes.shared.storage.archive import Archive, ClipSource
from rushes.shared.storage.curl_put import CurlPut

MIB = 1024 * 1024
CHUNK = bytes(range(256)) * 256  # 64 KiB


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / MIB


def clip(size_mib: int) -> Iterator[bytes]:
    yield (12).to_bytes(4) + b"ftypisom" + (16).to_bytes(4) + b"moov" + bytes(8)
    yield (8 + size_mib * MIB).to_bytes(4) + b"mdat"
    for _ in range(size_mib * MIB // len(CHUNK)):
        yield bytes(bytearray(CHUNK))  # memory of its own, as from a socket


def main(endpoint: str, way: str, count: int, size_mib: int) -> None:
    config = Config(max_pool_connections=32, request_checksum_calculation="when_required")
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config, **keys)
    direct = CurlPut(lambda: s3, Credentials("test", "test"), "clips") if way == "direct" else None
    archive = Archive(s3, "clips", curl_put=direct)
    archive.put_bytes("warm", b"up", "text/plain")
    idle_mib, peak_mib, done = resident_mib(), 0.0, Event()

    def watch() -> None:
        nonlocal peak_mib
        while not done.wait(0.002):
            peak_mib = max(peak_mib, resident_mib())

    watcher = Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        stored = list(
            pool.map(lambda n: archive.put_clip(f"{n}", ClipSource(clip(size_mib), None, None), {}), range(count))
        )
    took_s = time.monotonic() - began
    done.set()
    watcher.join()
    figures = {"idle_mib": idle_mib, "peak_mib": peak_mib - idle_mib, "after_mib": resident_mib() - idle_mib}
    print(json.dumps({"archived": len(stored), "took_s": took_s, **figures}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
