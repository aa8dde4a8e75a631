"""A New-API style vendor (own models and `extra_body`, answers of stock new-api, 2026-11): Kling v3, no motion."""

from __future__ import annotations

import string
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

from rushes.deploy.sandbox.gateways.billing import Task
from rushes.deploy.sandbox.gateways.context import TaskStatus
from rushes.deploy.sandbox.gateways.gateway import DAY_S, Body, Gateway, Routes, letters
from rushes.deploy.sandbox.gateways.request_rules import NUMBER, URL, BrokenRule, Field, Refusal
from rushes.deploy.sandbox.gateways.server import Request, Response

ALPHABET = string.ascii_letters + string.digits
QUOTA_PER_USD = 500_000  # new-api counts money in these

# The vendor documents no prices: these stand in, so that its bills can be added up.
USD_PER_S = {"std": Decimal("0.06"), "pro": Decimal("0.09")}

GATE_STATUSES = (401, 403, 429, 503)  # refused before the relay: its middleware has another error format

SHOT = Field(dict, fields={"prompt": Field(required=True), "duration": Field((int, str))})


class Relay(Gateway):
    """What new-api and its forks have in common: ids, error formats, and the clip behind the key."""

    routes: ClassVar[Routes] = (
        ("GET", r"/v1/videos/([^/]+)/content", "content"),
        ("HEAD", r"/v1/videos/([^/]+)/content", "content"),
    )

    def new_id(self) -> str:
        return "task_" + letters(ALPHABET, 32)

    def content(self, request: Request, task_id: str) -> Response:
        """The clip, for the key that ordered it."""
        task = self.task(request, task_id)
        status = self.status(task, time.time())
        if status.state != "completed":
            message = f"Task is not completed yet, current status: {status.word.upper()}"
            raise Refusal(400, message, "invalid_request_error")
        return self.download(request, task)

    def error_body(self, refusal: Refusal) -> dict[str, Any]:
        if refusal.status in GATE_STATUSES:
            message = f"{refusal.message} (request id: {letters(string.hexdigits, 16)})"
            return {"error": {"message": message, "type": "new_api_error", "code": ""}}
        if refusal.slug == "invalid_url":
            return {"error": {"message": refusal.message, "type": "invalid_request_error", "param": "", "code": ""}}
        return {"code": refusal.slug, "message": refusal.message, "data": None}

    def unknown_task_error(self, task_id: str) -> Refusal:
        """It answers 400, not 404, to an id it does not have."""
        return Refusal(400, "task_not_exist", "task_not_exist")


class NewApi(Relay):
    """`POST /v1/video/generations`, `GET /v1/video/generations/{id}`."""

    name = "newapi"
    routes = (
        ("POST", r"/v1/video/generations", "submit"),
        ("GET", r"/v1/video/generations/([^/]+)", "query"),
        ("GET", r"/api/usage/token", "balance"),
        *Relay.routes,
    )
    fields = {
        "model": Field(
            required=True,
            choices=tuple(f"kling-v3-{mode}-{sound}" for mode in USD_PER_S for sound in ("silent", "audio")),
        ),
        "prompt": Field(),
        "image": URL,
        "last_image": URL,
        "aspect_ratio": Field(choices=("16:9", "9:16", "1:1")),
        # The table says string, each of the examples sends an integer.
        "duration": Field(int, required=True, low=3, high=15),
        "extra_body": Field(
            dict,
            fields={
                "cfg_scale": Field(NUMBER, low=0, high=1),
                "shot_type": Field(choices=("customize", "intelligent")),
                "negative_prompt": Field(),
                "multi_prompt": Field(list, items=SHOT),
            },
        ),
    }
    status_words = {"pending": "QUEUED", "processing": "IN_PROGRESS", "completed": "SUCCESS", "failed": "FAILURE"}
    failures = {
        "plain": ("task_failed", "upstream generation failed"),
        "policy": ("task_failed", "Failure to pass the risk control system"),
    }
    link_life_s = 30 * DAY_S
    refunds = True

    def broken_rules(self, body: Body) -> Iterator[BrokenRule]:
        shots, picture = body.get("extra_body", {}).get("multi_prompt"), body.get("image")
        if shots and body.get("prompt"):
            yield BrokenRule("prompt", "prompt and extra_body.multi_prompt exclude each other")
        if not body.get("prompt") and not (shots and picture):
            yield BrokenRule("prompt", "prompt is required, except with an image and extra_body.multi_prompt")
        if body.get("last_image") and not picture:
            yield BrokenRule("last_image", "last_image needs image")
        if not picture and "aspect_ratio" not in body:
            yield BrokenRule("aspect_ratio", "aspect_ratio is required from text alone")

    def media_urls(self, body: Body) -> tuple[str | None, str | None]:
        return body.get("image"), None

    def quality(self, body: Body) -> str:
        return str(body["model"].split("-")[2])

    def price(self, body: Body, seconds: float) -> Decimal:
        return USD_PER_S[self.quality(body)] * int(body["duration"])

    def balance_body(self, usd: Decimal) -> dict[str, Any]:
        left = int(usd * QUOTA_PER_USD)
        quota = {"total_granted": left, "total_used": 0, "total_available": left, "unlimited_quota": False}
        return {"code": True, "message": "ok", "data": {"object": "token_usage", "name": "rushes", **quota}}

    def accepted_body(self, task: Task) -> dict[str, Any]:
        return {
            "id": task.id,
            "task_id": task.id,
            "object": "video",
            "model": task.body["model"],
            "status": "queued",
            "progress": 0,
            "created_at": int(task.accepted_at),
        }

    def query_body(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        reason, begun = status.failure[1], status.state != "pending"
        return {
            "code": "success",
            "message": "",
            "data": {
                "id": 1,
                "created_at": int(task.accepted_at),
                "updated_at": int(min(status.now, task.ends_at)),
                "task_id": task.id,
                "platform": "50",
                "user_id": 1,
                "group": "default",
                "channel_id": 1,
                "quota": int(task.usd * QUOTA_PER_USD) if status.tells_cost else 0,
                "action": "generate",
                "status": status.word,
                "fail_reason": reason,
                # On failure new-api falls back to the reason, also in the place of the address.
                "result_url": status.url or reason,
                "submit_time": int(task.accepted_at),
                "start_time": int(task.accepted_at) if begun else 0,
                "finish_time": int(task.ends_at) if status.progress == 100 else 0,
                "progress": f"{status.progress}%",
                "properties": {
                    "input": task.body.get("prompt", ""),
                    "upstream_model_name": "kling-v3",
                    "origin_model_name": task.body["model"],
                },
                "data": None,
            },
        }
