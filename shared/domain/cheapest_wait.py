"""How long a job waits for the first gateway of its route, while that is over its rate or full, before any other."""

from __future__ import annotations

from rushes.shared.domain import schedule
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.schedule import Policy


def until(job: Job, policy: Policy) -> int:
    """The end of the wait, over all that the job met; it stands in its record, so that no restart begins it anew."""
    if job.waits_until is not None:
        return job.waits_until
    return schedule.after(job.created_at, policy.wait_for_cheapest_s)


def begun(job: Job, policy: Policy) -> Job:
    """A new job that is not due yet waits for no gateway before."""
    if not standby(job, policy) or (job.due_at or 0) <= job.created_at:
        return job
    return replace(job, waits_until=schedule.after(job.due_at or 0, policy.wait_for_cheapest_s))


def allows(job: Job, now: int, retry_after_s: float | None, policy: Policy) -> bool:
    """Whether a gateway that asks to be left alone for so long is still waited for."""
    ends_at = until(job, policy)
    return now < ends_at and schedule.after(now, retry_after_s or 0) <= ends_at


def standby(job: Job, policy: Policy) -> dict[str, int]:
    """The further gateways that may take a job that waits in line, and from when on; not before it is due."""
    if job.state is not State.QUEUED:
        return {}
    return dict.fromkeys(job.route[1:], max(until(job, policy), job.due_at or 0))


def resumed(job: Job, since: int, to: int, policy: Policy) -> Job:
    """Between these the job did not wait for a gateway: what was left of its wait is left still."""
    ends_at = until(job, policy)
    if len(job.route) < 2 or ends_at <= since or to <= since:
        return job
    return replace(job, waits_until=ends_at + to - since)
