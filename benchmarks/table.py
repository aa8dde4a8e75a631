"""A row of the table of results, and the table itself."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from rushes.deploy.sandbox import redis

HEADS = ("figure", "wire", "Rushes", "measured against", "ratio or bound", "goal", "met")
PACKAGES = ("rushes", "celery", "kombu", "redis", "pycurl", "requests", "boto3", "gunicorn", "flask")
THEIR_PACKAGES = ("aiohttp", "aiobotocore", "botocore")
ASK_VERSIONS = "import json, sys; from importlib.metadata import version; print(json.dumps([f'{name} {version(name)}' for name in sys.argv[1:]]))"  # noqa: E501
AIOHTTP = os.environ.get("BENCH_AIOHTTP", "")
"""The interpreter that has aiohttp and aiobotocore (README.md); empty where there is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what Rushes did, what it is held against, and whether that is enough.

    `key` names it in HISTORY.csv and never changes; `value` is None where it was not measured, `met` where there is
    no goal or nothing to judge.
    """

    key: str
    figure: str
    rushes: str
    against: str = ""
    bound: str = ""
    goal: str = ""
    met: bool | None = None
    value: float | None = None
    ratio: float | None = None
    wire: str = ""

    def cells(self) -> tuple[str, ...]:
        """As they are printed."""
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return (self.figure, self.wire, self.rushes, self.against, self.bound, self.goal, met)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: all of it, or `quick`; `jobs` of the jobs figures (None: as many as each says), and rounds.

    `tls`: gateway and bucket speak HTTPS.
    """

    quick: bool = False
    jobs: int | None = None
    rounds: int = 1
    tls: bool = False


def at_least(key: str, figure: str, rushes: float, theirs: float, unit: str, name: str, goal: float | None) -> Row:
    """A figure of which more is better, as a multiple of another's."""
    ratio = rushes / theirs
    cells = (_number(rushes, unit), f"{name}: {_number(theirs, unit)}", f"{ratio:.2f} ×")
    return Row(key, figure, *cells, *_goal("≥", goal, ratio), value=rushes, ratio=ratio)


def at_most(key: str, figure: str, rushes: float, theirs: float, unit: str, name: str, goal: float | None) -> Row:
    """A figure of which less is better, as a multiple of another's."""
    ratio = rushes / theirs
    cells = (_number(rushes, unit), f"{name}: {_number(theirs, unit)}", f"{ratio:.2f} ×")
    return Row(key, figure, *cells, *_goal("≤", goal, ratio), value=rushes, ratio=ratio)


def _goal(sign: str, goal: float | None, ratio: float) -> tuple[str, bool | None]:
    if goal is None:
        return "", None
    return f"{sign} {goal:g} ×", ratio <= goal if sign == "≤" else ratio >= goal


def below(key: str, figure: str, value: float, unit: str, goal: float, against: str = "") -> Row:
    """A figure that has a bound of its own."""
    return Row(key, figure, _number(value, unit), against, "", f"≤ {goal:,g} {unit}", value <= goal, value)


def above(key: str, figure: str, value: float, unit: str, goal: float, against: str = "") -> Row:
    """The same of one that is to be high."""
    return Row(key, figure, _number(value, unit), against, "", f"≥ {goal:,g} {unit}", value >= goal, value)


def reported(key: str, figure: str, value: float, unit: str, against: str = "") -> Row:
    """A figure without a goal."""
    return Row(key, figure, _number(value, unit), against, value=value)


def not_measured(key: str, figure: str, why: str, goal: str = "") -> Row:
    """A figure that could not be taken; it stands in the table nevertheless."""
    return Row(key, figure, f"not measured: {why}", goal=goal)


def not_compared(key: str, figure: str, rushes: float, unit: str, why: str, goal: str) -> Row:
    """A figure of Rushes alone, where what it is held against could not be measured."""
    return Row(key, figure, _number(rushes, unit), f"not measured: {why}", goal=goal, value=rushes)


def without_goal(row: Row, why: str) -> Row:
    """The same row, where this run is too small to judge by it."""
    return replace(row, goal=f"{row.goal} {why}", met=None)


def _number(value: float, unit: str) -> str:
    return f"{value:,.1f} {unit}" if abs(value) >= 100 else f"{value:.2f} {unit}"


def markdown(rows: Iterable[Row]) -> str:
    """The table as it stands in RESULTS.md."""
    lines = [HEADS, ("---",) * len(HEADS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n" for cells in lines)


@dataclass(frozen=True, slots=True)
class Run:
    """When, what and on which machine was measured."""

    date: str
    commit: str
    machine: str
    load: str
    """Processes that ran or waited before the run began: a quiet machine has less than 0.5."""
    versions: str


def this_run() -> Run:
    """Of a run that is about to begin."""
    server = subprocess.run([redis.executable(), "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    versions += [f"Redis {server.stdout.split('v=')[1].split()[0]}", *_their_versions()]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Run(
        time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        commit(),
        f"{len(os.sched_getaffinity(0))} cores, {memory_gib:.0f} GiB, {processor()}",
        f"{os.getloadavg()[0]:.1f}",
        ", ".join(versions),
    )


def _their_versions() -> Sequence[str]:
    if not AIOHTTP:
        return ()
    asked = subprocess.run([AIOHTTP, "-c", ASK_VERSIONS, *THEIR_PACKAGES], check=False, capture_output=True, text=True)  # noqa: S603
    return json.loads(asked.stdout) if asked.returncode == 0 else ()


def processor() -> str:
    """What the kernel calls it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, 'unknown')} {platform.machine()}"


def commit() -> str:
    """The commit that was measured, with a + where the tree has changes."""
    root = Path(__file__).parent

    def git(*words: str) -> str:
        said = subprocess.run(["git", *words], check=False, cwd=root, capture_output=True, text=True)  # noqa: S603, S607
        return said.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain") else "")
