"""APIMaster (apimaster.ai, a fork of new-api that has its Kling motion control from apimart; 2026-11)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rushes.deploy.sandbox.gateways.billing import Task
from rushes.deploy.sandbox.gateways.context import TaskStatus
from rushes.deploy.sandbox.gateways.gateway import Body
from rushes.deploy.sandbox.gateways.newapi import Relay
from rushes.deploy.sandbox.gateways.request_rules import WATERMARK, Field, Refusal

USD_PER_S = {"std": Decimal("0.10288"), "pro": Decimal("0.13712")}


class ApiMaster(Relay):
    """`POST /v1/videos/generations`, `GET /v1/videos/{id}`; the clip behind the key at `/v1/videos/{id}/content`."""

    name = "apimaster"
    routes = (
        ("POST", r"/v1/videos/generations", "submit"),
        ("GET", r"/v1/videos/([^/]+)", "query"),
        *Relay.routes,
    )
    fields = {
        "model": Field(required=True, choices=("kling-v3-motion-control",)),
        "image_url": Field(required=True, is_url=True),
        "video_url": Field(required=True, is_url=True),
        "character_orientation": Field(required=True, choices=("image", "video")),
        "mode": Field(required=True, choices=("std", "pro")),
        "prompt": Field(),
        "keep_original_sound": Field(choices=("yes", "no")),
        "watermark_info": WATERMARK,
        "duration": Field(int, low=1),
    }
    status_words = {"pending": "queued", "processing": "in_progress", "completed": "completed", "failed": "failed"}
    # The reason is not handed on: one code and one sentence for every failure.
    failures = {
        "plain": ("task_failed", "Video generation failed"),
        "policy": ("task_failed", "Video generation failed"),
    }

    def price(self, body: Body, seconds: float) -> Decimal:
        return USD_PER_S[body["mode"]] * Decimal(str(seconds))

    def accepted_body(self, task: Task) -> dict[str, Any]:
        return {"code": 200, "data": [{"status": "submitted", "task_id": task.id}]}

    def query_body(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        common = {"id": task.id, "object": "video", "model": task.body["model"], "status": status.word}
        if status.state == "pending":
            return common
        if status.state == "failed":
            code, message = status.failure
            return {**common, "progress": "100%", "error": {"code": code, "message": message}}
        url = {"url": self._address(task, status)} if status.url else {}
        return {**common, "progress": f"{status.progress}%", **url}

    def _address(self, task: Task, status: TaskStatus) -> str | None:
        """Its own address, which does not expire; as a fault the expired link of its upstream, as in older versions."""
        if status.link_expires_at < status.now:
            return status.url
        return f"{self.context.links.origin}/apimaster/v1/videos/{task.id}/content"

    def error_body(self, refusal: Refusal) -> dict[str, Any]:
        if refusal.param == "model":
            missing = refusal.message.endswith("is required")
            return {"code": "missing_model" if missing else "invalid_model", "message": refusal.message, "data": None}
        return super().error_body(refusal)

    def reference_error(self, problem: str) -> Refusal:
        # It bills a clamped length and lets apimart judge the clip, whose refusal comes back as a 502 (fork's code).
        return Refusal(502, problem, "upstream_error")
