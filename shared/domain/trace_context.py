"""Which trace a job belongs to (W3C Trace Context, level 1): the caller's, or its own.

A job's ULID has the 128 bits of a trace id, so a trace of its own costs the record nothing.
"""

from __future__ import annotations

import re
from hashlib import sha256

from rushes.shared.domain import ids
from rushes.shared.domain.job import Job

# version-trace id-parent id-flags; a later version may say more behind that.
TRACEPARENT = re.compile(r"((?!ff)[0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = "01"


def parse(traceparent: str | None) -> str | None:
    """The trace id and flags of a traceparent, as a job keeps them; None where it is none."""
    match = TRACEPARENT.fullmatch(traceparent.strip()) if isinstance(traceparent, str) else None
    if match is None or (match[1] == "00" and match[5]) or not int(match[2], 16) or not int(match[3], 16):
        return None
    return f"{match[2]}-{match[4]}"


def trace_id(job: Job) -> str:
    """32 hex digits."""
    return job.trace.partition("-")[0] if job.trace else f"{ids.number(job.id):032x}"


def traceparent(job: Job) -> str:
    """What a call that we make for a job says of its trace; we are one span, the same for as long as the job lives."""
    flags = job.trace.partition("-")[2] if job.trace else SAMPLED
    return f"00-{trace_id(job)}-{sha256(job.id.encode()).hexdigest()[:16]}-{flags}"
