"""The Python client of the Jobs API. It imports nothing of the server, and no library but `requests`.

from rushes.client import Client

with Client("https://rushes.example", key) as client:
    job = client.submit({"model": "kling-v3", "prompt": "a red kite"}, idempotency_key="order-17")
    print(client.wait(job["id"])["result"])
"""

from __future__ import annotations

from rushes.shared.client.client import ENDED, Client
from rushes.shared.client.documents import (
    Account,
    Action,
    Attempt,
    Balance,
    Batch,
    BatchPage,
    BatchSummary,
    Bulk,
    BulkAction,
    BulkForecast,
    Callbacks,
    Error,
    Estimate,
    Event,
    Gateway,
    Job,
    Line,
    Model,
    ModelAtGateway,
    Page,
    Price,
    PriceRow,
    ReceiptLine,
    Result,
    Status,
    Used,
)
from rushes.shared.client.errors import (
    ApiError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    RushesError,
    Unauthorized,
    Unavailable,
    Unreachable,
)

__all__ = [
    "ENDED",
    "Account",
    "Action",
    "ApiError",
    "Attempt",
    "Balance",
    "Batch",
    "BatchPage",
    "BatchSummary",
    "Bulk",
    "BulkAction",
    "BulkForecast",
    "Callbacks",
    "Client",
    "Conflict",
    "Error",
    "Estimate",
    "Event",
    "Forbidden",
    "Gateway",
    "InvalidRequest",
    "Job",
    "Line",
    "Model",
    "ModelAtGateway",
    "NotFound",
    "Page",
    "Price",
    "PriceRow",
    "RateLimited",
    "ReceiptLine",
    "Result",
    "RushesError",
    "Status",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "Used",
]
