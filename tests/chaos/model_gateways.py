"""Gateways in memory that keep books: every submit that is accepted is a bill. Their books are the judge."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from makings import clip, picture

from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.http import AnswerLost, NotSent
from rushes.shared.providers import PROVIDERS

Effect = Callable[..., Any]
NAMES = ("apimart", "newapi", "apimodels", "kling")
HOSTS = {f"{name}.example": name for name in NAMES}
CALLER, INPUTS = "caller.example", "inputs.example"
REFUSED, LOST = NotSent("pretended"), AnswerLost("pretended")
RATE = {"retry-after": "5"}

# What a gateway may say to a submit (status, body): that it surely did not take it, or what leaves that open.
REFUSALS: Mapping[str, tuple[int, bytes]] = {
    "input": (422, b'{"error": {"code": "bad", "message": "bad input"}}'),
    "broke": (402, b'{"error": {"code": "x", "message": "insufficient balance"}}'),
    "rate": (429, b'{"error": {"code": "x", "message": "slow down"}}'),
    "down": (503, b'{"error": {"code": "x", "message": "later"}}'),
    "odd": (403, b'{"error": {"code": "x", "message": "no"}}'),
}
DOUBTFUL: Mapping[str, tuple[int, bytes]] = {
    "garbage": (200, b'{"code": 200, "da'),
    "nameless": (200, b"{}"),
    "proxy": (502, b"<html>502</html>"),
    "fault": (500, b'{"error": {"message": "internal"}}'),
}
# How a gateway may refuse an id of ours that it has taken already: no document has the words.
TAKEN_BEFORE: Mapping[str, tuple[int, bytes]] = {
    "said": (400, b'{"code": 1201, "message": "external_task_id already exists", "request_id": "r"}'),
    "unsaid": (400, b'{"code": 1201, "message": "the request cannot be handled", "request_id": "r"}'),
    "conflict": (409, b'{"code": 1201, "message": "conflict", "request_id": "r"}'),
}
NO_ANSWER: Mapping[str, tuple[int, bytes]] = {
    "404": (404, b'{"error": {"message": "not found"}}'),
    "500": (500, b"{}"),
    "garbage": (200, b"<html>"),
    "401": (401, b'{"error": {"message": "key"}}'),
    "429": (429, b'{"error": {"message": "slow"}}'),
    "word": (200, b""),
}


@cache
def _inputs() -> dict[str, bytes]:
    return {"picture.jpg": picture(), "clip.mp4": clip(3.0, frames=2)}


def clip_of(task_id: str) -> bytes:
    """The bytes of a task's clip: no two are the same."""
    name = task_id.encode()
    return _inputs()["clip.mp4"] + (8 + len(name)).to_bytes(4) + b"free" + name


@dataclass
class Task:
    """A submit that was accepted, and is paid for."""

    gateway: str
    id: str
    job: str
    key: str | None
    callback_url: str | None
    accepted_at: int
    ends_at: int
    attempt: int = 0
    job_id: str = ""
    """Who pays for it: the job of the order, or a retry of it."""
    api_key: str = ""
    """Of the account that has it: ids of ours, and tasks, are known to one account only."""
    shows_at: int = 0
    """From when on its gateway finds it."""
    fails: bool = False
    link: int = 1
    dead_links: int = 0
    reported: bool = False
    denied: int = 0
    """Its own gateway said once that it does not know it."""


@dataclass(frozen=True)
class SubmitCase:
    """How a gateway takes one submit: a word of REFUSALS or DOUBTFUL or "" for a plain yes, and what follows."""

    word: str = ""
    takes: bool = True
    lasts_s: float = 5
    fails: bool = False
    dead_links: int = 0
    late_s: float = 0
    """So long the task cannot be found."""


class Told:
    """An answer whose body is read in pieces."""

    def __init__(self, status: int, body: bytes, length_bytes: int | None) -> None:
        self.status, self._body, self.length_bytes = status, body, length_bytes
        self.headers: dict[str, str] = {"content-type": "video/mp4"}

    def chunks(self, size_bytes: int) -> Iterator[bytes]:
        for at in range(0, len(self._body), size_bytes):
            yield self._body[at : at + size_bytes]
        if self.length_bytes is not None and len(self._body) < self.length_bytes:
            raise AnswerLost("cut short")

    def whole(self) -> Response:
        """The answer read whole; raises AnswerLost where it is cut short."""
        headers = self.headers | ({} if self.length_bytes is None else {"content-length": str(self.length_bytes)})
        return Response(self.status, headers, b"".join(self.chunks(1 << 16)))


