"""apimart.ai: Kling 3.0, 2.6 and motion control; calls back; submits carry an Idempotency-Key; it tells the cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from rushes.shared.domain.balances import Balance
from rushes.shared.domain.job import Link
from rushes.shared.providers.base import (
    FIRST_LAST,
    IMAGE,
    MOTION,
    TEXT,
    Access,
    ModelSupport,
    Provider,
    Submission,
    operation_of,
)
from rushes.shared.providers.links import url_at
from rushes.shared.providers.reading import balance_at, decimal_at, moment_at, span_s, value_at, without_empty

FIELDS = frozenset(
    {"prompt", "image_url", "video_url", "character_orientation", "keep_original_sound", "mode", "watermark"}
)
# docs.apimart.ai, api-reference/videos/kling-v3 and kling-v2-6, 2026-11. It names no cfg_scale and no voices.
CLIP_FIELDS = frozenset(
    {
        *("prompt", "negative_prompt", "image_url", "last_image_url"),
        *("mode", "duration", "aspect_ratio", "sound", "watermark"),
    }
)
SHOT_FIELDS = frozenset({"multi_prompt", "shot_type"})
SHOT_TYPES = {"customize": "customize", "intelligent": "intelligence"}
SHOTS_MAX, SHOT_CHARS = 6, 512


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


def clip_body(request: Mapping[str, Any]) -> dict[str, Any]:
    """The body of text or pictures to video (PROVIDERS.md 11.1)."""
    shots, shot_type = request.get("multi_prompt"), request.get("shot_type")
    pictures = [request[name] for name in ("image_url", "last_image_url") if request.get(name)]
    return without_empty(
        [
            ("model", request["model"]),
            ("prompt", request.get("prompt")),
            ("negative_prompt", request.get("negative_prompt")),
            ("image_urls", pictures),  # one is the first frame, two are first and last
            ("mode", request["mode"]),
            ("duration", int(request["duration"])),
            ("aspect_ratio", request.get("aspect_ratio")),
            ("audio", bool(request.get("sound"))),
            ("watermark", bool(request.get("watermark"))),
            ("multi_shot", True if shots or shot_type else None),
            ("shot_type", SHOT_TYPES[shot_type or "customize"] if shots or shot_type else None),
            ("multi_prompt", [{"index": index, **shot} for index, shot in enumerate(shots or (), 1)]),
        ]
    )


def shot_problems(request: Mapping[str, Any]) -> Iterator[str]:
    """What its document forbids in the shots of a request."""
    shots: Sequence[Mapping[str, Any]] = request.get("multi_prompt") or ()
    shot_type = request.get("shot_type")
    if shots and shot_type == "intelligent":
        yield "takes multi_prompt only with shot_type customize"
    if shot_type == "customize" and not shots:
        yield "takes shot_type customize only with multi_prompt"
    if shot_type == "intelligent" and not request.get("prompt"):
        yield "needs a prompt for shot_type intelligent"
    if len(shots) > SHOTS_MAX:
        yield f"takes at most {SHOTS_MAX} shots in multi_prompt"
    if any(len(shot["prompt"]) > SHOT_CHARS for shot in shots):
        yield f"takes at most {SHOT_CHARS} characters for a shot of multi_prompt"
    durations_s = [int(shot["duration"]) for shot in shots if "duration" in shot]
    if len(durations_s) < len(shots):
        yield "needs a duration for each shot of multi_prompt"
    elif shots and sum(durations_s) != request["duration"]:
        yield f"needs shots in multi_prompt whose durations add up to {request['duration']} s"


class Apimart(Provider):
    name = "apimart"
    address = "https://api.apimart.ai"
    sources = (
        ("its document of motion control (seed 001)", "2026-11-20"),
        ("docs.apimart.ai, api-reference/videos/kling-v3 and kling-v2-6", "2026-11-30"),
        ("its own client, api-contract.md, for the idempotency key", "2026-11-20"),
        ("clients of third parties, for the form of a result", "2026-11-20"),
    )
    submit_path = "/v1/videos/generations"
    query_path = "/v1/tasks/{task_id}"
    # The vendor's own client sends it with every submit and repeats only under the same key (api-contract.md, 2026-07).
    idempotent = True
    tells_cost = True
    calls_back = True
    balance_paths = ("/v1/balance",)
    models = {
        **{
            model: ModelSupport(model, frozenset({MOTION}), FIELDS)
            for model in ("kling-v3-motion-control", "kling-v2-6-motion-control")
        },
        "kling-v3": ModelSupport(
            "kling-v3",
            frozenset({TEXT, IMAGE, FIRST_LAST}),
            CLIP_FIELDS | SHOT_FIELDS,
            modes=frozenset({"std", "pro", "4k"}),
        ),
        "kling-v2-6": ModelSupport("kling-v2-6", frozenset({TEXT, IMAGE, FIRST_LAST}), CLIP_FIELDS),
    }
    # `url` is a list of strings, on an older page a plain string.
    clips = ("data.result.videos", "result.videos")

    def unsupported_values(self, request: Mapping[str, Any]) -> str | None:
        if request["model"] == "kling-v2-6" and not request.get("prompt"):
            return "needs a prompt with kling-v2-6"  # its document: required, also with pictures
        return next(shot_problems(request), None)

    def body(self, submission: Submission) -> dict[str, Any]:
        is_motion = operation_of(submission.request) == MOTION
        fields = motion_body(submission) if is_motion else clip_body(submission.request)
        # It POSTs to this address plus `/callback`, and folds a trailing slash (api-reference/tasks/webhook, 2026-11).
        return {**fields, **without_empty([("webhook", submission.callback_url)])}

    def can_call(self, url: str) -> bool:
        # "Ports 80 and 443" (api-reference/tasks/webhook, 2026-11). A host without a dot is on our own machines.
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.port in (None, 80, 443) or "." not in host or host.startswith("127.")

    def read_link(self, payload: Mapping[str, Any], access: Access) -> Link | None:
        link = super().read_link(payload, access)
        expires_at = moment_at(payload, "data.result.videos.0.expires_at", "result.videos.0.expires_at")
        return Link(link.video_url, self.read_thumbnail(payload), expires_at) if link else None

    def read_thumbnail(self, payload: Mapping[str, Any]) -> str | None:
        return url_at(payload, "data.result.thumbnail_url", "data.result.videos.0.thumbnail_url")

    def cost_usd(self, payload: Mapping[str, Any], access: Access) -> Decimal | None:
        return decimal_at(payload, "data.cost", "cost")  # zero in the documents' example of a paid task

    def read_balance(self, payload: Mapping[str, Any], access: Access) -> Balance | None:
        if value_at(payload, "unlimited_quota") is True:
            return Balance(None)
        usd = balance_at(payload, "remain_balance", "data.remain_balance")
        return None if usd is None else Balance(usd)

    def took_s(self, payload: Mapping[str, Any]) -> float | None:
        return span_s(payload, "data.created", "data.completed")
