"""What a move of a job adds to the metrics: counted in the commit that makes the move, so once, whoever repeats it.

Unlike `counters.py`, which can be counted anew from the records, these numbers only grow: a refusal that has left the
record was counted when it came.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from rushes.shared.domain.counters import Line
from rushes.shared.domain.job import Attempt, AttemptStatus, Job, State

# Upper edges of the buckets, in seconds.
EDGES_S: dict[str, tuple[int, ...]] = {
    "task": (15, 30, 60, 90, 120, 180, 240, 300, 450, 600, 900, 1800, 3600, 14_400, 43_200),
    "lag": (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 14_400, 43_200),
    "left": (0, 300, 1800, 3600, 7200, 14_400, 28_800, 43_200, 64_800, 82_800, 86_400, 172_800),
}
# Polls are kept as they are, up to so many.
POLLS_MAX = 200
BEYOND = "inf"

ENDED = frozenset({AttemptStatus.COMPLETED, AttemptStatus.FAILED})
TAKEN = frozenset({AttemptStatus.RUNNING, *ENDED})
VERDICTS: dict[tuple[AttemptStatus, AttemptStatus], str] = {
    (AttemptStatus.SUBMITTING, AttemptStatus.REJECTED): "refused",
    (AttemptStatus.SUBMITTING, AttemptStatus.UNCONFIRMED): "unconfirmed",
    **{(AttemptStatus.SUBMITTING, taken): "accepted" for taken in TAKEN},
    **{(AttemptStatus.UNCONFIRMED, taken): "confirmed" for taken in TAKEN},
}


def increments(old: Job | None, new: Job) -> dict[Line, int]:
    """What one move counts for: (tally, what, …); every number only ever grows, times are in ms."""
    if old is None:
        return {("tally", "created"): 1}
    if old.state is new.state:
        return {}
    lines: dict[Line, int] = {}
    before, after = old.attempt, new.attempt
    if before and after and before.number == after.number:
        _count_submit(lines, before, after)
        if after.status in ENDED and before.status not in ENDED:
            _count_end(lines, after)
    if count := ENDS.get(new.state):
        count(lines, new)
    return lines


def _count_submit(lines: dict[Line, int], before: Attempt, after: Attempt) -> None:
    verdict = VERDICTS.get((before.status, after.status))
    if verdict:
        reason = after.error.code if verdict == "refused" and after.error else ""
        lines["tally", "submits", after.provider, verdict, reason] = 1


def _count_end(lines: dict[Line, int], attempt: Attempt) -> None:
    callback = "asked" if attempt.callback else "unasked"
    polls = str(min(attempt.polls, POLLS_MAX))
    lines["tally", "polls", attempt.provider, attempt.heard_by or "", callback, polls] = 1
    # An adopted task began under another job.
    if attempt.status is AttemptStatus.COMPLETED and not attempt.adopted:
        _add_time(lines, "task", attempt.provider, (attempt.ended_at or 0) - attempt.submitted_at)


def _count_archive(lines: dict[Line, int], job: Job) -> None:
    attempt, at = job.current, job.ended_at or 0
    _add_time(lines, "lag", attempt.provider, at - (attempt.ended_at or at))
    if attempt.link and attempt.link.expires_at:
        _add_time(lines, "left", attempt.provider, attempt.link.expires_at - at)


def _count_failure(lines: dict[Line, int], job: Job) -> None:
    lines["tally", "ended", job.state.value, job.error.code if job.error else ""] = 1


ENDS: dict[State, Callable[[dict[Line, int], Job], None]] = {
    State.COMPLETED: _count_archive,
    State.FAILED: _count_failure,
    State.CANCELED: _count_failure,
}


def _add_time(lines: dict[Line, int], what: str, provider: str, time_ms: int) -> None:
    """A time in its bucket, and added to the sum; clocks that differ make none of it negative."""
    time_ms, edges = max(time_ms, 0), EDGES_S[what]
    at = bisect_left(edges, time_ms / 1000)
    lines["tally", what, provider, str(edges[at]) if at < len(edges) else BEYOND] = 1
    lines["tally", what, provider, "ms"] = time_ms
