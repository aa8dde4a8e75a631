"""Run the suite again and again, in three ways, and tell which test fell how often: `make steady`.

As it is, beside busy processes, and on one core: a test that passes in all of them depends on no machine's speed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPEAT, LOAD = int(os.environ.get("REPEAT") or 3), int(os.environ.get("LOAD") or 4)
BUSY = (sys.executable, "-c", "while True: pass")
NO_REPORT = "the run itself: it ended without a report"


@dataclass(frozen=True)
class Way:
    """How the suite is run: by this command before pytest's own, and beside so many busy processes."""

    name: str
    before: Sequence[str] = ()
    busy: int = 0


def ways() -> list[Way]:
    """Each way that this machine offers."""
    found = [Way("as it is"), Way(f"beside {LOAD} busy processes", busy=LOAD)]
    if shutil.which("taskset") is None:
        print("no taskset here: the suite is not run on one core")
        return found
    return [*found, Way("on one core", ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))))]


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that do nothing else than to need a core."""
    started = [subprocess.Popen(BUSY) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def fallen(report: Path) -> list[str]:
    """The tests that failed or broke, by pytest's report."""
    try:
        cases = ET.parse(report).iter("testcase")
    except (OSError, ET.ParseError):
        return [NO_REPORT]
    return [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]


def run(way: Way, options: Sequence[str]) -> list[str]:
    """One run of the suite in that way; what fell in it, each test once."""
    with tempfile.TemporaryDirectory() as folder, busy(way.busy):
        report, log = Path(folder, "report.xml"), Path(folder, "log")
        command = [*way.before, sys.executable, "-m", "pytest", f"--junit-xml={report}", *options]
        with log.open("wb") as lines:
            ended = subprocess.run(command, stdout=lines, stderr=subprocess.STDOUT, check=False)
        fell = sorted(set(fallen(report)))
        if ended.returncode and not fell:
            fell = [f"the run itself: pytest ended with {ended.returncode}"]
        if fell:
            print(log.read_text("utf-8", "replace"), flush=True)
    return fell


def told(fell: Mapping[str, Counter[str]]) -> str:
    """A line for each test that fell: how often in all, and in which way how often."""
    lines = [
        f"{sum(counts.values()):4} x {test}  ({', '.join(f'{count} {way}' for way, count in counts.items())})"
        for test, counts in sorted(fell.items(), key=lambda each: -sum(each[1].values()))
    ]
    return "\n".join(["fell:", *lines] if lines else ["nothing fell"])


def main(options: Sequence[str]) -> int:
    """Run it in every way as often as asked for; 1 where anything fell."""
    fell: dict[str, Counter[str]] = {}
    for way in ways():
        for number in range(1, REPEAT + 1):
            began = time.monotonic()
            tests = run(way, options)
            print(f"{way.name}, {number} of {REPEAT}: {len(tests)} fell, {time.monotonic() - began:.0f} s", flush=True)
            for test in tests:
                fell.setdefault(test, Counter())[way.name] += 1
    print(told(fell))
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
