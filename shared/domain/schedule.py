"""When the next look is due: first poll, backoff, leases, deadlines. Every number with its unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from zlib import crc32

from rushes.shared.domain import batch, fair_shares, ids, start_deadline
from rushes.shared.domain.job import Attempt, Chore, Job, State
from rushes.shared.domain.timing import GAP_S, Timings

SECOND = 1000
DAY = 86_400 * SECOND

# A ticket that is handed to Celery must be opened within this time, or the job is offered again.
HANDOUT_S = 10
# How long a step may take; what it asks for ends by itself.
SUBMIT_DEADLINE_S = 60
POLL_DEADLINE_S = 20
NOTICE_DEADLINE_S = 10
# How long a job is held by a worker that does not show that it lives, and how often a living one shows it.
LEASE_S = 15
RENEW_S = 4
# A step that began so often and never came to an end takes its worker down with it.
CRASHES = 12

# Pauses after a setback: doubled each time, from the first to the last.
RETRY_FIRST_S, RETRY_MAX_S = 2, 300
ARCHIVE_FIRST_S, ARCHIVE_MAX_S = 2, 120
ERASE_FIRST_S, ERASE_MAX_S = 5, 3600
# Standard Webhooks, "retry schedule", cut at 24 h; the last pause repeats.
NOTICE_PAUSES_S = (5, 30, 120, 600, 1800, 3600, 7200, 10800)
NOTICE_GIVE_UP_S = 86_400
# Nobody's Retry-After puts a job off for longer than this.
HEED_S = 86_400
# A submit in doubt holds its place under the cap for as long as the gateway may be at it; it may wait for a day.
PLACE_S = 1800
# With an idempotency key a lost submit is asked again this often before it is held.
ASK_AGAIN_TRIES = 6
# Where a lost submit can be asked for by our own id: so many answers that it is unknown, the last of them not before
# so long after it was sent (or the callback's grace, if that is longer), mean that it was not taken. Until then its
# answer may be on the way (SUBMIT_DEADLINE_S), or the task not shown yet.
NOT_FOUND_ANSWERS = 3
NOT_TAKEN_S = 2 * SUBMIT_DEADLINE_S
# A nudge is followed by a question at most this often.
NUDGE_GAP_S = 2
# Past this age a job is polled on the slow lane: a pause of a twentieth of its age.
SLOW_LANE_S = 3600
JITTER = 0.1
# By so much the clock may be set back and jobs keep their order in the line.
SET_BACK_MS = 1000


@dataclass(frozen=True)
class Policy:
    """The settings that say how patient we are, in seconds."""

    poll_first_s: float = 15
    poll_max_s: float = 120
    callback_grace_s: float = 180
    job_timeout_s: float = 86_400
    result_ttl_s: float = 86_400
    retention_s: float = 604_800
    wait_for_cheapest_s: float = 30
    resubmit_unconfirmed: bool = False
    erase_after_s: float | None = None
    timings: Timings = field(default_factory=Timings, compare=False)
    """What finished jobs have taught."""


def after(now: int, seconds: float) -> int:
    """The moment so many seconds after `now`."""
    return now + round(seconds * SECOND)


def accepted(job_id: str, now: int, not_before: int | None = None) -> int:
    """When a new job is due: at the moment in its id, so that the line and the lists have one order, or `not_before`.

    That moment is later than `now` where the clock was set back; no job waits long for that.
    """
    made_at = ids.made_at(job_id)
    return max(made_at if made_at <= now + SET_BACK_MS else now, not_before or 0)


def first_poll(job: Job, now: int, policy: Policy) -> int:
    """When to look first after a submit: when it is likely done, or, where the gateway will call, after a grace."""
    if _called(job, policy):
        return after(now, jittered(policy.callback_grace_s, job))
    learned = _learned(job, now, policy)
    if learned is None:
        return after(now, jittered(policy.poll_first_s, job))
    return min(learned, max(deadline(job.current, policy), after(now, 1)))


def next_poll(job: Job, now: int, policy: Policy, clear: bool = True) -> int:
    """When to look again: at the next likely end, never past the deadline.

    Where nothing was learned of this kind of work, or the last answer was not `clear`, pauses grow with the age.
    """
    last = max(deadline(job.current, policy), after(now, 1))
    learned = None if _called(job, policy) or not clear else _learned(job, now, policy)
    if learned:
        return min(learned, after(now, policy.poll_max_s), last)
    age_s = (now - job.current.submitted_at) / SECOND
    wait_s = max(policy.poll_first_s, min(age_s / 4, policy.poll_max_s))
    if age_s > SLOW_LANE_S:
        wait_s = max(wait_s, age_s / 20)
    if _called(job, policy):
        wait_s = max(wait_s, min(policy.callback_grace_s, policy.poll_max_s))
    return min(after(now, jittered(wait_s, job)), last)


def _called(job: Job, policy: Policy) -> bool:
    """Whether the gateway is to call, and its calls have been coming."""
    return job.current.callback and not policy.timings.is_silent(job.provider)


def _learned(job: Job, now: int, policy: Policy) -> int | None:
    """The moment at which it is next worth asking, as experience has it."""
    timing = policy.timings.for_job(job)
    age_s = (now - job.current.submitted_at) / SECOND
    then_s = timing.next_s(age_s) if timing else None
    return None if then_s is None else max(after(job.current.submitted_at, then_s), after(now, GAP_S))


def not_taken_at(attempt: Attempt, policy: Policy) -> int:
    """From when on a gateway that does not know a submit by our own id has not taken it.

    Counted from the end of the call, not from when it was written down: a journal may take a minute in between, and the
    gateway has it that much later.
    """
    return after(max(attempt.last_sent_at, attempt.lost_at), max(policy.callback_grace_s, NOT_TAKEN_S))


def next_ask(job: Job, now: int, policy: Policy) -> int:
    """When to ask again by our own id: at growing pauses, and at the moment from which the answer decides."""
    decisive = not_taken_at(job.current, policy)
    return min(retry(job, now), decisive) if now < decisive else retry(job, now)


def deadline(attempt: Attempt, policy: Policy) -> int:
    """When we stop waiting for an attempt."""
    return after(attempt.submitted_at, policy.job_timeout_s)


def retry(job: Job, now: int, at_least_s: float | None = None) -> int:
    """When to try again what a gateway did not take."""
    return after(now, max(min(HEED_S, at_least_s or 0), backoff_s(job, RETRY_FIRST_S, RETRY_MAX_S)))


def archive_retry(job: Job, now: int) -> int:
    """When to try the archive again."""
    return after(now, backoff_s(job, ARCHIVE_FIRST_S, ARCHIVE_MAX_S))


def erase_retry(job: Job, now: int) -> int:
    """When to try again what could not be erased."""
    return after(now, backoff_s(job, ERASE_FIRST_S, ERASE_MAX_S))


def archive_due(expires_at: int | None, now: int, policy: Policy) -> int:
    """When a clip should be fetched: at once, and before clips whose links live longer."""
    if expires_at is None:
        return now
    return min(now, expires_at - round(policy.result_ttl_s * SECOND))


def notice_retry(job: Job, now: int, at_least_s: float | None = None) -> int:
    """When to tell the caller again."""
    pause_s = NOTICE_PAUSES_S[min(job.setbacks, len(NOTICE_PAUSES_S) - 1)]
    return after(now, max(min(HEED_S, at_least_s or 0), jittered(pause_s, job)))


def backoff_s(job: Job, first_s: float, max_s: float) -> float:
    return jittered(min(first_s * 2 ** min(job.setbacks, 16), max_s), job)


def jittered(wait_s: float, job: Job) -> float:
    """Spread by a tenth either way, the same for the same job and version: jobs born together drift apart."""
    share = crc32(f"{job.id}{job.version}".encode()) / 0xFFFFFFFF
    return wait_s * (1 - JITTER + 2 * JITTER * share)


def ripe_since(job: Job, now: int) -> int:
    """Since when a job that waits could have been taken up.

    Not before its last move: a due time in the past (archive_due, a place kept in the line) is an order, no lateness.
    """
    due_at = job.due_at if job.due_at is not None and job.due_at <= now else now
    nudged = min(due_at, job.nudge.at) if job.nudge else due_at
    return max(nudged, job.updated_at)


def kind_of(lane: str) -> str:
    """The step a lane is for: `poll:apimart` is for `poll`."""
    return lane.partition(":")[0]


def lane(job: Job) -> str | None:
    """Where the job waits for its due time; None once it owes nothing more."""
    if job.state is State.QUEUED:
        return f"{'parked' if job.parked else 'submit'}:{job.route[0]}:{fair_shares.line(job)}"
    if job.state is State.SUBMITTING:
        return f"submit:{job.provider}"
    if job.state in (State.UNCONFIRMED, State.RUNNING):
        return f"poll:{job.provider}"
    if job.state is State.ARCHIVING:
        return "archive"
    return CHORE_LANES[job.chores[0]] if job.chores else None


def rests(job: Job) -> bool:
    """Whether an ended job owes nothing before its retention is over.

    It stands in no lane meanwhile, for an entry there costs Redis a quarter of what the record does: a walk makes it
    due (operations/retirement.py). An erased job stands in one: its retention may be over long before the walk comes.
    """
    return job.chores == (Chore.RETIRE,) and job.erase_asked_at is None and not batch.is_batch(job.id)


CHORE_LANES = {"manifest": "archive", "notice": "notify", "erase": "erase", "retire": "retire"}


def places(job: Job) -> tuple[str, ...]:
    """Every lane in which the job may be due: one that is parked is put back in line without its record being read.

    And one that an older version put in line stands in the one line of its gateway.
    """
    here = lane(job)
    if here is None:
        return ()
    if job.state is not State.QUEUED:
        return (here,)
    kinds, gateway = ("parked", "submit") if job.parked else ("submit",), job.route[0]
    return tuple(f"{kind}:{gateway}{line}" for line in (f":{fair_shares.line(job)}", "") for kind in kinds)


def leasing(job: Job) -> tuple[str, ...]:
    """Every lane by which the job may be handed out: one that waits in line, by that of each gateway of its route.

    And by that of its start deadline.
    """
    if job.state is State.QUEUED:
        lanes = tuple(f"submit:{name}" for name in job.route)
        return lanes if start_deadline.of(job) is None else (*lanes, start_deadline.LANE)
    here = lane(job)
    return (here,) if here else ()
