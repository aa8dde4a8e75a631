"""Until when a job has to begin (`start_before`): one that waits past that moment ends canceled, and costs nothing."""

from __future__ import annotations

from rushes.shared.domain.job import Error, Job, State

# The lane of jobs in line that are handed out because this moment has come.
LANE = "expire"


def of(job: Job) -> int | None:
    """The moment (ms) from which on the job may not begin; None where there is none, or it has begun.

    A job has begun with its first call that may have been paid for: what follows it, at whatever gateway, is its own
    way on. So a job that ends by this deadline has cost nothing.
    """
    if job.state is not State.QUEUED or any(attempt.paid for attempt in job.attempts):
        return None
    return job.start_before


def has_passed(job: Job, now: int) -> bool:
    deadline = of(job)
    return deadline is not None and deadline <= now


def error(job: Job) -> Error:
    """Why it ends."""
    return Error("start_deadline_passed", f"no gateway took it before {job.request['start_before']}; nothing was paid")
