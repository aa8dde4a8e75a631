"""Whole jobs: CPU, throughput and lag with callbacks, beside the programs that people would write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

from benchmarks.rig import systems
from benchmarks.rig.stack import Rig
from benchmarks.rig.systems import Outcome, Rushes, Work
from benchmarks.table import AIOHTTP, Row, Size, at_least, at_most, below, not_compared, without_goal

LIBRARIES = "asyncio with aiohttp and aiobotocore"
NO_LIBRARIES = f"{LIBRARIES}, as BENCH_AIOHTTP names no interpreter (README.md)"
BURST_JOBS, MANY_JOBS, CPU_JOBS, QUICK_JOBS = 2000, 10_000, 1000, 200
PEERS = {"celery": "Celery by hand", "asyncio": "bare asyncio"}
# Bounds of the issue, as multiples of the program's: over HTTP and over TLS.
CPU_GOAL = {False: 1.5, True: 1.2}
RATE_GOAL = {False: 1.2, True: 1.4}


def _each(names: Sequence[str], work: Work, rounds: int) -> dict[str, list[Outcome]]:
    """Each of the systems, in turns."""
    seen = defaultdict[str, list[Outcome]](list)
    for _, name in product(range(rounds), names):
        outcome = systems.run(name, work)
        parts = ", ".join(f"{part} {ms:.2f}" for part, ms in outcome.cpu_ms.items())
        print(
            f"  {name}: {outcome.jobs_per_s:.1f} jobs/s, {outcome.cpu_ms_per_job:.2f} ms/job ({parts}), "
            f"{outcome.polls_per_job:.2f} polls a job, lag p50 {outcome.lag_s(0.5):.2f} s",
            flush=True,
        )
        seen[name].append(outcome)
    return seen


def _names() -> Sequence[str]:
    return ("rushes", "aiohttp") if AIOHTTP else ("rushes",)


def least(outcomes: Sequence[Outcome]) -> Outcome:
    """Of several rounds the one with the least CPU a job: what else runs on a machine only ever adds to it."""
    return min(outcomes, key=lambda outcome: outcome.cpu_ms_per_job)


def cpu(size: Size) -> list[Row]:
    """CPU milliseconds a job, all at once, gateway times of median 6 s, polled every 2 s."""
    work = Work(jobs=size.jobs or CPU_JOBS, median_s=6, poll_s=2, tls=size.tls)
    work = replace(work, jobs=size.jobs or QUICK_JOBS, median_s=3, poll_s=1) if size.quick else work
    figure, goal = f"CPU a job, {work.jobs:,} at once, median {work.median_s:g} s", CPU_GOAL[size.tls]
    names = _names() if size.quick or size.tls else (*_names(), *PEERS)
    best = {name: least(outcomes) for name, outcomes in _each(names, work, size.rounds).items()}
    rushes, further = best["rushes"], _peers(best["rushes"], {name: best[name] for name in PEERS if name in best})
    if "aiohttp" not in best:
        return [not_compared("cpu", figure, rushes.cpu_ms_per_job, "ms", NO_LIBRARIES, f"≤ {goal:g} ×"), *further]
    theirs = best["aiohttp"].cpu_ms_per_job
    return [at_most("cpu", figure, rushes.cpu_ms_per_job, theirs, "ms", LIBRARIES, goal), *further]


def burst(size: Size) -> list[Row]:
    """Jobs per second to the last manifest, all at once, gateway times of about a second, polled every second."""
    return _rate("burst", size.jobs or (QUICK_JOBS if size.quick else BURST_JOBS), BURST_JOBS, size)


def many(size: Size) -> list[Row]:
    """The same, five times as many."""
    return _rate("many", size.jobs or MANY_JOBS, MANY_JOBS, size)


def _rate(key: str, count: int, judged: int, size: Size) -> list[Row]:
    seen = _each(_names(), Work(jobs=count, median_s=1, poll_s=1, tls=size.tls), 1)
    rushes, goal = seen["rushes"][0].jobs_per_s, RATE_GOAL[size.tls]
    figure = f"jobs/s, {count:,} at once"
    if "aiohttp" not in seen:
        return [not_compared(key, figure, rushes, "jobs/s", NO_LIBRARIES, f"≥ {goal:g} ×")]
    row = at_least(key, figure, rushes, seen["aiohttp"][0].jobs_per_s, "jobs/s", LIBRARIES, goal)
    # With fewer at once the gateway is what the fast ones wait for: a ratio says nothing.
    return [row if count >= judged else without_goal(row, f"of {judged:,}")]


def _peers(rushes: Outcome, theirs: Mapping[str, Outcome]) -> list[Row]:
    """Celery as written by hand, and the barest program: no goals, for the eye."""
    return [
        row
        for name, seen in theirs.items()
        for row in (
            at_most(f"cpu_{name}", "CPU a job", rushes.cpu_ms_per_job, seen.cpu_ms_per_job, "ms", PEERS[name], None),
            at_least(f"rate_{name}", "jobs/s of it", rushes.jobs_per_s, seen.jobs_per_s, "jobs/s", PEERS[name], None),
        )
    ]


def callbacks(size: Size) -> list[Row]:
    """From finished-there to manifest-here with callbacks, at half of the rate that is the most."""
    count = 150 if size.quick else 500
    with Rig(tls=size.tls) as rig:
        system, work = Rushes(), Work(jobs=count, callbacks=True)
        system.start(rig, work)
        most = systems.measured(system, rig, work).jobs_per_s
        half = Work(jobs=max(count // 2, round(most / 2 * 10)), rate=most / 2, median_s=2, callbacks=True)
        seen = systems.measured(system, rig, half)
    print(
        f"  with callbacks: at most {most:.1f} jobs/s; at half of it {seen.polls_per_job:.2f} queries a job", flush=True
    )
    return [
        below("callback_lag_p50", "lag with callbacks, p50", seen.lag_s(0.5), "s", 0.3),
        below("callback_lag_p99", "lag with callbacks, p99", seen.lag_s(0.99), "s", 1.5),
    ]
