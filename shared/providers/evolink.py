"""EvoLink (evolink.ai): Kling 3.0, motion control too; calls back with the body of a query, at most four times."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rushes.shared.domain.events import Reason
from rushes.shared.domain.money import whole_seconds_up
from rushes.shared.providers.base import (
    FIRST_LAST,
    IMAGE,
    MOTION,
    TEXT,
    ModelSupport,
    Provider,
    Submission,
    operation_of,
)
from rushes.shared.providers.reading import decimal_at, value_at, without_empty

MODEL = "kling-v3-motion-control"
FIELDS = frozenset(
    {
        *("prompt", "image_url", "video_url", "character_orientation", "keep_original_sound", "mode", "watermark"),
        "element_ids",
    }
)
# It has `multi_shot`, `shot_type` and `multi_prompt` too; whether at top level was not seen, so they are not offered.
CLIP_FIELDS = frozenset(
    {
        *("prompt", "negative_prompt", "image_url", "last_image_url"),
        *("mode", "duration", "aspect_ratio", "sound"),
    }
)
# By operation (docs.evolink.ai, api-manual/video-series/kling, 2026-11).
CLIP_MODELS = {
    TEXT: "kling-v3-text-to-video",
    IMAGE: "kling-v3-image-to-video",
    FIRST_LAST: "kling-v3-image-to-video",
}
# 1 USD is 72 credits, and `credits_reserved` counts ten-thousandths of one.
CREDITS_PER_USD = Decimal(72 * 10_000)
QUALITIES = {"std": "720p", "pro": "1080p"}


class Evolink(Provider):
    name = "evolink"
    address = "https://api.evolink.ai"
    sources = (
        ("docs.evolink.ai, kling-v3-motion-control (seed 002)", "2026-11-20"),
        ("docs.evolink.ai, kling-v3-text-to-video and kling-v3-image-to-video", "2026-11-30"),
        ("docs.evolink.ai, task-management", "2026-11-20"),
    )
    submit_path = "/v1/videos/generations"
    query_path = "/v1/tasks/{task_id}"
    calls_back = True
    bills_output = True
    models = {
        MODEL: ModelSupport(MODEL, frozenset({MOTION}), FIELDS),
        "kling-v3": ModelSupport("kling-v3-{text,image}-to-video", frozenset(CLIP_MODELS), CLIP_FIELDS),
    }
    # Links live 24 h, which is also our default.
    clips = ("results",)
    # task-management/error-codes, 2026-11. The first two lines are not retryable unchanged, at any gateway.
    failures = {
        "content_policy_violation": Reason.POLICY,
        **dict.fromkeys(("invalid_parameters", "image_processing_error", "image_dimension_mismatch"), Reason.INPUT),
        **dict.fromkeys(("generation_failed_no_content", "resource_not_found"), Reason.INPUT),
        **dict.fromkeys(("resource_exhausted", "quota_exceeded"), Reason.RATE),
        **dict.fromkeys(("service_error", "service_unavailable", "generation_timeout"), Reason.PROVIDER),
        **dict.fromkeys(("request_cancelled", "unknown_error"), Reason.PROVIDER),
    }

    def billed_s(self, seconds: Decimal) -> Decimal:
        # One page says rounded to the nearest second, another rounded up. Up never estimates too little.
        return whole_seconds_up(seconds)

    def body(self, submission: Submission) -> dict[str, Any]:
        body_fields = motion_body if operation_of(submission.request) == MOTION else clip_body
        return without_empty([*body_fields(submission.request), ("callback_url", submission.callback_url)])

    def reserved_usd(self, payload: Mapping[str, Any]) -> Decimal | None:
        # Inferred from three of its pages (2026-11), so it is no bill. Under another rule the unit differs.
        if value_at(payload, "usage.billing_rule") != "per_second":
            return None
        credits_reserved = decimal_at(payload, "usage.credits_reserved")
        return credits_reserved / CREDITS_PER_USD if credits_reserved else None

    def made_s(self, payload: Mapping[str, Any]) -> Decimal | None:
        # A finished task tells no cost, so the cost is the price of these seconds.
        return decimal_at(payload, "task_info.video_duration")


def motion_body(request: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("model", MODEL),
        ("prompt", request.get("prompt")),
        ("image_urls", [request["image_url"]]),
        ("video_urls", [request["video_url"]]),
        ("quality", QUALITIES[request["mode"]]),
        ("model_params", model_params(request)),
    ]


def clip_body(request: Mapping[str, Any]) -> list[tuple[str, Any]]:
    image = request.get("image_url")
    return [
        ("model", CLIP_MODELS[operation_of(request)]),
        ("prompt", request.get("prompt")),
        ("negative_prompt", request.get("negative_prompt")),
        ("image_start", image),
        ("image_end", request.get("last_image_url")),
        ("duration", int(request["duration"])),
        # With a first frame the clip adapts to it if this is left out (its document).
        ("aspect_ratio", None if image else request.get("aspect_ratio")),
        ("quality", QUALITIES[request["mode"]]),
        ("sound", "on" if request.get("sound") else "off"),  # always: the price depends on it
    ]


def model_params(request: Mapping[str, Any]) -> dict[str, Any]:
    return without_empty(
        [
            ("character_orientation", request["character_orientation"]),
            ("keep_sound", bool(request.get("keep_original_sound", True))),
            ("element_list", [{"element_id": element} for element in request.get("element_ids") or ()]),
            ("watermark_info", {"enabled": bool(request.get("watermark"))}),
        ]
    )
