"""What all gateways do alike: take a request, check it, bill it, and say how far it is.

A subclass holds only how its gateway speaks.
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
from rushes.deploy.sandbox.gateways.billing import Clip, Task
from rushes.deploy.sandbox.gateways.context import Context, News
from rushes.deploy.sandbox.gateways.faults import Canned, Fault, cut, reshaped
from rushes.deploy.sandbox.gateways.reference_inputs import Picture, Unreadable, Video
from rushes.deploy.sandbox.gateways.render import sides
from rushes.deploy.sandbox.gateways.request_rules import Broken, Field, Refusal, check
from rushes.deploy.sandbox.gateways.server import Answer, Request, json_answer

DAY_S = 86400
LENGTH_SLACK_S = 0.1  # a container rounds its length up to a frame
UNKNOWN_WORD = "simmering"
LENGTHS_S = {"image": (3.0, 10.0), "video": (3.0, 30.0)}  # by character_orientation
SHORT_SIDES = {"std": 720, "pro": 1080, "720p": 720, "1080p": 1080}

Body = Mapping[str, Any]
Routes = tuple[tuple[str, str, str], ...]  # method, path, door


class Gateway(ABC):
    """One gateway: `fields` is its documented body, `words` its names for our states, `failures` its codes and texts.

    A callback that did not arrive is sent again after each of `quick_retries_s`, and from then on every `later_retry_s`
    until `retried_for_s` have passed since the end.
    """

    name: ClassVar[str]
    routes: ClassVar[Routes]
    fields: ClassVar[Mapping[str, Field]]
    words: ClassVar[Mapping[str, str]]
    failures: ClassVar[Mapping[str, tuple[str, str]]]
    link_life_s: ClassVar[float] = DAY_S
    quick_retries_s: ClassVar[tuple[float, ...]] = ()
    later_retry_s: ClassVar[float] = 30
    retried_for_s: ClassVar[float] = 0

    def __init__(self, shop: Context) -> None:
        self.shop = shop
        self._routes = [(method, re.compile(path), getattr(self, door)) for method, path, door in self.routes]

    # -- how the gateway speaks

    def broken(self, body: Body) -> Iterator[Broken]:
        """The rules between fields that a body breaks, once each field by itself is right."""
        yield from ()

    def media(self, body: Body) -> tuple[str | None, str | None]:
        """The addresses of the reference picture and of the reference video."""
        return body.get("image_url"), body.get("video_url")

    def quality(self, body: Body) -> str:
        """std or pro, or 720p or 1080p."""
        return str(body.get("mode", "std"))

    def looks_wrong(self, picture: Picture | None, video: Video | None) -> Iterator[Broken]:
        """The rules that the references themselves break, where the gateway has such."""
        yield from ()

    def lengths_s(self, body: Body) -> tuple[float, float]:
        """The shortest and the longest reference video that is taken."""
        return LENGTHS_S[body["character_orientation"]]

    @abstractmethod
    def price(self, body: Body, seconds: float) -> Decimal:
        """What is billed for a clip of that length, in USD."""

    @abstractmethod
    def new_id(self) -> str:
        """A task id as this gateway makes them."""

    def idempotency_key(self, request: Request) -> str | None:
        """The key that makes a repeated submit safe, where the gateway honours one."""
        return None

    def callback_url(self, body: Body) -> str | None:
        """Where the end is to be told, where the gateway tells it."""
        return None

    @abstractmethod
    def accepted(self, task: Task) -> dict[str, Any]:
        """The answer to a submit."""

    @abstractmethod
    def report(self, task: Task, news: News) -> dict[str, Any]:
        """The answer to a query."""

    def callback(self, task: Task, news: News) -> dict[str, Any]:
        """The body of a callback."""
        return self.report(task, news)

    @abstractmethod
    def refuse(self, refusal: Refusal) -> dict[str, Any]:
        """The body of an error answer."""

    def no_such_task(self, task_id: str) -> Refusal:
        """The error for an id the gateway does not have."""
        return Refusal(404, f"task {task_id} not found", "not_found")

    def bad_reference(self, problem: str) -> Refusal:
        """The error for a reference video that cannot be read, or whose length is not taken."""
        return Refusal(400, problem, "invalid_request", "video_url")

    # -- what all do alike

    def answer(self, request: Request, path: str) -> Answer:
        """The answer to a call under the gateway's prefix; one that breaks its rules is noted as a violation."""
        try:
            return self._route(request, path)
        except Canned as canned:
            return canned.answer
        except Refusal as refusal:
            return json_answer(self.refuse(refusal), refusal.http or refusal.status, refusal.headers)

    def _route(self, request: Request, path: str) -> Answer:
        for method, pattern, door in self._routes:
            match = pattern.fullmatch(path)
            if match and request.method == method:
                answer: Answer = door(request, *match.groups())
                return answer
        raise self._noted(request, Refusal(404, f"Invalid URL ({request.method} {path})", "invalid_url"))

    def _noted(self, request: Request, refusal: Refusal) -> Refusal:
        call, body = f"{request.method} {request.path}", request.body[:10_000].decode(errors="replace")
        self.shop.book.note_violation(self.name, time.time(), call, refusal.message, body)
        return refusal

    def _authorize(self, request: Request) -> str:
        scheme, _, key = (request.headers.get("Authorization") or "").partition(" ")
        if scheme != "Bearer" or not self.shop.settings.knows(key):
            raise self._noted(request, Refusal(401, "invalid API key", "invalid_api_key"))
        return key

    def submit(self, request: Request) -> Answer:
        """Accept and bill what the body asks for, unless a rule or a fault is against it."""
        api_key = self._authorize(request)
        try:
            task = self._draft(request, api_key)
        except Refusal as refusal:
            raise self._noted(request, refusal) from None
        fault = self.shop.faults.take(self.name, "submit")
        _strike(fault, accepted=False)
        task, replayed = self._accept(task)
        _strike(fault, accepted=True)
        return json_answer(self.accepted(task), headers={"Idempotency-Replayed": "true"} if replayed else {})

    def _draft(self, request: Request, api_key: str) -> Task:
        body, key = self._body(request), self.idempotency_key(request)
        return self.shop.book.first(self.name, api_key, key, body) or self._new(api_key, key, body)

    def _body(self, request: Request) -> dict[str, Any]:
        try:
            body = json.loads(request.body)
        except ValueError:
            raise Refusal(400, "the body is not JSON", "invalid_json") from None
        if not isinstance(body, dict) or "json" not in request.headers.get("Content-Type", ""):
            raise Refusal(400, "the body is not a JSON object sent as application/json", "invalid_json")
        for broken in list(check(body, self.fields)) or list(self.broken(body)):
            raise Refusal(400, broken.message, "invalid_request", broken.param)
        return body

    def _new(self, api_key: str, key: str | None, body: dict[str, Any]) -> Task:
        clip = self._clip(body)
        return Task(
            gateway=self.name,
            id=self.new_id(),
            api_key=api_key,
            body=body,
            clip=clip,
            usd=self.price(body, clip.seconds),
            accepted_at=0,
            takes_s=self.shop.settings.takes_s(),
            idempotency_key=key,
        )

    def _clip(self, body: Body) -> Clip:
        picture_url, video_url = self.media(body)
        video = self._video(video_url, body) if video_url else None
        picture = self.shop.references.picture(picture_url) if picture_url else None
        for broken in self.looks_wrong(picture, video):
            raise Refusal(400, broken.message, "invalid_request", broken.param)
        seconds = video.seconds if video else float(body.get("duration", 5))
        look = picture or video
        wide, high = (look.width, look.height) if look else map(int, body.get("aspect_ratio", "16:9").split(":"))
        width, height = sides(SHORT_SIDES[self.quality(body)], wide, high)
        mood = len(str(body.get("prompt", ""))) % len(drawing.MOODS)
        return Clip(seconds, width, height, picture.name if picture else None, mood)

    def _video(self, url: str, body: Body) -> Video:
        try:
            video = self.shop.references.video(url)
        except Unreadable as problem:
            raise self.bad_reference(f"the reference video {problem}") from None
        low, high = self.lengths_s(body)
        if not low - LENGTH_SLACK_S <= video.seconds <= high + LENGTH_SLACK_S:
            raise self.bad_reference(
                f"the reference video is {video.seconds} s long, it must have {low:g} to {high:g} s"
            )
        return video

    def _accept(self, task: Task) -> tuple[Task, bool]:
        if task.accepted_at:
            return task, True
        fault = self.shop.faults.take(self.name, "accept")
        task = replace(task, accepted_at=time.time(), fate=self._fate(fault))
        return self.shop.book.accept(task, self._callbacks(task, fault))

    def _fate(self, fault: Fault | None) -> dict[str, Any]:
        if not fault or fault.fault != "fail_task":
            return {}
        code, message = self.failures["policy" if fault.options.get("policy") else "plain"]
        return {"failed": [fault.options.get("code", code), fault.options.get("message", message)]}

    def _callbacks(self, task: Task, fault: Fault | None) -> list[tuple[str, bool]]:
        url, name = self.callback_url(task.body), fault.fault if fault else ""
        if not url or name == "no_callback":
            return []
        return [(url, True), (url, False)] if name == "forged_first" else [(url, False)]

    def task(self, request: Request, task_id: str) -> Task:
        """The task of that id; raises Refusal where this key has none such."""
        api_key = self._authorize(request)
        task = self.shop.book.task(self.name, task_id)
        if task is None or task.api_key != api_key:
            raise self._noted(request, self.no_such_task(task_id))
        return task

    def query(self, request: Request, task_id: str) -> Answer:
        """How the task stands."""
        task = self.task(request, task_id)
        fault = self.shop.faults.take(self.name, "query")
        if fault and fault.fault == "not_found":
            raise self.no_such_task(task_id)
        _strike(fault)
        news = self.news(task, time.time())
        if fault and fault.fault == "unknown_status":
            news = replace(news, word=UNKNOWN_WORD)
        if news.state != "completed":
            return json_answer(self.report(task, news))
        fault = self.shop.faults.take(self.name, "result")
        report = self.report(task, self._result(task, news, fault))
        odd = fault is not None and fault.fault == "odd_link"
        return json_answer(reshaped(report, fault.options) if fault and odd else report)

    def news(self, task: Task, now: float) -> News:
        """How the task stands at that moment, with a freshly signed link once it is done."""
        state = task.state(now)
        news = News(state, self.words[state], task.progress(now), now)
        if state == "failed":
            return replace(news, failure=tuple(task.fate["failed"]))
        return self._linked(task, news, now + self.link_life_s) if state == "completed" else news

    def forged(self, now: float) -> News:
        """What somebody who only knows the address of a callback would have us believe."""
        return News("failed", self.words["failed"], 0, now, failure=self.failures["plain"])

    def _linked(self, task: Task, news: News, expires_at: float) -> News:
        url = self.shop.links.make(self.name, task.id, "video.mp4", expires_at)
        return replace(news, url=url, link_expires_at=expires_at)

    def _result(self, task: Task, news: News, fault: Fault | None) -> News:
        name = fault.fault if fault else ""
        if name == "empty_url":
            return replace(news, url=None)
        if fault and name == "vendor_word":
            return replace(news, word=fault.options.get("word", "succeed"))
        return self._linked(task, news, news.now - 1) if name == "expired_link" else news

    def download(self, request: Request, task: Task) -> Answer:
        """The task's clip; the faults of downloads strike a GET."""
        fault = self.shop.faults.take(self.name, "download") if request.method == "GET" else None
        _strike(fault)
        answer = files.serve(request, self.shop.studio.video(task.clip))
        if fault and fault.fault == "compressed" and answer.piece:
            body = gzip.compress(answer.piece.path.read_bytes())
            return Answer(200, body, {**answer.headers, "Content-Encoding": "gzip"})
        if fault and fault.fault == "truncated_clip" and answer.piece:
            return replace(answer, piece=cut(answer.piece, fault.options.get("how", "cut")))
        return answer


def letters(alphabet: str, count: int) -> str:
    """So many letters by chance, for an id; `secrets` would cost a third of a submit."""
    return "".join(random.choices(alphabet, k=count))


def _strike(fault: Fault | None, accepted: bool | None = None) -> None:
    """Let the fault strike, if it is of the kind that strikes now: before or after a submit is accepted, or either."""
    if fault and accepted in (None, fault.accepted):
        fault.strike()
