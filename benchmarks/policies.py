"""Policies of polling, simulated: how many polls a job costs, and how long its end goes unnoticed.

A policy says, at the age of the last poll (0: the submit), the age of the next. Each has a knob that trades polls for
lag; turning it gives a curve, and one policy is better than another where its curve runs below.
`python -m benchmarks.policies` prints the curves over several distributions of gateway times.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from rushes.shared.domain import timing
from rushes.shared.domain.timing import Timing

Policy = Callable[[float], float]
"""Age of the last poll → age of the next, seconds."""

KNOWN_JOBS, JUDGED_JOBS = 200, 4000
KNOBS_S = (0.25, 0.5, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
FIRSTS_S = (0, 5, 10, 15, 30)
FACTORS = (1.25, 1.5, 2)
PRICES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
RELEARNED_JOBS = 20
SLACK = 1.02

SHAPES: Mapping[str, Callable[[random.Random], float]] = {
    "lognormal, narrow": lambda dice: dice.lognormvariate(4.1, 0.25),
    "lognormal, wide": lambda dice: dice.lognormvariate(4.1, 0.8),
    "bimodal": lambda dice: dice.lognormvariate(dice.choice((3.4, 5.2)), 0.15),
    "uniform": lambda dice: dice.uniform(30, 120),
    "heavy tail": lambda dice: 40 * dice.paretovariate(1.8),
    "short": lambda dice: dice.lognormvariate(1.8, 0.4),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of a policy: means over the judged jobs."""

    name: str
    polls: float
    lag_s: float

    def beats(self, other: Point) -> bool:
        """Better in both, by more than the noise of the simulation."""
        return self.polls * SLACK < other.polls and self.lag_s * SLACK < other.lag_s


def fixed(pause_s: float, first_s: float = 0) -> Policy:
    """The same pause each time, perhaps a longer one before the first poll."""
    return lambda age_s: max(first_s, pause_s) if age_s == 0 else age_s + pause_s


def backoff(first_s: float, factor: float, most_s: float = 120) -> Policy:
    """Pauses that grow by a factor: a poll at age a follows one at age a / factor, about."""

    def next_s(age_s: float) -> float:
        pause_s = first_s + age_s * (factor - 1)
        return age_s + min(pause_s, most_s)

    return next_s


def share_of_age(least_s: float, share: float = 0.25, most_s: float = 120) -> Policy:
    """A pause that is a share of the age, as Rushes did before it learned."""
    return lambda age_s: age_s + max(least_s, min(age_s * share, most_s))


UNTAUGHT = share_of_age(15)


def learned(history_s: Sequence[float], price: float) -> Policy:
    """Rushes' own (shared.domain.timing), at this price of a poll; past all experience a share of the age is waited."""
    known = Timing(Counter(timing.bucket(time_s) for time_s in history_s))
    shipped, timing.PRICE = timing.PRICE, price
    known.next_s(0)  # the plan is made here, once
    timing.PRICE = shipped

    def next_s(age_s: float) -> float:
        planned = known.next_s(age_s)
        return UNTAUGHT(age_s) if planned is None else planned

    return next_s


def self_taught(times_s: Sequence[float], price: float) -> list[float]:
    """What is known of these jobs if nothing but its own polls told it: of each, where between two polls it ended."""
    history_s: list[float] = []
    dice, policy = random.Random(7), UNTAUGHT
    for number, time_s in enumerate(times_s):
        if number >= timing.FEWEST and number % RELEARNED_JOBS == 0:
            policy = learned(history_s, price)
        history_s.append(_heard_s(policy, time_s, dice.random()))
    return history_s


def _heard_s(policy: Policy, time_s: float, share: float) -> float:
    """The time as it is learned: the middle of two polls, or some time before the first."""
    last_s, age_s = 0.0, policy(0)
    while age_s < time_s:
        last_s, age_s = age_s, policy(age_s)
    return timing.between_s(last_s, age_s, share)


def judged(name: str, policy: Policy, times_s: Iterable[float]) -> Point:
    """What a policy costs on these times."""
    polls, lag_s, count = 0, 0.0, 0
    for time_s in times_s:
        age_s = 0.0
        while age_s < time_s:
            age_s = policy(age_s)
            polls += 1
        lag_s += age_s - time_s
        count += 1
    return Point(name, polls / count, lag_s / count)


def simple(times_s: Sequence[float]) -> list[Point]:
    """All points of the policies that know nothing."""
    policies = {f"fixed {pause:g} s after {first:g} s": fixed(pause, first) for pause in KNOBS_S for first in FIRSTS_S}
    policies |= {f"backoff {first:g} s × {by:g}": backoff(first, by) for first in KNOBS_S[:8] for by in FACTORS}
    policies |= {f"a quarter of the age, {least:g} s at least": share_of_age(least) for least in KNOBS_S[:9]}
    return [judged(name, policy, times_s) for name, policy in policies.items()]


def knowing(seen_s: Sequence[float], times_s: Sequence[float], taught_by: str) -> list[Point]:
    """The points of the learned policy, taught by callbacks (which tell all) or by its own polls."""
    points = []
    for price in PRICES:
        history_s = seen_s if taught_by == "callbacks" else self_taught(seen_s, price)
        name = f"learned, price {price:g}{' (as shipped)' if price == timing.PRICE else ''}"
        points.append(judged(name, learned(history_s, price), times_s))
    return points


@dataclass(frozen=True, slots=True)
class Comparison:
    """All points over one shape, and each pair in which a simple policy is better in both."""

    plain: list[Point]
    ours: list[Point]

    def losses(self) -> list[tuple[Point, Point]]:
        """Where a simple policy beats ours."""
        return [(other, point) for point in self.ours for other in self.plain if other.beats(point)]

    def rival(self, point: Point) -> Point | None:
        """The simple policy with the least lag of those with as few polls."""
        rivals = [other for other in self.plain if other.polls <= point.polls * SLACK]
        return min(rivals, key=lambda other: other.lag_s, default=None)


def compared(shape: str, taught_by: str, count: int = JUDGED_JOBS) -> Comparison:
    """Known from 200 jobs, judged by others of the same shape."""
    dice = random.Random(11)
    draw = SHAPES[shape]
    seen_s = [draw(dice) for _ in range(KNOWN_JOBS)]
    times_s = [draw(dice) for _ in range(count)]
    return Comparison(simple(times_s), knowing(seen_s, times_s, taught_by))


def main() -> None:
    for shape, taught_by in product(SHAPES, ("callbacks", "polls")):
        seen = compared(shape, taught_by)
        print(f"\n{shape}, taught by {taught_by}")
        for point in seen.ours:
            rival = seen.rival(point)
            best = f"best simple with as few polls: {rival.lag_s:6.2f} s ({rival.name})" if rival else "none has so few"
            print(f"  {point.name:32} {point.polls:6.2f} polls {point.lag_s:7.2f} s lag   {best}")
        for other, point in seen.losses():
            print(f"  WORSE: {point.name} than {other.name} ({other.polls:.2f} polls, {other.lag_s:.2f} s)")


if __name__ == "__main__":
    main()
