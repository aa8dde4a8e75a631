"""Two commits side by side: `python -m benchmarks.compare BEFORE [AFTER] [--jobs N] [--rounds N]`.

AFTER is this tree unless it is given. The commits take turns, each on a rig of its own, over HTTP and over TLS; all run
by this interpreter, so what both need must be installed. The round with the middle CPU counts.
"""

from __future__ import annotations

import argparse
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rig.stack import ROOT
from benchmarks.rig.systems import Rushes, Work, run_system
from benchmarks.run import show
from benchmarks.table import Row, at_most

BOUND = 1.03


@contextmanager
def checked_out(commit: str | None) -> Iterator[Path]:
    """The files of a commit in a folder of their own; without one, this tree as it is."""
    if commit is None:
        yield ROOT
        return
    with TemporaryDirectory(prefix="rushes-compare-") as folder:
        tar = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S603, S607
        with tarfile.open(fileobj=BytesIO(tar)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


def compared(before: Path, after: Path, work: Work, rounds: int) -> Row:
    """CPU milliseconds a job of both."""
    seen: dict[Path, list[float]] = {before: [], after: []}
    for _ in range(rounds):
        for root, name in ((before, "before"), (after, "after")):
            outcome = run_system(Rushes(root), work)
            parts = ", ".join(f"{part} {ms:.2f}" for part, ms in outcome.cpu_ms.items())
            print(
                f"  {name}: {outcome.cpu_ms_per_job:.2f} ms/job ({parts}), {outcome.jobs_per_s:.1f} jobs/s", flush=True
            )
            seen[root].append(outcome.cpu_ms_per_job)
    old_ms, new_ms = (sorted(seen[root])[rounds // 2] for root in (before, after))
    return at_most("cpu", f"CPU a job, {'TLS' if work.tls else 'HTTP'}", new_ms, old_ms, "ms", "before", BOUND)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", nargs="?", help="another; this tree without it")
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--wire", choices=["http", "tls", "both"], default="both")
    given = parser.parse_args()
    wires = [given.wire == "tls"] if given.wire != "both" else [False, True]
    with checked_out(given.before) as before, checked_out(given.after) as after:
        work = [Work(jobs=given.jobs, median_s=3, sigma=0.4, poll_s=1, tls=tls) for tls in wires]
        show([compared(before, after, each, given.rounds) for each in work])


if __name__ == "__main__":
    main()
