"""Kling itself (2026-11), new standard endpoints: an external id is taken once, one query may ask for several tasks.

Its callbacks come at every change, signed under Standard Webhooks where a secret is set.
"""

from __future__ import annotations

import string
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from standardwebhooks import Webhook

from rushes.deploy.sandbox.gateways.billing import PENDING_SHARE, Clip, Task
from rushes.deploy.sandbox.gateways.context import TaskStatus
from rushes.deploy.sandbox.gateways.gateway import DAY_S, Body, Gateway, letters, strike
from rushes.deploy.sandbox.gateways.request_rules import WATERMARK, BrokenRule, Field, Refusal
from rushes.deploy.sandbox.gateways.server import Request, Response, json_response

USD_PER_UNIT = Decimal("0.14")
MOTION_UNITS_PER_S = {
    ("3.0", "720p"): Decimal("0.9"),
    ("3.0", "1080p"): Decimal("1.2"),
    ("2.6", "720p"): Decimal("0.5"),
    ("2.6", "1080p"): Decimal("0.8"),
}
CLIP_UNITS_PER_S = {
    ("720p", "off"): Decimal("0.6"),
    ("720p", "native"): Decimal("0.9"),
    ("1080p", "off"): Decimal("0.8"),
    ("1080p", "native"): Decimal("1.2"),
    ("4k", "off"): Decimal("3.0"),
    ("4k", "native"): Decimal("3.0"),
}
CLIP_SETTINGS = {
    "duration": Field(int, low=3, high=15),
    "resolution": Field(choices=("720p", "1080p", "4k")),
    "audio": Field(choices=("native", "off")),
    "multi_shot": Field(bool),
}
MOTION_SETTINGS = {
    "character_orientation": Field(required=True, choices=("image", "video")),
    "audio": Field(choices=("original", "off")),
    "resolution": Field(choices=("720p", "1080p")),
}
ENTRY = {"type": Field(required=True), "text": Field(longest=3072), "url": Field(is_url=True)}
CONTENTS = Field(list, required=True, items=Field(dict, fields=ENTRY))
OPTIONS = Field(
    dict,
    fields={
        "callback_url": Field(is_url=True, longest=2048),
        "external_task_id": Field(longest=64),
        "watermark_info": WATERMARK,
    },
)
RATIO = Field(choices=("16:9", "9:16", "1:1"))
# By operation, the first part of the path.
FIELDS: Mapping[str, Mapping[str, Field]] = {
    "text-to-video": {
        "prompt": Field(required=True, longest=3072),
        "settings": Field(dict, required=True, fields={**CLIP_SETTINGS, "aspect_ratio": RATIO}),
        "options": OPTIONS,
    },
    "image-to-video": {
        "contents": CONTENTS,
        "settings": Field(dict, required=True, fields=CLIP_SETTINGS),
        "options": OPTIONS,
    },
    "motion-control": {
        "contents": CONTENTS,
        "settings": Field(dict, required=True, fields=MOTION_SETTINGS),
        "options": OPTIONS,
    },
}
# The types of `contents`, and which of them have to be there.
TYPES = {"image-to-video": ("prompt", "first_frame", "last_frame"), "motion-control": ("prompt", "image", "video")}
NEEDED = {"image-to-video": ("first_frame",), "motion-control": ("image", "video")}

# HTTP status and code by the sandbox's own words for an error. A code that a fault gives stands for itself.
CODES: Mapping[str, tuple[int, int]] = {
    "invalid_api_key": (401, 1002),
    "insufficient_user_quota": (429, 1102),
    "rate_limit_exceeded": (429, 1302),
    "invalid_url": (404, 1202),
    "internal_error": (500, 5000),
    "service_unavailable": (503, 5001),
}
THROTTLE, BAD_PARAMETER = 1303, 1201


