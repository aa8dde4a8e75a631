"""apimodels.app (2026-11): Kling 2.6, 3.0 and motion control; its callbacks hold JSON documents in strings."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from rushes.deploy.sandbox.gateways.billing import Task
from rushes.deploy.sandbox.gateways.context import TaskStatus
from rushes.deploy.sandbox.gateways.gateway import DAY_S, Body, Gateway, letters
from rushes.deploy.sandbox.gateways.request_rules import URL, BrokenRule, Field, Refusal
from rushes.deploy.sandbox.gateways.server import Request, Response

ALPHABET = string.ascii_lowercase + string.digits
MODELS = ("kling-v2-6", "kling-v3", "kling-motion-control")
MOTION_USD_PER_S = {
    ("2.6", "std"): Decimal("0.06"),
    ("2.6", "pro"): Decimal("0.10"),
    ("3.0", "std"): Decimal("0.12"),
    ("3.0", "pro"): Decimal("0.15"),
}
V3_USD_PER_S = {  # by mode and sound
    ("std", False): Decimal("0.0633"),
    ("std", True): Decimal("0.0956"),
    ("pro", False): Decimal("0.0853"),
    ("pro", True): Decimal("0.1280"),
}
V26_USD = {  # a clip, by mode, duration, sound and voice
    ("std", "5", False, False): Decimal("0.0159"),
    ("std", "10", False, False): Decimal("0.0320"),
    ("pro", "5", False, False): Decimal("0.0267"),
    ("pro", "10", False, False): Decimal("0.0531"),
    ("pro", "5", True, False): Decimal("0.0531"),
    ("pro", "10", True, False): Decimal("0.1064"),
    ("pro", "5", True, True): Decimal("0.0639"),
    ("pro", "10", True, True): Decimal("0.1275"),
}
DURATIONS = {"kling-v2-6": ("5", "10"), "kling-v3": tuple(map(str, range(3, 16)))}
TEXT_ONLY = ("duration", "aspect_ratio", "sound", "voice_list")
MOTION_ONLY = ("motion_video", "version", "character_orientation", "keep_original_sound")


class ApiModels(Gateway):
    """`POST /api/v1/video/generations`, `GET /api/v1/video/generations?task_id=`; at its newer address without `/api`.

    The document names few fields of motion control; those it does not name are taken under Kling's own names.
    """

    name = "apimodels"
    routes = (
        ("POST", r"(?:/api)?/v1/video/generations", "submit"),
        ("GET", r"(?:/api)?/v1/video/generations", "query_by_parameter"),
        ("GET", r"(?:/api)?/v1/balance", "balance"),
    )
    fields = {
        "model": Field(required=True, choices=MODELS),
        "prompt": Field(longest=2500),
        "mode": Field(choices=("std", "pro")),
        "duration": Field(),
        "aspect_ratio": Field(choices=("16:9", "9:16", "1:1")),
        "image": URL,
        "motion_video": URL,
        "version": Field(choices=("2.6", "3.0")),
        "character_orientation": Field(choices=("image", "video")),
        "keep_original_sound": Field(choices=("yes", "no")),
        "sound": Field(choices=("on", "off")),
        "voice_list": Field(list, items=Field(dict, fields={"voice_id": Field(required=True)})),
        "callback_url": Field(is_url=True, longest=2048),
    }
    status_words = {"pending": "pending", "processing": "processing", "completed": "completed", "failed": "failed"}
    failures = {
        "plain": ("500", "Upstream generation failed"),
        "policy": ("400", "Content policy violation"),
    }
    link_life_s = 7 * DAY_S
    quick_retries_s = (1, 2, 4)
    retried_for_s = 30 * 60

    def broken_rules(self, body: Body) -> Iterator[BrokenRule]:
        motion = body["model"] == "kling-motion-control"
        for name in TEXT_ONLY if motion else MOTION_ONLY:
            if name in body:
                yield BrokenRule(name, f"{name} is not a field of {body['model']}")
        yield from _motion(body) if motion else _generation(body)

    def media_urls(self, body: Body) -> tuple[str | None, str | None]:
        return body.get("image"), body.get("motion_video")

    def lengths_s(self, body: Body) -> tuple[float, float]:
        return 0, 30  # the document gives a longest length only

    def price(self, body: Body, seconds: float) -> Decimal:
        mode, duration = body.get("mode", "std"), body.get("duration", "5")
        if body["model"] == "kling-motion-control":
            return MOTION_USD_PER_S[body.get("version", "2.6"), mode] * Decimal(str(seconds))
        if body["model"] == "kling-v3":
            return V3_USD_PER_S[mode, _sounds(body)] * int(duration)
        return V26_USD[mode, duration, _sounds(body), bool(body.get("voice_list"))]

    def new_id(self) -> str:
        return "cl" + letters(ALPHABET, 23)

    def balance_body(self, usd: Decimal) -> dict[str, Any]:
        return _envelope({"balance": float(usd)})

    def callback_url(self, body: Body) -> str | None:
        url: str | None = body.get("callback_url")
        return url

    def query_by_parameter(self, request: Request) -> Response:
        """A query names its task in the query string."""
        return self.query(request, request.query.get("task_id", ""))

    def accepted_body(self, task: Task) -> dict[str, Any]:
        return _envelope({**_common_fields(task), "state": "pending"})

    def query_body(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        common = {**_common_fields(task), "state": status.word}
        if status.state == "failed":
            code, message = status.failure
            return _envelope({**common, "failMsg": message, "failCode": code})
        if status.state == "completed":
            return _envelope({**common, "resultUrls": [status.url] if status.url else [], **_times(task, status)})
        return _envelope(common)

    def callback(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        code, message = status.failure if status.state == "failed" else (None, None)
        times = _times(task, status)
        return _envelope(
            {
                **_common_fields(task),
                "state": status.word,
                "param": json.dumps(task.body, ensure_ascii=False),
                "resultJson": self._result_json(task, status),
                "failCode": code,
                "failMsg": message,
                "costTime": times["completeTime"] - times["createTime"],
                **times,
            }
        )

    def _result_json(self, task: Task, status: TaskStatus) -> str | None:
        if status.state == "failed":
            return None
        result = {
            "resultUrls": [status.url],
            "videoDuration": task.clip.seconds,
            "thumbnailUrl": self.context.links.make(self.name, task.id, "thumbnail.jpg", status.link_expires_at),
            "videoSize": f"{task.clip.width}x{task.clip.height}",
            "videoModel": task.body["model"],
        }
        return json.dumps(result)

    def error_body(self, refusal: Refusal) -> dict[str, Any]:
        if refusal.param == "model":
            return {"code": refusal.status, "msg": f"Invalid model: {refusal.message}. Supported: {', '.join(MODELS)}"}
        return {"code": refusal.status, "msg": refusal.message}


def _motion(body: Body) -> Iterator[BrokenRule]:
    for name in ("image", "motion_video"):
        if name not in body:
            yield BrokenRule(name, f"{name} is required for kling-motion-control")


def _generation(body: Body) -> Iterator[BrokenRule]:
    model, v26 = body["model"], body["model"] == "kling-v2-6"
    if not body.get("prompt") and "image" not in body:
        yield BrokenRule("prompt", "prompt is required without an image")
    if body.get("duration", "5") not in DURATIONS[model]:
        yield BrokenRule("duration", f"duration of {model} is one of {', '.join(DURATIONS[model])}")
    if v26 and _sounds(body) and body.get("mode", "std") != "pro":
        yield BrokenRule("sound", "sound of kling-v2-6 needs mode pro")
    if body.get("voice_list") and not (v26 and _sounds(body)):
        yield BrokenRule("voice_list", "voice_list goes with kling-v2-6 and sound")


def _sounds(body: Body) -> bool:
    return body.get("sound") == "on"


def _envelope(data: dict[str, Any]) -> dict[str, Any]:
    return {"code": 200, "msg": "success", "data": data}


def _common_fields(task: Task) -> dict[str, Any]:
    return {"taskId": task.id, "model": f"kling-video/{task.body['model']}"}


def _times(task: Task, status: TaskStatus) -> dict[str, int]:
    return {"createTime": int(task.accepted_at * 1000), "completeTime": int(min(status.now, task.ends_at) * 1000)}
