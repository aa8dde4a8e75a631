"""Moves while a paid call is made, and while nobody knows what became of it."""

from __future__ import annotations

from collections.abc import Callable

from rushes.shared.domain import cheapest_wait, events, routing, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Attempt, AttemptStatus, Error, Job, Nudge, State
from rushes.shared.domain.moves import ended
from rushes.shared.domain.schedule import Policy


def accept(job: Job, event: events.Accepted, now: int, policy: Policy) -> Job:
    return start_running(job, event.task_id, now, policy).noted(now, "accepted", event.task_id)


def start_running(job: Job, task_id: str | None, now: int, policy: Policy) -> Job:
    running = job.with_attempt(
        status=AttemptStatus.RUNNING, task_id=task_id or job.current.task_id, body=None, let_go=False, error=None
    )
    running = replace(running, state=State.RUNNING, tries=0, setbacks=0)
    return replace(running, due_at=schedule.first_poll(running, now, policy))


def withdraw(job: Job, event: events.Withdrawn, now: int, policy: Policy) -> Job:
    """Take back an attempt whose call was surely not sent."""
    # Only this very attempt, and not once another worker asked again under its key: that call may have been paid for.
    asked_again = job.state is State.UNCONFIRMED and job.current.body is not None
    if job.current.submitted_at != event.submitted_at or asked_again:
        return job
    due_at = max(now, event.until)
    job = cheapest_wait.resumed(job, event.submitted_at, due_at, policy)
    return replace(job, state=State.QUEUED, attempts=job.attempts[:-1], due_at=due_at, tries=0, setbacks=0)


def refuse(job: Job, event: events.Refused, now: int, policy: Policy) -> Job:
    error = Error(event.reason.code, event.message, job.provider)
    job = job.with_attempt(status=AttemptStatus.REJECTED, ended_at=now, error=error, body=None)
    job = job.noted(now, "refused", f"{job.provider}: {event.reason.value}")
    job = cheapest_wait.resumed(job, job.current.submitted_at, now, policy)
    move = routing.after_refusal(job, event.reason, cheapest_wait.allows(job, now, event.retry_after_s, policy))
    since = routing.refused_since(job) or now
    if isinstance(move, routing.Give) or schedule.after(since, policy.job_timeout_s) <= now:
        return ended.end(job, State.FAILED, now, error)
    if event.reason is not events.Reason.RATE or len(job.route) < 2:
        return requeue(job, move, now, event.retry_after_s)
    return _wait_or_go_on(job, move, now, cheapest_wait.until(job, policy), event.retry_after_s)


def _wait_or_go_on(job: Job, move: routing.Move, now: int, ends_at: int, retry_after_s: float | None) -> Job:
    """Over its rate: it is waited for as long as the wait for the cheapest lasts, and then the next one goes first."""
    if isinstance(move, routing.Wait):
        job = job.noted(now, "waits", f"for {job.provider}, until {ended.clock(ends_at)} at most")
        waiting = requeue(job, move, now, retry_after_s)
        return replace(waiting, due_at=min(waiting.due_at or now, ends_at))
    onward = requeue(job, move, now)
    # At once, however many refusals were waited out before; gateways that are all over their rate are paused.
    onward = replace(onward, due_at=now)
    return onward.noted(now, "rerouted", f"{job.provider} is over its rate for longer than is waited for")


def requeue(job: Job, move: routing.Move, now: int, retry_after_s: float | None = None) -> Job:
    route = move.route if isinstance(move, routing.Go) else job.route
    fresh = isinstance(move, routing.Go) and job.setbacks < len(job.route) - 1
    due_at = now if fresh else schedule.retry(job, now, retry_after_s)
    return replace(job, state=State.QUEUED, route=route, due_at=due_at, setbacks=job.setbacks + 1, tries=0, progress=0)


def hold_unconfirmed(job: Job, event: events.Lost, now: int, policy: Policy) -> Job:
    """The answer to a paid call is lost: it may have been paid for, so it is not sent again by itself."""
    job = job.with_attempt(status=AttemptStatus.UNCONFIRMED)
    job = replace(job, state=State.UNCONFIRMED, setbacks=0, tries=0)
    due_at = now if job.current.askable else _next_look_at(job, now, policy)
    return replace(job, due_at=due_at).noted(now, "unconfirmed", event.message)


def stay_unconfirmed(job: Job, event: Event, now: int, policy: Policy) -> Job:
    """Asking again brought nothing: a refusal of the second call says nothing about the first."""
    if now >= schedule.deadline(job.current, policy):
        message = "the submit was sent and its answer never came; it may have been paid for"
        return ended.end(job, State.FAILED, now, Error("submit_unconfirmed", message, job.provider))
    # Its place under the gateway's cap is given back after a while; the job itself is kept until its deadline.
    let_go = now >= schedule.after(job.current.submitted_at, schedule.PLACE_S)
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
    """When an unconfirmed submit is looked at again: soon while it can be asked for, else when patience ends."""
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
    # A job may cost so many paid attempts and no more, whoever decides.
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
    """Ask the gateway now; if no task id is known yet, about the task that the callback named."""
    if job.state is State.UNCONFIRMED and event.task_id:
        job = job.with_attempt(task_id=event.task_id, polls=0)  # each task id gets the same number of questions
    hint = Nudge(now, job.current.number, event.task_id)
    return replace(job, nudge=hint, due_at=now).noted(now, "callback replayed", event.task_id)