class Gateways:
    """What `HttpClient` reaches: four gateways, the inputs, and the caller who wants to be told.

    `whim` says how the next submit is taken, `oddity` what a poll or a download says instead of the truth, `accepted`
    hears of each new task.
    """

    def __init__(self, effect: Effect, now: Callable[[], int]) -> None:
        self.tasks: list[Task] = []
        self.notices: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.doubts: Counter[str] = Counter()
        self.behaviour: Callable[[str, str], SubmitCase] = lambda gateway, job: SubmitCase()
        self.wrong_answer: Callable[[str], str] = lambda stage: ""
        self.accepted: Callable[[Task], None] = lambda task: None
        self.refused: Callable[[str, str], None] = lambda job, word: None
        self.refuses_again: Callable[[], str] = lambda: "unsaid"
        self.broke: Callable[[str], None] = lambda what: None
        self._sent: set[str] = set()
        self._not_found: set[str] = set()
        """Ids of ours that a gateway was sent which can be asked by them, and those of which it said it has no task."""
        self._effect, self._now = effect, now

    # --- the doors of HttpClient

    def send(self, request: Request, **_: Any) -> Response:
        host, path = urlsplit(request.url)[1:3]
        if host.startswith("files."):
            return self._effect("gateway", "download", lambda: self._download(path), REFUSED, LOST).whole()  # type: ignore[no-any-return]
        if host == CALLER:
            told: Response = self._effect("caller", "tell", lambda: self._tell(request), REFUSED, LOST)
            return told
        stage = "submit" if request.method == "POST" else "query"
        name = HOSTS[host]
        web_client = self._submit if stage == "submit" else self._query
        answer: Response = self._effect("gateway", f"{stage} {name}", lambda: web_client(name, request), REFUSED, LOST)
        return answer

    def send_all(
        self, requests: Sequence[Request], *, may_send: Callable[[int], bool] | None = None, **_: Any
    ) -> Iterator[list[tuple[int, Any]]]:
        """Each in its turn; every third is left to be sent alone, the others are told in twos."""
        group: list[tuple[int, Any]] = []
        for number, request in enumerate(requests):
            answer = None
            if number % 3 < 2 and (may_send is None or may_send(number)):
                try:
                    answer = self.send(request)
                except NotSent:
                    pass
                except AnswerLost as lost:
                    answer = lost
            group.append((number, answer))
            if len(group) == 2:
                yield group
                group = []
        yield group

    @contextmanager
    def stream(self, request: Request, **_: Any) -> Iterator[Any]:
        place = urlsplit(request.url)
        if place.netloc == INPUTS:
            body = _inputs()[place.path[1:]]
            yield self._effect("gateway", "input", lambda: Told(200, body, len(body)), REFUSED, LOST)
        else:
            yield self._effect("gateway", "download", lambda: self._download(place.path), REFUSED, LOST)

    def check_url(self, url: str) -> None:
        """Every address may be reached."""

    check_host = check_url

    # --- submits

    def _submit(self, gateway: str, request: Request) -> Response:
        assert request.json is not None
        job = str(request.json["prompt"])
        options = request.json.get("options", {})
        key = options.get("external_task_id")
        if PROVIDERS[gateway].idempotent:
            key = request.headers.get("Idempotency-Key")
        if PROVIDERS[gateway].askable:
            self._note_sent(key)
        whose = (gateway, _api_key(request), key)
        known = next((task for task in self.tasks if key and (task.gateway, task.api_key, task.key) == whose), None)
        behaviour = self.behaviour(gateway, job)
        if behaviour.word in REFUSALS:
            self.refused(job, behaviour.word)
            return Response(
                REFUSALS[behaviour.word][0], RATE if behaviour.word == "rate" else {}, REFUSALS[behaviour.word][1]
            )
        if known and PROVIDERS[gateway].askable:
            status, body = TAKEN_BEFORE[self.refuses_again()]
            return Response(status, {}, body)
        if behaviour.takes and known is None:
            callback_url = request.json.get("callback_url") or options.get("callback_url")
            known = self._take(gateway, job, key, callback_url, behaviour, _api_key(request))
        if behaviour.word or known is None:
            self.doubts[job] += 1
            status, body = DOUBTFUL[behaviour.word]
            return Response(status, {}, body)
        return _json({"code": 200, "data": {"taskId": known.id, "task_id": known.id}, "task_id": known.id})

    def _note_sent(self, key: str) -> None:
        if key in self._sent - self._not_found:
            self.broke(f"{key} is sent again, and was not asked for")
        self._sent.add(key)

    def _take(
        self,
        gateway: str,
        job: str,
        key: str | None,
        callback_url: str | None,
        behaviour: SubmitCase,
        api_key: str,
    ) -> Task:
        ends_at = self._now() + round(behaviour.lasts_s * 1000)
        made = Task(gateway, f"{gateway}-{len(self.tasks)}", job, key, callback_url, self._now(), ends_at)
        made.api_key, made.fails, made.dead_links = api_key, behaviour.fails, behaviour.dead_links
        made.shows_at = self._now() + round(behaviour.late_s * 1000)
        self.tasks.append(made)
        self.accepted(made)
        return made

    # --- polls and downloads

    def task(self, task_id: str | None) -> Task | None:
        return next((task for task in self.tasks if task.id == task_id), None)

    def _query(self, gateway: str, request: Request) -> Response:
        place = urlsplit(request.url)
        if PROVIDERS[gateway].askable:
            return self._query_list(gateway, parse_qs(place.query), _api_key(request))
        asked = parse_qs(place.query).get("task_id", [place.path.rpartition("/")[2]])[0]
        task = self.task(asked)
        self._check_account([task] if task else [], _api_key(request))
        odd = self.wrong_answer("query")
        if task and odd == "404":
            task.denied += 1
        if odd in NO_ANSWER and odd != "word":
            return Response(NO_ANSWER[odd][0], {}, NO_ANSWER[odd][1])
        if task is None or task.gateway != gateway:
            return Response(*NO_ANSWER["404"][:1], {}, NO_ANSWER["404"][1])
        return _json(self.told(task, "pondering" if odd == "word" else ""))

    def _check_account(self, tasks: Sequence[Task], api_key: str) -> None:
        for task in tasks:
            if task.api_key not in ("", api_key):  # "": a stranger's, which a forged callback names
                self.broke(f"{task.id} is asked for with another account's key")

    def _query_list(self, gateway: str, asked: Mapping[str, list[str]], api_key: str) -> Response:
        """Of several tasks, by their ids or by ours; what is not known, or not shown yet, is left out."""
        odd = self.wrong_answer("query")
        if odd in NO_ANSWER and odd != "word":
            return Response(NO_ANSWER[odd][0], {}, NO_ANSWER[odd][1])
        ids, keys = (",".join(asked.get(name, [])).split(",") for name in ("task_ids", "external_task_ids"))
        self._check_account([task for task in self.tasks if task.gateway == gateway and task.id in ids], api_key)
        own = [task for task in self.tasks if task.gateway == gateway and task.api_key == api_key]
        found = [task for task in own if task.id in ids or task.key in keys]
        found = [task for task in found if task.shows_at <= self._now()]
        if not found:
            self._not_found.update(keys)
        tasks = [self.told(task, "pondering" if odd == "word" else "")["data"] for task in found]
        return _json(
            {"code": 0, "data": [{**told, "external_id": task.key} for task, told in zip(found, tasks, strict=True)]}
        )

    def told(self, task: Task, word: str = "") -> dict[str, Any]:
        """A task as its gateway tells of it, in a form that all share."""
        over = self._now() >= task.ends_at
        status = word or (("failed" if task.fails else "completed") if over else "processing")
        task.reported = task.reported or status == "failed"
        url = f"https://files.{task.gateway}.example/{task.id}/{task.link}"
        told = {
            **dict.fromkeys(("id", "task_id", "taskId"), task.id),
            "status": status,
            "state": status,
            "progress": 40,
            "failMsg": "no luck",
            "fail_reason": "no luck",
        }
        if status == "completed":
            told |= {"cost": 0.5, "resultUrls": [url], "result": {"videos": [{"url": [url]}]}, "result_url": url}
        return {"code": 200, "data": told}

    def _download(self, path: str) -> Told:
        _, task_id, link = path.split("/")
        task = self.task(task_id)
        assert task, f"nobody made {path}"
        odd = self.wrong_answer("download")
        if int(link) <= task.dead_links:
            task.link = task.dead_links + 1
            return Told(404, b"", 0)
        body = clip_of(task_id)
        bodies = {"cut": body[:900], "page": b"<html>", "busy": b"", "": body}
        return Told(500 if odd == "busy" else 200, bodies[odd], len(body) if odd in ("", "cut") else None)

    # --- the caller

    def _tell(self, request: Request) -> Response:
        assert request.json is not None
        if self.wrong_answer("tell"):
            return Response(500, {}, b"")
        self.notices[request.json["data"]["id"]].append({**request.headers, **request.json})
        return Response(204, {}, b"")


def _api_key(request: Request) -> str:
    return request.headers["Authorization"].removeprefix("Bearer ")


def _json(value: Any) -> Response:
    return Response(200, {"content-type": "application/json"}, json.dumps(value).encode())
