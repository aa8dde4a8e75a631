"""EvoLink (docs.evolink.ai, 2026-11): Kling 3.0 and its motion control, with callbacks."""

from __future__ import annotations

import ipaddress
import string
import time
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import urlsplit

from rushes.deploy.sandbox.gateways.billing import Task
from rushes.deploy.sandbox.gateways.context import TaskStatus
from rushes.deploy.sandbox.gateways.gateway import Body, Gateway, letters
from rushes.deploy.sandbox.gateways.reference_inputs import Picture, Video
from rushes.deploy.sandbox.gateways.request_rules import URL, WATERMARK, BrokenRule, Field, Refusal
from rushes.deploy.sandbox.gateways.server import Request

ALPHABET = string.ascii_lowercase + string.digits
USD_PER_S = {"720p": Decimal("0.1134"), "1080p": Decimal("0.1512")}
CLIP_USD_PER_S = {  # by quality and sound
    ("720p", "off"): Decimal("0.075"),
    ("720p", "on"): Decimal("0.113"),
    ("1080p", "off"): Decimal("0.100"),
    ("1080p", "on"): Decimal("0.150"),
}
CREDITS_PER_USD = 72  # $0.1134 is 8.1648 credits

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large_error",
    429: "rate_limit_error",
    500: "internal_server_error",
    502: "upstream_error",
    503: "service_unavailable_error",
}
MOTION_MODEL, TEXT_MODEL, IMAGE_MODEL = "kling-v3-motion-control", "kling-v3-text-to-video", "kling-v3-image-to-video"
CALLBACK = {"callback_url": Field(is_url=True, longest=2048)}
CLIP = {
    "model": Field(required=True),
    "negative_prompt": Field(longest=2500),
    "duration": Field(int, low=3, high=15),
    "aspect_ratio": Field(choices=("16:9", "9:16", "1:1")),
    "quality": Field(choices=("720p", "1080p")),
    "sound": Field(choices=("on", "off")),
    **CALLBACK,
}
FIELDS: Mapping[str, Mapping[str, Field]] = {
    TEXT_MODEL: {**CLIP, "prompt": Field(required=True, longest=2500)},
    IMAGE_MODEL: {**CLIP, "prompt": Field(longest=2500), "image_start": URL, "image_end": URL},
}
SUGGESTIONS = {429: "retry after 60 seconds", 503: "retry after 30 seconds"}


