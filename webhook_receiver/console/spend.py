"""What was spent, by day and gateway: estimated, actual, and for nothing."""

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
from rushes.webhook_receiver.console.session import visitor

DAYS = 30
PRESETS = (7, 30, 90)
# The plot, in units of its own: bars stand above the axis, what was wasted hangs below it.
# The amounts stand at the right, beside the newest day, which is what a narrow page shows.
WIDTH, PLOT, LEFT, RIGHT, ABOVE = 960, 220, 8, 64, 12
LABELS_MAX = 10
STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(slots=True)
class Sum:
    """Jobs, seconds of video, and US dollars."""

    jobs: int = 0
    completed: int = 0
    failed: int = 0
    unpriced: int = 0
    seconds: Decimal = Decimal(0)
    estimated_usd: Decimal = Decimal(0)
    actual_usd: Decimal = Decimal(0)
    wasted_usd: Decimal = Decimal(0)

    def add(self, other: Sum) -> None:
        for each in fields(Sum):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of a day's bar; measures in units of the plot."""

    gateway: str
    usd: Decimal
    top: Decimal
    height: Decimal


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the plot."""

    day: str
    total: Sum
    left: Decimal
    bars: list[Bar]
    estimate_at: Decimal
    waste_height: Decimal
    label: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Everything that the template draws."""

    days: list[Day]
    bar_width: Decimal
    axis_at: Decimal
    height: Decimal
    ticks: list[tuple[Decimal, Decimal]] = field(default_factory=list)


@console.get("/spend")
def spend() -> str:
    """A stretch of days, the last thirty unless asked otherwise."""
    asking = visitor()
    first, last = gateways_api.stretch(DAYS)
    days = gateways_api.days(first, last)
    lines = [line for day in days for line in gateways_api.lines(day, asking.scope)]
    shown = [name for name in PROVIDERS if any(line["provider"] == name for line in lines)]
    return render_template(
        "spend.html",
        first=first,
        last=last,
        today=date.fromisoformat(counters.day_of(services().now())),
        presets=presets(),
        total=summed(lines),
        by_gateway=grouped(lines, "provider"),
        by_day=grouped(lines, "day"),
        by_tenant=grouped(lines, "tenant") if asking.is_admin else {},
        gateways=shown,
        plot=plot(days, lines, shown),
    )


def presets() -> list[tuple[int, date, date]]:
    """Stretches that end today: how many days, the first, the last."""
    today = date.fromisoformat(counters.day_of(services().now()))
    return [(count, today - timedelta(days=count - 1), today) for count in PRESETS]


def entry(line: dict[str, Any]) -> Sum:
    """One line of the usage, as a sum."""
    return Sum(
        jobs=line["jobs"],
        completed=line["completed"],
        failed=line["failed"],
        unpriced=line["unpriced_jobs"],
        seconds=Decimal(str(line["seconds"])),
        estimated_usd=Decimal(line["estimated_cost_usd"]),
        actual_usd=Decimal(line["cost_usd"]),
        wasted_usd=Decimal(line["wasted_cost_usd"]),
    )


def summed(lines: Iterable[dict[str, Any]]) -> Sum:
    total = Sum()
    for line in lines:
        total.add(entry(line))
    return total


def grouped(lines: Sequence[dict[str, Any]], by: str) -> dict[str, Sum]:
    """Sums by day, gateway or tenant, in order of their names."""
    names = sorted({line[by] for line in lines})
    return {name: summed(line for line in lines if line[by] == name) for name in names}


def plot(days: Sequence[str], lines: Sequence[dict[str, Any]], shown: Sequence[str]) -> Plot:
    """The days as bars: pieces by gateway above the axis, what was wasted below it, a mark for the estimate."""
    totals = {day: summed(line for line in lines if line["day"] == day) for day in days}
    most = max((max(one.actual_usd, one.estimated_usd) for one in totals.values()), default=Decimal(0))
    step = tick(most / 4) if most else Decimal(1)
    top = (most / step).to_integral_value(ROUND_CEILING) * step or step
    unit, axis_at = PLOT / top, Decimal(PLOT + ABOVE)
    width = Decimal(WIDTH - LEFT - RIGHT) / len(days)
    every = -(-len(days) // LABELS_MAX)
    drawn = [
        Day(
            day,
            totals[day],
            LEFT + width * at,
            list(pieces([line for line in lines if line["day"] == day], shown, unit, axis_at)),
            axis_at - totals[day].estimated_usd * unit,
            totals[day].wasted_usd * unit,
            day[5:] if (len(days) - 1 - at) % every == 0 else "",
        )
        for at, day in enumerate(days)
    ]
    below = max(day.waste_height for day in drawn)
    ticks = [(step * at, axis_at - step * at * unit) for at in range(int(top / step) + 1)]
    return Plot(drawn, max(width * Decimal("0.72"), Decimal(1)), axis_at, axis_at + below + 26, ticks)


def pieces(lines: Sequence[dict[str, Any]], shown: Sequence[str], unit: Decimal, axis_at: Decimal) -> Iterable[Bar]:
    """A day's bar from the axis upwards."""
    top = axis_at
    for gateway in shown:
        usd = summed(line for line in lines if line["provider"] == gateway).actual_usd
        if usd:
            top -= usd * unit
            yield Bar(gateway, usd, top, usd * unit)


def tick(least: Decimal) -> Decimal:
    """The next round amount: 1, 2, 2.5 or 5 times a power of ten."""
    power = Decimal(1).scaleb(least.adjusted())
    return next(step * power for step in STEPS if step * power >= least)
