"""`rushes demo`: the whole stack, one job through each sandbox gateway, and a table of the results."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from rushes.deploy.sandbox.stack import Stack
from rushes.shared.client import ENDED, Client, Unreachable

TIMEOUT_S = 600
POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class DemoJob:
    """One job of the demo."""

    gateway: str
    operation: str
    request: Mapping[str, Any]


def demo_jobs(image_url: str, video_url: str, orientation: str) -> list[DemoJob]:
    """One job for each gateway, and each operation at least once."""
    motion = {
        "prompt": "The person turns and waves, cinematic light.",
        "image_url": image_url,
        "video_url": video_url,
        "character_orientation": orientation,
    }
    text = {"prompt": "A traveller walks through a dusty desert ruin, the cape in the wind."}
    requests: dict[tuple[str, str], dict[str, Any]] = {
        ("apimaster", "motion v3"): {"model": "kling-v3-motion-control", **motion},
        ("apimart", "motion v2.6"): {"model": "kling-v2-6-motion-control", **motion},
        ("evolink", "motion v3 pro"): {"model": "kling-v3-motion-control", "mode": "pro", **motion},
        ("kling", "motion v2.6 pro"): {"model": "kling-v2-6-motion-control", "mode": "pro", **motion},
        ("newapi", "image"): {"model": "kling-v3", "image_url": image_url, "duration": 5, **text},
        ("apimodels", "text"): {"model": "kling-v2-6", "duration": 5, **text},
    }
    return [
        DemoJob(gateway, operation, {**request, "provider": gateway})
        for (gateway, operation), request in requests.items()
    ]


def run(image: Path | None, video: Path | None, out: Path, console: Console) -> bool:
    """Run the demo; True only if every clip was archived whole and billed once."""
    with tempfile.TemporaryDirectory(prefix="rushes-demo-") as scratch:
        inputs = Path(scratch) / "inputs"
        names = copy_inputs(inputs, image, video)
        stack = Stack(Path(scratch) / "data", inputs=inputs)
        console.print("Starting Redis, S3, six sandbox gateways, and Rushes…")
        with stack:
            results = run_jobs(stack, names, console)
            passed = [check(spec, job, stack, out) for spec, job in results]
    print_table(results, passed, console)
    console.print(f"The clips and manifests are in [bold]{out}[/].")
    return all(passed)


def copy_inputs(inputs: Path, image: Path | None, video: Path | None) -> tuple[str, str]:
    """Copy the user's files to where the gateways can fetch them; samples of the sandbox replace missing ones."""
    inputs.mkdir(parents=True)
    names = []
    for file, default in ((image, "sample.jpg"), (video, "sample.mp4")):
        names.append(file.name if file else default)
        if file:
            shutil.copyfile(file, inputs / file.name)
    return names[0], names[1]


def orientation_for(video: str, stack: Stack) -> str:
    """A reference of up to 10 s may keep the picture's orientation; a longer one must keep the video's."""
    import av

    with av.open(f"{stack.inputs_url}/{video}") as clip:
        return "image" if (clip.duration or 0) <= 10_000_000 else "video"


def run_jobs(stack: Stack, names: tuple[str, str], console: Console) -> list[tuple[DemoJob, dict[str, Any]]]:
    """Submit every job and wait for their ends."""
    client = Client.connect(stack.url, stack.secrets.demo_key)
    image_url, video_url = (f"{stack.inputs_url}/{name}" for name in names)
    specs = demo_jobs(image_url, video_url, orientation_for(names[1], stack))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        rows = {spec.gateway: progress.add_task(f"{spec.gateway:10}", total=100, state="queued") for spec in specs}
        jobs = {
            spec.gateway: call_until_reachable(lambda s=spec: client.submit(s.request, f"demo-{s.gateway}"))
            for spec in specs
        }
        deadline = time.monotonic() + TIMEOUT_S
        while any(job["status"] not in ENDED for job in jobs.values()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
            for gateway, job in jobs.items():
                jobs[gateway] = call_until_reachable(lambda j=job: client.get(j["id"]))
                done = 100 if jobs[gateway]["status"] in ENDED else min(jobs[gateway]["progress"], 95)
                progress.update(rows[gateway], completed=done, state=jobs[gateway]["status"])
    return [(spec, jobs[spec.gateway]) for spec in specs]


def call_until_reachable(call: Any) -> dict[str, Any]:
    """Call again while the receiver is being restarted; raises Unreachable after TIMEOUT_S."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return dict(call())
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)


def check(spec: DemoJob, job: dict[str, Any], stack: Stack, out: Path) -> bool:
    """Whether the clip in the bucket is whole and was billed once; a copy of it goes to `out`."""
    if job["status"] != "completed":
        return False
    out.mkdir(parents=True, exist_ok=True)
    clip = fetch(job["result"]["url"])
    (out / f"{spec.gateway}.mp4").write_bytes(clip)
    result = {key: value for key, value in job["result"].items() if key != "url"}
    (out / f"{spec.gateway}.json").write_text(json.dumps({**job, "result": result}, indent=2, ensure_ascii=False))
    return hashlib.sha256(clip).hexdigest() == job["result"]["sha256"] and bill_count(job, stack) == 1


def bill_count(job: Mapping[str, Any], stack: Stack) -> int:
    """How often the gateways billed this job."""
    tasks = {attempt["task_id"] for attempt in job["attempts"]}
    answer = json.loads(fetch(f"{stack.gateways_url}/_sandbox/bills"))
    bills = answer["bills"] if isinstance(answer, dict) else answer
    return sum(entry.get("task_id", entry.get("task")) in tasks for entry in bills)


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - an address of the stack
        return bytes(response.read())


def print_table(results: list[tuple[DemoJob, dict[str, Any]]], passed: list[bool], console: Console) -> None:
    """The table of results."""
    table = Table(title="Rushes demo")
    for name in ("gateway", "operation", "status", "reported by", "USD", "clip", "whole"):
        table.add_column(name, no_wrap=name != "clip")
    for (spec, job), is_whole in zip(results, passed, strict=True):
        result = job["result"] or {}
        reported_by = job["attempts"][-1]["heard_by"] if job["attempts"] else None
        clip = f"{result['duration_s']:.1f} s, {result['size'] / 1e6:.1f} MB" if result else job["error"]["message"]
        cost = f"{float(job['cost_usd']):.4f}" if job["cost_usd"] else "unknown"
        whole = "yes" if is_whole else "NO"
        table.add_row(spec.gateway, spec.operation, job["status"], reported_by or "-", cost, clip, whole)
    console.print(table)
    console.print("whole: the clip in the bucket has the sha256 of the manifest, and the gateway billed once.")
