"""The public surface of rushes.client as its users write it. Checked by mypy, and never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, assert_type

import requests

from rushes.client import (
    ENDED,
    Account,
    Action,
    ApiError,
    Attempt,
    Balance,
    Batch,
    BatchPage,
    BatchSummary,
    Bulk,
    BulkAction,
    BulkForecast,
    Callbacks,
    Client,
    Conflict,
    Error,
    Estimate,
    Event,
    Forbidden,
    Gateway,
    InvalidRequest,
    Job,
    Line,
    Model,
    ModelAtGateway,
    NotFound,
    Page,
    Price,
    PriceRow,
    RateLimited,
    ReceiptLine,
    Result,
    RushesError,
    Status,
    Unauthorized,
    Unavailable,
    Unreachable,
    Used,
)

client = Client("https://rushes.example", "key")
Client("https://rushes.example", "key", session=requests.Session(), timeout=10, retries=0)
Client("https://rushes.example", "key", timeout=(3.05, 30.0))
Client.connect()
Client.connect("https://rushes.example", "key")
with Client.connect() as connected:
    assert_type(connected, Client)
client.close()
assert_type(client.url, str)
assert_type(ENDED, frozenset[str])

# --- jobs

job = assert_type(client.submit({"model": "kling-v3", "prompt": "a red kite"}), Job)
assert_type(client.submit({"model": "kling-v3"}, "order-17"), Job)
assert_type(client.submit({"model": "kling-v3"}, idempotency_key="order-17"), Job)
assert_type(client.get(job["id"]), Job)
page = assert_type(client.page(limit=20, status="failed", cursor=None), Page)
assert_type(page["data"], list[Job])
assert_type(client.list(), Iterator[Job])
assert_type(client.list(status="failed", provider="evolink"), Iterator[Job])
assert_type(client.history(job["id"]), list[Line])
assert_type(client.content_url(job["id"]), str)
assert_type(client.retry(job["id"], "again-17"), Job)
assert_type(client.cancel(job["id"]), Job)
assert_type(client.notify(job["id"]), Job)
assert_type(client.erase(job["id"]), Job)
action: Action = "adopt"
assert_type(client.resolve(job["id"], action, "task-7"), Job)
assert_type(client.resolve(job["id"], "fail"), Job)
client.resolve(job["id"], "forget")  # type: ignore[arg-type]

# --- batches

batch = assert_type(client.submit_batch([{"model": "kling-v3"}], "order-17", max_cost_usd="5"), Batch)
assert_type(client.get_batch(batch["id"])["receipt"], list[ReceiptLine] | None)
assert_type(client.cancel_batch(batch["id"]), Batch)
batches = assert_type(client.batch_page(limit=20), BatchPage)
assert_type(batches["data"], list[BatchSummary])

# --- many at once

assert_type(client.bulk_dry_run("retry", status="failed"), BulkForecast)
again: BulkAction = "retry"
bulk = assert_type(client.bulk(again, idempotency_key="again-17", status="failed", **{"metadata.order": "17"}), Bulk)
assert_type(client.get_bulk(bulk["id"]), Bulk)
assert_type(client.list_bulk(), list[Bulk])
assert_type(client.abort_bulk(bulk["id"]), Bulk)
client.bulk("burn", status="failed")  # type: ignore[arg-type]

# --- waiting

assert_type(client.wait(job["id"]), Job)
assert_type(client.wait(job["id"], timeout_s=600), Job)
assert_type(client.follow(job["id"], every_s=1, patience_s=60), Iterator[Job])
for event in client.events(job["id"], pause_s=1, patience_s=60):
    assert_type(event, Event)
    assert_type((event.id, event.kind, event.job), tuple[str, str, Job])

# --- the service

assert_type(client.estimates({"model": "kling-v3"}), list[Estimate])
model = assert_type(client.models()[0], Model)
at_gateway = assert_type(model["gateways"][0], ModelAtGateway)
assert_type(at_gateway["prices"], list[PriceRow])
assert_type(client.estimates({"model": "kling-v3"})[0]["price"], Price | None)
gateway = assert_type(client.gateways()[0], Gateway)
assert_type(gateway["callbacks"], Callbacks)
assert_type(gateway["balance"], Balance | None)
assert_type(gateway["accounts"], list[Account])
assert_type(client.pause("evolink"), dict[str, Any])
assert_type(client.resume("evolink"), dict[str, Any])
assert_type(client.usage("2026-11-01", "2026-11-30"), list[Used])
assert_type(client.usage_csv("2026-11-01", "2026-11-30"), str)

# --- documents

status: Status = job["status"]
assert_type(job["attempts"], list[Attempt])
assert_type(job["result"], Result | None)
assert_type(job["error"], Error | None)
if job["result"]:
    assert_type(job["result"]["size"], int)
job["colour"]  # type: ignore[typeddict-item]

# --- errors

refusals: list[type[ApiError]] = [InvalidRequest, Unauthorized, Forbidden, NotFound, Conflict, RateLimited]
errors: list[type[RushesError]] = [ApiError, Unreachable, Unavailable]
try:
    client.get("job_1")
except RateLimited as limited:
    assert_type(limited.retry_after_s, float | None)
except ApiError as refused:
    assert_type((refused.status, refused.code, refused.message), tuple[int, str, str])
    assert_type(refused.fields, Mapping[str, Any])
except Unavailable as unavailable:
    assert_type(unavailable.retry_after_s, float | None)
