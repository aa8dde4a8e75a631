"""How much longer a job likely takes, from the times of jobs like it."""

from __future__ import annotations

from rushes.shared.domain.job import Job, State
from rushes.shared.domain.timing import Timings
from rushes.webhook_receiver.console.formatting import span

LONGER_THAN_USUAL = "longer than usual"


def time_left(job: Job, timings: Timings, now: int) -> str | None:
    """Half of such jobs need at most so much more; None where no gateway has the job, or too little is known."""
    timing = timings.for_job(job) if job.state is State.RUNNING else None
    if timing is None:
        return None
    left_s = timing.left_s((now - job.current.submitted_at) / 1000)
    return LONGER_THAN_USUAL if left_s is None else f"about {span(max(left_s, 1), units=1)} more"
