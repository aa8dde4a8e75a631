"""apimodels.app: text, image and motion control; calls back with JSON strings inside JSON, and repeats itself.

It is at two addresses (PROVIDERS.md 11.5): `https://apimodels.app`, calls under `/api/v1` (its document), and the newer
`https://api.apimodels.app`, calls under `/v1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Link
from rushes.shared.providers.base import (
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
from rushes.shared.providers.reading import (
    Malformed,
    balance_at,
    decimal_at,
    parse_nested,
    span_s,
    text_at,
    value_at,
    without_empty,
)
from rushes.shared.providers.status_word import status_word

# No document gives these names; they are Kling's own. Correct them here when a real response shows others. They are
# offered because the document prices what cannot be said without them. Its other gaps are not guessed: it names no last
# frame, no negative prompt and no cfg_scale (deploy/decisions.md).
MOTION_NAMES = {"version": "version", "orientation": "character_orientation", "sound": "keep_original_sound"}
SOUND, VOICES = "sound", "voice_list"
# Our fields that are said under such names. The version of the model follows from `model`.
MOTION_GUESSES = frozenset({"model", "mode", "character_orientation", "keep_original_sound"})
CLIP_GUESSES = frozenset({"sound"})

CLIP_FIELDS = frozenset({"prompt", "image_url", "mode", "duration", "aspect_ratio", "sound"})
MOTION_FIELDS = frozenset({"prompt", "image_url", "video_url", "mode", "character_orientation", "keep_original_sound"})
# No document gives these names. They are read only, and what is not in US dollars has another name.
BALANCE_PATH = "/api/v1/balance"
BALANCES = ("data.balance", "balance", "data.remain_balance", "remain_balance", "data.balance_usd", "balance_usd")
IDS = ("data.taskId", "data.task_id", "data.0.taskId", "data.0.task_id", "taskId", "task_id")
VERSIONS = {"kling-v3-motion-control": "3.0", "kling-v2-6-motion-control": "2.6"}
NEWER_HOST = "api.apimodels.app"


class Apimodels(Provider):
    name = "apimodels"
    address = "https://apimodels.app"
    sources = (
        ("its document (seed 004)", "2026-11-20"),
        ("its own client, for the newer address and polling", "2026-11-30"),
        ("a bot of a third party, for the other form of its answers", "2026-11-30"),
    )
    submit_path = "/api/v1/video/generations"
    query_path = "/api/v1/video/generations?task_id={task_id}"
    calls_back = True
    models = {
        **{
            model: ModelSupport("kling-motion-control", frozenset({MOTION}), MOTION_FIELDS, guessed=MOTION_GUESSES)
            for model in VERSIONS
        },
        "kling-v3": ModelSupport("kling-v3", frozenset({TEXT, IMAGE}), CLIP_FIELDS, guessed=CLIP_GUESSES),
        "kling-v2-6": ModelSupport(
            "kling-v2-6", frozenset({TEXT, IMAGE}), CLIP_FIELDS | {"voice_ids"}, guessed=CLIP_GUESSES | {"voice_ids"}
        ),
    }
    clips = ("data.resultUrls", "data.resultJson.resultUrls", "data.videos")

    def url(self, path: str, access: Access) -> str:
        parts = urlsplit(access.base_url)
        steps = parts.path.rstrip("/")
        is_newer = parts.hostname == NEWER_HOST or (steps.endswith("/v1") and not steps.endswith("/api/v1"))
        return access.url(path.removeprefix("/api") if is_newer else path)

    def body(self, submission: Submission) -> dict[str, Any]:
        body_fields = motion_body if operation_of(submission.request) == MOTION else clip_body
        return without_empty(
            [
                *body_fields(self.models[submission.request["model"]].model, submission.request),
                ("callback_url", submission.callback_url),
            ]
        )

    # The seed has taskId, state and resultUrls; a third party reads task_id, status and videos (PROVIDERS.md 11.5).

    def task_id(self, payload: Mapping[str, Any]) -> str | None:
        return text_at(payload, *IDS) or super().task_id(payload)

    def status_word(self, payload: Mapping[str, Any]) -> str | None:
        return status_word(payload, "state")

    def reported_task_id(self, payload: Mapping[str, Any]) -> str | None:
        return text_at(payload, *IDS)

    def read_link(self, payload: Mapping[str, Any], access: Access) -> Link | None:
        link = super().read_link(payload, access)
        return Link(link.video_url, self.read_thumbnail(payload)) if link else None

    def read_thumbnail(self, payload: Mapping[str, Any]) -> str | None:
        return url_at(payload, "data.thumbnailUrl", "data.resultJson.thumbnailUrl")

    def made_s(self, payload: Mapping[str, Any]) -> Decimal | None:
        return decimal_at(payload, "data.videoDuration", "data.resultJson.videoDuration")

    def balance_requests(self, access: Access, now: int) -> list[Request]:
        # `/v1/balance` is known from third parties alone (2026-11), of its newer address, whose `/v1` is `/api/v1` at
        # the other: there both are asked.
        own = self.url(BALANCE_PATH, access)
        is_newer = not own.endswith(BALANCE_PATH)
        urls = [own] if is_newer else [own.removesuffix(BALANCE_PATH) + BALANCE_PATH.removeprefix("/api"), own]
        return [Request("GET", url, access.bearer) for url in urls]

    def read_balance(self, payload: Mapping[str, Any], access: Access) -> Balance | None:
        usd = balance_at(payload, *BALANCES)
        return None if usd is None else Balance(usd)

    def took_s(self, payload: Mapping[str, Any]) -> float | None:
        return span_s(payload, "data.createTime", "data.completeTime")

    def task_of_callback(self, payload: Any) -> Mapping[str, Any]:
        """`param` and `resultJson` are JSON strings inside the JSON. Plain objects are read too."""
        data = value_at(payload, "data")
        if not isinstance(data, Mapping):
            return super().task_of_callback(payload)
        nested = {name: parse_nested(value, name) for name, value in data.items() if name in NESTED}
        return super().task_of_callback({**payload, "data": {**data, **nested}})

    def read_task(self, payload: Mapping[str, Any], access: Access) -> Event:
        data = value_at(payload, "data")
        if isinstance(data, Mapping) and isinstance(data.get("resultJson"), str):
            try:
                data = {**data, "resultJson": parse_nested(data["resultJson"], "resultJson")}
            except Malformed:
                data = {**data, "resultJson": None}
        return super().read_task({**payload, "data": data}, access)


NESTED = ("param", "resultJson")


def clip_body(model: str, request: Mapping[str, Any]) -> list[tuple[str, Any]]:
    voices = request.get("voice_ids")
    return [
        ("model", model),
        ("prompt", request.get("prompt")),
        ("image", request.get("image_url")),
        ("mode", request["mode"]),
        ("duration", str(request["duration"])),  # a string here (seed 004), an integer elsewhere
        ("aspect_ratio", request.get("aspect_ratio")),
        (SOUND, "on" if request.get("sound") else None),
        (VOICES, [{"voice_id": voice} for voice in voices] if voices else None),
    ]


def motion_body(model: str, request: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("model", model),
        (MOTION_NAMES["version"], VERSIONS[request["model"]]),
        ("prompt", request.get("prompt")),
        ("image", request["image_url"]),
        ("motion_video", request["video_url"]),
        ("mode", request["mode"]),
        (MOTION_NAMES["orientation"], request["character_orientation"]),
        (MOTION_NAMES["sound"], "yes" if request.get("keep_original_sound", True) else "no"),
    ]
