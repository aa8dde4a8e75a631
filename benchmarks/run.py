"""Measure side by side: `python -m benchmarks.run [figure …] [--wire tls] [--quick]`; see README.md."""

from __future__ import annotations

import argparse
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import history, table
from benchmarks.figures import (
    archive,
    cold_start,
    doors,
    idle,
    jobs,
    losses,
    one_core,
    polling,
    recovery,
    redis_memory,
    tenants,
)
from benchmarks.table import Row, Run, Size

HTTP, TLS = "HTTP", "TLS"
BOTH, NONE = (HTTP, TLS), ("",)
"""NONE: neither the gateway nor the bucket has a part in it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What takes it, over which wires, and whether a quick run takes it too."""

    measure: Callable[[Size], list[Row]]
    wires: Sequence[str] = BOTH
    in_quick: bool = True


GOALS: Mapping[str, Figure] = {
    "cpu": Figure(jobs.cpu),
    "burst": Figure(jobs.burst, in_quick=False),
    "many": Figure(jobs.many, in_quick=False),
    "core": Figure(one_core.one_core),
    "half": Figure(one_core.half_a_core, (TLS,), in_quick=False),
    "polls": Figure(polling.polls),
    "recovery": Figure(recovery.recovery, (TLS,), in_quick=False),
    "intake": Figure(doors.intake, NONE),
    "post": Figure(doors.post, NONE),
    "waiting": Figure(redis_memory.waiting, NONE),
    "ended": Figure(redis_memory.ended, (HTTP,)),
    "turn": Figure(tenants.turn, NONE),
    "start": Figure(cold_start.start),
}
FURTHER: Mapping[str, Figure] = {
    "callbacks": Figure(jobs.callbacks, (TLS,), in_quick=False),
    "policies": Figure(polling.simulated, NONE, in_quick=False),
    "fairness": Figure(tenants.waiting, NONE, in_quick=False),
    "idle": Figure(idle.idle, NONE, in_quick=False),
    "archive": Figure(archive.archive, (TLS,), in_quick=False),
}
# Asserted by tests; it waits for minutes, and its figures are no speeds: only where it is named.
NAMED: Mapping[str, Figure] = {"losses": Figure(losses.losses, (HTTP,))}
FIGURES: Mapping[str, Figure] = {**GOALS, **FURTHER, **NAMED}
RESULTS = Path(__file__).with_name("RESULTS.md")


def measured(name: str, size: Size, wire: str) -> list[Row]:
    """The rows of a figure; one that breaks is a row that says so, and the others go on."""
    began_at = time.monotonic()
    print(f"{name} {wire} …", flush=True)
    try:
        rows = [replace(row, wire=wire) for row in FIGURES[name].measure(replace(size, tls=wire == TLS))]
    except Exception as problem:
        traceback.print_exc()
        rows = [replace(table.not_measured(name, name, type(problem).__name__), wire=wire, met=False)]
    for row in rows:
        print(f"  = {'; '.join(cell for cell in row.cells() if cell)}", flush=True)
    print(f"  {time.monotonic() - began_at:.0f} s", flush=True)
    return rows


def show(rows: Iterable[Row]) -> None:
    """Print the table."""
    shown = Table(*table.HEADS)
    for row in rows:
        shown.add_row(*row.cells())
    Console(width=190).print(shown)


def write(goals: Sequence[Row], further: Sequence[Row], run: Run, path: Path) -> None:
    """Write the tables, with the versions and the shape of the machine."""
    about = (
        f"- {run.date} UTC, commit {run.commit}\n- {run.machine}; load before the run {run.load}\n- {run.versions}\n"
        "- every ratio is of runs side by side on this machine; [README.md](README.md#the-figures) says what each is\n"
    )
    tables = f"## Goals\n{table.markdown(goals)}\n## Further figures\n{table.markdown(further)}"
    path.write_text(f"# Results\n\n{about}\n{tables}", encoding="utf-8")


def chosen(names: Sequence[str], quick: bool, wire: str | None) -> list[tuple[str, str]]:
    """Which figures are taken, and over which wire. A quick run has one wire: TLS, as users run it."""
    figures = {name: FIGURES[name] for name in names} if names else {**GOALS, **FURTHER}
    pairs = []
    for name, figure in figures.items():
        if quick and not names and not figure.in_quick:
            continue
        wanted = {wire} if wire else {TLS} if quick and TLS in figure.wires else set(figure.wires)
        pairs += [(name, one) for one in figure.wires if one in wanted or figure.wires == NONE]
    return pairs


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[[], *FIGURES], help="which; without, all but `losses`")
    parser.add_argument("--wire", choices=BOTH, type=str.upper, help="one wire only, where a figure has it")
    parser.add_argument("--jobs", type=int, help="of the jobs figures, in place of each one's own number")
    parser.add_argument("--quick", action="store_true", help="in three minutes, over TLS, and less sure")
    parser.add_argument("--rounds", type=int, default=1, help="of `cpu`, the systems in turns; the least counts [1]")
    options = parser.parse_args(arguments)
    size = Size(options.quick, options.jobs, options.rounds)
    is_whole = not (options.figures or options.quick or options.wire or options.jobs)
    run, began_at = table.this_run(), time.monotonic()
    rows = {pair: measured(pair[0], size, pair[1]) for pair in chosen(options.figures, options.quick, options.wire)}
    goals, further = (
        [row for (name, _), some in rows.items() if name in group for row in some]
        for group in (GOALS, {**FURTHER, **NAMED})
    )
    show([*goals, *further])
    print(f"{(time.monotonic() - began_at) / 60:.1f} minutes")
    if is_whole:
        write(goals, further, run, RESULTS)
        history.append([*goals, *further], run, history.HISTORY)


if __name__ == "__main__":
    main()
