"""HISTORY.csv: one line for each whole run, so that a slow creep shows.

A figure has a column for its value and, where it has one, one for its ratio. A new figure gets columns at the end, and
the lines of runs before it have none there; no column is ever renamed or taken away.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.table import Row, Run

HISTORY = Path(__file__).with_name("HISTORY.csv")


def columns(rows: Iterable[Row]) -> dict[str, str]:
    """The columns of a run's figures; one that was not measured has none."""
    cells: dict[str, str] = {}
    for row in rows:
        name = f"{row.key} {row.wire}".strip()
        if row.value is not None:
            cells[name] = f"{row.value:.4g}"
        if row.ratio is not None:
            cells[f"{name} ×"] = f"{row.ratio:.3f}"
    return cells


def append(rows: Iterable[Row], run: Run, path: Path) -> None:
    """Add the line of a run."""
    line = {**asdict(run), **columns(rows)}
    lines: list[dict[str, str]] = []
    head: list[str] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lines, head = list(reader), list(reader.fieldnames or ())
    head += [name for name in line if name not in head]
    # Written anew as a whole, and put in place at once: a run that is broken off here loses no earlier line.
    fresh = path.with_suffix(".new")
    with fresh.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, head, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*lines, line])
    fresh.replace(path)
