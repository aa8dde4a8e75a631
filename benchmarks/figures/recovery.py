"""Everything due at once after an outage: a million jobs, the oldest of them real, at a gateway with a cap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from benchmarks.figures.filling import GATEWAY, MILLION, client_of, fill
from benchmarks.rig.load import RUSHES_REQUEST, send_jobs
from benchmarks.rig.measure import memory_mib
from benchmarks.rig.stack import ROOT, Rig
from benchmarks.rig.systems import wait_for_manifests
from benchmarks.table import Row, Size, at_least, below, without_goal
from rushes.deploy.sandbox.supervisor import procfile

CAP = 20
JOBS, QUICK_JOBS, ROUNDS = 200, 100, 3
GOAL = 0.95


def recovery(size: Size) -> list[Row]:
    """The rate of real jobs with a million behind them against the rate with none, in turns; of three, the middle."""
    count, rounds = (QUICK_JOBS, 1) if size.quick else (JOBS, ROUNDS)
    pairs = []
    for number in range(rounds):
        # The other one first each time: what slows the machine down for a while is not always on one side.
        order = (0, MILLION) if number % 2 == 0 else (MILLION, 0)
        seen = {behind: _run(size.tls, count, behind) for behind in order}
        alone, crowded = seen[0], seen[MILLION]
        print(f"  alone {alone['rate']:.1f} jobs/s, a million behind {crowded['rate']:.1f} jobs/s", flush=True)
        pairs.append((alone, crowded))
    middle = sorted(pairs, key=lambda pair: pair[1]["rate"] / pair[0]["rate"])[len(pairs) // 2]
    most = {name: max(crowded[name] for _, crowded in pairs) for name in pairs[0][1]}
    figure = f"recovery, a million due at once (middle of {rounds})"
    row = at_least("recovery", figure, middle[1]["rate"], middle[0]["rate"], "jobs/s", "nobody behind", GOAL)
    return [
        row if not size.quick else without_goal(row, "in the middle of 3"),
        below("recovery_most", "most at the gateway at once", most["most"], "jobs", CAP),
        below("recovery_order", "places that a submit came out of turn, most", most["displaced"], "places", 2 * CAP),
        below("recovery_memory", "memory of worker and scheduler, grown by", most["grown_mib"], "MiB", 32),
    ]


def _run(tls: bool, count: int, behind: int) -> dict[str, float]:
    with Rig(tls=tls) as rig:
        order = _wait_out(rig, count)
        if behind:
            fill(client_of(rig), behind, 1, int(time.time() * 1000), mark="7")
        return _drained(rig, count, {f"{GATEWAY.upper()}_MAX_IN_FLIGHT": str(CAP)}, order)


def _wait_out(rig: Rig, count: int) -> Sequence[str]:
    """Real jobs that wait while nothing but web runs; their prompts, in order."""
    rig.start_rushes()
    for name in ("worker", "scheduler"):
        rig.processes[name].kill()
        rig.processes[name].wait()
    asyncio.run(send_jobs(rig.web_url, "/v1/jobs", RUSHES_REQUEST, count, connections=1))
    return [f"a red kite over the sea, take {number}" for number in range(count)]


def _drained(rig: Rig, count: int, caps: Mapping[str, str], order: Sequence[str]) -> dict[str, float]:
    """The worker and the scheduler come back."""
    rig.gateway("/_rig/pace", {"median_s": 0.5})
    env = {**rig.env, **caps, "RUSHES_POLL_FIRST_S": "0.5"}
    for name, argv in _commands(env).items():
        rig.processes.start(name, argv, env)
    wait_for_manifests(rig, 10, 60)
    pids = rig.processes.pids(("worker", "scheduler"))
    memory_before = sum(memory_mib(pid) for pid in pids.values())
    wait_for_manifests(rig, count, 180)
    # The first ones are left out: a worker that still starts is no part of the rate.
    ends = sorted(manifest["stored_at"] for manifest in rig.s3("/_rig/manifests"))[2 * CAP :]
    grown_mib = sum(memory_mib(pid) for pid in pids.values()) - memory_before
    tasks = rig.gateway("/_rig/tasks")
    came = [order.index(task["prompt"]) for task in tasks if task["prompt"] in order]
    return {
        "rate": (len(ends) - 1) / (ends[-1] - ends[0]),
        "most": rig.gateway("/_rig/counts")["most"],
        "displaced": max(abs(place - number) for place, number in enumerate(came)),
        "grown_mib": max(grown_mib, 0),
    }


def _commands(env: Mapping[str, str]) -> dict[str, Sequence[str]]:
    return {name: command.argv for name, command in procfile(ROOT / "Procfile", env).items() if name != "web"}
