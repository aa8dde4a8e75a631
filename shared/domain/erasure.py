"""What an erased job, or batch, keeps: ids, times, gateway, money. All that a caller gave or a gateway made goes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from rushes.shared.domain.bulk import NOTE
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import HISTORY_LIMIT, Attempt, Error, Job, Note

# What of a request tells nothing of its content. All else goes, also a field that is not known here yet.
KEPT = (
    *("model", "mode", "duration", "aspect_ratio", "sound", "watermark", "keep_original_sound"),
    *("character_orientation", "cfg_scale", "shot_type", "provider", "max_cost_usd", "batch"),
    *("priority", "not_before", "start_before"),
)
# What of a batch does.
KEPT_OF_BATCH = ("max_cost_usd", "start_before", "priority", "job_ids", "receipt")
# Lines of the history whose details are names of gateways, ids of tasks, codes.
PLAIN_NOTES = frozenset(
    {
        *("queued", "adopted", "submitting", "accepted", "confirmed", "refused", "finished", "sent again"),
        *("completed", "failed", "canceled", NOTE),
    }
)
BLANK = "(erased)"
# The lines about a submit are in the journal this long after it, at most: its deadline, and the time to store them.
SUBMIT_MS, BEFORE_MS = 180_000, 5_000


def scrubbed(job: Job) -> Job:
    """The job without its content. Its counters come out as before: they stand on money, times and kind of work."""
    return replace(
        job,
        request={name: job.request[name] for name in KEPT if name in job.request},
        inputs={},
        attempts=tuple(map(_scrubbed_attempt, job.attempts)),
        error=_scrubbed_error(job.error),
        history=_plain(job.history),
        nudge=None,
    )


def scrubbed_batch(batch: Job) -> Job:
    """The batch without what its caller gave: the receipt, the terms of money and time, and its jobs stay."""
    kept = {name: batch.request[name] for name in KEPT_OF_BATCH if name in batch.request}
    return replace(batch, request=kept, history=_plain(batch.history))


def _plain(history: Sequence[Note]) -> tuple[Note, ...]:
    return tuple(note if note.what in PLAIN_NOTES else dataclasses.replace(note, detail=None) for note in history)


def _scrubbed_attempt(attempt: Attempt) -> Attempt:
    return replace(attempt, body=None, link=None, error=_scrubbed_error(attempt.error))


def _scrubbed_error(error: Error | None) -> Error | None:
    """A gateway's message may repeat the prompt."""
    return None if error is None else dataclasses.replace(error, message=BLANK)


def journal_times(job: Job) -> Iterator[tuple[int, int]]:
    """From when until when the journal may have lines about the job, ms: for a while after each of its submits.

    A submit that was in doubt may have been sent again at any time until the end. Where the history has lost
    lines, that holds from the beginning.
    """
    end = (job.ended_at or job.updated_at) + SUBMIT_MS
    if len(job.history) >= HISTORY_LIMIT:
        yield job.created_at - BEFORE_MS, end
        return
    for note in job.history:
        if note.what == "submitting":
            yield note.at - BEFORE_MS, note.at + SUBMIT_MS
        elif note.what in ("unconfirmed", "sent again"):
            yield note.at - BEFORE_MS, end
            return
