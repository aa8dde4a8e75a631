"""Rushes and its Redis on one core, and on half of one: memory, and whether the core is left idle while jobs wait."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.rig.measure import idle_s, pss_mib, tree
from benchmarks.rig.stack import Rig
from benchmarks.rig.systems import Rushes, Work, judged, wait_for_manifests
from benchmarks.table import Row, Size, above, below, reported, without_goal

JOBS, HALF_JOBS, QUICK_JOBS = 2000, 500, 150
# As deploy/README.md says it for one core.
SETTINGS = {"RUSHES_WORKER_RUNS_SCHEDULER": "true"}
IDLE_MIB, LOADED_MIB, BUSY = 150, 200, 85
# Above this share of others (per cent) the core is never idle, whatever Rushes does.
OTHERS = 20
# The middle of the work: before it jobs are still sent, after it the last tasks are waited for at the gateway.
FROM, UNTIL = 0.1, 0.9
LOOK_S, MEMORY_EVERY = 0.25, 4
SLICE_S = 0.05
REST_S = 3


class Look(NamedTuple):
    """At one moment: manifests, and seconds so far: CPU of Rushes and Redis, the core idle, the clock.

    The times for which they were stopped are in neither of the last two.
    """

    manifests: int
    cpu_s: float
    idle_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one run; MiB, and per cent of the core."""

    idle_mib: float
    loaded_mib: float
    busy: float
    others: float
    """What others used of the core meanwhile."""


def one_core(size: Size) -> list[Row]:
    """Memory of web, worker and scheduler with all their children, idle and at its peak; how busy the core is."""
    count = size.jobs or (QUICK_JOBS if size.quick else JOBS)
    apart_mib = _idle_apart(size)
    seen = _run(size, count, half=False)
    loaded = below("pss_loaded", f"the same under {count:,} jobs, peak", seen.loaded_mib, "MiB (PSS)", LOADED_MIB)
    return [
        below("pss_idle", "memory of web, worker, scheduler on one core, idle", seen.idle_mib, "MiB (PSS)", IDLE_MIB),
        reported("pss_apart", "the same with a process for the scheduler", apart_mib, "MiB (PSS)"),
        loaded if count >= JOBS else without_goal(loaded, f"of {JOBS:,}"),
        _busy("busy_core", "one core", seen, count, JOBS),
    ]


def half_a_core(size: Size) -> list[Row]:
    """The same while all of it is stopped for every other 50 ms."""
    count = size.jobs or (QUICK_JOBS if size.quick else HALF_JOBS)
    return [_busy("busy_half", "half a core", _run(size, count, half=True), count, HALF_JOBS)]


def _busy(key: str, what: str, seen: Seen, count: int, judged: int) -> Row:
    figure = f"busy share of {what}, {count:,} jobs at once, no cap"
    row = above(key, figure, seen.busy, "%", BUSY, f"others on that core: {seen.others:.0f} %")
    if seen.others > OTHERS:
        return without_goal(row, "of a core of its own")
    return row if count >= judged else without_goal(row, f"of {judged:,}")


def _idle_apart(size: Size) -> float:
    with Rig(tls=size.tls) as rig, _on(sorted(os.sched_getaffinity(0))[:1]):
        Rushes().start(rig, Work(jobs=1, median_s=1, poll_s=1, tls=size.tls))
        return _idle_mib(rig)


def _idle_mib(rig: Rig) -> float:
    time.sleep(REST_S)
    idle = {name: pss_mib([pid]) for name, pid in rig.processes.pids(rig.measured).items()}
    print(f"  idle: {', '.join(f'{name} {mib:.0f} MiB' for name, mib in idle.items())}", flush=True)
    return sum(idle.values())


