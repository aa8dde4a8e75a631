"""What becomes of a job after an event, while a paid call is made or while its result is unknown."""

from __future__ import annotations

from collections.abc import Callable

from rushes.shared.domain import cheapest_wait, events, routing, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Attempt, AttemptStatus, Error, Job, Nudge, State
from rushes.shared.domain.moves import ended
from rushes.shared.domain.schedule import Policy


def accept(job: Job, event: events.Accepted, now: int, policy: Policy) -> Job:
    """The gateway took the call: the job is running."""
    running = start_running(job, event.task_id, now, policy).noted(now, "accepted", event.task_id)
    return running if event.reserved_usd is None else running.with_attempt(reserved_usd=event.reserved_usd)


def start_running(job: Job, task_id: str | None, now: int, policy: Policy) -> Job:
    running = job.with_attempt(
        status=AttemptStatus.RUNNING, task_id=task_id or job.current.task_id, body=None, let_go=False, error=None
    )
    running = replace(running, state=State.RUNNING, tries=0, setbacks=0)
    return replace(running, due_at=schedule.first_poll(running, now, policy))


def withdraw(job: Job, event: events.Withdrawn, now: int, policy: Policy) -> Job:
    """Take back an attempt whose call was surely not sent."""
    # Only if it is still this attempt, and no other worker may have sent the call again under its idempotency key: that
    # second call may have been paid for.
    maybe_sent_again = job.state is State.UNCONFIRMED and job.current.body is not None
    if job.current.submitted_at != event.submitted_at or maybe_sent_again:
        return job
    due_at = max(now, event.until)
    # The time of the call does not count as waiting for the cheapest gateway.
    job = cheapest_wait.resumed(job, event.submitted_at, due_at, policy)
    return replace(job, state=State.QUEUED, attempts=job.attempts[:-1], due_at=due_at, tries=0, setbacks=0)


def refuse(job: Job, event: events.Refused, now: int, policy: Policy) -> Job:
    """The gateway refused the call: try the next gateway, wait, or end the job as failed."""
    error = Error(event.reason.code, event.message, job.provider)
    job = job.with_attempt(status=AttemptStatus.REJECTED, ended_at=now, error=error, body=None)
    job = job.noted(now, "refused", f"{job.provider}: {event.reason.value}")
    job = cheapest_wait.resumed(job, job.current.submitted_at, now, policy)
    move = routing.after_refusal(job, event.reason, cheapest_wait.allows(job, now, event.retry_after_s, policy))
    since = routing.refused_since(job) or now
    if isinstance(move, routing.Give) or schedule.after(since, policy.job_timeout_s) <= now:
        return ended.end(job, State.FAILED, now, error)
    if event.other_account and event.reason in routing.OF_ACCOUNT:  # at once: the gateway stays the cheapest
        onward = requeue(job, routing.Wait(), now)
        return replace(onward, due_at=now).noted(now, "rerouted", f"to another account of {job.provider}")
    if event.reason is not events.Reason.RATE or len(job.route) < 2:
        return requeue(job, move, now, event.retry_after_s)
    return _wait_or_reroute(job, move, now, cheapest_wait.until(job, policy), event.retry_after_s)


def _wait_or_reroute(job: Job, move: routing.Move, now: int, ends_at: int, retry_after_s: float | None) -> Job:
    """The gateway is over its rate limit: wait for it until `ends_at` at most, then put the next gateway first."""
    if isinstance(move, routing.Wait):
        job = job.noted(now, "waits", f"for {job.provider}, until {ended.clock(ends_at)} at most")
        waiting = requeue(job, move, now, retry_after_s)
        return replace(waiting, due_at=min(waiting.due_at or now, ends_at))
    onward = requeue(job, move, now)
    # Due now, however many refusals came before. If all gateways are over their rate limit, they are paused anyway.
    onward = replace(onward, due_at=now)
    return onward.noted(now, "rerouted", f"{job.provider} is over its rate limit for longer than the job waits")


def requeue(job: Job, move: routing.Move, now: int, retry_after_s: float | None = None) -> Job:
    route = move.route if isinstance(move, routing.Go) else job.route
    # At once while gateways of the route are untried; when each had its turn, with growing pauses.
    untried = isinstance(move, routing.Go) and job.setbacks < len(job.route) - 1
    due_at = now if untried else schedule.retry(job, now, retry_after_s)
    return replace(job, state=State.QUEUED, route=route, due_at=due_at, setbacks=job.setbacks + 1, tries=0, progress=0)


def hold_unconfirmed(job: Job, event: events.Lost, now: int, policy: Policy) -> Job:
    """The answer to a paid call is lost: it may have been paid for, so it is not sent again by itself."""
    job = _lost(job.with_attempt(status=AttemptStatus.UNCONFIRMED), now)
    job = replace(job, state=State.UNCONFIRMED, setbacks=0, tries=0)
    due_at = now if job.current.askable else _next_look_at(job, now, policy)
    return replace(job, due_at=due_at).noted(now, "unconfirmed", event.message)


def _lost(job: Job, now: int) -> Job:
    return job.with_attempt(lost_at=now) if job.current.askable else job


