"""APIMaster (apimaster.ai, a fork of new-api that has its Kling motion control from apimart; 2026-11)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rushes.deploy.sandbox.gateways.billing import Task
from rushes.deploy.sandbox.gateways.context import News
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
    words = {"pending": "queued", "processing": "in_progress", "completed": "completed", "failed": "failed"}
    # The reason is not handed on: one code and one sentence for every failure.
    failures = {
        "plain": ("task_failed", "Video generation failed"),
        "policy": ("task_failed", "Video generation failed"),
    }

    def price(self, body: Body, seconds: float) -> Decimal:
        return USD_PER_S[body["mode"]] * Decimal(str(seconds))

    def accepted(self, task: Task) -> dict[str, Any]:
        return {"code": 200, "data": [{"status": "submitted", "task_id": task.id}]}

    def report(self, task: Task, news: News) -> dict[str, Any]:
        known = {"id": task.id, "object": "video", "model": task.body["model"], "status": news.word}
        if news.state == "pending":
            return known
        if news.state == "failed":
            code, message = news.failure
            return {**known, "progress": "100%", "error": {"code": code, "message": message}}
        url = {"url": self._address(task, news)} if news.url else {}
        return {**known, "progress": f"{news.progress}%", **url}

    def _address(self, task: Task, news: News) -> str | None:
        """Its own address, which does not expire; as a fault its upstream's dead one, as older versions gave it."""
        if news.link_expires_at < news.now:
            return news.url
        return f"{self.shop.links.origin}/apimaster/v1/videos/{task.id}/content"

    def refuse(self, refusal: Refusal) -> dict[str, Any]:
        if refusal.param == "model":
            missing = refusal.message.endswith("is required")
            return {"code": "missing_model" if missing else "invalid_model", "message": refusal.message, "data": None}
        return super().refuse(refusal)

    def bad_reference(self, problem: str) -> Refusal:
        # It bills a clamped length and lets apimart judge the clip, whose refusal comes back as a 502 (fork's code).
        return Refusal(502, problem, "upstream_error")
