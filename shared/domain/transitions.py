"""The life of a job: the theory, the table, and the one function that applies it.

    queued ──Begun──► submitting ──Accepted──► running ──Succeeded──► archiving ──Archived──► completed
      │ ▲                 │  │                  ▲  │  │                   │
      │ └────Refused──────┘  └─Lost─► unconfirmed  │  └──Failed──► failed ◄┘
      └─Canceled─► canceled             (holds)    └──Failed, another gateway──► queued

Theory. An event is a fact; facts arrive late, twice and out of order, so a pair that is not in TABLE changes nothing:
late news is no news. `Lost` while submitting leads to `unconfirmed`, because the call may have been paid for; `Lost` or
`Unclear` while running only waits. No answer of any kind ends a job by itself save the gateway's own word that the task
failed. An ended job is never left; it may still owe chores (its manifest, a notice to the caller), which is why it may
still be due. An event that names another attempt than the newest only fills in what is known of that attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from rushes.shared.domain import cheapest_wait, events, money, routing, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Attempt, AttemptStatus, Chore, Error, Job, Link, Nudge, State
from rushes.shared.domain.schedule import Policy


def transition(job: Job, event: Event, now: int, policy: Policy) -> Job:
    """The job after the event; the same object where the event changes nothing."""
    if event.attempt and (not job.attempts or event.attempt != job.current.number):
        return _fill_in(job, event, now)
    heard, move = _hear(job), None if _late(job, event) else TABLE.get((job.state, type(event)))
    moved: Job = move(heard, event, now, policy) if move else heard
    if moved is heard:
        return job
    return replace(_kept_awake(moved, event, now), updated_at=now, parked=isinstance(event, events.Parked))


def _late(job: Job, event: Event) -> bool:
    """Two asked about one task: the second answer must not disturb the archive that the first one began."""
    return job.state is State.ARCHIVING and 0 < event.asked_at < (job.current.ended_at or 0)


def _hear(job: Job) -> Job:
    """A callback that came before the answer to the submit brings the task id."""
    nudge = job.nudge
    if nudge is None or not nudge.task_id or not job.attempts or job.current.task_id:
        return job
    return job.with_attempt(task_id=nudge.task_id) if nudge.attempt == job.current.number else job


def _fill_in(job: Job, event: Event, now: int) -> Job:
    if not isinstance(event, events.Accepted):
        return job
    known = tuple(
        replace(a, task_id=a.task_id or event.task_id) if a.number == event.attempt else a for a in job.attempts
    )
    if known == job.attempts:
        return job
    hinted = job.nudge is not None and job.state in (State.RUNNING, State.UNCONFIRMED)
    return replace(job, attempts=known, due_at=now if hinted else job.due_at)


def _kept_awake(job: Job, event: Event, now: int) -> Job:
    """A hint that came after the question was put is still to be followed."""
    if job.nudge is None or isinstance(event, events.Deferred):
        return job
    if job.state in (State.RUNNING, State.UNCONFIRMED) and job.nudge.at >= event.asked_at:
        return replace(job, due_at=now)
    return replace(job, nudge=None) if job.state is not State.SUBMITTING else job


# --- queued: before money is spent


def _measure(job: Job, event: events.Measured, now: int, _: Policy) -> Job:
    return replace(job, inputs=event.inputs, route=event.route, estimated_usd=event.estimated_usd, tries=0)


def _begin(job: Job, event: events.Begun, now: int, _: Policy) -> Job:
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


def _defer(job: Job, event: events.Deferred, now: int, policy: Policy) -> Job:
    if job.state is State.QUEUED:  # until then it waits for something else than a gateway; a cap is not put off so
        job = cheapest_wait.resumed(job, now, event.until, policy)
    return replace(job, due_at=event.until, tries=job.tries if event.broke else 0)


def _reroute(job: Job, event: events.Rerouted, now: int, _: Policy) -> Job:
    return replace(job, route=event.route, due_at=now, tries=0).noted(now, "rerouted", event.why)


def _park(job: Job, event: events.Parked, now: int, _: Policy) -> Job:
    return replace(job, route=event.route, tries=0)


def _bar(job: Job, event: events.Barred, now: int, _: Policy) -> Job:
    return _end(job, State.FAILED, now, event.error)


def _cancel(job: Job, event: events.Canceled, now: int, _: Policy) -> Job:
    return _end(job, State.CANCELED, now)


# --- submitting and unconfirmed: the dangerous minute


def _accept(job: Job, event: events.Accepted, now: int, policy: Policy) -> Job:
    return _run(job, event.task_id, now, policy).noted(now, "accepted", event.task_id)


def _run(job: Job, task_id: str | None, now: int, policy: Policy) -> Job:
    running = job.with_attempt(
        status=AttemptStatus.RUNNING, task_id=task_id or job.current.task_id, body=None, let_go=False
    )
    running = replace(running, state=State.RUNNING, tries=0, setbacks=0)
    return replace(running, due_at=schedule.first_poll(running, now, policy))


def _withdraw(job: Job, event: events.Withdrawn, now: int, policy: Policy) -> Job:
    asked_again = job.state is State.UNCONFIRMED and job.current.body is not None
    if job.current.submitted_at != event.submitted_at or asked_again:
        return job
    due_at = max(now, event.until)
    job = cheapest_wait.resumed(job, event.submitted_at, due_at, policy)
    return replace(job, state=State.QUEUED, attempts=job.attempts[:-1], due_at=due_at, tries=0, setbacks=0)


def _refuse(job: Job, event: events.Refused, now: int, policy: Policy) -> Job:
    error = Error(event.reason.code, event.message, job.provider)
    job = job.with_attempt(status=AttemptStatus.REJECTED, ended_at=now, error=error, body=None)
    job = job.noted(now, "refused", f"{job.provider}: {event.reason.value}")
    job = cheapest_wait.resumed(job, job.current.submitted_at, now, policy)
    move = routing.after_refusal(job, event.reason, cheapest_wait.allows(job, now, event.retry_after_s, policy))
    since = routing.refused_since(job) or now
    if isinstance(move, routing.Give) or schedule.after(since, policy.job_timeout_s) <= now:
        return _end(job, State.FAILED, now, error)
    if event.reason is not events.Reason.RATE or len(job.route) < 2:
        return _requeue(job, move, now, event.retry_after_s)
    return _throttled(job, move, now, cheapest_wait.until(job, policy), event.retry_after_s)


def _throttled(job: Job, move: routing.Move, now: int, ends_at: int, retry_after_s: float | None) -> Job:
    """Over its rate: it is waited for as long as the wait for the cheapest lasts, and then the next one goes first."""
    if isinstance(move, routing.Wait):
        job = job.noted(now, "waits", f"for {job.provider}, until {_clock(ends_at)} at most")
        waiting = _requeue(job, move, now, retry_after_s)
        return replace(waiting, due_at=min(waiting.due_at or now, ends_at))
    onward = _requeue(job, move, now)
    # At once, however many refusals were waited out before; gateways that are all over their rate are paused.
    onward = replace(onward, due_at=now)
    return onward.noted(now, "rerouted", f"{job.provider} is over its rate for longer than is waited for")


def _requeue(job: Job, move: routing.Move, now: int, retry_after_s: float | None = None) -> Job:
    route = move.route if isinstance(move, routing.Go) else job.route
    fresh = isinstance(move, routing.Go) and job.setbacks < len(job.route) - 1
    due_at = now if fresh else schedule.retry(job, now, retry_after_s)
    return replace(job, state=State.QUEUED, route=route, due_at=due_at, setbacks=job.setbacks + 1, tries=0, progress=0)


def _doubt(job: Job, event: events.Lost, now: int, policy: Policy) -> Job:
    job = job.with_attempt(status=AttemptStatus.UNCONFIRMED)
    job = replace(job, state=State.UNCONFIRMED, setbacks=0, tries=0)
    return replace(job, due_at=_settle_due(job, now, policy)).noted(now, "unconfirmed", event.message)


def _still_doubt(job: Job, event: Event, now: int, policy: Policy) -> Job:
    """Asking again told nothing: a refusal of the second call says nothing about the first."""
    if now >= schedule.deadline(job.current, policy):
        message = "the submit was sent and its answer never came; it may have been paid for"
        return _end(job, State.FAILED, now, Error("submit_unconfirmed", message, job.provider))
    let_go = now >= schedule.after(job.current.submitted_at, schedule.PLACE_S)
    job = replace(job.with_attempt(let_go=let_go), setbacks=job.setbacks + 1, tries=0)
    return replace(job, due_at=_settle_due(job, now, policy))


def _settle_due(job: Job, now: int, policy: Policy) -> int:
    """When an unconfirmed submit is looked at again: soon while it can be asked for, else when patience ends."""
    attempt = job.current
    if attempt.task_id or (attempt.body is not None and job.setbacks < schedule.ASK_AGAIN_TRIES):
        return schedule.retry(job, now)
    if policy.resubmit_unconfirmed:
        return max(now, schedule.after(attempt.submitted_at, policy.callback_grace_s))
    deadline = schedule.deadline(attempt, policy)
    return deadline if attempt.let_go else min(deadline, schedule.after(attempt.submitted_at, schedule.PLACE_S))


def _resolve(job: Job, event: events.Resolved, now: int, policy: Policy) -> Job:
    job = job.noted(now, f"resolved by {event.by}", event.action)
    return RESOLUTIONS[event.action](job, event, now, policy)


def _resubmit(job: Job, event: events.Resolved, now: int, policy: Policy) -> Job:
    paid = sum(attempt.paid for attempt in job.attempts)
    if paid >= routing.MAX_PAID_ATTEMPTS:
        return _fail_unconfirmed(job, event, now, policy)
    job = cheapest_wait.resumed(job, job.current.submitted_at, now, policy)
    return replace(job, state=State.QUEUED, due_at=now, setbacks=0, tries=0)


def _fail_unconfirmed(job: Job, event: events.Resolved, now: int, _: Policy) -> Job:
    message = f"given up by the {event.by} before the gateway confirmed it; it may have been paid for"
    return _end(job, State.FAILED, now, Error("submit_unconfirmed", message, job.provider))


def _adopt(job: Job, event: events.Resolved, now: int, policy: Policy) -> Job:
    return replace(_run(job, event.task_id, now, policy), due_at=now)


RESOLUTIONS: dict[str, Callable[[Job, events.Resolved, int, Policy], Job]] = {
    "resubmit": _resubmit,
    "fail": _fail_unconfirmed,
    "adopt": _adopt,
}


def _replay(job: Job, event: events.Replayed, now: int, _: Policy) -> Job:
    """Ask now; where nobody knows yet which task is ours, about the one that the callback named."""
    if job.state is State.UNCONFIRMED and event.task_id:
        job = job.with_attempt(task_id=event.task_id, polls=0)  # a name is asked for as often as the one before it
    hint = Nudge(now, job.current.number, event.task_id)
    return replace(job, nudge=hint, due_at=now).noted(now, "callback replayed", event.task_id)


# --- running: the gateway has it


def _progress(job: Job, event: events.Progressed, now: int, policy: Policy) -> Job:
    if job.state is State.UNCONFIRMED:
        job = _run(job, job.current.task_id, now, policy).noted(now, "confirmed", job.current.task_id)
    percent = job.progress if event.percent is None else max(job.progress, min(99, event.percent))
    return _wait(replace(job, progress=percent, setbacks=0), event, now, policy)


def _wait(job: Job, event: Event, now: int, policy: Policy) -> Job:
    """No verdict: look again later, until we stop waiting, which says nothing of the gateway."""
    job = replace(job.with_attempt(polls=job.current.polls + 1, asked_at=event.asked_at), tries=0)
    if now >= schedule.deadline(job.current, policy):
        return _end(job, State.FAILED, now, _overdue(job, policy))
    wait_s = getattr(event, "retry_after_s", None) or 0
    clear = isinstance(event, events.Progressed)
    due_at = max(schedule.next_poll(job, now, policy, clear), schedule.after(now, wait_s))
    return replace(job, due_at=min(due_at, schedule.deadline(job.current, policy)))


NO_LINK = "no link"


def _overdue(job: Job, policy: Policy) -> Error:
    """Why an attempt is given up past its time: an end without a link is an end that was heard of."""
    if job.has_noted(NO_LINK, since=job.current.submitted_at):
        message = f"the gateway says completed but gave no link within {policy.job_timeout_s:g} s"
        return Error("provider_error", message, job.provider)
    message = f"no end was heard of within {policy.job_timeout_s:g} s; the gateway may still finish it"
    return Error("timed_out", message, job.provider)


def _linkless(job: Job, event: events.Unclear, now: int, policy: Policy) -> Job:
    """A clip that is made and cannot be fetched: said at once, and asked about again, for the link may still come."""
    if job.state is State.UNCONFIRMED:
        job = _run(job, job.current.task_id, now, policy).noted(now, "confirmed", job.current.task_id)
    if not job.has_noted(NO_LINK, since=job.current.submitted_at):
        job = job.noted(now, NO_LINK, event.message)
    return _wait(job, event, now, policy)


# One odd answer is no verdict; so many in a row are.
MADE_UP = 3


def _unclear(job: Job, event: events.Unclear, now: int, policy: Policy) -> Job:
    if event.finished:
        return _linkless(job, event, now, policy)
    if job.state is State.UNCONFIRMED:
        # The task id came from an unsigned body; a gateway that goes on not knowing it shows that it was made up.
        polls = job.current.polls + event.missing
        told = {"task_id": None, "polls": 0} if polls >= MADE_UP else {"polls": polls}
        return _still_doubt(job.with_attempt(**told), event, now, policy)
    return _wait(job, event, now, policy)


def _succeed(job: Job, event: events.Succeeded, now: int, policy: Policy) -> Job:
    link = _dated(event.link, now, policy)
    job = job.with_attempt(
        status=AttemptStatus.COMPLETED,
        task_id=job.current.task_id or event.task_id,
        ended_at=now,
        heard_by=event.heard_by,
        cost_usd=money.ZERO if job.current.adopted else event.cost_usd,
        made_s=event.made_s,
        link=link,
        body=None,
    )
    due_at = schedule.archive_due(link.expires_at, now, policy)
    job = replace(job, state=State.ARCHIVING, progress=100, due_at=due_at, tries=0, setbacks=0)
    return job.noted(now, "finished", f"heard by {event.heard_by}")


def _dated(link: Link, now: int, policy: Policy) -> Link:
    return link if link.expires_at else replace(link, expires_at=schedule.after(now, policy.result_ttl_s))


def _fail(job: Job, event: events.Failed, now: int, policy: Policy) -> Job:
    error = Error(event.reason.code, event.message, job.provider)
    job = job.with_attempt(
        status=AttemptStatus.FAILED,
        task_id=job.current.task_id or event.task_id,
        ended_at=now,
        heard_by=event.heard_by,
        cost_usd=money.ZERO if event.cost_usd is None or job.current.adopted else event.cost_usd,
        error=error,
        body=None,
    )
    job = job.noted(now, "task failed", f"{job.provider}: {event.message}")
    move = routing.after_failure(job, event.reason)
    if isinstance(move, routing.Give):
        return _end(job, State.FAILED, now, error)
    job = cheapest_wait.resumed(job, job.current.submitted_at, now, policy)
    return replace(_requeue(job, move, now), due_at=now)


# --- archiving: finished there, being copied here


def _renew(job: Job, event: events.Succeeded, now: int, policy: Policy) -> Job:
    """The gateway gave a fresh link for the same clip; nothing is generated again."""
    link = _dated(event.link, job.current.ended_at or now, policy)
    due_at = now if job.setbacks == 0 and link != job.current.link else schedule.archive_retry(job, now)
    bad_downloads = job.current.bad_downloads + event.bad_download
    renewed = job.with_attempt(link=link, bad_downloads=bad_downloads)
    return replace(renewed, due_at=due_at, setbacks=job.setbacks + 1, tries=0)


def _archive(job: Job, event: events.Archived, now: int, policy: Policy) -> Job:
    job = replace(job, result=event.result)
    attempt = job.current
    if attempt.cost_usd is None:
        job = job.with_attempt(cost_usd=event.cost_usd if event.cost_usd is not None else attempt.estimated_usd)
    if attempt.made_s is None:
        job = job.with_attempt(made_s=event.result.duration_s)
    for what, reason in event.remarks:
        job = job.noted(now, what, reason)
    ended = _end(job, State.COMPLETED, now)
    return replace(ended, due_at=_owed_at(ended, now, policy))


def _archive_failed(job: Job, event: events.ArchiveFailed, now: int, _: Policy) -> Job:
    if event.final:
        return _end(job, State.FAILED, now, Error(event.code, event.message, job.provider))
    later = replace(job, due_at=schedule.archive_retry(job, now), setbacks=job.setbacks + 1, tries=0)
    if event.code == "result_invalid":
        later = later.with_attempt(bad_downloads=job.current.bad_downloads + 1)
    what = "link refused" if event.refused else "archive delayed"
    is_news = not job.has_noted(what, since=job.current.ended_at or 0)
    return later.noted(now, what, event.message) if is_news else later


def _archive_waits(job: Job, event: Event, now: int, _: Policy) -> Job:
    return replace(job, due_at=schedule.archive_retry(job, now), setbacks=job.setbacks + 1, tries=0)


# --- ended: what is still owed


def _end(job: Job, state: State, now: int, error: Error | None = None) -> Job:
    owed = () if state is State.COMPLETED else (Chore.MANIFEST,)
    told = (Chore.NOTICE,) if job.callback_url else ()
    ended = replace(
        job,
        state=state,
        error=error,
        ended_at=now,
        due_at=now,
        progress=100 if state is State.COMPLETED else job.progress,
        chores=(*owed, *told, Chore.RETIRE),
        nudge=None,
        tries=0,
        setbacks=0,
    )
    return ended.noted(now, state.value, error.code if error else None)


def _owed_at(job: Job, now: int, policy: Policy) -> int:
    """When the next chore is due: at once, save that leaving the ledger waits for the retention to pass."""
    return schedule.after(job.ended_at or now, policy.retention_s) if job.chores == (Chore.RETIRE,) else now


def _done(chore: Chore) -> Callable[[Job, Event, int, Policy], Job]:
    """The move that strikes a chore off."""

    def strike(job: Job, event: Event, now: int, policy: Policy) -> Job:
        if chore not in job.chores:
            return job
        job = replace(job, chores=tuple(c for c in job.chores if c is not chore), setbacks=0, tries=0)
        return replace(job, due_at=_owed_at(job, now, policy))

    return strike


def _manifest_delayed(job: Job, event: events.ArchiveFailed, now: int, policy: Policy) -> Job:
    if Chore.MANIFEST not in job.chores:
        return job
    if event.final:
        return _done(Chore.MANIFEST)(job, event, now, policy)
    return _archive_waits(job, event, now, policy)


def _told(job: Job, event: events.Notified, now: int, policy: Policy) -> Job:
    told = _done(Chore.NOTICE)(job, event, now, policy)
    return told if told is job else told.noted(now, "notified")


def _not_told(job: Job, event: events.NoticeFailed, now: int, policy: Policy) -> Job:
    if Chore.NOTICE not in job.chores:
        return job
    if event.final or now >= schedule.after(_telling_since(job), schedule.NOTICE_GIVE_UP_S):
        job = job.noted(now, "notice failed", f"{event.message}; given up")
        return _done(Chore.NOTICE)(job, event, now, policy)
    due_at = schedule.notice_retry(job, now, event.retry_after_s)
    job = job.noted(now, "notice failed", f"{event.message}, next try at {_clock(due_at)}")
    return replace(job, due_at=due_at, setbacks=job.setbacks + 1, tries=0)


RECALLED = "to be notified again"


def _recall(job: Job, event: events.Recalled, now: int, _: Policy) -> Job:
    if not job.callback_url:
        return job
    chores = tuple(chore for chore in Chore if chore in (*job.chores, Chore.NOTICE))
    return replace(job, chores=chores, due_at=now, setbacks=0, tries=0).noted(now, RECALLED)


def _telling_since(job: Job) -> int:
    """Since when the caller is being told: the end, or the last time that somebody asked for it again."""
    return max([job.ended_at or 0, *(note.at for note in job.history if note.what == RECALLED)])


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Move = Callable[[Job, Any, int, Policy], Job]
Q, S, U = State.QUEUED, State.SUBMITTING, State.UNCONFIRMED
R, A = State.RUNNING, State.ARCHIVING
ENDS = (State.COMPLETED, State.FAILED, State.CANCELED)

MOVES: dict[type[Event], dict[State, Move]] = {
    events.Measured: {Q: _measure},
    events.Begun: {Q: _begin},
    events.Deferred: {Q: _defer, U: _defer, R: _defer},
    events.Rerouted: {Q: _reroute},
    events.Parked: {Q: _park},
    events.Barred: {Q: _bar},
    events.Canceled: {Q: _cancel},
    events.Accepted: {S: _accept, U: _accept},
    events.Refused: {S: _refuse, U: _still_doubt},
    events.Withdrawn: {S: _withdraw, U: _withdraw},
    events.Lost: {S: _doubt, U: _still_doubt, R: _wait, A: _archive_waits},
    events.Unclear: {S: _doubt, U: _unclear, R: _unclear, A: _archive_waits},
    events.Progressed: {U: _progress, R: _progress, A: _archive_waits},
    events.Succeeded: {S: _succeed, U: _succeed, R: _succeed, A: _renew},
    events.Failed: {S: _fail, U: _fail, R: _fail, A: _archive_waits},
    events.Resolved: {U: _resolve},
    events.Replayed: {U: _replay, R: _replay},
    events.Archived: {A: _archive},
    events.ArchiveFailed: {A: _archive_failed, **dict.fromkeys(ENDS, _manifest_delayed)},
    events.Manifested: dict.fromkeys(ENDS, _done(Chore.MANIFEST)),
    events.Notified: dict.fromkeys(ENDS, _told),
    events.Recalled: dict.fromkeys(ENDS, _recall),
    events.NoticeFailed: dict.fromkeys(ENDS, _not_told),
}

TABLE: dict[tuple[State, type[Event]], Move] = {
    (state, event): move for event, row in MOVES.items() for state, move in row.items()
}
