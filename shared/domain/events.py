"""What can happen to a job: facts in the past tense, each with the attempt it speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from rushes.shared.domain.job import Attempt, Error, Link, Result


class Reason(StrEnum):
    """Why a gateway did not do it, in one vocabulary for all gateways."""

    INPUT = "input_rejected"
    POLICY = "content_policy"
    BALANCE = "insufficient_balance"
    RATE = "rate_limited"
    PROVIDER = "provider_error"
    KEY = "key_rejected"
    DOWN = "unavailable"
    MOVED = "address_moved"

    @property
    def code(self) -> str:
        """The contract's error code."""
        return Reason.PROVIDER.value if self in (Reason.KEY, Reason.DOWN, Reason.MOVED) else self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`attempt` is the number of the attempt it speaks of, 0 for the newest; `asked_at` when the question was put."""

    attempt: int = 0
    asked_at: int = 0


@dataclass(frozen=True, slots=True)
class Measured(Event):
    """The inputs were looked at before money was spent, and the gateways put in order."""

    inputs: Mapping[str, Any]
    route: tuple[str, ...]
    estimated_usd: Decimal | None


@dataclass(frozen=True, slots=True)
class Begun(Event):
    """A paid call is about to be sent; written down before the first byte."""

    plan: Attempt


@dataclass(frozen=True, slots=True)
class Deferred(Event):
    """Nothing was sent: a cap, a pause or a step of ours that `broke` stands in the way until `until`."""

    until: int
    why: str
    broke: bool = False


@dataclass(frozen=True, slots=True)
class Rerouted(Event):
    """The next gateway is not to be had now; another of the route goes first."""

    route: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Parked(Event):
    """No gateway of the route is to be had now: it keeps its place in the line until the pause of the first ends."""

    route: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Barred(Event):
    """The job cannot go on, and nothing was sent for it."""

    error: Error


@dataclass(frozen=True, slots=True)
class Expired(Event):
    """The moment by which the job had to begin has come, and nothing was sent for it."""


@dataclass(frozen=True, slots=True)
class Accepted(Event):
    """The gateway has the job; `reserved_usd` is what it says that it reserves for it."""

    task_id: str
    reserved_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """Surely not accepted, nothing was paid."""

    reason: Reason
    message: str
    retry_after_s: float | None = None
    other_account: bool = False
    """Whether the gateway has another account of ours that may take it."""


@dataclass(frozen=True, slots=True)
class Withdrawn(Event):
    """The attempt was, or may have been, written down, and then surely not sent: we ourselves held it back.

    Another worker may meanwhile have written one down under the same number: `submitted_at` tells them apart. It is
    not tried again before `until`.
    """

    submitted_at: int
    until: int = 0


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """The answer is lost; what it would have said is unknown."""

    message: str


@dataclass(frozen=True, slots=True)
class NotFound(Event):
    """The gateway was asked by our own id of the attempt, and has no task of it; one may still show."""


@dataclass(frozen=True, slots=True)
class Resent(Event):
    """The call is about to be sent again under our own id of the attempt, written down before the first byte.

    `last_sent_at` is when it was sent before: of two workers that would send it, one does.
    """

    last_sent_at: int


@dataclass(frozen=True, slots=True)
class Unclear(Event):
    """The gateway answered, but not the question: no verdict on the task. `finished`: it is, but gave no link."""

    message: str
    reason: Reason | None = None
    retry_after_s: float | None = None
    missing: bool = False
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Progressed(Event):
    """The gateway is at it; `drift` holds a status word that no document knows."""

    percent: int | None = None
    drift: str | None = None


@dataclass(frozen=True, slots=True)
class Succeeded(Event):
    """The clip is made and can be fetched; `took_s` is how long the gateway says that it was at it.

    `bad_download`: the link is a fresh one, since what was behind the last one was no whole clip.
    """

    link: Link
    cost_usd: Decimal | None = None
    made_s: Decimal | None = None
    task_id: str | None = None
    heard_by: str = "poll"
    took_s: float | None = None
    bad_download: bool = False


@dataclass(frozen=True, slots=True)
class Failed(Event):
    """The gateway itself says that the task failed."""

    reason: Reason
    message: str
    cost_usd: Decimal | None = None
    task_id: str | None = None
    heard_by: str = "poll"


@dataclass(frozen=True, slots=True)
class Canceled(Event):
    """The caller does not want it any more; or it may not begin, as `error` says, and nothing was sent.

    `by` is the id of a bulk action.
    """

    error: Error | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Resolved(Event):
    """An operator (or the policy) decided about a submit whose answer never came."""

    action: str
    task_id: str | None = None
    by: str = "operator"


@dataclass(frozen=True, slots=True)
class Replayed(Event):
    """An operator has a callback followed that was set aside; the gateway's own word still decides."""

    task_id: str | None = None


@dataclass(frozen=True, slots=True)
class Archived(Event):
    """The clip and its manifest are in the bucket; the cost by what was made, where the gateway told none.

    `remarks` are lines for the job's history: what is odd about the clip or missing beside it, and the reason.
    """

    result: Result
    cost_usd: Decimal | None = None
    remarks: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ArchiveFailed(Event):
    """This try to archive did not succeed; `final` where another cannot either.

    `refused` where we refuse the link, `undelivered` where it gave no whole clip; else the trouble is ours.
    """

    code: str
    message: str
    final: bool = False
    refused: bool = False
    undelivered: bool = False


@dataclass(frozen=True, slots=True)
class Manifested(Event):
    """The manifest of a job that ended without a clip is in the bucket."""


@dataclass(frozen=True, slots=True)
class Notified(Event):
    """The caller was told of the end."""


@dataclass(frozen=True, slots=True)
class Recalled(Event):
    """The caller is to be told of the end once more; `by` is the id of a bulk action."""

    by: str = ""


@dataclass(frozen=True, slots=True)
class ErasureRequested(Event):
    """The content of the ended job is to go: `by` says who wants it, for the job's history."""

    by: str


@dataclass(frozen=True, slots=True)
class Erased(Event):
    """The content has left bucket, journal and quarantine; `at` is what the manifest says, in ms."""

    at: int
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class ErasureDelayed(Event):
    """Not all could be erased, and why; without a message: its time has not come."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class NoticeFailed(Event):
    """The caller could not be told; `final` where it wants no more."""

    message: str
    retry_after_s: float | None = None
    final: bool = False
