"""The timeline of a job: its history, its attempts, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rushes.shared.domain.job import Attempt, Job, Note
from rushes.webhook_receiver.console import labels


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `after_s` is the time since the line before it."""

    at: int
    tone: str
    text: str
    detail: str | None = None
    after_s: float | None = None


def lines(job: Job) -> list[Line]:
    """Everything that happened to the job, oldest first."""
    events = sorted([*_history_lines(job), *_poll_lines(job), *_callback_lines(job)], key=lambda line: line.at)
    previous = [None, *events[:-1]]
    return [_with_gap(line, previous_line) for previous_line, line in zip(previous, events, strict=True)]


def upcoming(job: Job) -> Line | None:
    """What comes next, and when."""
    if job.due_at is None:
        return None
    if not job.ended:
        return Line(job.due_at, "next", labels.NEXT[job.state])
    return Line(job.due_at, "next", labels.CHORES[job.chores[0]]) if job.chores else None


def _history_lines(job: Job) -> Iterator[Line]:
    for note in job.history:
        yield _note_line(note)
    if not job.history:  # only the record of the job is left
        yield Line(job.created_at, *labels.NOTES["queued"])


def _note_line(note: Note) -> Line:
    tone, text = labels.NOTES.get(note.what, ("", note.what.capitalize()))
    if "{detail}" in text:
        return Line(note.at, tone, text.replace("{detail}", note.detail or "?"))
    return Line(note.at, tone, text, note.detail)


def _poll_lines(job: Job) -> Iterator[Line]:
    """The last poll of each attempt; the earlier ones are only counted."""
    for attempt in job.attempts:
        if attempt.asked_at:
            yield Line(attempt.asked_at, "faint", poll_text(attempt))


def poll_text(attempt: Attempt) -> str:
    times = "once" if attempt.polls == 1 else f"{attempt.polls} times"
    return f"{attempt.provider} was polled {times}, the last time here; the clip was not ready"


def _callback_lines(job: Job) -> Iterator[Line]:
    if job.nudge:
        yield Line(job.nudge.at, "", "A callback arrived; the gateway is asked before it is believed")


def _with_gap(line: Line, previous_line: Line | None) -> Line:
    after_s = (line.at - previous_line.at) / 1000 if previous_line else None
    return Line(line.at, line.tone, line.text, line.detail, after_s)
