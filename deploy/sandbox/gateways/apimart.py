"""apimart (docs.apimart.ai, 2026-11): Kling 3.0, 2.6 and motion control, with callbacks and an idempotency key."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from rushes.deploy.sandbox.gateways.billing import Task
from rushes.deploy.sandbox.gateways.context import TaskStatus
from rushes.deploy.sandbox.gateways.gateway import Body, Gateway, letters
from rushes.deploy.sandbox.gateways.request_rules import URL, WATERMARK, BrokenRule, Field, Refusal
from rushes.deploy.sandbox.gateways.server import Request

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KEY = re.compile(r"[\x21-\x7e]{1,191}")

MOTION_USD_PER_S = {
    ("kling-v3-motion-control", "std"): Decimal("0.10288"),
    ("kling-v3-motion-control", "pro"): Decimal("0.13712"),
    ("kling-v2-6-motion-control", "std"): Decimal("0.05712"),
    ("kling-v2-6-motion-control", "pro"): Decimal("0.09144"),
}
USD_PER_S = {  # by model, mode and audio
    ("kling-v3", "std", False): Decimal("0.0672"),
    ("kling-v3", "std", True): Decimal("0.1008"),
    ("kling-v3", "pro", False): Decimal("0.0896"),
    # These three were seen on no page: they stand in, so that its bills can be added up.
    ("kling-v3", "pro", True): Decimal("0.1344"),
    ("kling-v3", "4k", False): Decimal("0.42"),
    ("kling-v3", "4k", True): Decimal("0.42"),
    ("kling-v2-6", "std", False): Decimal("0.0368"),
    ("kling-v2-6", "pro", False): Decimal("0.0625"),
    ("kling-v2-6", "pro", True): Decimal("0.125"),
}
MOTION_MODELS = ("kling-v3-motion-control", "kling-v2-6-motion-control")
MODELS = (*MOTION_MODELS, "kling-v3", "kling-v2-6")
SHOT = Field(
    dict,
    fields={
        "index": Field(int, required=True, low=1, high=6),
        "prompt": Field(required=True, longest=512),
        "duration": Field(int, required=True, low=1, high=15),
    },
)
CLIP = {
    "prompt": Field(longest=2500),
    "aspect_ratio": Field(choices=("16:9", "9:16", "1:1")),
    "negative_prompt": Field(longest=2500),
    "image_urls": Field(list, longest=2, items=URL),
    "watermark": Field(bool),
    "audio": Field(bool),
    "webhook": Field(is_url=True),
}
FIELDS: Mapping[str, Mapping[str, Field]] = {
    "kling-v3": {
        "model": Field(required=True),
        **CLIP,
        "mode": Field(choices=("std", "pro", "4k")),
        "duration": Field(int, low=3, high=15),  # "must be a plain number"
        "multi_shot": Field(bool),
        "shot_type": Field(choices=("customize", "intelligence")),
        "multi_prompt": Field(list, longest=6, items=SHOT),
    },
    "kling-v2-6": {
        "model": Field(required=True),
        **CLIP,
        "prompt": Field(required=True, longest=2500),
        "mode": Field(choices=("std", "pro")),
        "duration": Field(int, choices=(5, 10)),
    },
}

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota_error",
    404: "not_found_error",
    409: "idempotency_conflict",
    429: "rate_limit_error",
}


class Apimart(Gateway):
    """`POST /v1/videos/generations`, `GET /v1/tasks/{id}`."""

    name = "apimart"
    routes = (
        ("POST", r"/v1/videos/generations", "submit"),
        ("GET", r"/v1/tasks/([^/]+)", "query"),
        ("GET", r"/v1/balance", "balance"),
    )
    fields = {
        "model": Field(required=True, choices=MODELS),
        "prompt": Field(),
        "image_url": Field(required=True, is_url=True),
        "video_url": Field(required=True, is_url=True),
        "keep_original_sound": Field(choices=("yes", "no")),
        "character_orientation": Field(required=True, choices=("image", "video")),
        "mode": Field(required=True, choices=("std", "pro")),
        "watermark_info": WATERMARK,
        "webhook": Field(is_url=True),
    }
    status_words = {"pending": "pending", "processing": "processing", "completed": "completed", "failed": "failed"}
    failures = {
        "plain": ("500", "video generation failed"),
        "policy": ("content_policy_violation", "content policy violation"),
    }
    quick_retries_s = (10, 30, 60)
    heeds_4xx = True
    refunds = True

    def fields_of(self, request: Request, body: Body) -> Mapping[str, Field]:
        model = body.get("model")
        return FIELDS.get(model, self.fields) if isinstance(model, str) else self.fields

    def broken_rules(self, body: Body) -> Iterator[BrokenRule]:
        if not _may_be_called(body.get("webhook", "https://example.com")):
            yield BrokenRule("webhook", "webhook must be http or https, on port 80 or 443 of a public host")
        if body["model"] not in MOTION_MODELS:
            yield from _clip_rules(body)

    def media_urls(self, body: Body) -> tuple[str | None, str | None]:
        if body["model"] in MOTION_MODELS:
            return super().media_urls(body)
        return next(iter(body.get("image_urls", ())), None), None

    def price(self, body: Body, seconds: float) -> Decimal:
        if body["model"] in MOTION_MODELS:
            return MOTION_USD_PER_S[body["model"], body["mode"]] * Decimal(str(seconds))
        kind = body["model"], body.get("mode", "std"), body.get("audio", False)
        return USD_PER_S[kind] * int(body.get("duration", 5))

    def new_id(self) -> str:
        return "task_01" + letters(CROCKFORD, 24)

    def idempotency_key(self, request: Request, body: Body) -> str | None:
        key = request.headers.get("Idempotency-Key")
        if key is not None and not KEY.fullmatch(key):
            raise Refusal(400, "Idempotency-Key must be 1 to 191 visible ASCII characters", param="Idempotency-Key")
        return key

    def callback_url(self, body: Body) -> str | None:
        """The address that was given plus `/callback`; a trailing slash is folded."""
        webhook = body.get("webhook")
        return f"{webhook.rstrip('/')}/callback" if webhook else None

    def balance_body(self, usd: Decimal) -> dict[str, Any]:
        amounts = {"remain_balance": float(usd), "remain_credits": float(usd), "used_balance": 0.0, "used_credits": 0.0}
        return {"success": True, "message": "", **amounts, "unlimited_quota": False}

    def accepted_body(self, task: Task) -> dict[str, Any]:
        return {"code": 200, "data": [{"status": "submitted", "task_id": task.id}]}

    def query_body(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        data = {
            "id": task.id,
            "status": status.word,
            "progress": status.progress if status.state != "failed" else 0,
            "created": int(task.accepted_at),
            "estimated_time": round(task.takes_s),
        }
        return {"code": 200, "data": {**data, **_end(task, status)}}

    def error_body(self, refusal: Refusal) -> dict[str, Any]:
        kind = TYPES.get(refusal.status, "server_error")
        error = {"code": refusal.status, "message": refusal.message, "type": kind}
        return {"error": {**error, "param": refusal.param} if refusal.param else error}


def _clip_rules(body: Body) -> Iterator[BrokenRule]:
    yield from _multi_shot_rules(body)
    shots = body.get("multi_prompt")
    if shots and [shot["index"] for shot in shots] != list(range(1, len(shots) + 1)):
        yield BrokenRule("multi_prompt", "multi_prompt: the indexes are 1, 2, … in their order")
    if shots and sum(shot["duration"] for shot in shots) != body.get("duration", 5):
        yield BrokenRule("multi_prompt", "multi_prompt: the durations must add up to duration")
    if not (body.get("prompt") or shots or body.get("image_urls")):
        yield BrokenRule("prompt", "prompt is required")
    if "image_urls" in body and not body["image_urls"]:
        yield BrokenRule("image_urls", "image_urls takes one or two pictures")
    if body["model"] == "kling-v2-6" and body.get("audio") and body.get("mode", "std") != "pro":
        yield BrokenRule("audio", "audio needs mode pro")


def _multi_shot_rules(body: Body) -> Iterator[BrokenRule]:
    shots, shot_type, is_multi = body.get("multi_prompt"), body.get("shot_type"), body.get("multi_shot", False)
    if is_multi and not shot_type:
        yield BrokenRule("shot_type", "shot_type is required when multi_shot=true")
    if not is_multi and (shots is not None or shot_type):
        yield BrokenRule("multi_shot", "multi_prompt and shot_type go with multi_shot=true")
    if is_multi and shot_type == "customize" and not shots:
        yield BrokenRule("multi_prompt", "multi_prompt is required when shot_type=customize")
    if shots is not None and shot_type == "intelligence":
        yield BrokenRule("multi_prompt", "multi_prompt goes with shot_type=customize")


def _end(task: Task, status: TaskStatus) -> dict[str, Any]:
    if status.state == "failed":
        code, message = status.failure
        return {"error": {"code": int(code) if code.isdigit() else code, "message": message, "type": "task_error"}}
    if status.state != "completed":
        return {}
    videos = [{"url": [status.url], "expires_at": int(status.link_expires_at)}] if status.url else []
    return {
        "result": {"videos": videos},
        "completed": int(task.ends_at),
        "actual_time": round(task.takes_s),
        **({"cost": float(task.usd), "credits_cost": float(task.usd)} if status.tells_cost else {}),
    }


def _may_be_called(url: str) -> bool:
    """Port 80 or 443 of a public host; loopback on any port, because the sandbox has nobody else to call."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return "." in host and parts.port in (None, 80, 443)
    return address.is_loopback or (address.is_global and parts.port in (None, 80, 443))
