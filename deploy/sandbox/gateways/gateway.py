"""What all gateways have in common: accept a request, check it, bill it, and report its progress.

A subclass holds only the format of its gateway.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, ClassVar

from rushes.deploy.sandbox.gateways import drawing, files
from rushes.deploy.sandbox.gateways.billing import FORGED_MAX_S, FORGED_SHARE, Clip, Task
from rushes.deploy.sandbox.gateways.context import Context, TaskStatus
from rushes.deploy.sandbox.gateways.faults import CannedResponse, Fault, cut, reshaped
from rushes.deploy.sandbox.gateways.reference_inputs import Picture, Unreadable, Video
from rushes.deploy.sandbox.gateways.render import sides
from rushes.deploy.sandbox.gateways.request_rules import BrokenRule, Field, Refusal, check
from rushes.deploy.sandbox.gateways.server import Request, Response, json_response

DAY_S = 86400
LENGTH_SLACK_S = 0.1  # a container rounds its length up to a frame
UNKNOWN_WORD = "simmering"
LENGTHS_S = {"image": (3.0, 10.0), "video": (3.0, 30.0)}  # by character_orientation
SHORT_SIDES = {"std": 720, "pro": 1080, "720p": 720, "1080p": 1080, "4k": 2160}

Body = Mapping[str, Any]
Routes = tuple[tuple[str, str, str], ...]  # method, path, handler


class Gateway(ABC):
    """One gateway: `fields` is its documented body, `status_words` its names of our states, `failures` its error texts.

    A callback that did not arrive is sent again after each of `quick_retries_s`, and from then on every `later_retry_s`
    until `retried_for_s` have passed since the end.
    """

    name: ClassVar[str]
    routes: ClassVar[Routes]
    fields: ClassVar[Mapping[str, Field]]
    status_words: ClassVar[Mapping[str, str]]
    failures: ClassVar[Mapping[str, tuple[str, str]]]
    link_life_s: ClassVar[float] = DAY_S
    quick_retries_s: ClassVar[tuple[float, ...]] = ()
    later_retry_s: ClassVar[float] = 30
    retried_for_s: ClassVar[float] = 0
    calls_at: ClassVar[tuple[float, ...]] = (1,)
    """When it calls back, as shares of a task's duration."""
    heeds_4xx: ClassVar[bool] = False
    """Whether a callback that was answered with a 4xx is never sent again, and one that was redirected neither."""
    refunds: ClassVar[bool] = False
    """Whether nothing is billed for a task that fails."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._routes = [(method, re.compile(path), getattr(self, handler)) for method, path, handler in self.routes]

    # -- the format of the gateway

    def fields_of(self, request: Request, body: Body) -> Mapping[str, Field]:
        """The documented body of this call."""
        return self.fields

    def broken_rules(self, body: Body) -> Iterator[BrokenRule]:
        """The rules across fields that a body breaks; each field by itself is valid already."""
        yield from ()

    def media_urls(self, body: Body) -> tuple[str | None, str | None]:
        """The addresses of the reference picture and of the reference video."""
        return body.get("image_url"), body.get("video_url")

    def quality(self, body: Body) -> str:
        """std or pro, or 720p or 1080p."""
        return str(body.get("mode", "std"))

    def broken_media_rules(self, picture: Picture | None, video: Video | None) -> Iterator[BrokenRule]:
        """The rules that the reference files themselves break, where the gateway has such rules."""
        yield from ()

    def lengths_s(self, body: Body) -> tuple[float, float]:
        """The shortest and the longest reference video that the gateway accepts."""
        return LENGTHS_S[body["character_orientation"]]

    @abstractmethod
    def price(self, body: Body, seconds: float) -> Decimal:
        """What is billed for a clip of that length, in USD."""

    @abstractmethod
    def new_id(self) -> str:
        """A task id as this gateway makes them."""

    def idempotency_key(self, request: Request, body: Body) -> str | None:
        """The client's own key of a submit, if the gateway supports one."""
        return None

    def repeated(self, task: Task) -> Task:
        """The task of a submit whose key came before; raises Refusal if the gateway refuses such a submit."""
        return task

    def callback_url(self, body: Body) -> str | None:
        """The address for the callback, where the gateway sends one."""
        return None

    @abstractmethod
    def accepted_body(self, task: Task) -> dict[str, Any]:
        """The response body to a submit."""

    @abstractmethod
    def query_body(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        """The response body to a query."""

    def callback(self, task: Task, status: TaskStatus) -> dict[str, Any]:
        """The body of a callback."""
        return self.query_body(task, status)

    def callback_headers(self, callback_id: str, body: bytes, now: float) -> Mapping[str, str]:
        """The signature of a callback, if the gateway signs."""
        return {}

    def http_status(self, refusal: Refusal) -> int:
        """The HTTP status of an error response."""
        return refusal.http or refusal.status

    @abstractmethod
    def error_body(self, refusal: Refusal) -> dict[str, Any]:
        """The body of an error response."""

    def balance_body(self, usd: Decimal) -> dict[str, Any]:
        """The response body to a query of the balance; only a gateway with such a route in `routes` is asked."""
        return {"balance": float(usd)}

    def unknown_task_error(self, task_id: str) -> Refusal:
        """The error for an unknown task id."""
        return Refusal(404, f"task {task_id} not found", "not_found")

    def reference_error(self, problem: str) -> Refusal:
        """The error for a reference video that cannot be read, or is too short or too long."""
        return Refusal(400, problem, "invalid_request", "video_url")

    # -- what all gateways have in common

    def respond(self, request: Request, path: str) -> Response:
        """The response to a call under the prefix of the gateway; a call that breaks a rule is recorded."""
        try:
            return self._route(request, path)
        except CannedResponse as canned:
            return canned.response
        except Refusal as refusal:
            return json_response(self.error_body(refusal), self.http_status(refusal), refusal.headers)

    def _route(self, request: Request, path: str) -> Response:
        for method, pattern, handler in self._routes:
            match = pattern.fullmatch(path)
            if match and request.method == method:
                response: Response = handler(request, *match.groups())
                return response
        raise self.record_violation(request, Refusal(404, f"Invalid URL ({request.method} {path})", "invalid_url"))

    def record_violation(self, request: Request, refusal: Refusal) -> Refusal:
        call, body = f"{request.method} {request.path}", request.body[:10_000].decode(errors="replace")
        self.context.billing.note_violation(self.name, time.time(), call, refusal.message, body)
        return refusal

    def authorize(self, request: Request) -> str:
        scheme, _, key = (request.headers.get("Authorization") or "").partition(" ")
        if scheme != "Bearer" or not self.context.settings.knows(key):
            raise self.record_violation(request, Refusal(401, "invalid API key", "invalid_api_key"))
        return key

    def submit(self, request: Request) -> Response:
        """Accept and bill the request, unless a rule or a fault prevents it."""
        api_key = self.authorize(request)
        try:
            task = self._draft(request, api_key)
        except Refusal as refusal:
            raise self.record_violation(request, refusal) from None
        if task.accepted_at:
            task = self.repeated(task)
        fault = self.context.faults.take(self.name, "submit", api_key)
        strike(fault, accepted=False)
        self._check_balance(task)
        task, replayed = self._accept(task)
        if replayed:
            task = self.repeated(task)
        strike(fault, accepted=True)
        return json_response(self.accepted_body(task), headers={"Idempotency-Replayed": "true"} if replayed else {})

    def _check_balance(self, task: Task) -> None:
        left = None if task.accepted_at else self.context.billing.balance_usd(self.name, task.api_key)
        if left is not None and left < task.usd:
            raise Refusal(402, "insufficient balance", "insufficient_user_quota")

    def balance(self, request: Request) -> Response:
        """What is left on the account of the key."""
        api_key = self.authorize(request)
        strike(self.context.faults.take(self.name, "balance", api_key))
        billing = self.context.billing
        left = billing.balance_usd(self.name, api_key)
        if left is None:
            left = self.context.settings.balance_usd - billing.spent_usd(self.name, api_key)
        return json_response(self.balance_body(left))

    def _draft(self, request: Request, api_key: str) -> Task:
        body = self.body(request)
        key = self.idempotency_key(request, body)
        return self.context.billing.first(self.name, api_key, key, body) or self._new(api_key, key, body)

    def body(self, request: Request) -> dict[str, Any]:
        """The body of a submit as it is kept; raises Refusal where it breaks a rule."""
        try:
            body = json.loads(request.body)
        except ValueError:
            raise Refusal(400, "the body is not JSON", "invalid_json") from None
        if not isinstance(body, dict) or "json" not in request.headers.get("Content-Type", ""):
            raise Refusal(400, "the body is not a JSON object sent as application/json", "invalid_json")
        for broken in list(check(body, self.fields_of(request, body))) or list(self.broken_rules(body)):
            raise Refusal(400, broken.message, "invalid_request", broken.param)
        return body

    def _new(self, api_key: str, key: str | None, body: dict[str, Any]) -> Task:
        clip = self.clip(body)
        return Task(
            gateway=self.name,
            id=self.new_id(),
            api_key=api_key,
            body=body,
            clip=clip,
            usd=self.price(body, clip.seconds),
            accepted_at=0,
            takes_s=self.context.settings.takes_s(),
            idempotency_key=key,
        )

    def clip(self, body: Body) -> Clip:
        """The clip that a body asks for; raises Refusal if a reference is rejected."""
        picture_url, video_url = self.media_urls(body)
        video = self._video(video_url, body) if video_url else None
        picture = self.context.references.picture(picture_url) if picture_url else None
        for broken in self.broken_media_rules(picture, video):
            raise Refusal(400, broken.message, "invalid_request", broken.param)
        seconds = video.seconds if video else float(body.get("duration", 5))
        reference = picture or video
        wide, high = (
            (reference.width, reference.height) if reference else map(int, body.get("aspect_ratio", "16:9").split(":"))
        )
        width, height = sides(SHORT_SIDES[self.quality(body)], wide, high)
        landscape = len(str(body.get("prompt", ""))) % len(drawing.LANDSCAPES)
        return Clip(seconds, width, height, picture.name if picture else None, landscape)

    def _video(self, url: str, body: Body) -> Video:
        try:
            video = self.context.references.video(url)
        except Unreadable as problem:
            raise self.reference_error(f"the reference video {problem}") from None
        low, high = self.lengths_s(body)
        if not low - LENGTH_SLACK_S <= video.seconds <= high + LENGTH_SLACK_S:
            raise self.reference_error(
                f"the reference video is {video.seconds} s long, it must have {low:g} to {high:g} s"
            )
        return video

    def _accept(self, task: Task) -> tuple[Task, bool]:
        if task.accepted_at:
            return task, True
        fault = self.context.faults.take(self.name, "accept", task.api_key)
        task = replace(task, accepted_at=time.time(), fate=self._fate(fault), usd=self._billed_usd(task, fault))
        return self.context.billing.accept(task, self._callbacks(task, fault))

    def _billed_usd(self, task: Task, fault: Fault | None) -> Decimal:
        """What the task is billed: another amount than its price says, or nothing where it fails and is refunded."""
        if fault and fault.fault == "cost_off":
            return task.usd * Decimal(str(fault.options.get("factor", 1.5)))
        is_refunded = self.refunds and fault is not None and fault.fault == "fail_task"
        return Decimal(0) if is_refunded and fault and fault.options.get("refund", True) else task.usd

    def _fate(self, fault: Fault | None) -> dict[str, Any]:
        if fault and fault.fault == "shows_late":
            return {"shown_at": time.time() + float(fault.options.get("seconds", 5))}
        if not fault or fault.fault != "fail_task":
            return {}
        code, message = self.failures["policy" if fault.options.get("policy") else "plain"]
        return {"failed": [fault.options.get("code", code), fault.options.get("message", message)]}

    def _callbacks(self, task: Task, fault: Fault | None) -> list[tuple[str, bool, float]]:
        url, name = self.callback_url(task.body), fault.fault if fault else ""
        if not url or name == "no_callback":
            return []
        forged = [(url, True, min(task.takes_s * FORGED_SHARE, FORGED_MAX_S))] if name == "forged_first" else []
        return [*forged, *((url, False, task.takes_s * share) for share in self.calls_at)]

    def task(self, request: Request, task_id: str) -> Task:
        """The task of that id; raises Refusal where this key has no such task."""
        api_key = self.authorize(request)
        task = self.context.billing.task(self.name, task_id)
        if task is None or task.api_key != api_key:
            raise self.record_violation(request, self.unknown_task_error(task_id))
        return task

    def query(self, request: Request, task_id: str) -> Response:
        """The status of a task."""
        task = self.task(request, task_id)
        fault = self.context.faults.take(self.name, "query", task.api_key)
        if fault and fault.fault == "not_found":
            raise self.unknown_task_error(task_id)
        strike(fault)
        return json_response(self.task_body(task, fault))

    def task_body(self, task: Task, fault: Fault | None) -> dict[str, Any]:
        """What a query that meets this fault says of a task."""
        status = self.status(task, time.time())
        if fault and fault.fault == "unknown_status":
            status = replace(status, word=UNKNOWN_WORD)
        if status.state != "completed":
            return self.query_body(task, status)
        fault = self.context.faults.take(self.name, "result", task.api_key)
        body = self.query_body(task, self._result(task, status, fault))
        odd = fault is not None and fault.fault == "odd_link"
        reshaped_body: dict[str, Any] = reshaped(body, fault.options) if fault and odd else body
        return reshaped_body

    def status(self, task: Task, now: float) -> TaskStatus:
        """The status of a task at that moment, with a newly signed link once it is completed."""
        state = task.state(now)
        status = TaskStatus(state, self.status_words[state], task.progress(now), now)
        if state == "failed":
            return replace(status, failure=tuple(task.fate["failed"]))
        return self._linked(task, status, now + self.link_life_s) if state == "completed" else status

    def forged(self, now: float) -> TaskStatus:
        """The status that a forged callback claims: whoever knows the address can send it."""
        return TaskStatus("failed", self.status_words["failed"], 0, now, failure=self.failures["plain"])

    def _linked(self, task: Task, status: TaskStatus, expires_at: float) -> TaskStatus:
        url = self.context.links.make(self.name, task.id, "video.mp4", expires_at)
        return replace(status, url=url, link_expires_at=expires_at)

    def _result(self, task: Task, status: TaskStatus, fault: Fault | None) -> TaskStatus:
        name = fault.fault if fault else ""
        if name == "empty_url":
            return replace(status, url=None)
        if name == "cost_untold":
            return replace(status, tells_cost=False)
        if fault and name == "vendor_word":
            return replace(status, word=fault.options.get("word", "succeed"))
        return self._linked(task, status, status.now - 1) if name == "expired_link" else status

    def download(self, request: Request, task: Task) -> Response:
        """The clip of a task; download faults strike a GET only."""
        fault = self.context.faults.take(self.name, "download", task.api_key) if request.method == "GET" else None
        strike(fault)
        response = files.serve(request, self.context.renderer.video(task.clip))
        if fault and fault.fault == "compressed" and response.piece:
            body = gzip.compress(response.piece.path.read_bytes())
            return Response(200, body, {**response.headers, "Content-Encoding": "gzip"})
        if fault and fault.fault == "truncated_clip" and response.piece:
            return replace(response, piece=cut(response.piece, fault.options.get("how", "cut")))
        return response


def letters(alphabet: str, count: int) -> str:
    """Random letters for an id; `secrets` would cost a third of a submit."""
    return "".join(random.choices(alphabet, k=count))


def strike(fault: Fault | None, accepted: bool | None = None) -> None:
    """Let the fault strike if this is its moment: before or after a submit is accepted, or any (None)."""
    if fault and accepted in (None, fault.accepted):
        fault.strike()
