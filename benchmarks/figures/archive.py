"""A clip of a gigabyte into the bucket: speed against curl and a bare multipart upload, and memory."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rig.clip import sparse_clip
from benchmarks.rig.load import RUSHES_REQUEST, send_jobs
from benchmarks.rig.measure import forget_peak, memory_mib
from benchmarks.rig.stack import ROOT, Rig
from benchmarks.rig.systems import Rushes, Work, task_id_of, wait_for_manifests
from benchmarks.table import Row, Size, at_least, below

GIB, QUICK_BYTES = 1 << 30, 1 << 28
AT_ONCE = 16


def archive(size: Size) -> list[Row]:
    """One clip of 1 GiB through a whole job, and the same bytes by `curl` piped into a multipart upload."""
    size_bytes = QUICK_BYTES if size.quick else GIB
    with TemporaryDirectory(prefix="rushes-bench-") as scratch:
        with Rig(clip_file=sparse_clip(Path(scratch, "clip.mp4"), size_bytes), tls=size.tls) as rig:
            _start(rig)
            rushes, theirs = _through_rushes(rig), _by_curl(rig)
            peak_mib = _peak_mib(rig, 1)
        with Rig(clip_file=sparse_clip(Path(scratch, "clip.mp4"), size_bytes // 8), tls=size.tls) as rig:
            _start(rig)
            many_mib = _peak_mib(rig, AT_ONCE)
    mb = size_bytes / 1e6
    return [
        at_least("archive", f"archive of {mb:,.0f} MB", mb * rushes, mb * theirs, "MB/s", "curl into multipart", 0.9),
        below("archive_peak", "its memory above idle, peak", peak_mib, "MiB", 64),
        below("archive_peak_many", f"the same, {AT_ONCE} clips of {mb / 8:,.0f} MB at once", many_mib, "MiB", 64),
    ]


def _start(rig: Rig) -> None:
    system = Rushes()
    system.warm_jobs = 1
    system.start(rig, Work(poll_s=0.5))


def _through_rushes(rig: Rig) -> float:
    """Clips a second, from the first byte asked for to the manifest."""
    _jobs(rig, 1)
    (task,), (manifest,) = rig.gateway("/_rig/tasks"), rig.s3("/_rig/manifests")
    assert task_id_of(manifest["body"]) == task["id"]
    return 1 / float(manifest["stored_at"] - task["fetched_at"][0])


def _jobs(rig: Rig, count: int) -> None:
    rig.gateway("/_rig/pace", {"median_s": 0.3})
    rig.s3("/_rig/clear")
    asyncio.run(send_jobs(rig.web_url, "/v1/jobs", RUSHES_REQUEST, count))
    wait_for_manifests(rig, count, 240)


def _by_curl(rig: Rig) -> float:
    """Uploads a second of the same bytes."""
    task = rig.gateway("/_rig/tasks")[0]["id"]
    url = f"{rig.gateway_url}/files/{task}.mp4"
    upload = f"{sys.executable} -m benchmarks.baseline.bare_upload bare/{time.time_ns()}.mp4"
    authority = rig.env.get("SSL_CERT_FILE")
    trust = f"--cacert {authority}" if authority else ""
    command = f"curl --silent --fail {trust} {url} | {upload}"
    upload = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, env=rig.env, capture_output=True, check=True)  # noqa: S603
    return 1 / float(upload.stdout)


def _peak_mib(rig: Rig, count: int) -> float:
    """How far the worker's memory rises above what it has when it is idle."""
    pid = rig.processes["worker"].pid
    idle_mib = memory_mib(pid)
    forget_peak(pid)
    _jobs(rig, count)
    return memory_mib(pid, "VmHWM") - idle_mib
