"""apimart.ai: both motion control models; polled; submits carry an Idempotency-Key."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rushes.shared.domain.job import Link
from rushes.shared.providers.base import MOTION, Access, ModelSupport, Provider, Submission
from rushes.shared.providers.links import url_at
from rushes.shared.providers.reading import decimal_at, moment_at, span_s, without_empty

FIELDS = frozenset(
    {"prompt", "image_url", "video_url", "character_orientation", "keep_original_sound", "mode", "watermark"}
)


def motion_body(submission: Submission) -> dict[str, Any]:
    """The motion control body that apimart and APIMaster share (seeds 000 and 001)."""
    request = submission.request
    return without_empty(
        [
            ("model", request["model"]),
            ("prompt", request.get("prompt")),
            ("image_url", request["image_url"]),
            ("video_url", request["video_url"]),
            ("keep_original_sound", "yes" if request.get("keep_original_sound", True) else "no"),
            ("character_orientation", request["character_orientation"]),
            ("mode", request["mode"]),
            ("watermark_info", {"enabled": bool(request.get("watermark"))}),
        ]
    )


class Apimart(Provider):
    name = "apimart"
    address = "https://api.apimart.ai"
    submit_path = "/v1/videos/generations"
    query_path = "/v1/tasks/{task_id}"
    # The vendor's own client sends it with every submit and repeats only under the same key (api-contract.md, 2026-07).
    idempotent = True
    models = {
        model: ModelSupport(model, frozenset({MOTION}), FIELDS)
        for model in ("kling-v3-motion-control", "kling-v2-6-motion-control")
    }
    # `url` is a list of strings, on an older page a plain string.
    clips = ("data.result.videos", "result.videos")

    def body(self, submission: Submission) -> dict[str, Any]:
        return motion_body(submission)

    def read_link(self, payload: Mapping[str, Any], access: Access) -> Link | None:
        link = super().read_link(payload, access)
        expires_at = moment_at(payload, "data.result.videos.0.expires_at", "result.videos.0.expires_at")
        thumbnail = url_at(payload, "data.result.thumbnail_url", "data.result.videos.0.thumbnail_url")
        return Link(link.video_url, thumbnail, expires_at) if link else None

    def cost_usd(self, payload: Mapping[str, Any]) -> Decimal | None:
        return decimal_at(payload, "data.cost", "cost")  # zero in the documents' example of a paid task

    def took_s(self, payload: Mapping[str, Any]) -> float | None:
        return span_s(payload, "data.created", "data.completed")
