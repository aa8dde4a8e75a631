"""Kling itself (klingai.com), the new standard endpoints of 2026-06: one path an operation and model version.

A submit whose answer was lost is asked for by its `external_task_id`, which is unique in an account. Calls back at
every change with one element of a query's `data`, signed where a secret is set. Links live 30 days.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from rushes.shared.domain import events
from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.http_messages import Request, Response
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
from rushes.shared.providers.error_bodies import ErrorBody
from rushes.shared.providers.reading import (
    balance_at,
    decimal_at,
    json_object,
    moment_at,
    retry_after_s,
    span_s,
    text_at,
    value_at,
    without_empty,
)

PATHS = {TEXT: "text-to-video", IMAGE: "image-to-video", FIRST_LAST: "image-to-video", MOTION: "motion-control"}
RESOLUTIONS = {"std": "720p", "pro": "1080p", "4k": "4k"}
# By `type`, the field that each entry of `contents` is made from.
FRAMES = {"first_frame": "image_url", "last_frame": "last_image_url"}
REFERENCES = {"image": "image_url", "video": "video_url"}

CLIP_FIELDS = frozenset(
    {"prompt", "image_url", "last_image_url", "mode", "duration", "aspect_ratio", "sound", "watermark"}
)
MOTION_FIELDS = frozenset(
    {"prompt", "image_url", "video_url", "character_orientation", "keep_original_sound", "mode", "watermark"}
)
# Text and image are not documented to take `watermark_info`; motion control is (PROVIDERS.md 6.3).
WATERMARK_GUESS = frozenset({"watermark"})
# The packages of an account (its page "Account usage", 2026-11): free, at most one call a second; what is left
# may be 12 hours old. Packages are looked up by when they were bought (integrators, 2026-11), and may last a year.
BALANCE_PATH = "/account/costs?start_time={start}&end_time={end}"
PACKAGES_SINCE_MS = 400 * 86_400_000
PACKAGES = ("data.resource_pack_subscribe_infos", "data.data.resource_pack_subscribe_infos")
# By its page `toBeOnline`, `online`, `expired` and `runOut`; integrators saw other letters too.
OF_NO_USE = frozenset({"tobeonline", "expired", "runout"})
NOT_VIDEO = re.compile(r"image|图[像片]", re.IGNORECASE)
# "Generated files are cleared after 30 days" (2026-11).
LINK_LIFE_MS = 30 * 86_400_000
# No document has the words of a refusal of an `external_task_id` that was taken before; read as anything else, it is
# asked for all the same (moves/submitting.py, refuse_again).
TAKEN_BEFORE = re.compile(
    r"external[_ ]?(task[_ ]?)?id.*(exist|duplic|repeat|unique|in use|already)|duplic.*external", re.IGNORECASE
)


class Kling(Provider):
    name = "kling"
    address = "https://api-singapore.klingai.com"
    sources = (
        ("klingai.com, the new standard: task query, motion control, callbacks, error codes", "2026-11-30"),
        ("several independent public clients, for text, image, and first and last frame", "2026-11-30"),
    )
    query_path = "/tasks?task_ids={task_id}"
    key_query_path = "/tasks?external_task_ids={key}"
    query_batch = 20  # no document gives a limit
    calls_back = True
    signs = True
    tells_cost = True
    models = {
        # No text or image endpoint of 2.6, no shot list and no negative prompt were seen in the new standard (2026-11).
        "kling-v3": ModelSupport(
            "kling-3.0", frozenset({TEXT, IMAGE, FIRST_LAST}), CLIP_FIELDS, frozenset(RESOLUTIONS), WATERMARK_GUESS
        ),
        "kling-v3-motion-control": ModelSupport("kling-3.0", frozenset({MOTION}), MOTION_FIELDS),
        "kling-v2-6-motion-control": ModelSupport("kling-2.6", frozenset({MOTION}), MOTION_FIELDS),
    }
    clips = ("data.0.outputs", "outputs")
    # Of our own key and its list of addresses: there is no other gateway in between.
    refusals = dict.fromkeys(("1000", "1001", "1002", "1003", "1004", "1304"), Reason.KEY)

    def path(self, request: Mapping[str, Any]) -> str:
        return f"/{PATHS[operation_of(request)]}/{self.models[request['model']].model}"

    def body(self, submission: Submission) -> dict[str, Any]:
        say = {MOTION: motion_body, TEXT: text_body}.get(operation_of(submission.request), image_body)
        return {**say(submission.request), "options": options(submission)}

    def part_of(self, task_id: str, response: Response) -> Response:
        payload = json_object(response)
        tasks = value_at(payload, "data")
        if payload is None or not isinstance(tasks, list):
            return response
        matches = [task for task in tasks if text_at(task, "id") == task_id]
        return replace(response, body=json.dumps({**payload, "data": matches}).encode())

    def read_key_query(self, response: Response, key: str) -> Event:
        payload = json_object(response)
        tasks = value_at(payload, "data")
        if response.status != 200 or payload is None or text_at(payload, "code") != "0" or not isinstance(tasks, list):
            return self.read_query_error(response.status, payload or {}, response)
        if not tasks:
            return events.NotFound()
        task_ids = [text_at(task, "id") for task in tasks if text_at(task, "external_id") == key]
        if len(task_ids) == 1 and task_ids[0]:
            return events.Accepted(task_ids[0])
        return events.Unclear("names no task of ours")

    def reason_for_status(self, status: int, error: ErrorBody, sent: str) -> Reason | None:
        # The first call was taken: of this one that is no refusal, for the task is to be had.
        return None if TAKEN_BEFORE.search(error.message) else super().reason_for_status(status, error, sent)

    def read_query(self, response: Response, access: Access) -> Event:
        payload = json_object(response)
        if payload is not None and response.status == 200:
            code = text_at(payload, "code") or ""
            if code.isdecimal() and len(code) == 4:  # its own codes, be it inside a 200
                return self.read_query_error(response.status, payload, response)
            if payload.get("data") == []:
                return events.Unclear("no such task", None, retry_after_s(response), missing=True)
        return super().read_query(response, access)

    def read_link(self, payload: Mapping[str, Any], access: Access) -> Link | None:
        link = super().read_link(payload, access)
        ended_at = moment_at(payload, "data.0.update_time", "update_time")
        return Link(link.video_url, None, ended_at + LINK_LIFE_MS if ended_at else None) if link else None

    def cost_usd(self, payload: Mapping[str, Any], access: Access) -> Decimal | None:
        """What was paid in cash; units of a package are no dollars, and what they cost is not told."""
        bills = value_at(payload, "data.0.billing") or value_at(payload, "billing")
        if not isinstance(bills, list) or any(value_at(bill, "charge_type") != "cash" for bill in bills):
            return None
        amounts = [decimal_at(bill, "amount") for bill in bills if value_at(bill, "currency") == "USD"]
        known = [amount for amount in amounts if amount is not None]
        return sum(known, Decimal(0)) if len(known) == len(bills) else None

    def balance_requests(self, access: Access, now: int) -> list[Request]:
        path = BALANCE_PATH.format(start=now - PACKAGES_SINCE_MS, end=now)
        return [Request("GET", self.url(path, access), access.bearer)]

    def read_balance(self, payload: Mapping[str, Any], access: Access) -> Balance | None:
        """The units of its packages; 0 where it has none. An account that pays in cash does not tell what is left."""
        if any(text_at(payload, path) not in (None, "0") for path in ("code", "data.code")):
            return None
        found = (value_at(payload, path) for path in PACKAGES)
        packages = next((value for value in found if isinstance(value, list)), None)
        if packages is None:
            return None
        amounts = [balance_at(package, "remaining_quantity") for package in packages if _is_of_use(package)]
        known = [amount for amount in amounts if amount is not None]
        return Balance(None, sum(known, Decimal(0))) if known or not amounts else None

    def made_s(self, payload: Mapping[str, Any]) -> Decimal | None:
        return decimal_at(payload, "data.0.outputs.0.duration", "outputs.0.duration")

    def took_s(self, payload: Mapping[str, Any]) -> float | None:
        at_query = span_s(payload, "data.0.create_time", "data.0.update_time")
        return at_query or span_s(payload, "create_time", "update_time")


def _is_of_use(package: Any) -> bool:
    """Whether units of a package pay for a clip now: it is in force, and not for pictures only."""
    name = text_at(package, "resource_pack_name") or ""
    is_for_pictures = NOT_VIDEO.search(name) and not re.search(r"video|视频", name, re.IGNORECASE)
    return (text_at(package, "status") or "").lower() not in OF_NO_USE and not is_for_pictures


def text_body(request: Mapping[str, Any]) -> dict[str, Any]:
    settings = {**clip_settings(request), "aspect_ratio": request["aspect_ratio"]}
    return {"prompt": request["prompt"], "settings": settings}


def image_body(request: Mapping[str, Any]) -> dict[str, Any]:
    # With a picture the clip has the picture's shape.
    return {"contents": contents(request, FRAMES), "settings": clip_settings(request)}


def motion_body(request: Mapping[str, Any]) -> dict[str, Any]:
    settings = {
        "character_orientation": request["character_orientation"],
        "audio": "original" if request.get("keep_original_sound", True) else "off",
        "resolution": RESOLUTIONS[request["mode"]],
    }
    return {"contents": contents(request, REFERENCES), "settings": settings}


def clip_settings(request: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "duration": int(request["duration"]),
        "resolution": RESOLUTIONS[request["mode"]],
        "audio": "native" if request.get("sound") else "off",
    }


def contents(request: Mapping[str, Any], kinds: Mapping[str, str]) -> list[dict[str, Any]]:
    prompts = [{"type": "prompt", "text": request["prompt"]}] if request.get("prompt") else []
    return prompts + [{"type": kind, "url": request[name]} for kind, name in kinds.items() if request.get(name)]


def options(submission: Submission) -> dict[str, Any]:
    return without_empty(
        [
            ("callback_url", submission.callback_url),
            ("external_task_id", submission.idempotency_key),
            ("watermark_info", {"enabled": bool(submission.request.get("watermark"))}),
        ]
    )
