"""`rushes demo`: the whole stack, one job through each gateway that pretends, and a table of what came of it."""

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

PATIENCE_S = 600
LOOK_S = 0.3


@dataclass(frozen=True, slots=True)
class Scene:
    """One job of the demo."""

    gateway: str
    what: str
    request: Mapping[str, Any]


def scenes(image_url: str, video_url: str, orientation: str) -> list[Scene]:
    """One job for each gateway, and each operation at least once."""
    motion = {
        "prompt": "The person turns and waves, cinematic light.",
        "image_url": image_url,
        "video_url": video_url,
        "character_orientation": orientation,
    }
    words = {"prompt": "A traveller walks through a dusty desert ruin, the cape in the wind."}
    requests: dict[tuple[str, str], dict[str, Any]] = {
        ("apimaster", "motion v3"): {"model": "kling-v3-motion-control", **motion},
        ("apimart", "motion v2.6"): {"model": "kling-v2-6-motion-control", **motion},
        ("evolink", "motion v3 pro"): {"model": "kling-v3-motion-control", "mode": "pro", **motion},
        ("newapi", "image"): {"model": "kling-v3", "image_url": image_url, "duration": 5, **words},
        ("apimodels", "text"): {"model": "kling-v2-6", "duration": 5, **words},
    }
    return [Scene(gateway, what, {**request, "provider": gateway}) for (gateway, what), request in requests.items()]


def run(image: Path | None, video: Path | None, out: Path, console: Console) -> bool:
    """Play the demo; True only if every clip was archived whole and billed once."""
    with tempfile.TemporaryDirectory(prefix="rushes-demo-") as scratch:
        inputs = Path(scratch) / "inputs"
        names = offer(inputs, image, video)
        stack = Stack(Path(scratch) / "data", inputs=inputs)
        console.print("Starting Redis, S3, five gateways that pretend, and Rushes…")
        with stack:
            played = play(stack, names, console)
            passed = [check(scene, job, stack, out) for scene, job in played]
    show(played, passed, console)
    console.print(f"The clips and manifests are in [bold]{out}[/].")
    return all(passed)


def offer(inputs: Path, image: Path | None, video: Path | None) -> tuple[str, str]:
    """Put the user's files where the gateways can fetch them; without any, the sandbox's own are taken."""
    inputs.mkdir(parents=True)
    names = []
    for file, standing in ((image, "sample.jpg"), (video, "sample.mp4")):
        names.append(file.name if file else standing)
        if file:
            shutil.copyfile(file, inputs / file.name)
    return names[0], names[1]


def orientation_for(video: str, stack: Stack) -> str:
    """A reference of up to 10 s may keep the picture's orientation; a longer one must keep the video's."""
    import av

    with av.open(f"{stack.inputs_url}/{video}") as clip:
        return "image" if (clip.duration or 0) <= 10_000_000 else "video"


def play(stack: Stack, names: tuple[str, str], console: Console) -> list[tuple[Scene, dict[str, Any]]]:
    """Submit every scene and watch them to their ends."""
    client = Client.connect(stack.url, stack.secrets.demo_key)
    image_url, video_url = (f"{stack.inputs_url}/{name}" for name in names)
    cast = scenes(image_url, video_url, orientation_for(names[1], stack))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        rows = {scene.gateway: progress.add_task(f"{scene.gateway:10}", total=100, state="queued") for scene in cast}
        jobs = {scene.gateway: insist(lambda s=scene: client.submit(s.request, f"demo-{s.gateway}")) for scene in cast}
        deadline = time.monotonic() + PATIENCE_S
        while any(job["status"] not in ENDED for job in jobs.values()) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
            for gateway, job in jobs.items():
                jobs[gateway] = insist(lambda j=job: client.get(j["id"]))
                done = 100 if jobs[gateway]["status"] in ENDED else min(jobs[gateway]["progress"], 95)
                progress.update(rows[gateway], completed=done, state=jobs[gateway]["status"])
    return [(scene, jobs[scene.gateway]) for scene in cast]


def insist(call: Any) -> dict[str, Any]:
    """A receiver that is being restarted is waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dict(call())
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_S)


def check(scene: Scene, job: dict[str, Any], stack: Stack, out: Path) -> bool:
    """Fetch what lies in the bucket: whole, as the manifest says, billed once; keep a copy in `out`."""
    if job["status"] != "completed":
        return False
    out.mkdir(parents=True, exist_ok=True)
    clip = fetched(job["result"]["url"])
    (out / f"{scene.gateway}.mp4").write_bytes(clip)
    shown = {key: value for key, value in job["result"].items() if key != "url"}
    (out / f"{scene.gateway}.json").write_text(json.dumps({**job, "result": shown}, indent=2, ensure_ascii=False))
    return hashlib.sha256(clip).hexdigest() == job["result"]["sha256"] and bills(job, stack) == 1


def bills(job: Mapping[str, Any], stack: Stack) -> int:
    """How often the gateways billed this job, by their own books."""
    tasks = {attempt["task_id"] for attempt in job["attempts"]}
    held = json.loads(fetched(f"{stack.gateways_url}/_sandbox/bills"))
    entries = held["bills"] if isinstance(held, dict) else held
    return sum(entry.get("task_id", entry.get("task")) in tasks for entry in entries)


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - an address of the stack's own
        return bytes(answer.read())


def show(played: list[tuple[Scene, dict[str, Any]]], passed: list[bool], console: Console) -> None:
    """The table of results."""
    table = Table(title="Rushes demo")
    for name in ("gateway", "operation", "status", "heard by", "USD", "clip", "whole"):
        table.add_column(name, no_wrap=name != "clip")
    for (scene, job), well in zip(played, passed, strict=True):
        result = job["result"] or {}
        heard = job["attempts"][-1]["heard_by"] if job["attempts"] else None
        clip = f"{result['duration_s']:.1f} s, {result['size'] / 1e6:.1f} MB" if result else job["error"]["message"]
        cost = f"{float(job['cost_usd']):.4f}" if job["cost_usd"] else "unknown"
        table.add_row(scene.gateway, scene.what, job["status"], heard or "-", cost, clip, "yes" if well else "NO")
    console.print(table)
    console.print("whole: the bytes in the bucket are those of the manifest's sha256, and the gateway billed once.")
