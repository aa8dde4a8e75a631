"""The Jobs API from Python: submit, look, wait. Other services may use it; the shell does."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from shared import __version__
from shared.domain.wire import Request, Response
from shared.http import AnswerLost, NotSent, Outside

ENDED = frozenset({"completed", "failed", "canceled"})
EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
DEADLINE_S = 30

Document = dict[str, Any]


class ApiError(Exception):
    """The service said no; `status`, `code` and `fields` are the contract's."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        self.status, self.code = status, str(error.get("code", "error"))
        self.fields: Mapping[str, Any] = error.get("fields") or {}
        details = "".join(f"\n  {name}: {_line(told)}" for name, told in self.fields.items())
        super().__init__(f"{error.get('message', f'HTTP {status}')}{details}")


class Unreachable(Exception):
    """The service did not answer."""


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

    def submit(self, job: Mapping[str, Any], idempotency_key: str | None = None) -> Document:
        """Enqueue a job."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._call("POST", "/v1/jobs", job, headers)

    def get(self, job_id: str) -> Document:
        """The job as it is now."""
        return self._call("GET", f"/v1/jobs/{quote(job_id, safe='')}")

    def page(self, **query: str | int | None) -> Document:
        """A page of jobs, newest first; `status`, `provider`, `limit`, `cursor`."""
        given = urlencode({name: value for name, value in query.items() if value is not None})
        return self._call("GET", f"/v1/jobs{'?' + given if given else ''}")

    def retry(self, job_id: str) -> Document:
        """A new job with a failed one's request."""
        return self._call("POST", f"/v1/jobs/{quote(job_id, safe='')}/retry")

    def cancel(self, job_id: str) -> Document:
        """Take a job back that no gateway has yet."""
        return self._call("POST", f"/v1/jobs/{quote(job_id, safe='')}/cancel")

    def estimates(self, job: Mapping[str, Any]) -> list[Document]:
        """What each gateway would be sent, and for how much."""
        held: list[Document] = self._call("POST", "/v1/estimates", job)["data"]
        return held

    def follow(self, job_id: str, every_s: float = 0.5, patience_s: float = 60) -> Iterator[Document]:
        """The job each time that it changed, until its end; a service that restarts is waited for."""
        seen, lost_at = None, None
        while True:
            try:
                job, lost_at = self.get(job_id), None
            except Unreachable:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > patience_s:
                    raise
                time.sleep(every_s)
                continue
            if (mark := (job["status"], job["progress"], job["provider"])) != seen:
                yield job
                seen = mark
            if job["status"] in ENDED:
                return
            time.sleep(every_s)

    def wait(self, job_id: str) -> Document:
        """The job once it has ended."""
        *_, last = self.follow(job_id)
        return last

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Document:
        if body is not None:
            headers = {"Content-Type": "application/json", **(headers or {})}
        request = Request(method, self.url + path, {"Authorization": f"Bearer {self.key}", **(headers or {})}, body)
        try:
            response = self.outside.send(request, deadline_s=DEADLINE_S, max_bytes=64 << 20)
        except (NotSent, AnswerLost) as lost:
            raise Unreachable(f"{self.url} does not answer: {lost}") from None
        return self._read(response)

    def _read(self, response: Response) -> Document:
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
