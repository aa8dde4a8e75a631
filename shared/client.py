"""The Jobs API from Python: submit, look, wait. Other services may use it; the shell does.

client = Client.connect("https://rushes.example", key)
job = client.wait(client.submit({"model": "kling-v3", "prompt": "a red kite"}, "order-17")["id"])
"""

from __future__ import annotations

import ipaddress
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict, cast
from urllib.parse import quote, urlencode

from shared import __version__
from shared.domain.wire import Request, Response
from shared.http import AnswerLost, NotSent, Outside

ENDED = frozenset({"completed", "failed", "canceled"})
EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
DEADLINE_S = 30
# A stream says something every 15 s; one that is silent for longer is taken up anew.
STREAM_S, SILENCE_S = 3600, 40

Status = Literal["queued", "submitting", "unconfirmed", "running", "archiving", "completed", "failed", "canceled"]
Action = Literal["resubmit", "fail", "adopt"]


class Error(TypedDict):
    """Why a job or an attempt failed; `code` is one of the contract's."""

    code: str
    message: str
    provider: NotRequired[str]


class Attempt(TypedDict):
    """One paid call to one gateway; times in ISO 8601, money as decimal strings in USD."""

    provider: str
    task_id: str | None
    status: str
    submitted_at: str
    ended_at: str | None
    heard_by: str | None
    estimated_cost_usd: str | None
    cost_usd: str | None
    error: Error | None


class Result(TypedDict):
    """What lies in the bucket; `url` is presigned, for an hour; `size` in bytes."""

    bucket: str
    key: str
    manifest_key: str
    thumbnail_key: str | None
    url: NotRequired[str]
    size: int
    sha256: str
    content_type: str
    duration_s: float | None
    width: int | None
    height: int | None


class Job(TypedDict):
    """The job document (CONTRACT.md)."""

    id: str
    object: str
    status: Status
    tenant: str
    request: dict[str, Any]
    provider: str | None
    progress: int
    attempts: list[Attempt]
    estimated_cost_usd: str | None
    cost_usd: str | None
    result: Result | None
    error: Error | None
    result_expires_at: str | None
    created_at: str
    updated_at: str
    ended_at: str | None
    metadata: dict[str, str]
    retry_of: NotRequired[str]


class Page(TypedDict):
    """Jobs, newest first, and the cursor of the next page."""

    data: list[Job]
    next_cursor: str | None


class Estimate(TypedDict):
    """What one gateway would do, and for how much."""

    provider: str
    able: bool
    estimated_cost_usd: str | None
    would_send: dict[str, Any] | None
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a job; `kind` is `status` or `progress`, `job` the job as it was then."""

    id: str
    kind: str
    job: Job


class ApiError(Exception):
    """The service said no; `status`, `code` and `fields` are the contract's."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        self.status, self.code = status, str(error.get("code", "error"))
        self.fields: Mapping[str, Any] = error.get("fields") or {}
        self.message = str(error.get("message", f"HTTP {status}"))
        details = "".join(f"\n  {name}: {_line(told)}" for name, told in self.fields.items())
        super().__init__(f"{self.message}{details}")


class Unreachable(Exception):
    """The service did not answer."""


Estimates = list[Estimate]
Lines = list[dict[str, Any]]


