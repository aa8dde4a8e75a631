"""EvoLink (evolink.ai): Kling 3.0 motion control; calls back with the body of a query, at most four times."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rushes.shared.domain.events import Reason
from rushes.shared.domain.money import whole_seconds_up
from rushes.shared.providers.base import MOTION, ModelSupport, Provider, Submission
from rushes.shared.providers.reading import decimal_at, without_empty

MODEL = "kling-v3-motion-control"
FIELDS = frozenset(
    {
        *("prompt", "image_url", "video_url", "character_orientation", "keep_original_sound", "mode", "watermark"),
        "element_ids",
    }
)
QUALITIES = {"std": "720p", "pro": "1080p"}


class Evolink(Provider):
    name = "evolink"
    address = "https://api.evolink.ai"
    submit_path = "/v1/videos/generations"
    query_path = "/v1/tasks/{task_id}"
    calls_back = True
    bills_output = True
    models = {MODEL: ModelSupport(MODEL, frozenset({MOTION}), FIELDS)}
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
        request = submission.request
        return without_empty(
            [
                ("model", MODEL),
                ("prompt", request.get("prompt")),
                ("image_urls", [request["image_url"]]),
                ("video_urls", [request["video_url"]]),
                ("quality", QUALITIES[request["mode"]]),
                ("model_params", model_params(request)),
                ("callback_url", submission.callback_url),
            ]
        )

    def made_s(self, payload: Mapping[str, Any]) -> Decimal | None:
        # `usage` counts credits, not dollars, so the cost is the price of these seconds.
        return decimal_at(payload, "task_info.video_duration")


def model_params(request: Mapping[str, Any]) -> dict[str, Any]:
    return without_empty(
        [
            ("character_orientation", request["character_orientation"]),
            ("keep_sound", bool(request.get("keep_original_sound", True))),
            ("element_list", [{"element_id": element} for element in request.get("element_ids") or ()]),
            ("watermark_info", {"enabled": bool(request.get("watermark"))}),
        ]
    )
