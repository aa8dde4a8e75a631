"""The documents that the service returns: times in ISO 8601, money as decimal strings in USD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

Status = Literal["queued", "submitting", "unconfirmed", "running", "archiving", "completed", "failed", "canceled"]
Action = Literal["resubmit", "fail", "adopt"]


class Error(TypedDict):
    """Why a job or an attempt failed; `code` is one of the contract's."""

    code: str
    message: str
    provider: NotRequired[str]


class Attempt(TypedDict):
    """One paid call to one gateway."""

    provider: str
    task_id: str | None
    status: str
    submitted_at: str
    ended_at: str | None
    heard_by: str | None
    account: str
    estimated_cost_usd: str | None
    cost_usd: str | None
    cost_source: str | None
    error: Error | None


class Result(TypedDict):
    """The files in the bucket. `url` is presigned and valid for an hour; `size` is in bytes."""

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
    erased_at: NotRequired[str | None]


class Page(TypedDict):
    """Jobs, newest first, and the cursor of the next page."""

    data: list[Job]
    next_cursor: str | None


class ReceiptLine(TypedDict):
    """What became of one job of a batch, and what it cost."""

    job_id: str
    status: Status | None
    provider: str | None
    error: str | None
    estimated_cost_usd: str | None
    cost_usd: str | None
    wasted_cost_usd: str | None


class BatchSummary(TypedDict):
    """A batch as it stands in a list (CONTRACT.md, Batches)."""

    id: str
    object: str
    status: Literal["running", "completed"]
    tenant: str
    jobs: int
    counts: dict[Status, int]
    errors: dict[str, int]
    max_cost_usd: str | None
    estimated_cost_usd: str
    unpriced_jobs: int
    reserved_cost_usd: str
    cost_usd: str
    wasted_cost_usd: str
    seconds: float
    canceled: bool
    created_at: str
    ended_at: str | None
    callback_url: NotRequired[str]
    metadata: dict[str, str]


class Batch(BatchSummary):
    """A batch with the ids of its jobs, and a line for each once all have ended."""

    job_ids: list[str]
    receipt: list[ReceiptLine] | None


class BatchPage(TypedDict):
    """Batches, newest first, and the cursor of the next page."""

    data: list[BatchSummary]
    next_cursor: str | None


BulkAction = Literal["cancel", "retry", "notify", "erase"]


class Bulk(TypedDict):
    """A bulk action, and how far it is. `outcomes` says what came of how many jobs."""

    id: str
    object: str
    tenant: str
    action: BulkAction
    filter: dict[str, str]
    status: Literal["running", "completed", "aborted"]
    matched: int | None
    done: int
    outcomes: dict[str, int]
    created_at: str
    ended_at: str | None


class BulkForecast(TypedDict):
    """What a bulk action would do; `complete` is False where there are more jobs than were counted."""

    object: str
    dry_run: bool
    action: BulkAction
    filter: dict[str, str]
    count: int
    complete: bool
    estimated_cost_usd: str
    unpriced_jobs: int


class Line(TypedDict):
    """One line of a job's history."""

    at: str
    what: str
    detail: str | None


class Price(TypedDict):
    """What a second or a clip costs, and where that is from; all None for an unknown price."""

    usd_per_second: str | None
    usd_per_clip: str | None
    source: str | None
    checked: str | None
    confidence: Literal["documented", "third_party", "inferred"] | None
    note: str | None


class PriceRow(Price):
    """The price of one kind of work; what makes no difference is None. `duration` is in seconds."""

    mode: str
    sound: bool | None
    voices: bool | None
    duration: int | None


class ModelAtGateway(TypedDict):
    """What an enabled gateway does with a model."""

    provider: str
    model: str
    operations: list[str]
    modes: list[str]
    fields: list[str]
    guessed: list[str]
    prices: list[PriceRow]


class Model(TypedDict):
    """A model: what it makes, from which fields, within which limits, and where."""

    id: str
    object: str
    operations: list[str]
    fields: list[str]
    limits: dict[str, dict[str, Any]]
    gateways: list[ModelAtGateway]


class RecentBills(TypedDict):
    """What a gateway billed of late for a kind of work; `mean_ratio` is what each bill was in estimates."""

    count: int
    mean_ratio: str
    expected_cost_usd: str | None


class Estimate(TypedDict):
    """What one gateway would be sent, and what it would cost."""

    provider: str
    able: bool
    estimated_cost_usd: str | None
    would_send: dict[str, Any] | None
    why_not: str | None
    price: Price | None
    notes: list[str]
    recent_bills: RecentBills | None


class Callbacks(TypedDict):
    """How many callbacks of a gateway were expected and received."""

    asked: int
    heard: int
    last_heard_at: str | None
    silent: bool


class Balance(TypedDict):
    """The balance of the account at a gateway, as it was read last; `days_left` at the last week's rate."""

    usd: str | None
    units: str | None
    unlimited: bool
    at: str | None
    days_left: float | None
    problem: str | None


class Account(TypedDict):
    """One of our accounts at a gateway; a `missing` one is in no setting, and its jobs wait."""

    name: str
    state: Literal["open", "drain", "missing"]
    jobs: int
    paused_until: str | None
    why: str | None
    advice: str | None
    in_flight: int
    max_in_flight: int
    submits_left_this_minute: int
    balance: Balance | None


class Gateway(TypedDict):
    """The state of an enabled gateway: of all its accounts together, and of each."""

    name: str
    paused_until: str | None
    why: str | None
    in_flight: int
    max_in_flight: int
    submits_left_this_minute: int
    callbacks: Callbacks
    finish_s: list[dict[str, Any]]
    balance: Balance | None
    accounts: list[Account]
    price_table_version: str


class Difference(TypedDict):
    """A kind of work whose bills differ from the estimates by more than 5 %."""

    model: str
    mode: str
    sound: str
    jobs: int
    estimated_cost_usd: str
    billed_cost_usd: str


class Used(TypedDict):
    """One tenant's day at one gateway."""

    day: str
    tenant: str
    provider: str
    jobs: int
    completed: int
    failed: int
    seconds: float
    estimated_cost_usd: str
    cost_usd: str
    reported_cost_usd: str
    wasted_cost_usd: str
    unpriced_jobs: int
    differences: list[Difference]


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a job; `kind` is `status` or `progress`, `job` the job after the change."""

    id: str
    kind: str
    job: Job