def stay_unconfirmed(job: Job, event: Event, now: int, policy: Policy) -> Job:
    """Asking again brought nothing: a refusal of the second call says nothing about the first."""
    if now >= schedule.deadline(job.current, policy):
        message = "the submit was sent and its answer never came; it may have been paid for"
        return ended.end(job, State.FAILED, now, Error("submit_unconfirmed", message, job.provider))
    # After PLACE_S the attempt no longer counts towards the gateway's cap (`let_go`); the job stays until its deadline.
    let_go = now >= schedule.after(job.current.submitted_at, schedule.PLACE_S)
    if isinstance(event, events.Lost):  # of the call that was made again
        job = _lost(job, now)
    job = replace(job.with_attempt(let_go=let_go), setbacks=job.setbacks + 1, tries=0)
    return replace(job, due_at=_next_look_at(job, now, policy))


def not_found(job: Job, event: events.NotFound, now: int, policy: Policy) -> Job:
    """The gateway has no task under our own id of the attempt: not yet, or, asked often and late enough, not at all."""
    attempt = job.current
    if attempt.error and is_not_taken(attempt, event.asked_at, policy):
        # No call was taken, and this is why. No other gateway is tried: that would be a second bill if a task showed.
        job = job.with_attempt(status=AttemptStatus.REJECTED, ended_at=now, body=None)
        return ended.end(job.noted(now, "refused", job.provider), State.FAILED, now, attempt.error)
    return stay_unconfirmed(job.with_attempt(polls=attempt.polls + 1), event, now, policy)


def is_not_taken(attempt: Attempt, asked_at: int, policy: Policy) -> bool:
    """Whether one more answer that the task is unknown, to a question of that moment, means that it was not taken."""
    enough = attempt.polls + 1 >= schedule.NOT_FOUND_ANSWERS
    return attempt.askable and enough and asked_at >= schedule.not_taken_at(attempt, policy)


def send_again(job: Job, event: events.Resent, now: int, _: Policy) -> Job:
    """The series of questions begins anew with the second call; who asks meanwhile asks only."""
    if not job.current.askable or job.current.last_sent_at != event.last_sent_at:
        return job
    job = job.with_attempt(resent_at=now, polls=0, error=None)
    job = replace(job, setbacks=0, tries=0, due_at=schedule.after(now, schedule.LEASE_S))
    return job.noted(now, "sent again", f"{job.provider} does not know it")


# What a gateway will not say otherwise the next time.
FINAL = frozenset({events.Reason.INPUT, events.Reason.POLICY, events.Reason.PROVIDER})


def refuse_again(job: Job, event: events.Refused, now: int, policy: Policy) -> Job:
    """A refusal of a call that was sent again says nothing about the first; a final one ends it if no task is found.

    Not at once: the gateway may refuse the second call because it has the first, in words that nobody knows.
    """
    if job.current.askable and event.reason in FINAL:
        job = job.with_attempt(error=Error(event.reason.code, event.message, job.provider))
    return stay_unconfirmed(job, event, now, policy)


def _next_look_at(job: Job, now: int, policy: Policy) -> int:
    """When an unconfirmed submit is due again: soon while the gateway can be asked about it, else at a time limit."""
    attempt = job.current
    if attempt.askable and not attempt.task_id:
        return schedule.next_ask(job, now, policy)
    if attempt.task_id or (attempt.body is not None and job.setbacks < schedule.ASK_AGAIN_TRIES):
        return schedule.retry(job, now)
    if policy.resubmit_unconfirmed:
        return max(now, schedule.after(attempt.submitted_at, policy.callback_grace_s))
    deadline = schedule.deadline(attempt, policy)
    return deadline if attempt.let_go else min(deadline, schedule.after(attempt.submitted_at, schedule.PLACE_S))


def resolve(job: Job, event: events.Resolved, now: int, policy: Policy) -> Job:
    job = job.noted(now, f"resolved by {event.by}", event.action)
    return RESOLUTIONS[event.action](job, event, now, policy)


def _resubmit(job: Job, event: events.Resolved, now: int, policy: Policy) -> Job:
    # Never more than MAX_PAID_ATTEMPTS paid attempts for a job, whoever decided to submit again.
    paid = sum(attempt.paid for attempt in job.attempts)
    if paid >= routing.MAX_PAID_ATTEMPTS:
        return _give_up(job, event, now, policy)
    job = cheapest_wait.resumed(job, job.current.submitted_at, now, policy)
    return replace(job, state=State.QUEUED, due_at=now, setbacks=0, tries=0)


def _give_up(job: Job, event: events.Resolved, now: int, _: Policy) -> Job:
    message = f"given up by the {event.by} before the gateway confirmed it; it may have been paid for"
    return ended.end(job, State.FAILED, now, Error("submit_unconfirmed", message, job.provider))


def _adopt(job: Job, event: events.Resolved, now: int, policy: Policy) -> Job:
    return replace(start_running(job, event.task_id, now, policy), due_at=now)


RESOLUTIONS: dict[str, Callable[[Job, events.Resolved, int, Policy], Job]] = {
    "resubmit": _resubmit,
    "fail": _give_up,
    "adopt": _adopt,
}


def replay(job: Job, event: events.Replayed, now: int, _: Policy) -> Job:
    """Ask the gateway now; while the submit is unconfirmed, about the task that the callback named."""
    if job.state is State.UNCONFIRMED and event.task_id:
        job = job.with_attempt(task_id=event.task_id, polls=0)  # the limit of polls starts anew for each task id
    nudge = Nudge(now, job.current.number, event.task_id)
    return replace(job, nudge=nudge, due_at=now).noted(now, "callback replayed", event.task_id)
