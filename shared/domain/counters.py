"""What a job adds to the counters: always the difference of two states, so that the counters can be counted anew."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from itertools import takewhile
from operator import attrgetter

from rushes.shared.domain import accounts, batch, bills, money
from rushes.shared.domain.job import Attempt, AttemptStatus, CostSource, Job, State

HOLDS_A_PLACE = frozenset({State.SUBMITTING, State.UNCONFIRMED, State.RUNNING})

DIFFERS = "differs."
# What an account spent of a gateway's `actual`; the rest is the default account's.
SPENT = "spent:"
DAY_MS = 86_400_000
EPOCH = date(1970, 1, 1).toordinal()

Line = tuple[str, ...]


def day_of(at: int) -> str:
    """The UTC day of a moment, as YYYY-MM-DD."""
    return _day(at // DAY_MS)


def days_of_month(at: int) -> list[str]:
    """The UTC days of a moment's month up to that moment's day, as YYYY-MM-DD."""
    number = at // DAY_MS
    return [_day(number - back) for back in reversed(range(date.fromordinal(EPOCH + number).day))]


def next_month(at: int) -> int:
    """The first moment (ms) of the month after a moment's."""
    day = date.fromordinal(EPOCH + at // DAY_MS)
    return (
        day.replace(day=1).replace(year=day.year + day.month // 12, month=day.month % 12 + 1).toordinal() - EPOCH
    ) * DAY_MS


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    return date.fromordinal(EPOCH + number).isoformat()


def entries(job: Job) -> Counter[Line]:
    """What the job counts for.

    (inflight, account), (tenant_inflight, tenant), (held, day, tenant), (usage, day, tenant, gateway, what),
    (batch, id, what).
    """
    lines: dict[Line, int] = {}
    _add(lines, job, 1)
    return Counter(lines)


def _add(lines: dict[Line, int], job: Job, sign: int, settled: int = 0) -> None:
    """Add a job, or take it away; the attempts before `settled` count for nothing."""
    if job.state in HOLDS_A_PLACE and job.account_label and not job.current.let_go:
        places: tuple[Line, ...] = (("inflight", job.account_label), ("tenant_inflight", job.tenant))
        for line in places:
            lines[line] = lines.get(line, 0) + sign
    if job.batch_id:
        for what, count in batch.entries(job).items():
            line = ("batch", job.batch_id, what)
            lines[line] = lines.get(line, 0) + sign * count
    for attempt in job.attempts[settled:]:
        for line, count in _attempt(job, attempt).items():
            lines[line] = lines.get(line, 0) + sign * count


def _attempt(job: Job, attempt: Attempt) -> dict[Line, int]:
    day = day_of(attempt.submitted_at)
    lines: dict[Line, int] = {("held", day, job.tenant): money.units(money.held(attempt))}
    if attempt.paid:
        for what, count in usage(attempt).items():
            lines["usage", day, job.tenant, attempt.provider, what] = count
        lines["usage", day, job.tenant, attempt.provider, "wasted"] = batch.wasted(job, attempt)
        if attempt.account != accounts.DEFAULT:
            spent = f"{SPENT}{attempt.account}"
            lines["usage", day, job.tenant, attempt.provider, spent] = money.units(attempt.cost_usd)
        for what, count in differences(job, attempt).items():
            lines["usage", day, job.tenant, attempt.provider, what] = count
    if job.batch_id:
        for what, count in batch.attempt_entries(job, attempt).items():
            lines["batch", job.batch_id, what] = count
    return lines


def usage(attempt: Attempt) -> dict[str, int]:
    """What one paid attempt adds to the day's usage: jobs, milliseconds made, estimated and actual money."""
    return {
        "jobs": 1,
        "completed": int(attempt.status is AttemptStatus.COMPLETED),
        "failed": int(attempt.status is AttemptStatus.FAILED),
        "made_ms": round((attempt.made_s or 0) * 1000),
        "estimated": money.units(attempt.estimated_usd),
        "actual": money.units(attempt.cost_usd),
        "reported": money.units(attempt.cost_usd) if attempt.cost_source is CostSource.REPORTED else 0,
        "unpriced": int(attempt.estimated_usd is None),
    }


def differences(job: Job, attempt: Attempt) -> dict[str, int]:
    """What an attempt adds to its kind of work where the bill differs from the estimate; nothing where it does not."""
    found = bills.bill(attempt)
    if found is None or not found.differs:
        return {}
    counts = {"jobs": 1, "estimated": money.units(found.estimated_usd), "billed": money.units(found.usd)}
    kind = "/".join(bills.kind(job))
    return {f"{DIFFERS}{what}:{kind}": count for what, count in counts.items()}


def differences_by_kind(counts: Mapping[str, int]) -> dict[bills.Kind, dict[str, int]]:
    """Kind of work → jobs, estimated and billed units, of the usage of one gateway where bills differ."""
    kinds: defaultdict[bills.Kind, dict[str, int]] = defaultdict(dict)
    for field, count in counts.items():
        if field.startswith(DIFFERS) and count:
            what, _, kind = field.removeprefix(DIFFERS).partition(":")
            model, mode, sound = kind.split("/")
            kinds[bills.Kind(model, mode, sound)][what] = count
    return {kind: sums for kind, sums in sorted(kinds.items()) if sums.get("jobs")}


def spent_by_account(gateway: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Account (accounts.label) → units spent, of the usage of one gateway."""
    named = {name.removeprefix(SPENT): count for name, count in counts.items() if name.startswith(SPENT)}
    default = counts.get("actual", 0) - sum(named.values())
    return {accounts.label(gateway, name): count for name, count in {**named, accounts.DEFAULT: default}.items()}


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
    change: dict[Line, int] = {}
    settled = _settled(old, new) if old and new else 0
    if new:
        _add(change, new, 1, settled)
    if old:
        _add(change, old, -1, settled)
    return {line: count for line, count in change.items() if count}


# All that an attempt counts by: a poll that only was one more changes none of it.
COUNTED = attrgetter(
    *("submitted_at", "provider", "account", "status", "adopted", "estimated_usd", "made_s"),
    *("cost_usd", "cost_source", "reserved_usd"),
)


def _settled(old: Job, new: Job) -> int:
    """How many attempts, from the first on, count alike in both states."""
    if (old.state is State.FAILED) is not (new.state is State.FAILED):
        return 0
    pairs = zip(old.attempts, new.attempts, strict=False)
    alike = (before is after or COUNTED(before) == COUNTED(after) for before, after in pairs)
    return sum(takewhile(bool, alike))
