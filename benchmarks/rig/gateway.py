"""A gateway that pretends, in one fast process: apimodels.app's wire format, times as long as it is told.

The sandbox's own gateways keep books on disk and probe what they are sent, which is right for tests and too much CPU
for a load. Submit and query answer as the vendor documents them, callbacks carry JSON strings inside JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.rig.clip import clip
from benchmarks.rig.wire import Call, Client, Reply, json_reply, serve

QUICK_RETRIES_S = (1, 2, 4)
DOOR = "/api/v1/video/generations"
MP4 = {"Content-Type": "video/mp4"}

DRAWS: Mapping[str, Callable[[random.Random, float, float], float]] = {
    "lognormal": lambda dice, median_s, sigma: dice.lognormvariate(math.log(median_s), sigma),
    "uniform": lambda dice, median_s, sigma: dice.uniform(median_s * (1 - sigma), median_s * (1 + sigma)),
    "bimodal": lambda dice, median_s, sigma: dice.lognormvariate(math.log(median_s * dice.choice((0.5, 2))), sigma),
    "pareto": lambda dice, median_s, sigma: median_s * 0.7 * dice.paretovariate(2),
}


@dataclass(slots=True)
class Policy:
    """How long tasks take; of every `lose_every`-th submit the answer is lost (0: of none)."""

    median_s: float = 1.0
    sigma: float = 0.3
    shape: str = "lognormal"
    seed: int = 7
    lose_every: int = 0


@dataclass(slots=True)
class Task:
    """One paid task, with what was asked of it; moments in seconds since the epoch."""

    id: str
    accepted_at: float
    ends_at: float
    body: Mapping[str, Any]
    polls: int = 0
    told_at: float | None = None
    fetched_at: list[float] = field(default_factory=list)


class Gateway:
    """The tasks, and what is answered about them; `clip_file` is served where it is given."""

    def __init__(self, origin: str, clip_bytes: int, clip_file: Path | None = None) -> None:
        self._origin = origin
        self._clip, self._file = clip(clip_bytes), clip_file
        self._clients: dict[str, Client] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._tasks: dict[str, Task] = {}
        self._set(Policy())

    def _set(self, pace: Policy) -> None:
        self._pace, self._dice, self._tasks = pace, random.Random(pace.seed), {}

    def answer(self, call: Call) -> Reply:
        """Submit, query, the finished file, and the rig's own doors."""
        if call.path == DOOR:
            return self._submit(call) if call.method == "POST" else self._query(call.query.get("task_id", ""))
        _, room, *rest = call.path.split("/")
        if room == "files":
            return self._fetched(rest[0])
        if room == "_rig":
            return self._control(call, rest[0])
        return json_reply({"code": 404, "msg": "not found"}, 404)

    def _submit(self, call: Call) -> Reply:
        now = time.time()
        takes_s = DRAWS[self._pace.shape](self._dice, self._pace.median_s, self._pace.sigma)
        task = Task(f"cl{len(self._tasks):08d}x{int(now * 1000)}", now, now + takes_s, json.loads(call.body))
        self._tasks[task.id] = task
        if url := task.body.get("callback_url"):
            asyncio.get_running_loop().call_later(takes_s, self._tell_soon, task, url)
        if self._pace.lose_every and len(self._tasks) % self._pace.lose_every == 0:
            return Reply(lost=True)  # taken and billed; who asked never learns the task's id from it
        return self._said({"taskId": task.id, "state": "pending", "model": "kling-video/kling-v3"})

    def _query(self, task_id: str) -> Reply:
        task = self._tasks.get(task_id)
        if task is None:
            return json_reply({"code": 404, "msg": "no such task"}, 404)
        task.polls += 1
        known: dict[str, Any] = {"taskId": task.id, "model": "kling-video/kling-v3"}
        if time.time() < task.ends_at:
            return self._said({**known, "state": "processing"})
        return self._said({**known, "state": "completed", "resultUrls": [self._link(task)], **_times(task)})

    def _fetched(self, name: str) -> Reply:
        task = self._tasks.get(name.removesuffix(".mp4"))
        if task is None or time.time() < task.ends_at:
            return json_reply({"error": "no such file"}, 404)
        task.fetched_at.append(time.time())
        return Reply(200, b"" if self._file else self._clip, MP4, self._file)

    def _control(self, call: Call, name: str) -> Reply:
        if name == "pace":
            self._set(Policy(**json.loads(call.body)))
        if name == "callbacks":
            callbacks = [(task.body["callback_url"], self._callback(task)) for task in self._tasks.values()]
            return json_reply([{"url": url, "body": body} for url, body in callbacks])
        if name == "tasks":
            return json_reply([_shown(task) for task in self._tasks.values()])
        return json_reply({"bills": len(self._tasks), "most": most_at_once(self._tasks.values())})

    def _link(self, task: Task) -> str:
        return f"{self._origin}/files/{task.id}.mp4"

    def _said(self, data: Mapping[str, Any]) -> Reply:
        return json_reply({"code": 200, "msg": "success", "data": data})

    def _tell_soon(self, task: Task, url: str) -> None:
        telling = asyncio.ensure_future(self._tell(task, url))
        self._under_way.add(telling)
        telling.add_done_callback(self._under_way.discard)

    async def _tell(self, task: Task, url: str) -> None:
        body = json.dumps(self._callback(task)).encode()
        for pause_s in (*QUICK_RETRIES_S, 0):
            if await self._taken(url, body):
                task.told_at = task.told_at or time.time()
                return
            await asyncio.sleep(pause_s)

    async def _taken(self, url: str, body: bytes) -> bool:
        parts = urlsplit(url)
        client = self._clients.setdefault(parts.netloc, Client(url))
        try:
            answer = await client.call("POST", parts.path, {"Content-Type": "application/json"}, body)
        except OSError:
            return False
        return 200 <= answer.status < 300

    def _callback(self, task: Task) -> dict[str, Any]:
        result = {"resultUrls": [self._link(task)], "videoDuration": 5, "videoSize": "1280x720"}
        times = _times(task)
        data = {
            "taskId": task.id,
            "model": "kling-video/kling-v3",
            "state": "completed",
            "param": json.dumps(task.body),
            "resultJson": json.dumps(result),
            "failCode": None,
            "failMsg": None,
            "costTime": times["completeTime"] - times["createTime"],
            **times,
        }
        return {"code": 200, "msg": "success", "data": data}


def _shown(task: Task) -> dict[str, Any]:
    return {**asdict(task), "body": None, "prompt": task.body.get("prompt")}


def most_at_once(tasks: Iterable[Task]) -> int:
    """How many tasks there were at one moment, at most."""
    moves = sorted([(task.accepted_at, 1) for task in tasks] + [(task.ends_at, -1) for task in tasks])
    return max(itertools.accumulate(step for _, step in moves), default=0)


def _times(task: Task) -> dict[str, int]:
    return {"createTime": int(task.accepted_at * 1000), "completeTime": int(task.ends_at * 1000)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clip-bytes", type=int, default=200_000)
    parser.add_argument("--clip-file", type=Path)
    parser.add_argument("--tls-file", help="a certificate and its key: HTTPS")
    given = parser.parse_args()
    origin = f"http{'s' if given.tls_file else ''}://127.0.0.1:{given.port}"
    asyncio.run(serve(Gateway(origin, given.clip_bytes, given.clip_file).answer, given.port, given.tls_file))


if __name__ == "__main__":
    main()
