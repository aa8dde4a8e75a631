"""The last lines of a file, and those that are added."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TextIO

LOOK_S = 0.2


def last_lines(file: TextIO, count: int) -> Iterator[str]:
    """The last lines of a file; it is read to its end."""
    yield from deque(file, maxlen=count)


def follow_lines(file: TextIO) -> Iterator[str]:
    """What is added to a file from now on, without end."""
    while True:
        line = file.readline()
        if line:
            yield line
        else:
            time.sleep(LOOK_S)
