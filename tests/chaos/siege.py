"""The whole stack as real processes, under kill -9, freezes and failing outsiders. The gateways' books judge."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import redis
from botocore.config import Config
from whole_stack import Site

from rushes.deploy.sandbox.ports import free_ports
from rushes.deploy.sandbox.stack import BUCKET, Ports, Stack
from rushes.shared.client import ENDED
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Access

EVERY_S = 2.0
# A held job is one that is still in doubt when nothing has moved for so long.
STILL_S = 12
FROZEN_S = (0.5, 2.0, 4.0)
TROUBLES = ("answer_lost", "html_502", "http_500", "rate_limited", "refuse_503", "slow", "bad_json")
STAGES = {"bad_json": "query"}


def settings(broker_port: int) -> dict[str, str]:
    """Caps that hold nobody up, tasks of a second or two, and a broker that may be emptied by itself."""
    wide = {f"{name.upper()}_SUBMITS_PER_MINUTE": "6000" for name in PROVIDERS}
    return {
        **wide,
        **{f"{name.upper()}_MAX_IN_FLIGHT": "500" for name in PROVIDERS},
        "SANDBOX_TASK_SECONDS": "1-3",
        "RUSHES_CALLBACK_GRACE_S": "5",
        "RUSHES_BROKER_URL": f"redis://127.0.0.1:{broker_port}/1",
    }


@dataclass
class Score:
    """What became of it all."""

    jobs: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    blows: Counter[str] = field(default_factory=Counter)
    bills: int = 0
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    billed_twice: list[str] = field(default_factory=list)
    finalized_twice: list[str] = field(default_factory=list)
    bytes_differing: list[str] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, list[str]]:
        return {name: getattr(self, name) for name in SCORED if getattr(self, name)}

    def table(self) -> str:
        """One line for each figure."""
        rows = {
            "jobs": self.jobs,
            **{name: self.ends[name] for name in ("completed", "failed", "held")},
            **{f"{what}": count for what, count in sorted(self.blows.items())},
            "bills": self.bills,
            **{name.replace("_", " "): len(getattr(self, name)) for name in SCORED},
        }
        return "\n".join(f"{name:24}{count:>8}" for name, count in rows.items())


SCORED = ("lost", "stuck", "billed_twice", "finalized_twice", "bytes_differing", "unaccounted")


class Siege:
    """A running stack and the blows that it takes."""

    def __init__(self, folder: Path, seed: int) -> None:
        ports = Ports(redis=free_ports(1)[0])
        self.stack = Stack(folder, ports, extra_env=settings(ports.redis))
        self.random = random.Random(seed)
        self.score = Score()
        self.jobs: dict[str, str] = {}

    def __enter__(self) -> Siege:
        self.stack.start()
        self.site = Site(self.stack)
        self.s3 = _s3(self.stack.env["AWS_ENDPOINT_URL_S3"])
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.stop()

    # --- what is asked for

    def order(self, number: int) -> None:
        """One more job; a receiver that is gone is waited for, and asked again under the same key."""
        marker = f"job number {number}"
        inputs = {name: f"{self.stack.inputs_url}/sample.{kind}" for name, kind in INPUTS}
        text = {"model": "kling-v3", "prompt": marker, "duration": 3, "provider": ("apimodels", "newapi")[number % 2]}
        motion = {"model": "kling-v2-6-motion-control", "prompt": marker, "character_orientation": "image", **inputs}
        motion["provider"] = ("apimart", "evolink")[number % 4 // 2]
        self.jobs[marker] = self.site.submit(f"key {number}", motion if number % 4 < 2 else text)

    # --- what goes wrong

    def strike(self) -> None:
        """One blow."""
        name = self.random.choice(list(BLOWS))
        BLOWS[name](self)
        self.score.blows[name] += 1

    def kill(self, name: str) -> None:
        pid = self.stack.processes().get(name)
        with suppress(ProcessLookupError, TypeError):
            os.killpg(pid, signal.SIGKILL)  # type: ignore[arg-type]

    def freeze(self, name: str) -> None:
        pid = self.stack.processes().get(name)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGSTOP)
            time.sleep(self.random.choice(FROZEN_S))
            os.killpg(pid, signal.SIGCONT)

    def flush_broker(self) -> None:
        with suppress(redis.RedisError), redis.Redis.from_url(self.stack.env["RUSHES_BROKER_URL"]) as broker:
            broker.flushdb()

    def trouble(self) -> None:
        """A gateway has a fault up its sleeve."""
        fault, gateway = self.random.choice(TROUBLES), self.random.choice(("apimart", "apimodels", "newapi", "evolink"))
        told = {"gateway": gateway, "fault": fault, "times": 1, "seconds": 3}
        stage = STAGES.get(fault) or self.random.choice(("submit", "query"))
        with suppress(OSError):
            self._control("POST", "/faults", {**told, "stage": stage})

    def mend(self) -> None:
        """Nothing goes wrong any more."""
        with suppress(OSError):
            self._control("DELETE", "/faults")

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        call = urllib.request.Request(f"{self.stack.gateways_url}/_sandbox{path}", data, method=method)
        with urllib.request.urlopen(call, timeout=10) as answer:
            return json.load(answer)

    # --- how it went

    def seen(self) -> dict[str, dict[str, Any]]:
        """Every job as the API shows it, by its id."""
        found = self.site.insist(lambda: list(self.site.client.list()))
        return {job["id"]: job for job in found}

    def await_rest(self, patience_s: float) -> dict[str, dict[str, Any]]:
        """Until every job has ended, or is in doubt and stays so."""
        give_up_at, last, still_since = time.monotonic() + patience_s, "", time.monotonic()
        while time.monotonic() < give_up_at:
            jobs = self.seen()
            left = {job["id"]: job["status"] for job in jobs.values() if job["status"] not in ENDED}
            if str(left) != last:
                last, still_since = str(left), time.monotonic()
            doubtful = set(left.values()) <= {"unconfirmed"}
            if not left or (doubtful and time.monotonic() > still_since + STILL_S):
                return jobs
            time.sleep(0.5)
        return self.seen()

    def judge(self, jobs: dict[str, dict[str, Any]]) -> Score:
        """Hold what the API shows against the gateways' books, the ledger and the bucket."""
        score, tasks = self.score, defaultdict(list)
        for task in self.site.books("tasks"):
            tasks[task["body"].get("prompt")].append(task)
        score.jobs, score.bills = len(self.jobs), len(self.site.books("bills"))
        for marker, job_id in self.jobs.items():
            if job_id not in jobs:
                score.lost.append(job_id)
            else:
                self._judge_one(marker, jobs[job_id], tasks[marker])
        return score

    def _judge_one(self, marker: str, job: dict[str, Any], tasks: list[dict[str, Any]]) -> None:
        score, told = self.score, f"{marker} {job['id']} {job['status']} {job['attempts']}"
        in_doubt = [attempt for attempt in job["attempts"] if attempt["status"] == "unconfirmed"]
        paid = [attempt for attempt in job["attempts"] if attempt["status"] != "rejected"]
        score.ends["held" if job["status"] == "unconfirmed" else job["status"]] += 1
        if job["status"] not in (*ENDED, "unconfirmed"):
            score.stuck.append(told)
        if len([task for task in tasks if task["state"] != "failed"]) > 1:
            score.billed_twice.append(f"{told}: {[task['id'] for task in tasks]}")
        if {task["id"] for task in tasks} - {a["task_id"] for a in paid} and not in_doubt:
            score.unaccounted.append(f"{told}: {[task['id'] for task in tasks]}")
        if self._ends(job) != int(job["status"] in ENDED):
            score.finalized_twice.append(told)
        if job["status"] == "completed" and not self._is_the_gateways(job):
            score.bytes_differing.append(told)

    def _ends(self, job: dict[str, Any]) -> int:
        """How often its manifest was written, or its history tells of an end, whichever is more."""
        with redis.Redis.from_url(self.stack.env["REDIS_URL"]) as client:
            held = _ledger(client).get(job["id"])
        told = sum(note.what in ENDED for note in held.history) if held else 0
        return max(told, self._manifests[f"{_folder(job)}manifest.json"])

    @cached_property
    def _manifests(self) -> Counter[str]:
        """How many versions of each there are. Asked once for all: moto copies the bucket each time."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix="jobs/")
        return Counter(version["Key"] for page in pages for version in page.get("Versions", []))

    def _is_the_gateways(self, job: dict[str, Any]) -> bool:
        attempt, result = job["attempts"][-1], job["result"]
        provider, name = PROVIDERS[attempt["provider"]], attempt["provider"]
        access = Access(f"{self.stack.gateways_url}/{name}", f"sandbox-{name}")
        event: Any = provider.read_query(_get(provider.query_request(attempt["task_id"], access)), access)
        served = _get(provider.download_request(event.link.video_url, access)).body
        with self.s3.get_object(Bucket=BUCKET, Key=result["key"])["Body"] as body:
            held = body.read()
        told: str = result["sha256"]
        return bool(held == served) and hashlib.sha256(held).hexdigest() == told


INPUTS = (("image_url", "jpg"), ("video_url", "mp4"))
BLOWS: dict[str, Callable[[Siege], None]] = {
    "worker killed": lambda siege: siege.kill("worker"),
    "scheduler killed": lambda siege: siege.kill("scheduler"),
    "web killed": lambda siege: siege.kill("web"),
    "gateways killed": lambda siege: siege.kill("gateways"),
    "redis killed": lambda siege: siege.kill("redis"),
    "redis frozen": lambda siege: siege.freeze("redis"),
    "worker frozen": lambda siege: siege.freeze("worker"),
    "s3 frozen": lambda siege: siege.freeze("s3"),
    "broker flushed": lambda siege: siege.flush_broker(),
    "gateway faults": lambda siege: siege.trouble(),
}


def run_siege(siege: Siege, jobs: int, seconds: float, patience_s: float) -> Score:
    """Order so many jobs within the time, with a blow every few seconds; then wait until all is quiet."""
    for number in _spread(jobs, seconds, siege.strike):
        siege.order(number)
    siege.mend()
    return siege.judge(siege.await_rest(patience_s))


def _spread(jobs: int, seconds: float, strike: Callable[[], None]) -> Iterator[int]:
    """The numbers of the jobs, spread over the time; in between it strikes."""
    began = struck = time.monotonic()
    ordered = 0
    while (passed := time.monotonic() - began) < seconds or ordered < jobs:
        if time.monotonic() - struck > EVERY_S:
            strike()
            struck = time.monotonic()
        if ordered < jobs and passed >= ordered * seconds / jobs / 2:
            yield ordered
            ordered += 1
        else:
            time.sleep(0.05)


def _ledger(client: Any) -> Ledger:
    return Ledger(RedisStore(client), Policy())


def _folder(job: dict[str, Any]) -> str:
    return f"jobs/{job['created_at'][:10].replace('-', '/')}/{job['id']}/"


def _get(request: Request) -> Response:
    call = urllib.request.Request(request.url, headers=dict(request.headers))
    with urllib.request.urlopen(call, timeout=30) as answer:
        return Response(answer.status, {}, answer.read())


def _s3(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="sandbox",
        aws_secret_access_key="sandbox",
        config=Config(s3={"addressing_style": "path"}),
    )
