"""Makers of jobs, attempts and clips with sensible defaults; what a test is about, it says itself."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal
from typing import Any

from rushes.shared.domain import ids
from rushes.shared.domain.job import Attempt, AttemptStatus, Chore, Error, Job, Link, Result, State
from rushes.shared.domain.schedule import Policy

# 2026-09-21, 14:13:20 UTC: far enough from midnight for a day's budget.
NOW = 1_790_000_000_000
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
POLICY = Policy()
ROUTE = ("apimart", "evolink", "newapi")
REQUEST = {"model": "kling-v3", "prompt": "a red kite over the sea", "mode": "std", "duration": 5}
CALLER = "https://caller.example/heard"


MADE = itertools.count()


def id_at(at: int) -> str:
    """An id of exactly this moment, also of a past one; those of one moment grow."""
    return "job_" + ids.ulid(at << ids.RANDOM_BITS | next(MADE))


def attempt(number: int = 1, **changes: Any) -> Attempt:
    """A call to the first gateway of the route, its answer not yet heard."""
    made = Attempt(
        number=number,
        provider=ROUTE[0],
        base_url="https://api.apimart.example",
        key_name="APIMART_API_KEY",
        submitted_at=NOW,
        estimated_usd=Decimal("0.42"),
    )
    return replace(made, **changes)


def rejected(number: int = 1, **changes: Any) -> Attempt:
    return attempt(number, **{"status": AttemptStatus.REJECTED, "ended_at": NOW, **changes})


def failed(number: int = 1, **changes: Any) -> Attempt:
    return attempt(number, **{"status": AttemptStatus.FAILED, "ended_at": NOW, "task_id": f"task-{number}", **changes})


def link(**changes: Any) -> Link:
    return replace(Link("https://files.apimart.example/clip.mp4", expires_at=NOW + DAY), **changes)


def result(**changes: Any) -> Result:
    made = Result("clips", "jobs/x/video.mp4", "jobs/x/manifest.json", 1_234, "ab" * 32, "video/mp4")
    return replace(made, **changes)


def job(**changes: Any) -> Job:
    """A job that was accepted just now."""
    at = changes.get("created_at", NOW)
    made = Job(id_at(at), "acme", dict(REQUEST), ROUTE, created_at=at, updated_at=at, due_at=at)
    return replace(made, **changes)


# What a job in each state looks like: its newest attempt, and the rest.
ATTEMPTS: dict[State, dict[str, Any]] = {
    State.SUBMITTING: {},
    State.UNCONFIRMED: {"status": AttemptStatus.UNCONFIRMED},
    State.RUNNING: {"status": AttemptStatus.RUNNING, "task_id": "task-1"},
    State.ARCHIVING: {"status": AttemptStatus.COMPLETED, "task_id": "task-1", "ended_at": NOW, "link": link()},
    State.COMPLETED: {"status": AttemptStatus.COMPLETED, "task_id": "task-1", "ended_at": NOW, "link": link()},
    State.FAILED: {"status": AttemptStatus.FAILED, "task_id": "task-1", "ended_at": NOW},
}
OWED = (Chore.MANIFEST, Chore.NOTICE, Chore.RETIRE)
REST: dict[State, dict[str, Any]] = {
    State.COMPLETED: {"ended_at": NOW, "chores": OWED[1:], "progress": 100, "result": result()},
    State.FAILED: {"ended_at": NOW, "chores": OWED, "error": Error("provider_error", "no luck", ROUTE[0])},
    State.CANCELED: {"ended_at": NOW, "chores": OWED},
}


def job_in(state: State, plan: dict[str, Any] | None = None, **changes: Any) -> Job:
    """A job in that state, as it usually gets there; `plan` changes its newest attempt."""
    attempts = (attempt(**{**ATTEMPTS[state], **(plan or {})}),) if state in ATTEMPTS else ()
    request = {**REQUEST, "callback_url": CALLER}
    return job(**{"state": state, "attempts": attempts, "request": request, **REST.get(state, {}), **changes})
