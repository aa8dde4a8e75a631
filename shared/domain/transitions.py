"""The life of a job: the theory, the table, and the one function that applies it.

    queued ──Begun──► submitting ──Accepted──► running ──Succeeded──► archiving ──Archived──► completed
      │ ▲                 │  │                  ▲  │  │                   │
      │ └────Refused──────┘  └─Lost─► unconfirmed  │  └──Failed──► failed ◄┘
      └─Canceled, Expired─► canceled    (holds)    └──Failed, another gateway──► queued

Theory. An event is a fact; facts arrive late, twice and out of order, so a pair that is not in TABLE changes nothing:
late news is no news. `Lost` while submitting leads to `unconfirmed`, because the call may have been paid for; `Lost` or
`Unclear` while running only waits. No answer of any kind ends a job by itself save the gateway's own word that the task
failed. An ended job is never left; it may still owe chores (its manifest, a notice to the caller, its erasure), so it
may still be due. An event that names another attempt than the newest only fills in what is known of that one.

A doubt settles itself where the gateway can be asked by our own id of the attempt, and takes one id once. Nothing is
sent again before it was asked: a task that is found is adopted; `NotFound` to the last (schedule.not_taken_at) means
that the call was not taken, and the same call is sent again under the same id, written down first (`Resent`). Were the
first taken after all and shown too late, the gateway refuses the second, and it is asked for from the beginning. So the
attempt is paid for once, and a job whose submit was in doubt there goes to no other gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rushes.shared.domain import events
from rushes.shared.domain.events import Event
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Chore, Job, State
from rushes.shared.domain.moves import archiving, ended, erasing, queued, running, submitting
from rushes.shared.domain.schedule import Policy


def transition(job: Job, event: Event, now: int, policy: Policy) -> Job:
    """The job after the event; the same object where the event changes nothing."""
    if event.attempt and (not job.attempts or event.attempt != job.current.number):
        return _fill_in(job, event, now)
    hinted = _take_hint(job)
    # A pair that is not in the table changes nothing: a late or repeated fact is no news.
    move = None if _is_late(job, event) else TABLE.get((job.state, type(event)))
    after: Job = move(hinted, event, now, policy) if move else hinted
    if after is hinted:
        return job
    return replace(_keep_awake(after, event, now), updated_at=now, parked=isinstance(event, events.Parked))


def _is_late(job: Job, event: Event) -> bool:
    """Two workers asked about one task: the second answer must not disturb the archive that the first one began."""
    return job.state is State.ARCHIVING and 0 < event.asked_at < (job.current.ended_at or 0)


def _take_hint(job: Job) -> Job:
    """A callback that came before the answer to the submit brings the task id."""
    nudge = job.nudge
    if nudge is None or not nudge.task_id or not job.attempts or job.current.task_id:
        return job
    return job.with_attempt(task_id=nudge.task_id) if nudge.attempt == job.current.number else job


def _fill_in(job: Job, event: Event, now: int) -> Job:
    """What is learned of an attempt that is not the newest: its task id, and nothing else."""
    if not isinstance(event, events.Accepted):
        return job
    attempts = tuple(
        replace(a, task_id=a.task_id or event.task_id) if a.number == event.attempt else a for a in job.attempts
    )
    if attempts == job.attempts:
        return job
    has_hint = job.nudge is not None and job.state in (State.RUNNING, State.UNCONFIRMED)
    return replace(job, attempts=attempts, due_at=now if has_hint else job.due_at)


def _keep_awake(job: Job, event: Event, now: int) -> Job:
    """A callback that came after the gateway was asked is still to be followed: the answer may be older than it."""
    if job.nudge is None or isinstance(event, events.Deferred):
        return job
    if job.state in (State.RUNNING, State.UNCONFIRMED) and job.nudge.at >= event.asked_at:
        return replace(job, due_at=now)
    return replace(job, nudge=None) if job.state is not State.SUBMITTING else job


Move = Callable[[Job, Any, int, Policy], Job]
Q, S, U = State.QUEUED, State.SUBMITTING, State.UNCONFIRMED
R, A = State.RUNNING, State.ARCHIVING
ENDS = (State.COMPLETED, State.FAILED, State.CANCELED)

MOVES: dict[type[Event], dict[State, Move]] = {
    events.Measured: {Q: queued.measure},
    events.Begun: {Q: queued.begin_submit},
    events.Deferred: {Q: queued.defer, U: queued.defer, R: queued.defer, A: queued.defer},
    events.Rerouted: {Q: queued.reroute},
    events.Parked: {Q: queued.park},
    events.Barred: {Q: queued.reject},
    events.Canceled: {Q: queued.cancel},
    events.Expired: {Q: queued.expire},
    events.Accepted: {S: submitting.accept, U: submitting.accept},
    events.Refused: {S: submitting.refuse, U: submitting.refuse_again},
    events.NotFound: {U: submitting.not_found},
    events.Resent: {U: submitting.send_again},
    events.Withdrawn: {S: submitting.withdraw, U: submitting.withdraw},
    events.Lost: {
        S: submitting.hold_unconfirmed,
        U: submitting.stay_unconfirmed,
        R: running.keep_polling,
        A: archiving.wait,
    },
    events.Unclear: {
        S: submitting.hold_unconfirmed,
        U: running.read_unclear,
        R: running.read_unclear,
        A: archiving.wait,
    },
    events.Progressed: {U: running.progress, R: running.progress, A: archiving.wait},
    events.Succeeded: {S: running.succeed, U: running.succeed, R: running.succeed, A: archiving.renew_link},
    events.Failed: {S: running.fail_task, U: running.fail_task, R: running.fail_task, A: archiving.wait},
    events.Resolved: {U: submitting.resolve},
    events.Replayed: {U: submitting.replay, R: submitting.replay},
    events.Archived: {A: archiving.complete},
    events.ArchiveFailed: {A: archiving.retry_archive, **dict.fromkeys(ENDS, ended.retry_manifest)},
    events.Manifested: dict.fromkeys(ENDS, ended.strike_off(Chore.MANIFEST)),
    events.Notified: dict.fromkeys(ENDS, ended.notified),
    events.Recalled: dict.fromkeys(ENDS, ended.recall),
    events.NoticeFailed: dict.fromkeys(ENDS, ended.notice_failed),
    events.ErasureRequested: dict.fromkeys(ENDS, erasing.request),
    events.Erased: dict.fromkeys(ENDS, erasing.finish),
    events.ErasureDelayed: dict.fromkeys(ENDS, erasing.delay),
}

TABLE: dict[tuple[State, type[Event]], Move] = {
    (state, event): move for event, row in MOVES.items() for state, move in row.items()
}
