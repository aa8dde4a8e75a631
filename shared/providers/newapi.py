"""A New-API style gateway (seed 003): Kling 3.0 from text or pictures; polled; its base URL has to be given.

Its vendor is unnamed and its answers are not documented, so every form of new-api and its forks is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from rushes.shared.domain.events import Reason
from rushes.shared.providers.base import FIRST_LAST, IMAGE, TEXT, Ask, Offer, Provider
from rushes.shared.providers.reading import decimal_at, kept, span_s, text_at
from rushes.shared.providers.vocabulary import STATUSES

# By mode and sound.
MODELS = {
    ("std", False): "kling-v3-std-silent",
    ("std", True): "kling-v3-std-audio",
    ("pro", False): "kling-v3-pro-silent",
    ("pro", True): "kling-v3-pro-audio",
}
EXTRAS = ("cfg_scale", "shot_type", "negative_prompt", "multi_prompt")
FIELDS = frozenset({"prompt", "image_url", "last_image_url", "mode", "duration", "aspect_ratio", "sound", *EXTRAS})
# What the vendor was told, as it came.
UPSTREAM_VIDEOS = ("data.data.data.task_result.videos", "data.data.task_result.videos")
# What it says of tasks that it gave up on by itself, which tells nothing of the request.
SWEPT = ("任务超时", "unrecognized message")


class Newapi(Provider):
    name = "newapi"
    submit_path = "/v1/video/generations"
    query_path = "/v1/video/generations/{task_id}"
    content_path = "/v1/videos/{task_id}/content"  # cut off after 60 s by stock new-api: for want of another only
    keyed_content = True
    offers = {"kling-v3": Offer("kling-v3", frozenset({TEXT, IMAGE, FIRST_LAST}), FIELDS)}
    # On failure these hold the text of the failure. Older servers keep the address in `fail_reason`.
    clips = ("data.result_url", "data.url", "url", "metadata.url", "data.fail_reason", *UPSTREAM_VIDEOS)
    # Tasks are written down as NOT_START, and what has no name is UNKNOWN: alive.
    statuses = {**STATUSES, "not_start": "running", "unknown": "running"}
    # With a 400, although its own set-up is at fault (service/error.go, 2026-11).
    refusals = dict.fromkeys(
        ("invalid_api_platform", "model_mapping_failed", "model_price_error", "invalid_channel_id"), Reason.PROVIDER
    )
    failures = {"swept": Reason.PROVIDER}

    def limits(self, request: Mapping[str, Any]) -> str | None:
        said = request.get("prompt") or request.get("multi_prompt")
        return None if said else "needs a prompt or a multi_prompt"

    def body(self, ask: Ask) -> dict[str, Any]:
        request = ask.request
        image = request.get("image_url")
        pairs = [
            ("model", MODELS[request["mode"], bool(request.get("sound"))]),
            ("prompt", request.get("prompt")),
            ("image", image),
            ("last_image", request.get("last_image_url")),
            # With a picture the clip has the picture's shape.
            ("aspect_ratio", None if image else request.get("aspect_ratio")),
            ("duration", int(request["duration"])),  # a string in seed 003's table, an integer in all its examples
            ("extra_body", kept((name, request.get(name)) for name in EXTRAS)),  # required, be it empty
        ]
        return kept(pairs)

    def reported_id(self, payload: Mapping[str, Any]) -> str | None:
        # `data.id` is the number of a row.
        return text_at(payload, "data.task_id", "task_id", "id")

    def made_s(self, payload: Mapping[str, Any]) -> Decimal | None:
        return decimal_at(payload, "metadata.duration", *(f"{videos}.0.duration" for videos in UPSTREAM_VIDEOS))

    def took_s(self, payload: Mapping[str, Any]) -> float | None:
        # When its own loop of 15 s saw the end, which is when we can. `completed_at` of its other form is set before.
        return span_s(payload, "data.submit_time", "data.finish_time")

    def failure_words(self, payload: Mapping[str, Any]) -> tuple[str, str]:
        code, message = super().failure_words(payload)
        message = text_at(payload, "data.fail_reason") or message
        if any(words in message.lower() for words in SWEPT):
            return "swept", message
        return "" if code == "success" else code, message
