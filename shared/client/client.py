"""The client: one method for each call of the Jobs API."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, cast
from urllib.parse import quote

import requests

from rushes.shared.client import events
from rushes.shared.client.documents import (
    Action,
    Batch,
    BatchPage,
    Bulk,
    BulkAction,
    BulkForecast,
    Estimate,
    Event,
    Gateway,
    Job,
    Line,
    Model,
    Page,
    Used,
)
from rushes.shared.client.errors import ApiError, RateLimited, Unreachable
from rushes.shared.client.transport import Call, Timeout, Transport

ENDED = frozenset({"completed", "failed", "canceled"})
# The service sends something every 15 s. A stream that is silent for longer than this is opened again.
SILENCE_S = 40.0
PAGE_SIZE = 100

Lines = list[Line]
Bulks = list[Bulk]
Estimates = list[Estimate]
Gateways = list[Gateway]
Models = list[Model]
UsedDays = list[Used]


def _batch_path(batch_id: str, call: str = "") -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}{call}"


def _path(job_id: str, call: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{call}"


class Client:
    """A client of one Rushes service, with one API key. Every call raises ApiError or Unreachable.

    `session` is your own requests.Session (adapters, proxies, certificates), which stays open. Without it the settings
    of the environment apply, as in requests (HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE). `timeout` is that of requests:
    seconds to connect, and between two bytes. A call that may safely be repeated (a GET, or a POST with an idempotency
    key) is sent again up to `retries` times if the service does not answer, or asks to wait. The client is as
    thread-safe as its session.
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
        """A client for RUSHES_URL and RUSHES_API_KEY; the arguments override them."""
        address = url or os.environ.get("RUSHES_URL") or "http://127.0.0.1:8000"
        return cls(address, key or os.environ.get("RUSHES_API_KEY", ""))

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        """Close the connections, unless the session is your own."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- jobs

    def submit(self, job: Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        """Submit a job. Sent again with the same key, it returns the same job."""
        return cast(Job, self._post("/v1/jobs", job, idempotency_key))

    def get(self, job_id: str) -> Job:
        """The job as it is now."""
        return cast(Job, self._get(_path(job_id)))

    def page(self, **query: str | int | None) -> Page:
        """A page of jobs, newest first. The arguments are `limit`, `cursor`, and the filters of GET /v1/jobs."""
        return cast(Page, self._get("/v1/jobs", query))

    def list(self, **filters: str | int | None) -> Iterator[Job]:
        """All jobs, newest first, fetched page by page, without those that arrive meanwhile.

        The filters are those of GET /v1/jobs: `status`, `provider`, `model`, `error`, `batch`; `from` and
        `metadata.KEY` are no names in Python, so they are given as `**{"from": "2026-12-01", "metadata.order": "17"}`.
        """
        cursor: str | None = ""
        while cursor is not None:
            page = self.page(**{"limit": PAGE_SIZE, **filters, "cursor": cursor or None})
            yield from page["data"]
            cursor = page["next_cursor"]

    def history(self, job_id: str) -> Lines:
        """The history of a job, oldest first."""
        return cast(Lines, self._get(_path(job_id, "/history"))["data"])

    def content_url(self, job_id: str) -> str:
        """A presigned URL of a completed job's clip, valid for an hour. Do not send your API key to it."""
        location = self._transport.answer(Call("GET", _path(job_id, "/content"))).headers.get("Location")
        if location is None:
            raise ApiError(200, {"message": f"{self.url} does not answer as Rushes does"})
        return str(location)

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        """Submit a failed job's request as a new job. Sent again with the same key, it returns the same new job."""
        return cast(Job, self._post(_path(job_id, "/retry"), None, idempotency_key))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that was not sent to a gateway yet."""
        return cast(Job, self._post(_path(job_id, "/cancel")))

    def erase(self, job_id: str) -> Job:
        """Erase an ended job: clip, prompts, inputs, metadata. `erased_at` is set once all of it is gone."""
        return cast(Job, self._transport.call(Call("DELETE", _path(job_id))))

    def notify(self, job_id: str) -> Job:
        """Send the notification of an ended job to its `callback_url` once more."""
        return cast(Job, self._post(_path(job_id, "/notify")))

    def resolve(self, job_id: str, action: Action, task_id: str | None = None) -> Job:
        """Decide about an unconfirmed submit; `adopt` needs the id of the gateway's task."""
        return cast(
            Job, self._post(_path(job_id, "/resolve"), {"action": action, **({"task_id": task_id} if task_id else {})})
        )

    # --- batches

    def submit_batch(
        self, jobs: Sequence[Mapping[str, Any]], idempotency_key: str | None = None, **terms: Any
    ) -> Batch:
        """Submit jobs together, all or none. Sent again with the same key, it returns the same batch.

        `terms` are the fields of the batch: `max_cost_usd`, `callback_url`, `metadata`, …
        """
        return cast(Batch, self._post("/v1/batches", {"jobs": [*jobs], **terms}, idempotency_key))

    def get_batch(self, batch_id: str) -> Batch:
        """The batch as it is now; `receipt` once all of its jobs have ended."""
        return cast(Batch, self._get(_batch_path(batch_id)))

    def batch_page(self, limit: int | None = None, cursor: str | None = None) -> BatchPage:
        """A page of batches, newest first."""
        return cast(BatchPage, self._get("/v1/batches", {"limit": limit, "cursor": cursor}))

    def cancel_batch(self, batch_id: str) -> Batch:
        """Cancel the jobs of a batch that were not sent to a gateway yet."""
        return cast(Batch, self._post(_batch_path(batch_id, "/cancel")))

    # --- many at once

    def bulk_dry_run(self, action: BulkAction, **filters: str) -> BulkForecast:
        """How many jobs a bulk action would be done to, and what it would cost; nothing is done. See `bulk`."""
        return cast(BulkForecast, self._post("/v1/bulk", {"action": action, "filter": filters, "dry_run": True}))

    def bulk(self, action: BulkAction, *, idempotency_key: str | None = None, **filters: str) -> Bulk:
        """Cancel, retry, notify or erase every job that fits; the filters are those of `list`, at least one."""
        return cast(Bulk, self._post("/v1/bulk", {"action": action, "filter": filters}, idempotency_key))

    def get_bulk(self, bulk_id: str) -> Bulk:
        """A bulk action, its progress, and what came of its jobs."""
        return cast(Bulk, self._get(f"/v1/bulk/{quote(bulk_id, safe='')}"))

    def list_bulk(self, limit: int = 20) -> Bulks:
        """The bulk actions of 30 days, newest first."""
        return cast(Bulks, self._get("/v1/bulk", {"limit": limit})["data"])

    def abort_bulk(self, bulk_id: str) -> Bulk:
        """Do nothing to further jobs of a bulk action."""
        return cast(Bulk, self._post(f"/v1/bulk/{quote(bulk_id, safe='')}/abort"))

    # --- the service

    def estimates(self, job: Mapping[str, Any]) -> Estimates:
        """What each gateway would be sent, and what it would cost."""
        return cast(Estimates, self._post("/v1/estimates", job)["data"])

    def models(self) -> Models:
        """Each model: operations, fields and limits, and the price at each enabled gateway."""
        return cast(Models, self._get("/v1/models")["data"])

    def gateways(self) -> Gateways:
        """The state of each enabled gateway."""
        return cast(Gateways, self._get("/v1/gateways")["data"])

    def pause(self, gateway: str) -> dict[str, Any]:
        """Send no new jobs to a gateway; needs the admin key."""
        return self._post(f"/v1/gateways/{quote(gateway, safe='')}/pause")

    def resume(self, gateway: str) -> dict[str, Any]:
        """End a gateway's pause; needs the admin key."""
        return self._post(f"/v1/gateways/{quote(gateway, safe='')}/resume")

    def usage(self, first: str | None = None, last: str | None = None) -> UsedDays:
        """Jobs, seconds and costs by day and gateway. Days are in UTC, as YYYY-MM-DD."""
        return cast(UsedDays, self._get("/v1/usage", {"from": first, "to": last})["data"])

    def usage_csv(self, first: str | None = None, last: str | None = None) -> str:
        """The same as CSV, with a header."""
        call = Call("GET", "/v1/usage", {"from": first, "to": last}, accept="text/csv")
        response = self._transport.answer(call)
        if not response.headers.get("Content-Type", "").startswith("text/csv"):  # older than this client
            raise ApiError(response.status_code, {"message": f"{self.url} does not return usage as CSV"})
        return response.content.decode()

    # --- waiting

    def events(self, job_id: str, pause_s: float = 1, patience_s: float = 60) -> Iterator[Event]:
        """Each change as it happens, until the job's end. A broken stream is resumed where it was.

        Raises Unreachable if the service does not answer for `patience_s`.
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
        """The job after each change, until its end, by polling. Waits up to `patience_s` while the service is away."""
        last = None
        while True:
            job = self._patiently(job_id, every_s, patience_s)
            if (current := (job["status"], job["progress"], job["provider"])) != last:
                yield job
                last = current
            if job["status"] in ENDED:
                return
            time.sleep(every_s)

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Wait for the job's end and return it; raises TimeoutError if it does not end within `timeout_s`."""
        give_up_at = None if timeout_s is None else time.monotonic() + timeout_s
        while (job := self._patiently(job_id, 0.5, 60))["status"] not in ENDED:
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise TimeoutError(f"{job_id} is still {job['status']}")
            time.sleep(0.5)
        return job

    def _patiently(self, job_id: str, every_s: float, patience_s: float) -> Job:
        """Get the job; wait up to `patience_s` while the service does not answer."""
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
        except RateLimited:  # the number of streams is limited
            raise Unreachable(f"{self.url} has no stream left") from None

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._transport.call(Call("GET", path, query))

    def _post(
        self, path: str, body: Mapping[str, Any] | None = None, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        return self._transport.call(Call("POST", path, None, body, idempotency_key or None))
