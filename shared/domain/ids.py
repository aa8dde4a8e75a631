"""The ids of jobs: ULIDs (github.com/ulid/spec), in the order in which one process makes them."""

from __future__ import annotations

import os
import re
import secrets
import threading

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
DIGITS = str.maketrans(CROCKFORD, "0123456789abcdefghijklmnopqrstuv")
"""The letters of an id as the digits that Python reads."""
RANDOM_BITS = 80


class IdFactory:
    """Every id is greater than those before it, whichever thread asks and whatever the clock does."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh, with a random part of its own."""
        self._lock = threading.Lock()
        self._last = 0

    def new(self, now: int) -> str:
        # Before the lock: the call lets another thread have the interpreter, which may want an id too.
        drawn = secrets.randbits(RANDOM_BITS)
        with self._lock:
            if now > self._last >> RANDOM_BITS:
                self._last = now << RANDOM_BITS | drawn
            else:
                # The same millisecond, or the clock was set back. A random part that is full carries into the time.
                self._last += 1
            return "job_" + ulid(self._last)


FACTORY = IdFactory()
# A child that went on from its parent's last id would make the same ids as its siblings. It takes a lock of its own:
# another thread may have held the parent's at the fork.
os.register_at_fork(after_in_child=FACTORY.reset)


def new_id(now: int) -> str:
    """A `job_<ULID>` that sorts after all those this process made before."""
    return FACTORY.new(now)


def ulid(number: int) -> str:
    """The 26 letters of a number of 128 bits."""
    return "".join([CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5)])


def number(job_id: str) -> int:
    """The 128 bits of the id of a job or a batch."""
    return int(job_id.rpartition("_")[2].translate(DIGITS), 32)


def made_at(job_id: str) -> int:
    """The moment (ms) that a job's id begins with."""
    return number(job_id) >> RANDOM_BITS


def first_at(now: int) -> str:
    """What sorts behind the ids of all jobs made before a moment (ms), and before all others."""
    return f"job_{ulid(now << RANDOM_BITS)}"


def moment_letters(now: int) -> str:
    """The ten letters with which the ULID of a moment (ms) begins."""
    return ulid(now << RANDOM_BITS)[:10]


# A short id leaves out the first letters of the moment: it names one job of the last SHORT_SPAN_MS, which is a year.
SHORT = re.compile(f"[{CROCKFORD}]{{10}}")
TIME_LETTERS, END_LETTERS = 7, 3
SHORT_SPAN_MS = 32**TIME_LETTERS
# The clock of the process that made an id may be ahead by this much.
SET_AHEAD_MS = 3_600_000


def short(job_id: str) -> str:
    """The ten letters by which a person names a job: most of the moment in its id, and the id's end.

    Ids that one process makes in one millisecond follow each other, so they differ in their ends.
    """
    letters = job_id.removeprefix("job_")
    return letters[10 - TIME_LETTERS : 10] + letters[-END_LETTERS:]


def parse_short(text: str, now: int) -> tuple[str, str] | None:
    """Where the newest id with this short form begins and ends; None where the text is no short id."""
    letters = text.strip().upper().removeprefix("JOB_")
    if not SHORT.fullmatch(letters):
        return None
    moment = int(letters[:TIME_LETTERS].translate(DIGITS), 32)
    moment += (now + SET_AHEAD_MS - moment) // SHORT_SPAN_MS * SHORT_SPAN_MS
    return f"job_{ulid(moment << RANDOM_BITS)[:10]}", letters[-END_LETTERS:]
