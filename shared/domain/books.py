"""What a job adds to the counters: always the difference of two states, so that the counters can be counted anew."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

from shared.domain import money
from shared.domain.job import Attempt, AttemptStatus, Job, State

HOLDS_A_PLACE = frozenset({State.SUBMITTING, State.UNCONFIRMED, State.RUNNING})

Line = tuple[str, ...]


def day_of(at: int) -> str:
    """The UTC day of a moment, as YYYY-MM-DD."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d")


def entries(job: Job) -> Counter[Line]:
    """What the job counts for: (inflight, gateway), (held, day, tenant), (usage, day, tenant, gateway, what)."""
    lines: Counter[Line] = Counter()
    if job.state in HOLDS_A_PLACE and job.provider and not job.current.let_go:
        lines["inflight", job.provider] = 1
    for attempt in job.attempts:
        _attempt(lines, job, attempt)
    return lines


def _attempt(lines: Counter[Line], job: Job, attempt: Attempt) -> None:
    day = day_of(attempt.submitted_at)
    lines["held", day, job.tenant] += money.units(money.held(attempt))
    if attempt.paid:
        for what, count in {**usage(attempt), "wasted": wasted(job, attempt)}.items():
            lines["usage", day, job.tenant, attempt.provider, what] += count


def usage(attempt: Attempt) -> dict[str, int]:
    """What one paid attempt adds to the day's usage: jobs, milliseconds made, estimated and actual money."""
    return {
        "jobs": 1,
        "completed": int(attempt.status is AttemptStatus.COMPLETED),
        "failed": int(attempt.status is AttemptStatus.FAILED),
        "made_ms": round((attempt.made_s or 0) * 1000),
        "estimated": money.units(attempt.estimated_usd),
        "actual": money.units(attempt.cost_usd),
        "unpriced": int(attempt.estimated_usd is None),
    }


def wasted(job: Job, attempt: Attempt) -> int:
    """What an attempt cost of which no clip lies in the bucket: it failed, or its job did after it."""
    lost = attempt.status is AttemptStatus.FAILED or job.state is State.FAILED
    return money.units(attempt.cost_usd) if lost else 0


def by_gateway(counters: Mapping[str, str], tenant: str | None) -> dict[tuple[str, str], Counter[str]]:
    """A day's counters by tenant and gateway; of one tenant, or of all."""
    totals: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for field, count in counters.items():
        held_by, provider, what = field.split("|")
        if tenant in (None, held_by):
            totals[held_by, provider][what] += int(count)
    return dict(totals)


def difference(old: Job | None, new: Job | None) -> dict[Line, int]:
    """What has to be added to the counters when one state of a job follows another."""
    change = entries(new) if new else Counter[Line]()
    change.subtract(entries(old) if old else {})
    return {line: count for line, count in change.items() if count}
