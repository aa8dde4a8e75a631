"""A job's way, line by line: what its history says, what its attempts say, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rushes.shared.domain.job import Attempt, Job, Note
from rushes.webhook_receiver.console import labels


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `after_s` is how long after the line before it."""

    at: int
    tone: str
    text: str
    detail: str | None = None
    after_s: float | None = None


def lines(job: Job) -> list[Line]:
    """All that is known to have happened, oldest first."""
    found = sorted([*_told(job), *_asked(job), *_hinted(job)], key=lambda line: line.at)
    befores = [None, *found[:-1]]
    return [_spaced(line, before) for before, line in zip(befores, found, strict=True)]


def upcoming(job: Job) -> Line | None:
    """What comes next, and when."""
    if job.due_at is None:
        return None
    if not job.ended:
        return Line(job.due_at, "next", labels.NEXT[job.state])
    return Line(job.due_at, "next", labels.CHORES[job.chores[0]]) if job.chores else None


def _told(job: Job) -> Iterator[Line]:
    for note in job.history:
        yield _note(note)
    if not job.history:  # a job of which only the record is left
        yield Line(job.created_at, *labels.NOTES["queued"])


def _note(note: Note) -> Line:
    tone, text = labels.NOTES.get(note.what, ("", note.what.capitalize()))
    if "{detail}" in text:
        return Line(note.at, tone, text.replace("{detail}", note.detail or "?"))
    return Line(note.at, tone, text, note.detail)


def _asked(job: Job) -> Iterator[Line]:
    """The newest question to each gateway; the ones before it are only counted."""
    for attempt in job.attempts:
        if attempt.asked_at:
            yield Line(attempt.asked_at, "faint", asked(attempt))


def asked(attempt: Attempt) -> str:
    times = "once" if attempt.polls == 1 else f"{attempt.polls} times"
    return f"{attempt.provider} was asked {times} how it stands, here for the last time; it was not ready"


def _hinted(job: Job) -> Iterator[Line]:
    if job.nudge:
        yield Line(job.nudge.at, "", "A callback came; the gateway is asked before it is believed")


def _spaced(line: Line, before: Line | None) -> Line:
    after_s = (line.at - before.at) / 1000 if before else None
    return Line(line.at, line.tone, line.text, line.detail, after_s)
