"""Measure side by side: `python -m benchmarks.run [figure …] [--jobs N] [--quick]`; see README.md."""

from __future__ import annotations

import argparse
import os
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import table
from benchmarks.figures import archive, doors, jobs, ledger, losses, tenants
from benchmarks.table import Row, Size

FIGURES: Mapping[str, Callable[[Size], list[Row]]] = {
    "burst": jobs.burst,
    "cpu": jobs.cpu,
    "callbacks": jobs.callbacks,
    "polls": jobs.polls,
    "policies": jobs.simulated,
    "intake": doors.intake,
    "post": doors.post,
    "memory": ledger.memory,
    "turn": ledger.turn,
    "tenants": tenants.turn,
    "fairness": tenants.waiting,
    "idle": ledger.idle,
    "recovery": ledger.recovery,
    "archive": archive.archive,
    "losses": losses.losses,
}
JOBS, QUICK_JOBS = 2000, 200
RESULTS = Path(__file__).with_name("RESULTS.md")


def measured(name: str, size: Size) -> list[Row]:
    """The rows of a figure; one that breaks is a row that says so, and the others go on."""
    began_at = time.monotonic()
    print(f"{name} …", flush=True)
    try:
        rows = FIGURES[name](size)
        for row in rows:
            print(f"  = {'; '.join(cell for cell in row.cells() if cell)}", flush=True)
        return rows
    except Exception as problem:
        traceback.print_exc()
        return [Row(name, f"not measured: {type(problem).__name__}", "", "", "", False)]
    finally:
        print(f"  {time.monotonic() - began_at:.0f} s", flush=True)


def show(rows: list[Row]) -> None:
    """Print the table."""
    shown = Table(*table.HEADS)
    for row in rows:
        shown.add_row(*row.cells())
    Console(width=170).print(shown)


def write(rows: list[Row], size: Size) -> None:
    """Write the table to RESULTS.md, with the versions and the shape of the machine."""
    about = "".join(f"- {line}\n" for line in table.about())
    how = f"- {size.jobs} jobs{', quick' if size.quick else ''}; every ratio is of runs side by side on this machine\n"
    RESULTS.write_text(f"# Results\n\n{about}{how}\n{table.markdown(rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[[], *FIGURES], help="which; all of them without")
    parser.add_argument("--jobs", type=int, help=f"of burst and cpu [{JOBS}, quick: {QUICK_JOBS}]")
    parser.add_argument("--quick", action="store_true", help="in two minutes, and less sure")
    parser.add_argument("--rounds", type=int, default=1, help="of burst and cpu, the systems in turns [1]")
    parser.add_argument("--tls", action="store_true", help="gateway and bucket speak TLS in every figure")
    given = parser.parse_args()
    if given.tls:
        os.environ["BENCH_TLS"] = "1"
    size = Size(given.quick, given.jobs or (QUICK_JOBS if given.quick else JOBS), given.rounds)
    rows = [row for name in given.figures or FIGURES for row in measured(name, size)]
    show(rows)
    if not given.figures:
        write(rows, size)


if __name__ == "__main__":
    main()
