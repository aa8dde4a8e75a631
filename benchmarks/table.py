"""A row of the table of results, and the table itself."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rushes.deploy.sandbox import redis

HEADS = ("figure", "Rushes", "measured against", "ratio or bound", "target", "met")
PACKAGES = ("rushes", "celery", "kombu", "redis", "requests", "boto3", "gunicorn", "flask")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what Rushes did, what it is held against, and whether that is enough (None: no target)."""

    figure: str
    rushes: str
    against: str
    ratio: str
    target: str
    met: bool | None

    def cells(self) -> tuple[str, ...]:
        """As they are printed."""
        met = {True: "yes", False: "NO", None: ""}[self.met]
        return (self.figure, self.rushes, self.against, self.ratio, self.target, met)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done: all of it in about ten minutes, or `quick` in two; `jobs` and `rounds` of the jobs figures."""

    quick: bool = False
    jobs: int = 2000
    rounds: int = 1


def at_least(figure: str, ours: float, theirs: float, unit: str, name: str, bound: float) -> Row:
    """A figure of which more is better, as a multiple of another's."""
    ratio = ours / theirs
    told = (f"{ours:.1f} {unit}", f"{name}: {theirs:.1f} {unit}", f"{ratio:.2f} ×", f"≥ {bound:g} ×")
    return Row(figure, *told, ratio >= bound)


def at_most(figure: str, ours: float, theirs: float, unit: str, name: str, bound: float) -> Row:
    """A figure of which less is better, as a multiple of another's."""
    ratio = ours / theirs
    told = (f"{ours:.2f} {unit}", f"{name}: {theirs:.2f} {unit}", f"{ratio:.2f} ×", f"≤ {bound:g} ×")
    return Row(figure, *told, ratio <= bound)


def below(figure: str, value: float, unit: str, bound: float) -> Row:
    """A figure that has a bound of its own."""
    return Row(figure, f"{value:,.2f} {unit}", "", "", f"≤ {bound:,g} {unit}", value <= bound)


def markdown(rows: Iterable[Row]) -> str:
    """The table as it stands in RESULTS.md."""
    lines = [HEADS, ("---",) * len(HEADS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def about() -> Sequence[str]:
    """Versions, the machine's shape, the commit."""
    server = subprocess.run([redis.executable(), "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, commit {commit()}",
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}, {versions}, Redis {server.stdout.split('v=')[1].split()[0]}",
    )


def commit() -> str:
    """The commit that was measured, with a + where the tree has changes."""
    root = Path(__file__).parent

    def git(*words: str) -> str:
        told = subprocess.run(["git", *words], check=False, cwd=root, capture_output=True, text=True)  # noqa: S603, S607
        return told.stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if git("status", "--porcelain") else "")
