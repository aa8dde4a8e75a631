"""Bills against estimates: what a gateway says that a task costs, compared with our estimate, by kind of work.

A kind of work is a gateway, a model, a mode, and whether there is sound: what one entry of the price table prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

from rushes.shared.domain.job import Attempt, AttemptStatus, CostSource, Job

# A bill further from its estimate than this share differs: the price table is wrong, or the price has changed.
TOLERANCE = Decimal("0.05")
# Weights and ratios are kept as whole numbers, so many to one.
PER_ONE = 10**6
# A ratio beyond this is kept as this.
MAX_RATIO = 1000
# Of more bills of a kind than this the older half is forgotten.
MOST = 40
WEIGHT, RATIO = "weight", "ratio"

Line = tuple[str, ...]


class Kind(NamedTuple):
    """A kind of work at a gateway; `sound` is `sound` or `silent`."""

    model: str
    mode: str
    sound: str


@dataclass(frozen=True, slots=True)
class Bill:
    """What a gateway says that a task costs, and what was estimated; both in US dollars."""

    usd: Decimal
    estimated_usd: Decimal

    @property
    def differs(self) -> bool:
        return abs(self.usd - self.estimated_usd) > self.estimated_usd * TOLERANCE

    @property
    def ratio(self) -> int:
        """The bill in parts of the estimate, PER_ONE of them to one."""
        return round(min(self.usd / self.estimated_usd, Decimal(MAX_RATIO)) * PER_ONE)


@dataclass(frozen=True, slots=True)
class RecentBills:
    """The last bills of a kind: how many, and on average how many times their estimate."""

    count: int
    mean_ratio: Decimal


def kind(job: Job) -> Kind:
    """The kind of work that a job is."""
    return kind_of_request(job.request)


def kind_of_request(request: Mapping[str, Any]) -> Kind:
    """The kind of work that a request asks for."""
    sound = "sound" if request.get("sound") else "silent"
    return Kind(str(request.get("model")), str(request.get("mode", "std")), sound)


def bill(attempt: Attempt) -> Bill | None:
    """The gateway's word on the cost of an attempt, None without one or without an estimate to compare it with.

    A failed task is refunded, which says nothing of the price. What a gateway reserves is compared, and is no cost.
    """
    if attempt.adopted or not attempt.estimated_usd:
        return None
    is_billed = attempt.status is AttemptStatus.COMPLETED and attempt.cost_source is CostSource.REPORTED
    usd = attempt.cost_usd if is_billed else attempt.reserved_usd
    return None if usd is None else Bill(usd, attempt.estimated_usd)


def increments(before: Job, after: Job) -> dict[Line, int]:
    """What a move counts for that brings the first bill of an attempt: in the recent bills, and in the metrics."""
    old, new = before.attempt, after.attempt
    if old is None or new is None or old is new or old.number != new.number:
        return {}
    found = bill(new)
    if found is None or bill(old) is not None:
        return {}
    what = kind(after)
    text = "|".join(what)
    return {
        ("bills", new.provider, f"{text}|{WEIGHT}"): PER_ONE,
        ("bills", new.provider, f"{text}|{RATIO}"): found.ratio,
        ("tally", "bills", new.provider, *what, "differs" if found.differs else "agrees"): 1,
    }
