"""How the C library hands out memory to a process with many threads. Measured 2026-11, one core, 1,000 jobs at once."""

from __future__ import annotations

import ctypes
import os

# glibc's mallopt(3), by the number of the option. A variable of the environment wins.
OPTIONS = (
    # Each thread would else get an arena of its own, whose free memory no other one can use: 7 MiB of a worker. The
    # interpreter's lock keeps the threads from waiting for one arena.
    (-8, "MALLOC_ARENA_MAX", 1),
    # What is larger is given back when it is freed. Else glibc keeps up to 64 MiB once a large buffer was freed, with
    # what is still in use spread over it: 4 MiB after the start alone.
    (-3, "MALLOC_MMAP_THRESHOLD_", 1 << 20),
    (-1, "MALLOC_TRIM_THRESHOLD_", 1 << 20),
)


def tune() -> None:
    """Apply them; call it before threads are started. Does nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for option, variable, value in OPTIONS:
        if mallopt and variable not in os.environ:
            mallopt(option, value)
