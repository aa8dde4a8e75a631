"""A batch: jobs that were taken together, under one budget, with one receipt and one notification.

Its record has the form of a job's that has ended and owes its notice and its retirement: so both are due entries of the
one clock, tried again as those of a job, and written by the same programs. The record lists the jobs, and never
changes until all of them have ended. What they come to is counted by the moves of the jobs (`entries`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rushes.shared.domain import ids, money
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Attempt, AttemptStatus, Chore, Job, State

JOBS_MAX = 1000
PREFIX = "batch_"
LANE = "notify"
"""Where a batch is due once all its jobs have ended."""
# Counters of a batch beside one for each state: jobs that have not ended; 1 once nothing more is to be submitted.
OPEN, STOPPED = "open", "stopped"
ENDED_AT = "ended_at"
HELD, ERROR = "held", "error."


def is_batch(record_id: str) -> bool:
    """Whether a record is of a batch, by its id."""
    return record_id.startswith(PREFIX)


def new_id(now: int) -> str:
    """A `batch_<ULID>` that sorts after all ids that this process made before."""
    return PREFIX + ids.new_id(now).removeprefix("job_")


def record(batch_id: str, tenant: str, terms: Mapping[str, Any], job_ids: Sequence[str], now: int) -> Job:
    """The record of a new batch. `terms` are its own fields as accepted: budget, callback, metadata and the like."""
    return Job(
        id=batch_id,
        tenant=tenant,
        request={**terms, "job_ids": list(job_ids)},
        route=(),
        created_at=now,
        updated_at=now,
        state=State.COMPLETED,
        chores=(Chore.NOTICE, Chore.RETIRE),
    )


def job_ids(batch: Job) -> list[str]:
    """The ids of its jobs, in the order in which they were given."""
    return list(batch.request["job_ids"])


def receipt(batch: Job) -> list[dict[str, Any]] | None:
    """What became of each job, in the order in which they were given; None before all have ended."""
    lines: list[dict[str, Any]] | None = batch.request.get("receipt")
    return lines


def closed(batch: Job, jobs: Sequence[Job | None], ended_at: int) -> Job:
    """The batch after the end of its last job, with the receipt: it outlives the records of the jobs."""
    lines = [_line(job_id, job) for job_id, job in zip(job_ids(batch), jobs, strict=True)]
    return replace(batch, request={**batch.request, "receipt": lines}, ended_at=ended_at, updated_at=ended_at)


def _line(job_id: str, job: Job | None) -> dict[str, Any]:
    if job is None:  # it ended so long before the last one that it has left the ledger
        return {"job_id": job_id, "status": None, "provider": None, "error": None, **dict.fromkeys(COSTS)}
    costs = (job.estimated_usd, money.spent(job.attempts), money.from_units(_wasted(job)))
    return {
        "job_id": job.id,
        "status": job.state.value,
        "provider": job.provider,
        "error": job.error.code if job.error else None,
        **dict(zip(COSTS, map(money.text, costs), strict=True)),
    }


COSTS = ("estimated_cost_usd", "cost_usd", "wasted_cost_usd")


def _wasted(job: Job) -> int:
    return sum(wasted(job, attempt) for attempt in job.attempts)


def wasted(job: Job, attempt: Attempt) -> int:
    """What an attempt cost of which no clip lies in the bucket: it failed, or its job did after it; 10^-8 USD."""
    lost = attempt.status is AttemptStatus.FAILED or job.state is State.FAILED
    return money.units(attempt.cost_usd) if lost else 0


def entries(job: Job) -> dict[str, int]:
    """What a job of a batch counts for there, beside its attempts. Money in 10^-8 USD."""
    return {
        job.state.value: 1,
        OPEN: int(not job.ended),
        "estimated": money.units(job.estimated_usd),
        "unpriced": int(job.estimated_usd is None),
        **({ERROR + job.error.code: 1} if job.error else {}),
    }


def attempt_entries(job: Job, attempt: Attempt) -> dict[str, int]:
    """What an attempt of a job counts for in the job's batch. `held` is what the budget is compared with."""
    return {
        HELD: money.units(money.held(attempt)),
        "actual": money.units(attempt.cost_usd),
        "made_ms": round((attempt.made_s or 0) * 1000),
        "wasted": wasted(job, attempt),
    }
