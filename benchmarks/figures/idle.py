"""CPU of a stack with nothing to do."""

from __future__ import annotations

import time

from benchmarks.rig.measure import spent
from benchmarks.rig.stack import Rig
from benchmarks.rig.systems import Rushes, Work
from benchmarks.table import Row, Size, below

IDLE_S, IDLE_QUICK_S, REST_S = 12, 8, 3


def idle(size: Size) -> list[Row]:
    """Of scheduler and worker, in per cent of a core."""
    seconds = IDLE_QUICK_S if size.quick else IDLE_S
    with Rig() as rig:
        Rushes().start(rig, Work())  # its warm jobs are made when every process has started
        time.sleep(REST_S)
        meter = rig.meter()
        before = meter.read()
        time.sleep(seconds)
        used = spent(before, meter.read())
    print(f"  {', '.join(f'{part} {100 * cpu / seconds:.2f} %' for part, cpu in used.items())}", flush=True)
    share = 100 * (used["scheduler"] + used["worker"]) / seconds
    return [below("idle_cpu", "idle: scheduler and worker", share, "% of a core", 1)]
