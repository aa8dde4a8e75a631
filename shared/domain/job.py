"""A job and its attempts: frozen values, and what can be read off them.

Moments (`*_at`, `now`) are whole milliseconds since the epoch, UTC. Money is Decimal US dollars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rushes.shared.domain import accounts
from rushes.shared.domain.frozen import replace


class State(StrEnum):
    """Where a job stands; the words are the public contract's."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    ARCHIVING = "archiving"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELED})
IN_FLIGHT = frozenset({State.SUBMITTING, State.UNCONFIRMED, State.RUNNING})


class AttemptStatus(StrEnum):
    """What became of one paid call."""

    SUBMITTING = "submitting"
    UNCONFIRMED = "unconfirmed"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    REJECTED = "rejected"


class CostSource(StrEnum):
    """Where the cost of an attempt comes from; the words are the public contract's."""

    REPORTED = "reported"
    """The gateway said it."""
    SETTLED = "settled"
    """Computed from what was made."""
    ESTIMATED = "estimated"
    """The estimate stands."""


class Chore(StrEnum):
    """What an ended job still owes; its state no longer changes."""

    MANIFEST = "manifest"
    NOTICE = "notice"
    ERASE = "erase"
    RETIRE = "retire"


@dataclass(frozen=True)
class Error:
    """Why a job or an attempt failed; `code` is one of the contract's."""

    code: str
    message: str
    provider: str | None = None


@dataclass(frozen=True)
class Link:
    """Where the gateway keeps the finished clip, and until when."""

    video_url: str
    thumbnail_url: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True)
class Attempt:
    """One submit of a job to one gateway.

    Gateway, address, account and the name of the key are frozen here, so that a changed setting never asks the wrong
    host, or with another account's key.
    """

    number: int
    provider: str
    base_url: str
    key_name: str
    submitted_at: int
    status: AttemptStatus = AttemptStatus.SUBMITTING
    callback: bool = False
    adopted: bool = False
    let_go: bool = False
    body: Mapping[str, Any] | None = None
    askable: bool = False
    """Its gateway can be asked by our own id of it whether it has the task (events.NotFound)."""
    resent_at: int = 0
    """When it was last sent again under that id; 0 for never."""
    key: str | None = None
    """The idempotency key that it was sent under, where a retry goes on with another job's submit."""
    lost_at: int = 0
    """When the call whose answer was lost had ended; 0 where none was, or nobody can be asked by our own id."""
    task_id: str | None = None
    ended_at: int | None = None
    heard_by: str | None = None
    polls: int = 0
    asked_at: int = 0
    estimated_usd: Decimal | None = None
    cost_usd: Decimal | None = None
    cost_source: CostSource | None = None
    reserved_usd: Decimal | None = None
    """What the gateway said at the submit that it reserves: compared with the estimate, never a cost."""
    made_s: Decimal | None = None
    link: Link | None = None
    bad_downloads: int = 0  # of its clip, that were no whole clip
    error: Error | None = None
    account: str = accounts.DEFAULT
    """The account that submitted it; a record without it is of a time when a gateway had one key."""

    @property
    def last_sent_at(self) -> int:
        return max(self.submitted_at, self.resent_at)

    @property
    def account_label(self) -> str:
        return accounts.label(self.provider, self.account)

    @property
    def paid(self) -> bool:
        """Whether money may have been spent on it."""
        return self.status is not AttemptStatus.REJECTED


def attempt_key(job_id: str, number: int) -> str:
    """The idempotency key of a new attempt."""
    return f"{job_id}-{number}"


@dataclass(frozen=True)
class Result:
    """What lies in the bucket."""

    bucket: str
    key: str
    manifest_key: str
    size: int
    sha256: str
    content_type: str
    thumbnail_key: str | None = None
    duration_s: Decimal | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Nudge:
    """A callback's hint that has not been acted on yet."""

    at: int
    attempt: int
    task_id: str | None = None
    thumbnail_url: str | None = None


@dataclass(frozen=True)
class Note:
    """One line of a job's history."""

    at: int
    what: str
    detail: str | None = None


