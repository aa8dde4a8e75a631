"""Kills the processes of a supervisor that has died.

Its standard input is a pipe that only the supervisor holds. Lines `+PGID` and `-PGID` name the process groups that run;
each line is acknowledged. When the pipe closes, the groups that are left are killed. The death signal of Linux
(`PR_SET_PDEATHSIG`) would need code between fork and exec, which is unsafe beside threads. This works without it,
reaches grandchildren, and works on macOS too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Wait for the pipe to close, then kill."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
        print("ok", flush=True)
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