class Kling(Gateway):
    """`POST /{operation}/kling-{version}`, `GET /tasks?task_ids=` or `?external_task_ids=`, comma separated.

    The body is kept with the `path` of its call.
    """

    name = "kling"
    routes = (
        ("POST", r"/(?:text|image)-to-video/kling-3\.0", "submit"),
        ("POST", r"/motion-control/kling-(?:3\.0|2\.6)", "submit"),
        ("GET", r"/tasks", "query_many"),
        ("GET", r"/account/costs", "balance"),
    )
    fields = {}
    status_words = {"pending": "submitted", "processing": "processing", "completed": "succeeded", "failed": "failed"}
    failures = {
        "plain": ("", "the video could not be generated"),
        "policy": ("", "Failure to pass the risk control system"),
    }
    link_life_s = 30 * DAY_S
    calls_at = (0, PENDING_SHARE, 1)

    # -- submits

    def fields_of(self, request: Request, body: Body) -> Mapping[str, Field]:
        return FIELDS[_operation(request.path)]

    def body(self, request: Request) -> dict[str, Any]:
        body = super().body(request)
        path = "/".join(request.path.split("/")[-2:])
        for broken in _misplaced(_operation(path), body.get("contents", [])):
            raise Refusal(400, broken.message, "invalid_request", broken.param)
        return {"path": path, **body}

    def clip(self, body: Body) -> Clip:
        by_type = {entry["type"]: entry.get("url") for entry in body.get("contents", [])}
        addresses = {
            "image_url": by_type.get("image") or by_type.get("first_frame"),
            "video_url": by_type.get("video"),
        }
        return super().clip({"prompt": body.get("prompt", ""), **body["settings"], **addresses})

    def quality(self, body: Body) -> str:
        return str(body.get("resolution", "720p"))

    def price(self, body: Body, seconds: float) -> Decimal:
        settings, version = body["settings"], body["path"].partition("kling-")[2]
        resolution = settings.get("resolution", "720p")
        if "character_orientation" in settings:
            units = MOTION_UNITS_PER_S[version, resolution]
        else:
            units = CLIP_UNITS_PER_S[resolution, settings.get("audio", "off")]
        return units * USD_PER_UNIT * Decimal(str(seconds))

    def new_id(self) -> str:
        return "8" + letters(string.digits, 17)

    def idempotency_key(self, request: Request, body: Body) -> str | None:
        key: str | None = body.get("options", {}).get("external_task_id")
        return key

    def repeated(self, task: Task) -> Task:
        raise Refusal(400, "external_task_id already exists", "duplicate")

    def callback_url(self, body: Body) -> str | None:
        url: str | None = body.get("options", {}).get("callback_url")
        return url

    def accepted_body(self, task: Task) -> dict[str, Any]:
        return _said({**_known(task, task.accepted_at), "status": "submitted"})

    # -- queries and callbacks

    def query_many(self, request: Request) -> Response:
        """How some tasks stand; what is not known, or not shown yet, is left out."""
        api_key = self.authorize(request)
        tasks = self._asked_for(request, api_key)
        fault = self.context.faults.take(self.name, "query", api_key)
        strike(fault)
        if fault and fault.fault == "not_found":
            tasks = []
        return json_response(_said([self.task_body(task, fault) for task in tasks]))

    def _asked_for(self, request: Request, api_key: str) -> list[Task]:
        ids, keys = (request.query.get(name, "") for name in ("task_ids", "external_task_ids"))
        if bool(ids) == bool(keys) or request.query.keys() - {"task_ids", "external_task_ids"}:
            raise self.record_violation(request, Refusal(400, "give task_ids or external_task_ids", "invalid_request"))
        book, now = self.context.billing, time.time()
        found = [book.task(self.name, each) for each in ids.split(",") if each]
        if strangers := [task.id for task in found if task and task.api_key != api_key]:
            refusal = Refusal(404, f"tasks of another account: {', '.join(strangers)}", "not_found")
            self.record_violation(request, refusal)  # the answer leaves them out, as the real one does
        found += [book.by_key(self.name, api_key, key) for key in keys.split(",") if key]
        return [task for task in found if task and task.api_key == api_key and task.shown_at <= now]

    def balance(self, request: Request) -> Response:
        """The packages of an account that were bought between two times, ms."""
        start, end = (request.query.get(name, "") for name in ("start_time", "end_time"))
        is_span = start.isdecimal() and end.isdecimal() and 10**12 < int(start) < int(end)
        if not is_span or request.query.keys() - {"start_time", "end_time", "resource_pack_name"}:
            raise self.record_violation(request, Refusal(400, "start_time and end_time, ms", "invalid_request"))
        return super().balance(request)

    def balance_body(self, usd: Decimal) -> dict[str, Any]:
        units = float(max(usd, Decimal(0)) / USD_PER_UNIT)
        used_up = {"resource_pack_name": "Video Generation - 100 units", "total_quantity": 100.0}
        current = {"resource_pack_name": "Video Generation - units", "total_quantity": max(units, 1.0)}
        packages = [
            {**used_up, "remaining_quantity": 0.0, "status": "runOut"},
            {**current, "remaining_quantity": units, "status": "online" if units else "runOut"},
        ]
        return _said({"code": 0, "msg": "", "resource_pack_subscribe_infos": packages})

    def query_body(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        element = {**_known(task, min(status.now, task.ends_at)), "status": status.word, "message": ""}
        if status.state == "failed":
            return {**element, "message": status.failure[1]}
        if status.state == "completed":
            return {**element, "outputs": _outputs(task, status), "billing": [_cash(task)]}
        return element

    def callback_headers(self, callback_id: str, body: bytes, now: float) -> Mapping[str, str]:
        secret = self.context.settings.webhook_secret
        if not secret:
            return {}
        signature = Webhook(secret).sign(callback_id, datetime.fromtimestamp(now, UTC), body.decode())
        return {"webhook-id": callback_id, "webhook-timestamp": str(int(now)), "webhook-signature": signature}

    # -- errors

    def http_status(self, refusal: Refusal) -> int:
        return refusal.http or (429 if refusal.status == 402 else refusal.status)

    def error_body(self, refusal: Refusal) -> dict[str, Any]:
        return {"code": _code(refusal), "message": refusal.message, "request_id": letters(string.hexdigits, 16)}


def _operation(path: str) -> str:
    return path.split("/")[-2]


def _misplaced(operation: str, contents: list[dict[str, Any]]) -> Iterator[BrokenRule]:
    """What is wrong with the entries of `contents`: each type once, with its own field and no other."""
    types = [entry["type"] for entry in contents]
    for kind in types:
        if kind not in TYPES[operation] or types.count(kind) > 1:
            yield BrokenRule(
                "contents", f"contents of {operation} take one entry of each of {', '.join(TYPES[operation])}"
            )
    for entry in contents:
        field = "text" if entry["type"] == "prompt" else "url"
        if entry.keys() != {"type", field}:
            yield BrokenRule("contents", f"an entry of type {entry['type']} has a {field}, and nothing else")
    for kind in NEEDED.get(operation, ()):
        if kind not in types:
            yield BrokenRule("contents", f"an entry of type {kind} is required")


def _code(refusal: Refusal) -> int:
    if refusal.slug.isdecimal():
        return int(refusal.slug)
    status, code = CODES.get(refusal.slug, (400, BAD_PARAMETER))
    is_throttle = refusal.slug == "task_failed" or (refusal.status == 429 and status != 429)
    return THROTTLE if is_throttle else code


def _said(data: Any) -> dict[str, Any]:
    return {"code": 0, "message": "", "request_id": letters(string.hexdigits, 16), "data": data}


def _known(task: Task, updated_at: float) -> dict[str, Any]:
    times = {"create_time": int(task.accepted_at * 1000), "update_time": int(updated_at * 1000)}
    return {"id": task.id, **times, "external_id": task.idempotency_key or ""}


def _outputs(task: Task, status: TaskStatus) -> list[dict[str, Any]]:
    if not status.url:
        return []
    output = {"type": "video", "id": f"{task.id}-1", "url": status.url, "watermark_url": f"{status.url}&watermark"}
    return [{**output, "duration": f"{task.clip.seconds:g}"}]


def _cash(task: Task) -> dict[str, Any]:
    return {"charge_type": "cash", "amount": str(task.usd), "currency": "USD"}
