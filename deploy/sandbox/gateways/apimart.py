"""apimart (docs.apimart.ai, 2026-11): Kling motion control; the only gateway that honours an idempotency key."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from rushes.deploy.sandbox.gateways.billing import Task
from rushes.deploy.sandbox.gateways.context import TaskStatus
from rushes.deploy.sandbox.gateways.gateway import Body, Gateway, letters
from rushes.deploy.sandbox.gateways.request_rules import WATERMARK, Field, Refusal
from rushes.deploy.sandbox.gateways.server import Request

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
KEY = re.compile(r"[\x21-\x7e]{1,191}")

# apimart documents no prices: these stand in, so that its bills can be added up.
USD_PER_S = {"std": Decimal("0.1"), "pro": Decimal("0.13")}

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
    )
    fields = {
        "model": Field(required=True, choices=("kling-v3-motion-control", "kling-v2-6-motion-control")),
        "prompt": Field(),
        "image_url": Field(required=True, is_url=True),
        "video_url": Field(required=True, is_url=True),
        "keep_original_sound": Field(choices=("yes", "no")),
        "character_orientation": Field(required=True, choices=("image", "video")),
        "mode": Field(required=True, choices=("std", "pro")),
        "watermark_info": WATERMARK,
    }
    status_words = {"pending": "pending", "processing": "processing", "completed": "completed", "failed": "failed"}
    failures = {
        "plain": ("500", "video generation failed"),
        "policy": ("content_policy_violation", "content policy violation"),
    }

    def price(self, body: Body, seconds: float) -> Decimal:
        return USD_PER_S[body["mode"]] * Decimal(str(seconds))

    def new_id(self) -> str:
        return "task_01" + letters(CROCKFORD, 24)

    def idempotency_key(self, request: Request, body: Body) -> str | None:
        key = request.headers.get("Idempotency-Key")
        if key is not None and not KEY.fullmatch(key):
            raise Refusal(400, "Idempotency-Key must be 1 to 191 visible ASCII characters", param="Idempotency-Key")
        return key

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
        "cost": float(task.usd),
        "credits_cost": float(task.usd),
    }
