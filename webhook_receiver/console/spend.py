"""The page of the spending, by day and gateway: estimated, actual, and wasted on failures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Any

from flask import render_template

from rushes.shared.domain import counters
from rushes.shared.providers import PROVIDERS
from rushes.webhook_receiver import gateways_api
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.session import require_sign_in

DAYS = 30
PRESETS = (7, 30, 90)
# The chart, in units of its own: bars are above the axis, wasted amounts below it.
# The amounts are at the right, beside the newest day, because a narrow page shows that side.
WIDTH, CHART_HEIGHT, LEFT, RIGHT, ABOVE = 960, 220, 8, 64, 12
LABELS_MAX = 10
STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(slots=True)
class Totals:
    """Jobs, seconds of video, and US dollars."""

    jobs: int = 0
    completed: int = 0
    failed: int = 0
    unpriced: int = 0
    seconds: Decimal = Decimal(0)
    estimated_usd: Decimal = Decimal(0)
    actual_usd: Decimal = Decimal(0)
    reported_usd: Decimal = Decimal(0)
    wasted_usd: Decimal = Decimal(0)

    def add(self, other: Totals) -> None:
        for each in fields(Totals):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a day's bar; measures in units of the chart."""

    gateway: str
    usd: Decimal
    top: Decimal
    height: Decimal


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the chart."""

    day: str
    total: Totals
    left: Decimal
    bars: list[Bar]
    estimate_at: Decimal
    waste_height: Decimal
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that the template draws."""

    days: list[Day]
    bar_width: Decimal
    axis_at: Decimal
    height: Decimal
    ticks: list[tuple[Decimal, Decimal]] = field(default_factory=list)


@console.get("/spend")
def spend() -> str:
    """The days of the query, by default the last thirty."""
    visitor = require_sign_in()
    first, last = gateways_api.date_range(DAYS)
    days = gateways_api.days_between(first, last)
    entries = [entry for day in days for entry in gateways_api.usage_entries(day, visitor.scope)]
    gateways = [name for name in PROVIDERS if any(entry["provider"] == name for entry in entries)]
    return render_template(
        "spend.html",
        first=first,
        last=last,
        today=date.fromisoformat(counters.day_of(services().now())),
        presets=date_presets(),
        total=sum_entries(entries),
        by_gateway=sum_by(entries, "provider"),
        by_day=sum_by(entries, "day"),
        by_tenant=sum_by(entries, "tenant") if visitor.is_admin else {},
        differences=sum_differences(entries),
        gateways=gateways,
        chart=chart(days, entries, gateways),
    )


def date_presets() -> list[tuple[int, date, date]]:
    """Date ranges that end today: number of days, first day, last day."""
    today = date.fromisoformat(counters.day_of(services().now()))
    return [(count, today - timedelta(days=count - 1), today) for count in PRESETS]


def sum_of_entry(entry: dict[str, Any]) -> Totals:
    """An entry of the usage, as totals."""
    return Totals(
        jobs=entry["jobs"],
        completed=entry["completed"],
        failed=entry["failed"],
        unpriced=entry["unpriced_jobs"],
        seconds=Decimal(str(entry["seconds"])),
        estimated_usd=Decimal(entry["estimated_cost_usd"]),
        actual_usd=Decimal(entry["cost_usd"]),
        reported_usd=Decimal(entry["reported_cost_usd"]),
        wasted_usd=Decimal(entry["wasted_cost_usd"]),
    )


def sum_entries(entries: Iterable[dict[str, Any]]) -> Totals:
    total = Totals()
    for entry in entries:
        total.add(sum_of_entry(entry))
    return total


def sum_by(entries: Sequence[dict[str, Any]], by: str) -> dict[str, Totals]:
    """Totals by day, gateway or tenant, in order of their names."""
    names = sorted({entry[by] for entry in entries})
    return {name: sum_entries(entry for entry in entries if entry[by] == name) for name in names}


@dataclass(slots=True)
class Difference:
    """A kind of work whose bills differ from the estimates: how many jobs, what was estimated and what was billed."""

    jobs: int = 0
    estimated_usd: Decimal = Decimal(0)
    billed_usd: Decimal = Decimal(0)

    @property
    def percent(self) -> int:
        """How much more was billed than estimated; negative if less."""
        return round((self.billed_usd / self.estimated_usd - 1) * 100) if self.estimated_usd else 0


def sum_differences(entries: Iterable[dict[str, Any]]) -> dict[tuple[str, str, str, str], Difference]:
    """Gateway, model, mode and sound → where the bills differ, over all entries."""
    found: dict[tuple[str, str, str, str], Difference] = {}
    for entry in entries:
        for each in entry["differences"]:
            kind = (entry["provider"], each["model"], each["mode"], each["sound"])
            total = found.setdefault(kind, Difference())
            total.jobs += each["jobs"]
            total.estimated_usd += Decimal(each["estimated_cost_usd"])
            total.billed_usd += Decimal(each["billed_cost_usd"])
    return dict(sorted(found.items()))


def chart(days: Sequence[str], entries: Sequence[dict[str, Any]], gateways: Sequence[str]) -> Chart:
    """The days as bars: a piece for each gateway above the axis, wasted amounts below it, a mark for the estimate."""
    totals = {day: sum_entries(entry for entry in entries if entry["day"] == day) for day in days}
    most = max((max(total.actual_usd, total.estimated_usd) for total in totals.values()), default=Decimal(0))
    step = round_step(most / 4) if most else Decimal(1)
    top = (most / step).to_integral_value(ROUND_CEILING) * step or step
    unit, axis_at = CHART_HEIGHT / top, Decimal(CHART_HEIGHT + ABOVE)
    width = Decimal(WIDTH - LEFT - RIGHT) / len(days)
    every = -(-len(days) // LABELS_MAX)
    chart_days = [
        Day(
            day,
            totals[day],
            LEFT + width * index,
            list(day_bars([entry for entry in entries if entry["day"] == day], gateways, unit, axis_at)),
            axis_at - totals[day].estimated_usd * unit,
            totals[day].wasted_usd * unit,
            day[5:] if (len(days) - 1 - index) % every == 0 else "",
        )
        for index, day in enumerate(days)
    ]
    below = max(day.waste_height for day in chart_days)
    ticks = [(step * index, axis_at - step * index * unit) for index in range(int(top / step) + 1)]
    return Chart(chart_days, max(width * Decimal("0.72"), Decimal(1)), axis_at, axis_at + below + 26, ticks)


def day_bars(
    entries: Sequence[dict[str, Any]], gateways: Sequence[str], unit: Decimal, axis_at: Decimal
) -> Iterable[Bar]:
    """The pieces of a day's bar, from the axis upwards."""
    top = axis_at
    for gateway in gateways:
        usd = sum_entries(entry for entry in entries if entry["provider"] == gateway).actual_usd
        if usd:
            top -= usd * unit
            yield Bar(gateway, usd, top, usd * unit)


def round_step(amount: Decimal) -> Decimal:
    """The smallest round step that is at least `amount`: 1, 2, 2.5 or 5 times a power of ten."""
    power = Decimal(1).scaleb(amount.adjusted())
    return next(step * power for step in STEPS if step * power >= amount)
