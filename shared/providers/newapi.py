"""A New-API style gateway (seed 003): Kling 3.0 from text or pictures; polled; it needs NEWAPI_BASE_URL.

Its vendor is unnamed and its answers are not documented, so the forms of new-api and of all its forks are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Reason
from rushes.shared.providers.base import (
    FIRST_LAST,
    IMAGE,
    SHOT_DURATION,
    TEXT,
    Access,
    ModelSupport,
    Provider,
    Submission,
)
from rushes.shared.providers.error_bodies import ErrorBody
from rushes.shared.providers.reading import balance_at, decimal_at, span_s, text_at, value_at, without_empty
from rushes.shared.providers.vocabulary import STATUSES

# By mode and sound.
MODELS = {
    ("std", False): "kling-v3-std-silent",
    ("std", True): "kling-v3-std-audio",
    ("pro", False): "kling-v3-pro-silent",
    ("pro", True): "kling-v3-pro-audio",
}
EXTRAS = ("cfg_scale", "shot_type", "negative_prompt", "multi_prompt")
# Its examples give a shot nothing but a prompt; the length goes under Kling's own name.
GUESSES = frozenset({SHOT_DURATION})
FIELDS = frozenset({"prompt", "image_url", "last_image_url", "mode", "duration", "aspect_ratio", "sound", *EXTRAS})
# The videos in the vendor's own response, which is passed on unchanged.
UPSTREAM_VIDEOS = ("data.data.data.task_result.videos", "data.data.task_result.videos")
# Its messages for tasks that it gave up by itself; they say nothing of the request.
GIVEN_UP = ("任务超时", "unrecognized message")


class Newapi(Provider):
    name = "newapi"
    sources = (
        ("its document (seed 003), which gives no answers", "2026-11-20"),
        ("the source of new-api and of its forks, for the answers", "2026-11-20"),
    )
    submit_path = "/v1/video/generations"
    query_path = "/v1/video/generations/{task_id}"
    content_path = "/v1/videos/{task_id}/content"  # stock new-api cuts it off after 60 s, so it is the last resort
    keyed_content = True
    balance_paths = ("/api/usage/token",)
    tells_cost = True
    models = {
        "kling-v3": ModelSupport(
            "kling-v3-{std,pro}-{silent,audio}", frozenset({TEXT, IMAGE, FIRST_LAST}), FIELDS, guessed=GUESSES
        )
    }
    # A failed task has the text of the failure here. Older servers have the URL in `fail_reason`.
    clips = ("data.result_url", "data.url", "url", "metadata.url", "data.fail_reason", *UPSTREAM_VIDEOS)
    # A new task is NOT_START, and a state without a name is UNKNOWN: both are still running.
    statuses = {**STATUSES, "not_start": "running", "unknown": "running"}
    # It answers these with a 400, although its own configuration is wrong (service/error.go, 2026-11).
    refusals = dict.fromkeys(
        ("invalid_api_platform", "model_mapping_failed", "model_price_error", "invalid_channel_id"), Reason.PROVIDER
    )
    failures = {"swept": Reason.PROVIDER}

    def unsupported_values(self, request: Mapping[str, Any]) -> str | None:
        shots = request.get("multi_prompt")
        if not shots:
            return None if request.get("prompt") else "needs a prompt or a multi_prompt"
        # Its document has shots for image to video alone.
        return None if request.get("image_url") else "takes multi_prompt only with image_url"

    def body(self, submission: Submission) -> dict[str, Any]:
        request = submission.request
        image = request.get("image_url")
        pairs = [
            ("model", MODELS[request["mode"], bool(request.get("sound"))]),
            ("prompt", request.get("prompt")),
            ("image", image),
            ("last_image", request.get("last_image_url")),
            # With an image the clip has the image's aspect ratio.
            ("aspect_ratio", None if image else request.get("aspect_ratio")),
            ("duration", int(request["duration"])),  # a string in seed 003's table, an integer in all its examples
            ("extra_body", without_empty((name, request.get(name)) for name in EXTRAS)),  # required, even if empty
        ]
        return without_empty(pairs)

    def reported_task_id(self, payload: Mapping[str, Any]) -> str | None:
        # `data.id` is the number of a database row.
        return text_at(payload, "data.task_id", "task_id", "id")

    def cost_usd(self, payload: Mapping[str, Any], access: Access) -> Decimal | None:
        # What was charged, in the site's own unit; 0 after a refund (2026-11).
        quota = decimal_at(payload, "data.quota")
        return None if quota is None else quota / access.quota_per_usd

    def read_balance(self, payload: Mapping[str, Any], access: Access) -> Balance | None:
        if value_at(payload, "data.unlimited_quota") is True:
            return Balance(None)
        quota = balance_at(payload, "data.total_available")
        return None if quota is None else Balance(quota / access.quota_per_usd)

    def made_s(self, payload: Mapping[str, Any]) -> Decimal | None:
        return decimal_at(payload, "metadata.duration", *(f"{videos}.0.duration" for videos in UPSTREAM_VIDEOS))

    def took_s(self, payload: Mapping[str, Any]) -> float | None:
        # `finish_time` is when its own loop of 15 s saw the end; we cannot see it sooner. `completed_at`, in its other
        # form, is set earlier.
        return span_s(payload, "data.submit_time", "data.finish_time")

    def read_failure_body(self, payload: Mapping[str, Any]) -> ErrorBody:
        error = super().read_failure_body(payload)
        given_up = any(words in error.message.lower() for words in GIVEN_UP)
        return replace(error, code="swept") if given_up else error