def _run(size: Size, count: int, half: bool) -> Seen:
    work = Work(jobs=count, median_s=1, poll_s=1, tls=size.tls)
    cores = sorted(os.sched_getaffinity(0))
    with Rig(tls=size.tls) as rig:
        system = Rushes(**SETTINGS)
        _pin(tree(rig.processes["redis"].pid), cores[:1])
        with _on(cores[:1]):  # what is started now inherits it
            system.start(rig, work)
        for name in ("gateway", "s3"):
            _pin(tree(rig.processes[name].pid), cores[1:] or cores)
        idle_mib = _idle_mib(rig)
        rig.gateway("/_rig/pace", work.pace())
        rig.s3("/_rig/clear")
        began_at = time.time()
        with _on(cores[1:] or cores), Watch(rig, cores[0], half) as watch:
            system.give(rig, work)
            wait_for_manifests(rig, count, work.timeout_s * (2 if half else 1))
        outcome = judged(rig, work, began_at, {})
        busy, others = watch.shares(count)
    print(
        f"  {outcome.jobs_per_s:.1f} jobs/s, {busy:.0f} % busy, {idle_mib:.0f} to {watch.most_mib:.0f} MiB", flush=True
    )
    return Seen(idle_mib, watch.most_mib, busy, others)


@contextlib.contextmanager
def _on(cores: Sequence[int]) -> Iterator[None]:
    """This thread on these cores for a while; a process that it starts stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pin(pids: Sequence[int], cores: Sequence[int]) -> None:
    for pid in pids:
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), cores)


class Watch(threading.Thread):
    """Looks at memory and CPU while jobs run, and lets Rushes and its Redis run for half of the time only, if told."""

    def __init__(self, rig: Rig, core: int, half: bool) -> None:
        super().__init__(daemon=True)
        self._rig, self._core, self._half = rig, core, half
        self._meter = rig.meter()
        self._over = threading.Event()
        self._looks: list[Look] = []
        self._stopped_s = self._stopped_idle_s = 0.0
        self.most_mib = 0.0

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.is_set():
            self._look()
            self._wait()

    def _look(self) -> None:
        manifests = self._rig.s3("/_rig/counts")["manifests"]
        cpu_s = sum(self._meter.read().values())
        idle, at = idle_s(self._core) - self._stopped_idle_s, time.monotonic() - self._stopped_s
        self._looks.append(Look(manifests, cpu_s, idle, at))
        if len(self._looks) % MEMORY_EVERY == 0:
            self.most_mib = max(self.most_mib, pss_mib(self._rig.processes.pids(self._rig.measured).values()))

    def _wait(self) -> None:
        until = time.monotonic() + LOOK_S
        while time.monotonic() < until and not self._over.is_set():
            time.sleep(SLICE_S)
            if self._half:
                self._stop_for_a_slice()

    def _stop_for_a_slice(self) -> None:
        began_at, idle_before = time.monotonic(), idle_s(self._core)
        self._signal(signal.SIGSTOP)
        time.sleep(SLICE_S)
        self._signal(signal.SIGCONT)
        self._stopped_s += time.monotonic() - began_at
        self._stopped_idle_s += idle_s(self._core) - idle_before

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._rig.processes.pids((*self._rig.measured, "redis")).values():
            os.killpg(pid, number)  # each leads a group of its own

    def shares(self, jobs: int) -> tuple[float, float]:
        """CPU of Rushes and Redis in the middle of the work, in per cent of what the core had for them; and of others.

        What it had for them is what they used and what was idle: others' work on the core does not count.
        """
        middle = [look for look in self._looks if FROM * jobs <= look.manifests <= UNTIL * jobs]
        if len(middle) < 2:
            raise ValueError(f"too few looks at the middle of the work: {self._looks}")
        first, last = middle[0], middle[-1]
        cpu_s = last.cpu_s - first.cpu_s
        idle, wall_s = max(0, last.idle_s - first.idle_s), last.at_s - first.at_s
        return 100 * cpu_s / (cpu_s + idle), 100 * max(0, wall_s - cpu_s - idle) / wall_s