HISTORY_LIMIT = 64
# Of a job whose request has none; 0 to 9, the higher goes first.
PRIORITY = 5


def moment_ms(text: str) -> int:
    """An ISO 8601 moment with its offset as milliseconds since the epoch; raises ValueError where it is none."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


@dataclass(frozen=True)
class Job:
    """A job as the ledger keeps it. `route[0]` is the gateway that is tried next."""

    id: str
    tenant: str
    request: Mapping[str, Any]
    route: tuple[str, ...]
    created_at: int
    updated_at: int
    state: State = State.QUEUED
    version: int = 0
    due_at: int | None = None
    parked: bool = False
    waits_until: int | None = None
    """Until when it waits for the first gateway of its route while that is over its rate or full; None: patience.py."""
    tries: int = 0
    setbacks: int = 0
    attempts: tuple[Attempt, ...] = ()
    estimated_usd: Decimal | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    progress: int = 0
    nudge: Nudge | None = None
    result: Result | None = None
    error: Error | None = None
    ended_at: int | None = None
    chores: tuple[Chore, ...] = ()
    retry_of: str | None = None
    trace: str | None = None
    """The caller's trace id and flags, where it gave one (trace_context.py)."""
    history: tuple[Note, ...] = ()
    idempotency: str | None = None
    """Digests of the caller's Idempotency-Key and of the body that came with it."""
    batch_id: str | None = None
    """The batch that it was taken with (batch.py): counted there, and under its budget."""
    batch_budget_usd: Decimal | None = None
    """The most that all jobs of the batch may hold and spend together."""
    erase_asked_at: int | None = None
    """When its content left this record; from then on nobody can read it here."""
    erased_at: int | None = None
    """When its content had left bucket, journal and quarantine too."""

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def current(self) -> Attempt:
        """The newest attempt of a job that surely has one; raises LookupError otherwise."""
        if not self.attempts:
            raise LookupError(f"{self.id} has no attempt")
        return self.attempts[-1]

    def knows(self, attempt: Attempt) -> bool:
        """Whether this attempt, or a later one, was written down here."""
        this = (attempt.number, attempt.submitted_at)
        return any((other.number, other.submitted_at) >= this for other in self.attempts)

    def idempotency_key(self, attempt: Attempt) -> str:
        """The key of an attempt, which is our own id of it at the gateway; whoever sends the attempt uses the same."""
        return attempt.key or attempt_key(self.id, attempt.number)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def provider(self) -> str | None:
        """The gateway that has, or last had, the job."""
        return self.attempts[-1].provider if self.attempts else None

    @property
    def account_label(self) -> str | None:
        """The account that has, or last had, the job, as the ledger calls it."""
        return self.attempts[-1].account_label if self.attempts else None

    @property
    def callback_url(self) -> str | None:
        return self.request.get("callback_url")

    @property
    def priority(self) -> int:
        """Its place among the jobs of its tenant, from 0 to 9: the higher goes first."""
        return int(self.request.get("priority", PRIORITY))

    @property
    def not_before(self) -> int | None:
        """The moment before which it is not submitted."""
        text = self.request.get("not_before")
        return moment_ms(text) if text else None

    @property
    def start_before(self) -> int | None:
        """The moment by which it has to begin (start_deadline.py)."""
        text = self.request.get("start_before")
        return moment_ms(text) if text else None

    def with_attempt(self, **changes: Any) -> Job:
        """The same job with its newest attempt changed."""
        return replace(self, attempts=(*self.attempts[:-1], replace(self.current, **changes)))

    def has_noted(self, what: str, since: int) -> bool:
        """Whether its history has such a line of that moment or later."""
        return any(note.what == what and note.at >= since for note in self.history)

    def noted(self, at: int, what: str, detail: str | None = None) -> Job:
        """The same job with a line added to its history; the oldest but the first give way."""
        history = (*self.history, Note(at, what, detail))
        if len(history) > HISTORY_LIMIT:
            history = (history[0], *history[2:])
        return replace(self, history=history)
