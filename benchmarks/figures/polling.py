"""How late the end of a polled job is noticed, and how many polls that takes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from benchmarks import policies
from benchmarks.rig import systems
from benchmarks.rig.stack import Rig
from benchmarks.rig.systems import Outcome, Rushes, Work
from benchmarks.table import Row, Size, at_most, without_goal

JOBS, RATE, LEARNED_AFTER = 300, 15, 200
# Pauses on both sides of 2 s: the line through them says how late fixed polls are at any number of polls.
PAUSES_S = (1.5, 2.0, 2.5, 3.0)
GOAL = 0.7


def polls(size: Size) -> list[Row]:
    """Mean lag after 200 jobs of the kind, 15 jobs a second, median 6 s, at equal numbers of polls.

    Fixed pauses are asked of the bare asyncio program, which adds the least lag of its own, side by side with Rushes.
    """
    jobs = size.jobs or (150 if size.quick else JOBS)
    work = Work(jobs=jobs, rate=RATE, median_s=6, sigma=0.4, poll_s=2, tls=size.tls)
    with Rig(tls=size.tls) as rig, ThreadPoolExecutor() as pool:  # side by side: all of it takes little
        system = Rushes()
        system.start(rig, work)
        systems.measured(system, rig, replace(work, jobs=LEARNED_AFTER, rate=40))
        fixed = pool.map(partial(systems.run, "asyncio"), [replace(work, poll_s=pause) for pause in PAUSES_S])
        doubling = pool.submit(systems.run, "asyncio", replace(work, policy="backoff", poll_s=1))
        rushes = systems.measured(system, rig, work)
        plain, growing = list(fixed), doubling.result()
    for pause, seen in zip(PAUSES_S, plain, strict=True):
        print(f"  fixed {pause:g} s: {seen.polls_per_job:.2f} polls, {seen.mean_lag_s:.2f} s", flush=True)
    two_s = plain[PAUSES_S.index(2.0)]
    lag_s = lag_at(rushes.polls_per_job, plain)
    at_equal = at_most(
        "lag_at_equal_polls",
        f"mean lag at {rushes.polls_per_job:.2f} polls a job, after {LEARNED_AFTER} jobs of the kind",
        rushes.mean_lag_s,
        lag_s,
        "s",
        "fixed polls, as many",
        GOAL,
    )
    rows = [
        at_equal,
        at_most("polls", "polls a job", rushes.polls_per_job, two_s.polls_per_job, "polls", "fixed 2 s polls", 1),
        at_most("lag", "mean lag", rushes.mean_lag_s, two_s.mean_lag_s, "s", "fixed 2 s polls", None),
        at_most(
            "polls_doubling", "polls a job", rushes.polls_per_job, growing.polls_per_job, "polls", "doubling", None
        ),
        at_most("lag_doubling", "mean lag", rushes.mean_lag_s, growing.mean_lag_s, "s", "doubling pauses", None),
    ]
    return [without_goal(row, f"of {JOBS} jobs") if size.quick and row.goal else row for row in rows]


def lag_at(polls: float, fixed: Sequence[Outcome]) -> float:
    """The mean lag of fixed polls, seconds, at that number of polls: on the line between the two nearest pauses.

    Beyond them the outermost line goes on.
    """
    points = sorted((seen.polls_per_job, seen.mean_lag_s) for seen in fixed)
    right = next((place for place, (at, _) in enumerate(points) if at >= polls), len(points) - 1)
    (x1, y1), (x2, y2) = points[max(right, 1) - 1], points[max(right, 1)]
    return y1 + (polls - x1) * (y2 - y1) / (x2 - x1)


def simulated(size: Size) -> list[Row]:
    """On the curve of lag against polls: points of the learned policy at which a simpler policy is better in both."""
    rows = []
    for taught_by in ("callbacks", "polls"):
        seen = [policies.compared(shape, taught_by, count=1000 if size.quick else 4000) for shape in policies.SHAPES]
        points = sum(len(comparison.ours) for comparison in seen)
        lost = len({id(point) for comparison in seen for _, point in comparison.losses()})
        name = f"simulated, taught by {taught_by}: a simpler policy is better at"
        against = "fixed and growing pauses"
        rows.append(
            Row(f"policies_{taught_by}", name, f"{lost} of {points} points", against, "", "none", lost == 0, lost)
        )
    return rows
