"""The calls of the Jobs API."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, cast
from urllib.parse import quote

import requests

from rushes.shared.client import events
from rushes.shared.client.documents import Action, Estimate, Event, Gateway, Job, Line, Page, Used
from rushes.shared.client.errors import ApiError, RateLimited, Unreachable
from rushes.shared.client.transport import Call, Timeout, Transport

ENDED = frozenset({"completed", "failed", "canceled"})
# The service says something every 15 s; a stream that is silent for longer than this is taken up anew.
SILENCE_S = 40.0
PAGE_SIZE = 100

Lines = list[Line]
Estimates = list[Estimate]
Gateways = list[Gateway]
UsedDays = list[Used]


def _path(job_id: str, call: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{call}"


class Client:
    """A key to one Rushes. Every call raises ApiError or Unreachable.

    `session` is a requests.Session of yours (adapters, proxies, certificates), which is left open; otherwise the
    environment is read as requests reads it (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE). `timeout` is requests' own:
    seconds to connect, and between two bytes. What may be sent twice (a GET, or a POST with an idempotency key) is sent
    again up to `retries` times where the service does not answer or names a pause. As safe for threads as the session.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        session: requests.Session | None = None,
        timeout: Timeout = (5.0, 30.0),
        retries: int = 2,
    ) -> None:
        self._transport = Transport(url, key, session, timeout, retries)

    @classmethod
    def connect(cls, url: str | None = None, key: str | None = None) -> Client:
        """A client for RUSHES_URL and RUSHES_API_KEY, unless an address or a key is given."""
        address = url or os.environ.get("RUSHES_URL") or "http://127.0.0.1:8000"
        return cls(address, key or os.environ.get("RUSHES_API_KEY", ""))

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        """Close the connections, unless the session is the caller's own."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- jobs

    def submit(self, job: Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        """Enqueue a job; with a key it may be sent again, and is the same job."""
        return cast(Job, self._post("/v1/jobs", job, idempotency_key))

    def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return cast(Job, self._get(_path(job_id)))

    def page(self, **query: str | int | None) -> Page:
        """A page of jobs, newest first; `limit`, `cursor`, and the filters of GET /v1/jobs."""
        return cast(Page, self._get("/v1/jobs", query))

    def list(self, **filters: str | int | None) -> Iterator[Job]:
        """All jobs, newest first, page by page; those that arrive meanwhile are not among them.

        The filters are those of GET /v1/jobs: `status`, `provider`, …
        """
        cursor: str | None = ""
        while cursor is not None:
            page = self.page(**{"limit": PAGE_SIZE, **filters, "cursor": cursor or None})
            yield from page["data"]
            cursor = page["next_cursor"]

    def history(self, job_id: str) -> Lines:
        """What became of a job, oldest first."""
        return cast(Lines, self._get(_path(job_id, "/history"))["data"])

    def content_url(self, job_id: str) -> str:
        """A presigned address of a completed job's clip, for an hour; it needs no key, and must be given none."""
        location = self._transport.answer(Call("GET", _path(job_id, "/content"))).headers.get("Location")
        if location is None:
            raise ApiError(200, {"message": f"{self.url} does not answer as Rushes does"})
        return str(location)

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        """A new job with a failed one's request; with a key it may be sent again, and is the same new job."""
        return cast(Job, self._post(_path(job_id, "/retry"), None, idempotency_key))

    def cancel(self, job_id: str) -> Job:
        """Take a job back that no gateway has yet."""
        return cast(Job, self._post(_path(job_id, "/cancel")))

    def notify(self, job_id: str) -> Job:
        """Tell an ended job's `callback_url` of its end once more."""
        return cast(Job, self._post(_path(job_id, "/notify")))

    def resolve(self, job_id: str, action: Action, task_id: str | None = None) -> Job:
        """Decide about an unconfirmed submit; to adopt it, name the gateway's task."""
        return cast(
            Job, self._post(_path(job_id, "/resolve"), {"action": action, **({"task_id": task_id} if task_id else {})})
        )

    # --- the service

    def estimates(self, job: Mapping[str, Any]) -> Estimates:
        """What each gateway would be sent, and for how much."""
        return cast(Estimates, self._post("/v1/estimates", job)["data"])

    def gateways(self) -> Gateways:
        """Each enabled gateway as it stands."""
        return cast(Gateways, self._get("/v1/gateways")["data"])

    def pause(self, gateway: str) -> dict[str, Any]:
        """Send nothing new to a gateway; for the admin key."""
        return self._post(f"/v1/gateways/{quote(gateway, safe='')}/pause")

    def resume(self, gateway: str) -> dict[str, Any]:
        """End a gateway's pause; for the admin key."""
        return self._post(f"/v1/gateways/{quote(gateway, safe='')}/resume")

    def usage(self, first: str | None = None, last: str | None = None) -> UsedDays:
        """What was made and spent, by day and gateway; days in UTC, as YYYY-MM-DD."""
        return cast(UsedDays, self._get("/v1/usage", {"from": first, "to": last})["data"])

    # --- waiting

    def events(self, job_id: str, pause_s: float = 1, patience_s: float = 60) -> Iterator[Event]:
        """Each change as it happens, until the job's end; a stream that is cut is taken up where it was.

        Raises Unreachable where nothing was heard of the service for `patience_s`.
        """
        last_id, lost_at = "", 0.0
        while True:
            try:
                for event in self._streamed(job_id, last_id):
                    lost_at = 0.0
                    if event is None:
                        continue
                    last_id = event.id
                    yield event
                    if event.job["status"] in ENDED:
                        return
            except Unreachable:
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > patience_s:
                    raise
            time.sleep(pause_s)

    def follow(self, job_id: str, every_s: float = 0.5, patience_s: float = 60) -> Iterator[Job]:
        """The job each time that it changed, until its end, by asking; a service that restarts is waited for."""
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

    def _streamed(self, job_id: str, last_id: str) -> Iterator[Event | None]:
        try:
            with self._transport.stream(_path(job_id, "/events"), last_id, SILENCE_S) as lines:
                yield from events.parse(lines)
        except RateLimited:  # of streams there are only so many
            raise Unreachable(f"{self.url} has no stream left") from None

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._transport.call(Call("GET", path, query))

    def _post(
        self, path: str, body: Mapping[str, Any] | None = None, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        return self._transport.call(Call("POST", path, None, body, idempotency_key or None))