class EvoLink(Gateway):
    """`POST /v1/videos/generations`, `GET /v1/tasks/{id}`."""

    name = "evolink"
    routes = (
        ("POST", r"/v1/videos/generations", "submit"),
        ("GET", r"/v1/tasks/([^/]+)", "query"),
    )
    fields = {
        "model": Field(required=True, choices=(MOTION_MODEL, *FIELDS)),
        "image_urls": Field((str, list), required=True, is_url=True, items=URL),
        "video_urls": Field((str, list), required=True, is_url=True, items=URL),
        "prompt": Field(longest=2500),
        "quality": Field(required=True, choices=("720p", "1080p")),
        "model_params": Field(
            dict,
            required=True,
            fields={
                "character_orientation": Field(required=True, choices=("image", "video")),
                "keep_sound": Field(bool),
                "element_list": Field(list, longest=1, items=Field(dict, fields={"element_id": Field(required=True)})),
                "watermark_info": WATERMARK,
            },
        ),
        **CALLBACK,
    }
    status_words = {"pending": "pending", "processing": "processing", "completed": "completed", "failed": "failed"}
    failures = {
        "plain": ("service_error", "The service failed to generate the video"),
        "policy": ("content_policy_violation", "The request was refused by the content policy"),
    }
    quick_retries_s = (1, 2, 4)

    def fields_of(self, request: Request, body: Body) -> Mapping[str, Field]:
        model = body.get("model")
        return FIELDS.get(model, self.fields) if isinstance(model, str) else self.fields

    def broken_rules(self, body: Body) -> Iterator[BrokenRule]:
        yield from _motion_rules(body) if body["model"] == MOTION_MODEL else _clip_rules(body)
        if not _may_be_called(body.get("callback_url", "https://example.com")):
            yield BrokenRule("callback_url", "callback_url must be HTTPS and must not be an internal address")

    def media_urls(self, body: Body) -> tuple[str | None, str | None]:
        if body["model"] != MOTION_MODEL:
            return body.get("image_start") or body.get("image_end"), None
        return _single_url(body["image_urls"]), _single_url(body["video_urls"])

    def quality(self, body: Body) -> str:
        return str(body.get("quality", "720p"))

    def lengths_s(self, body: Body) -> tuple[float, float]:
        return super().lengths_s(body["model_params"])

    def broken_media_rules(self, picture: Picture | None, video: Video | None) -> Iterator[BrokenRule]:
        if picture and not _picture_fits(picture):
            yield BrokenRule("image_urls", f"an image of {picture.width}x{picture.height} is not taken")
        if video and not 340 <= min(video.width, video.height) <= max(video.width, video.height) <= 3850:
            yield BrokenRule("video_urls", f"a video of {video.width}x{video.height} is not taken")

    def price(self, body: Body, seconds: float) -> Decimal:
        if body["model"] != MOTION_MODEL:
            return CLIP_USD_PER_S[self.quality(body), body.get("sound", "off")] * int(body.get("duration", 5))
        return USD_PER_S[body["quality"]] * _rounded_seconds(seconds)

    def new_id(self) -> str:
        return f"task-unified-{int(time.time())}-{letters(ALPHABET, 8)}"

    def callback_url(self, body: Body) -> str | None:
        url: str | None = body.get("callback_url")
        return url

    def accepted_body(self, task: Task) -> dict[str, Any]:
        return {
            **_common_fields(task, "pending", 0, can_cancel=True),
            "task_info": {
                "can_cancel": True,
                "estimated_time": round(task.takes_s),
                "video_duration": int(_rounded_seconds(task.clip.seconds)),
            },
            "usage": {
                "billing_rule": "per_second",
                "credits_reserved": int(task.usd * CREDITS_PER_USD * 10_000),
                "user_group": "default",
            },
        }

    def query_body(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        if status.state == "failed":
            code, message = status.failure
            return {**_common_fields(task, status.word, 0), "error": {"code": code, "message": message}}
        if status.state == "completed":
            return {**_common_fields(task, status.word, 100), "results": [status.url] if status.url else []}
        return _common_fields(task, status.word, status.progress, can_cancel=True)

    def error_body(self, refusal: Refusal) -> dict[str, Any]:
        kind = TYPES.get(refusal.status, "invalid_request_error")
        details = {"param": refusal.param, "fallback_suggestion": SUGGESTIONS.get(refusal.status, "")}
        error = {"code": refusal.status, "message": refusal.message, "type": kind}
        return {"error": {**error, **{name: value for name, value in details.items() if value}}}


def _common_fields(task: Task, word: str, progress: int, can_cancel: bool = False) -> dict[str, Any]:
    return {
        "id": task.id,
        "object": "video.generation.task",
        "created": int(task.accepted_at),
        "model": task.body["model"],
        "type": "video",
        "status": word,
        "progress": progress,
        "task_info": {"can_cancel": can_cancel},
    }


def _motion_rules(body: Body) -> Iterator[BrokenRule]:
    for name in ("image_urls", "video_urls"):
        if isinstance(body[name], list) and len(body[name]) != 1:
            yield BrokenRule(name, f"{name} takes exactly one file")
    params = body["model_params"]
    if params.get("element_list") and params["character_orientation"] != "video":
        yield BrokenRule("model_params.character_orientation", "must be video where element_list is given")


def _clip_rules(body: Body) -> Iterator[BrokenRule]:
    if body["model"] == IMAGE_MODEL and not {"image_start", "image_end"} & body.keys():
        yield BrokenRule("image_start", "image_start or image_end is required")


def _single_url(urls: str | list[str]) -> str:
    return urls if isinstance(urls, str) else urls[0]


def _picture_fits(picture: Picture) -> bool:
    short, long = sorted((picture.width, picture.height))
    return short >= 300 and long <= 65536 and long <= 2.5 * short


def _rounded_seconds(seconds: float) -> Decimal:
    return Decimal(str(seconds)).quantize(Decimal(1), ROUND_HALF_UP)


def _may_be_called(url: str) -> bool:
    """HTTPS to a public address; loopback is allowed in any scheme, because the sandbox has nobody else to call."""
    parts = urlsplit(url)
    try:
        address = ipaddress.ip_address("127.0.0.1" if parts.hostname == "localhost" else parts.hostname or "")
    except ValueError:
        return parts.scheme == "https"
    return address.is_loopback or (parts.scheme == "https" and address.is_global)
