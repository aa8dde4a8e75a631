"""Moves of a job in line: before money is spent."""

from __future__ import annotations

from itertools import takewhile

from rushes.shared.domain import cheapest_wait, events, schedule, start_deadline
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Attempt, Job, State
from rushes.shared.domain.moves import ended
from rushes.shared.domain.schedule import Policy


def measure(job: Job, event: events.Measured, now: int, _: Policy) -> Job:
    return replace(job, inputs=event.inputs, route=event.route, estimated_usd=event.estimated_usd, tries=0)


def begin_submit(job: Job, event: events.Begun, now: int, policy: Policy) -> Job:
    if start_deadline.has_passed(job, now):  # the last look before the call is written down, and paid for
        return expire(job, event, now, policy)
    plan = event.plan
    lease = schedule.after(now, schedule.LEASE_S)
    begun = replace(
        job,
        state=State.SUBMITTING,
        attempts=(*_trimmed(job.attempts), plan),
        estimated_usd=plan.estimated_usd,
        due_at=lease,
        tries=0,
    )
    return begun.noted(now, "submitting", plan.provider)


REJECTED_KEPT = 8


def _trimmed(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """Refusals for hours must not grow the record: of many in a row the first (since when?) and the last stay."""
    newest_first = list(takewhile(lambda a: not a.paid, reversed(attempts)))
    drop = newest_first[REJECTED_KEPT - 1 : -1]
    return tuple(a for a in attempts if a not in drop)


def defer(job: Job, event: events.Deferred, now: int, policy: Policy) -> Job:
    if job.state is State.QUEUED:  # until then it waits for something else than a gateway; a cap is not put off so
        job = cheapest_wait.resumed(job, now, event.until, policy)
    return replace(job, due_at=event.until, tries=job.tries if event.broke else 0)


def reroute(job: Job, event: events.Rerouted, now: int, _: Policy) -> Job:
    return replace(job, route=event.route, due_at=now, tries=0).noted(now, "rerouted", event.why)


def park(job: Job, event: events.Parked, now: int, _: Policy) -> Job:
    return replace(job, route=event.route, tries=0)


def reject(job: Job, event: events.Barred, now: int, _: Policy) -> Job:
    return ended.end(job, State.FAILED, now, event.error)


def expire(job: Job, event: Event, now: int, _: Policy) -> Job:
    """End a job that waited for too long; one that has begun, or has time left, stays as it is."""
    if not start_deadline.has_passed(job, now):
        return job
    return ended.end(job, State.CANCELED, now, start_deadline.error(job))


def cancel(job: Job, event: events.Canceled, now: int, _: Policy) -> Job:
    return ended.end(ended.noted_bulk(job, event.by, now), State.CANCELED, now, event.error)