def _path(job_id: str, door: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{door}"


def _keyed(idempotency_key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key} if idempotency_key else {}


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What stands between empty lines; the rest of a stream that was cut is nothing."""
    held = bytearray()
    for piece in pieces:
        held += piece
        if held.endswith(b"\n\n"):
            yield bytes(held)
            held.clear()


def _event(block: bytes) -> Event | None:
    """An event of a stream; None for a comment."""
    pairs = (line.partition(": ") for line in block.decode().splitlines())
    fields = {name: value for name, _, value in pairs}
    return Event(fields["id"], fields["event"], json.loads(fields["data"])) if "data" in fields else None


def _line(told: Any) -> str:
    return " ".join(map(str, told)) if isinstance(told, list) else str(told)


@dataclass(frozen=True)
class Client:
    """A key to one Rushes. Every call raises ApiError or Unreachable."""

    url: str
    key: str
    outside: Outside

    @classmethod
    def connect(cls, url: str | None = None, key: str | None = None) -> Client:
        """A client for an address and a key, or for RUSHES_URL and RUSHES_API_KEY."""
        address = url or os.environ.get("RUSHES_URL") or "http://127.0.0.1:8000"
        # Its address is the user's own choice, so no address is out of bounds.
        outside = Outside(EVERYWHERE, f"rushes-client/{__version__}")
        return cls(address.rstrip("/"), key or os.environ.get("RUSHES_API_KEY", ""), outside)

    def submit(self, job: Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        """Enqueue a job; with a key it may be sent again, and is the same job."""
        return cast(Job, self._call("POST", "/v1/jobs", job, _keyed(idempotency_key)))

    def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return cast(Job, self._call("GET", _path(job_id)))

    def page(self, **query: str | int | None) -> Page:
        """A page of jobs, newest first; `status`, `provider`, `limit`, `cursor`."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return cast(Page, self._call("GET", f"/v1/jobs{'?' + given if given else ''}"))

    def list(self, status: str | None = None, provider: str | None = None) -> Iterator[Job]:
        """All jobs, newest first, page by page; those that arrive meanwhile are not among them."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.page(status=status, provider=provider, limit=100, cursor=cursor or None)
            yield from page["data"]
            cursor = page["next_cursor"]

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        """A new job with a failed one's request; with a key it may be sent again, and is the same new job."""
        return cast(Job, self._call("POST", _path(job_id, "/retry"), headers=_keyed(idempotency_key)))

    def cancel(self, job_id: str) -> Job:
        """Take a job back that no gateway has yet."""
        return cast(Job, self._call("POST", _path(job_id, "/cancel")))

    def resolve(self, job_id: str, action: Action, task_id: str | None = None) -> Job:
        """Decide about an unconfirmed submit; to adopt it, name the gateway's task."""
        told = {"action": action, **({"task_id": task_id} if task_id else {})}
        return cast(Job, self._call("POST", _path(job_id, "/resolve"), told))

    def estimates(self, job: Mapping[str, Any]) -> Estimates:
        """What each gateway would be sent, and for how much."""
        return cast(Estimates, self._call("POST", "/v1/estimates", job)["data"])

    def gateways(self) -> Lines:
        """Each enabled gateway as it stands."""
        return cast(Lines, self._call("GET", "/v1/gateways")["data"])

    def pause(self, gateway: str) -> dict[str, Any]:
        """Send nothing new to a gateway; for the admin key."""
        return self._call("POST", f"/v1/gateways/{quote(gateway, safe='')}/pause")

    def resume(self, gateway: str) -> dict[str, Any]:
        """End a gateway's pause; for the admin key."""
        return self._call("POST", f"/v1/gateways/{quote(gateway, safe='')}/resume")

    def usage(self, first: str | None = None, last: str | None = None) -> Lines:
        """What was made and spent, by day and gateway; days in UTC, as YYYY-MM-DD."""
        given = urlencode({name: day for name, day in (("from", first), ("to", last)) if day})
        return cast(Lines, self._call("GET", f"/v1/usage{'?' + given if given else ''}")["data"])

    def events(self, job_id: str, pause_s: float = 1, patience_s: float = 60) -> Iterator[Event]:
        """Each change as it happens, until the job's end; a stream that is cut is taken up where it was.

        Raises Unreachable where nothing was heard of the service for `patience_s`.
        """
        last, lost_at = "", 0.0
        while True:
            try:
                for event in self._heard(job_id, last):
                    lost_at = 0.0
                    if event:
                        last = event.id
                        yield event
                    if event and event.job["status"] in ENDED:
                        return
            except Unreachable:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > patience_s:
                    raise
            time.sleep(pause_s)

    def follow(self, job_id: str, every_s: float = 0.5, patience_s: float = 60) -> Iterator[Job]:
        """The job each time that it changed, until its end; a service that restarts is waited for."""
        seen = None
        while True:
            job = self._patiently(job_id, every_s, patience_s)
            if (mark := (job["status"], job["progress"], job["provider"])) != seen:
                yield job
                seen = mark
            if job["status"] in ENDED:
                return
            time.sleep(every_s)

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """The job once it has ended; raises TimeoutError where it has not within `timeout_s`."""
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        while (job := self._patiently(job_id, 0.5, 60))["status"] not in ENDED:
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise TimeoutError(f"{job_id} is still {job['status']}")
            time.sleep(0.5)
        return job

    def _patiently(self, job_id: str, every_s: float, patience_s: float) -> Job:
        """The job; a service that restarts is waited for."""
        give_up_at = time.monotonic() + patience_s
        while True:
            try:
                return self.get(job_id)
            except Unreachable:
                if time.monotonic() > give_up_at:
                    raise
            time.sleep(every_s)

    def _heard(self, job_id: str, last_id: str) -> Iterator[Event | None]:
        """What one stream tells; None where it only shows that it lives. Raises Unreachable where it is cut."""
        headers = {"Authorization": f"Bearer {self.key}", "Accept": "text/event-stream", "Last-Event-ID": last_id}
        request = Request("GET", self.url + _path(job_id, "/events"), headers)
        try:
            with self.outside.stream(request, deadline_s=STREAM_S, stall_s=SILENCE_S) as stream:
                if stream.status == 429:  # of streams there are only so many
                    raise Unreachable(f"{self.url} has no stream left")
                if stream.status != 200:
                    self._read(Response(stream.status, stream.headers, stream.whole(1 << 20)))
                yield from map(_event, _blocks(stream.chunks(1)))
        except (NotSent, AnswerLost) as lost:
            raise Unreachable(f"{self.url} does not answer: {lost}") from None

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        if body is not None:
            headers = {"Content-Type": "application/json", **(headers or {})}
        request = Request(method, self.url + path, {"Authorization": f"Bearer {self.key}", **(headers or {})}, body)
        try:
            response = self.outside.send(request, deadline_s=DEADLINE_S, max_bytes=64 << 20)
        except (NotSent, AnswerLost) as lost:
            raise Unreachable(f"{self.url} does not answer: {lost}") from None
        return self._read(response)

    def _read(self, response: Response) -> dict[str, Any]:
        try:
            answer = response.json()
        except ValueError:
            answer = {}
        if response.status == 503:
            raise Unreachable(f"{self.url} is not ready")
        if response.status >= 400 or not isinstance(answer, dict):
            error = answer.get("error") if isinstance(answer, dict) else None
            raise ApiError(response.status, error or {"message": f"HTTP {response.status}"})
        return answer
