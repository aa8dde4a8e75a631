"""All that one move of a job writes, as one value. It is computed here and nowhere else; the ledger sends it.

A move writes the record, one due entry, one index entry, the counters, what the end of a task teaches, and a wake-up.
An unfinished job stands in exactly one of due and leased, every job in exactly one index, and under each of its labels:
all of this is kept here. So does an ended one that owes something, save that it leaves (schedule.rests).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rushes.shared.domain import (
    bills,
    cheapest_wait,
    counters,
    fair_shares,
    metric_counters,
    schedule,
    start_deadline,
    timing,
)
from rushes.shared.domain.counters import Line
from rushes.shared.domain.events import Accepted, Event, Failed, Succeeded
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.labels import Label, labels
from rushes.shared.domain.schedule import Policy

# What a gateway's own answers say of its health, as against what an operator decided.
HEALTH_FIELDS = ("paused_until", "why", "strikes", "trial_until")
SILENT = "silent"


class Index(NamedTuple):
    """Where a job is listed: by tenant, state, and account (accounts.label; None before its first submit)."""

    tenant: str
    state: State
    account: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a move writes beside the record."""

    due: tuple[str, int] | None = None
    """Lane and moment (ms) at which the job is due."""
    leased: tuple[str, int] | None = None
    """Lane by which the worker that makes the move goes on with the job, and the end of its lease (ms)."""
    no_longer_due: tuple[str, ...] = ()
    """Lanes."""
    released: tuple[str, ...] = ()
    """Lanes whose lease on the job ends."""
    line: str = ""
    """Where the job stands in line at any gateway, if it does (fair_shares.py)."""
    queued: str | None = None
    """What the claim has to know of a job in line."""
    no_longer_queued: bool = False
    settled: Mapping[str, int] = field(default_factory=dict)
    """Gateway → what a job that was handed out there counts for after all, 10^-6 USD: 0 where it was not submitted."""
    tenant: str = ""
    standby: Mapping[str, int] = field(default_factory=dict)
    """Gateway → from when on (ms) it may take the job although another goes first."""
    no_longer_standby: tuple[str, ...] = ()
    """Gateways."""
    start_before: int | None = None
    """From when on (ms) the job ends if it still waits in line."""
    no_longer_start_before: bool = False
    index: Index | None = None
    """Where the job is listed from now on; None where nothing changes."""
    no_longer_indexed: Index | None = None
    labels: tuple[Label, ...] = ()
    """What the job can be found by from now on."""
    no_longer_labels: tuple[Label, ...] = ()
    counts: Mapping[Line, int] = field(default_factory=dict)
    """What is added to the counters."""
    forgotten: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Gateway or account (accounts.label) → what is no longer true of it."""
    wakes: bool = False
    """Whether the scheduler has something to do now."""
    batch_end: tuple[str, int] | None = None
    """A batch of which one more job has ended, and the moment (ms): it is due if that was its last."""


def created(job: Job, policy: Policy) -> Change:
    """What a new job writes. The scheduler is woken in any case."""
    lane = schedule.lane(job)
    return Change(
        due=(lane, job.due_at) if lane and job.due_at is not None else None,
        line=fair_shares.line(job),
        queued=_queued(job),
        standby=cheapest_wait.standby(job, policy),
        start_before=start_deadline.of(job),
        index=index_of(job),
        labels=labels(job),
        counts=_counts(None, job),
        wakes=True,
    )


def moved(before: Job, after: Job, event: Event, now: int, policy: Policy, keeps: bool = False) -> Change:
    """What a move from one state of a job to the next writes.

    `keeps`: who makes the move takes the next step at once, so the job is leased and not due.
    """
    lane, counts = None if schedule.rests(after) else schedule.lane(after), _counts(before, after)
    standby, no_longer_standby = _standby(before, after, policy)
    index, no_longer_indexed = _index(before, after)
    kept_labels, lost_labels = _labels(before, after)
    learned, forgotten = _learned(before, after, event)
    if isinstance(event, Accepted) and after.account_label and after.state is State.RUNNING:
        forgotten[after.account_label] = HEALTH_FIELDS  # it took a job, so it is well
    frees_a_place = counts.get(("inflight", before.account_label or ""), 0) < 0
    due_at = None if keeps else after.due_at
    is_due = due_at is not None and due_at <= now
    return Change(
        due=(lane, due_at) if lane and due_at is not None else None,
        leased=(lane, schedule.after(now, schedule.LEASE_S)) if lane and keeps else None,
        no_longer_due=tuple(name for name in schedule.places(before) if name != lane),
        released=schedule.leasing(before),
        line=fair_shares.line(after),
        queued=_queued(after),
        no_longer_queued=_queued(before) is not None and _queued(after) is None,
        settled=_settled(before, after),
        tenant=after.tenant,
        standby=standby,
        no_longer_standby=no_longer_standby,
        start_before=start_deadline.of(after),
        no_longer_start_before=_has_begun(before, after),
        index=index,
        no_longer_indexed=no_longer_indexed,
        labels=kept_labels,
        no_longer_labels=lost_labels,
        counts=counts | learned,
        forgotten=forgotten,
        wakes=frees_a_place or is_due,
        batch_end=(after.batch_id, now) if after.batch_id and after.ended and not before.ended else None,
    )


def submitted(before: Job, after: Job, policy: Policy) -> Change:
    """What is written before a paid call: as above, but the job stays leased by the worker that is about to call."""
    standby, no_longer_standby = _standby(before, after, policy)
    index, no_longer_indexed = _index(before, after)
    return Change(
        line=fair_shares.line(after),
        queued=_queued(after),
        no_longer_queued=_queued(before) is not None and _queued(after) is None,
        settled=_settled(before, after),
        tenant=after.tenant,
        standby=standby,
        no_longer_standby=no_longer_standby,
        no_longer_start_before=_has_begun(before, after),
        index=index,
        no_longer_indexed=no_longer_indexed,
        counts=_counts(before, after),
    )


def retired(job: Job) -> Change:
    """What is written when an ended job leaves the ledger: its counters stay."""
    return Change(
        no_longer_due=("retire",), released=("retire",), no_longer_indexed=index_of(job), no_longer_labels=labels(job)
    )


def index_of(job: Job) -> Index:
    """The one index in which a job is listed."""
    return Index(job.tenant, job.state, job.account_label)


def _index(before: Job, after: Job) -> tuple[Index | None, Index | None]:
    """Where the job is listed from now on, and where no longer; None and None where nothing changes."""
    old, new = index_of(before), index_of(after)
    return (None, None) if old == new else (new, old)


def _labels(before: Job, after: Job) -> tuple[tuple[Label, ...], tuple[Label, ...]]:
    """The labels that a move leaves and those that it takes away; none and none where the request stays as it is.

    Those that stay are written again: the ledger may keep them in the same set as one that is taken away.
    """
    if before.request is after.request:
        return (), ()
    kept = labels(after)
    return kept, tuple(label for label in labels(before) if label not in kept)


def _counts(before: Job | None, after: Job) -> dict[Line, int]:
    counts = counters.difference(before, after) | metric_counters.increments(before, after)
    return counts | bills.increments(before, after) if before else counts


def _standby(before: Job, after: Job, policy: Policy) -> tuple[dict[str, int], tuple[str, ...]]:
    """The further gateways of a job in line may take it, from the end of its wait for the first one on."""
    stands = cheapest_wait.standby(after, policy)
    return stands, tuple(name for name in cheapest_wait.standby(before, policy) if name not in stands)


def _queued(job: Job) -> str | None:
    return fair_shares.ticket(job) if job.state is State.QUEUED else None


def _settled(before: Job, after: Job) -> dict[str, int]:
    """What a job counts for at each gateway that may have been given it, once its step is known."""
    if before.state is not State.QUEUED:
        return {}
    begun = after.provider if after.state is State.SUBMITTING else None
    cost = fair_shares.cost(after.current.estimated_usd) if begun else 0
    return {name: cost if name == begun else 0 for name in before.route}


def _has_begun(before: Job, after: Job) -> bool:
    """Whether a job that had to begin by some moment has, or has ended."""
    return start_deadline.of(before) is not None and start_deadline.of(after) is None


def _learned(before: Job, after: Job, event: Event) -> tuple[dict[Line, int], dict[str, tuple[str, ...]]]:
    """What the end of a task teaches, once: how long it took, and whether its callback came."""
    learned: dict[Line, int] = {}
    forgotten: dict[str, tuple[str, ...]] = {}
    # A task whose end is known already teaches nothing again: `heard_by` is written with the first end.
    if not isinstance(event, (Succeeded, Failed)) or before.current.heard_by is not None:
        return learned, forgotten
    attempt, kind = after.current, timing.kind(after)
    took_s = timing.finished_s(attempt, event.took_s if isinstance(event, Succeeded) else None)
    if took_s is not None:
        learned["times", attempt.provider, f"{kind.partition('|')[2]}|{timing.bucket(took_s)}"] = 1
    if attempt.callback and attempt.heard_by == "callback":
        forgotten[attempt.provider] = (SILENT,)
    elif attempt.callback:
        learned[SILENT, attempt.provider] = 1
    return learned, forgotten
