"""Whole jobs through all three systems: throughput, CPU, and lag with callbacks and with polls."""

from __future__ import annotations

import os
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import product

from benchmarks import policies
from benchmarks.rig import systems
from benchmarks.rig.stack import Rig
from benchmarks.rig.systems import Outcome, Rushes, Work
from benchmarks.table import Row, Size, at_least, at_most, below

NAMES = ("rushes", "celery", "asyncio", *(["aiohttp"] if os.environ.get("BENCH_AIOHTTP") else []))
BARE = {"asyncio": "bare asyncio", "aiohttp": "asyncio with aiohttp and aiobotocore"}
LEARNED_AFTER = 200
# With fewer at once the gateway is what the fast ones wait for: a ratio says nothing of the machine.
ENOUGH_JOBS = 2000


def _each(work: Work, size: Size) -> dict[str, Outcome]:
    """All three, in turns; of several rounds the one with the middle CPU, which noise of the machine moves least."""
    seen = defaultdict[str, list[Outcome]](list)
    for _, name in product(range(size.rounds), NAMES):
        seen[name].append(systems.run(name, work))
        _tell(name, seen[name][-1])
    return {name: sorted(all_of, key=lambda one: one.cpu_ms_per_job)[len(all_of) // 2] for name, all_of in seen.items()}


def _tell(name: str, outcome: Outcome) -> None:
    parts = ", ".join(f"{part} {ms:.2f}" for part, ms in outcome.cpu_ms.items())
    rest = f"{outcome.polls_per_job:.2f} polls a job, lag p50 {outcome.lag_s(0.5):.2f} s"
    print(
        f"  {name}: {outcome.jobs_per_s:.1f} jobs/s, {outcome.cpu_ms_per_job:.2f} ms/job ({parts}), {rest}", flush=True
    )


def burst(size: Size) -> list[Row]:
    """Jobs per second to the last manifest, all at once, gateway times of about a second, polled every second."""
    seen = _each(Work(jobs=size.jobs, median_s=1, poll_s=1), size)
    rate = {name: outcome.jobs_per_s for name, outcome in seen.items()}
    rows = [
        at_least("jobs at once", rate["rushes"], rate["celery"], "jobs/s", "Celery by hand", 2),
        *(
            at_least("jobs at once", rate["rushes"], rate[name], "jobs/s", BARE[name], 0.5)
            for name in BARE
            if name in rate
        ),
    ]
    return (
        rows if size.jobs >= ENOUGH_JOBS else [replace(row, target=f"{row.target} of 2,000", met=None) for row in rows]
    )


def cpu(size: Size) -> list[Row]:
    """CPU milliseconds a job, all at once, gateway times of median 6 s, polled every 2 s; over HTTP and over TLS."""
    work = Work(jobs=size.jobs, median_s=6, sigma=0.4, poll_s=2)
    work = replace(work, median_s=3, poll_s=1) if size.quick else work
    figures = {"CPU a job": False, "CPU a job, over TLS": True}
    return [row for figure, tls in figures.items() for row in _cpu(figure, replace(work, tls=tls), size)]


def _cpu(figure: str, work: Work, size: Size) -> list[Row]:
    ms = {name: outcome.cpu_ms_per_job for name, outcome in _each(work, size).items()}
    return [
        at_most(figure, ms["rushes"], ms["celery"], "ms", "Celery by hand", 0.5),
        *(at_most(figure, ms["rushes"], ms[name], "ms", BARE[name], 2) for name in BARE if name in ms),
    ]


def callbacks(size: Size) -> list[Row]:
    """From finished-there to manifest-here with callbacks, at half of the rate that is the most."""
    count = 150 if size.quick else 500
    with Rig() as rig:
        system, work = Rushes(), Work(jobs=count, callbacks=True)
        system.start(rig, work)
        most = systems.measured(system, rig, work).jobs_per_s
        half = Work(jobs=max(count // 2, round(most / 2 * 10)), rate=most / 2, median_s=2, callbacks=True)
        seen = systems.measured(system, rig, half)
    print(
        f"  with callbacks: at most {most:.1f} jobs/s; at half of it {seen.polls_per_job:.2f} queries a job", flush=True
    )
    return [
        below("lag with callbacks, p50", seen.lag_s(0.5), "s", 0.3),
        below("lag with callbacks, p99", seen.lag_s(0.99), "s", 1.5),
    ]


def polls(size: Size) -> list[Row]:
    """Polls a job and seconds of lag after 200 jobs of the kind, against fixed pauses and doubling ones.

    The policies that know nothing are asked of the asyncio program: it adds the least lag of its own.
    """
    count = 100 if size.quick else 300
    work = Work(jobs=count, rate=10, median_s=6, sigma=0.4, poll_s=2)
    with Rig() as rig:
        system = Rushes()
        system.start(rig, work)
        systems.measured(system, rig, Work(jobs=LEARNED_AFTER, rate=20, median_s=6, sigma=0.4))
        ours = systems.measured(system, rig, work)
    plain = {
        "fixed 2 s polls": replace(work, policy="fixed"),
        "doubling pauses": replace(work, policy="backoff", poll_s=1),
    }
    with ThreadPoolExecutor() as pool:  # side by side: they take little
        others = zip(plain, pool.map(partial(systems.run, "asyncio"), plain.values()), strict=True)
        return [row for name, other in others for row in _both_lower(ours, other, name)]


def simulated(size: Size) -> list[Row]:
    """On the curve of lag against polls: points of ours at which a simpler policy is better in both."""
    rows = []
    for taught_by in ("callbacks", "polls"):
        seen = [policies.compared(shape, taught_by, count=1000 if size.quick else 4000) for shape in policies.SHAPES]
        points = sum(len(comparison.ours) for comparison in seen)
        lost = len({id(ours) for comparison in seen for _, ours in comparison.losses()})
        name = f"simulated, taught by {taught_by}: a simpler policy is better at"
        rows.append(Row(name, f"{lost} of {points} points", "fixed and growing pauses", "", "none", lost == 0))
    return rows


def _both_lower(ours: Outcome, theirs: Outcome, name: str) -> list[Row]:
    return [
        at_most("polls a job", ours.polls_per_job, theirs.polls_per_job, "polls", name, 1),
        at_most("mean lag of polled jobs", ours.mean_lag_s, theirs.mean_lag_s, "s", name, 1),
    ]
