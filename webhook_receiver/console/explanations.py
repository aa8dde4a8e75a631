"""What is the matter with a job: what happened, what money is at stake, and what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rushes.shared.domain import cheapest_wait, money, schedule
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.domain.moves.running import NO_LINK
from rushes.shared.operations.retry import GONE
from rushes.shared.services import Services
from rushes.webhook_receiver.console import labels
from rushes.webhook_receiver.console.formatting import open_usd, span, usd

# A wait that is longer than this wants an explanation.
PATIENCE_MS = 20_000


@dataclass(frozen=True, slots=True)
class Explanation:
    """Two or three sentences on top of the page."""

    tone: str
    what: str
    stake: str
    do: str
    message: str | None = None


def explain(job: Job, services: Services, now: int) -> Explanation | None:
    """Why the job is not simply on its way; None where there is nothing to explain."""
    said = EXPLAINED.get(job.state)
    return said(job, services, now) if said else None


def _failed(job: Job, services: Services, now: int) -> Explanation:
    error = job.error
    what, do = labels.FAILURES.get(error.code, labels.UNKNOWN_FAILURE) if error else labels.UNKNOWN_FAILURE
    gateway = (error.provider if error else None) or job.provider or "the gateway"
    what, do = (text.replace("{gateway}", gateway).replace("{retry}", a_retry(job)) for text in (what, do))
    return Explanation("bad", what, stake(job), do, error.message if error else None)


def _unconfirmed(job: Job, services: Services, now: int) -> Explanation:
    attempt, policy = job.current, services.settings.policy
    what = f"The paid call to {attempt.provider} was sent and its answer never came: it may be making the clip or not."
    if attempt.task_id:
        do = (
            f"A callback named task {attempt.task_id}; {attempt.provider} is asked about it. Wait for its answer first."
        )
    elif attempt.body is not None and job.setbacks < schedule.ASK_AGAIN_TRIES:
        do = "It is asked again under the same idempotency key, which does not pay twice. Wait for that first."
    else:
        until = span((schedule.deadline(attempt, policy) - now) / 1000)
        do = (
            f"A callback settles it by itself. Otherwise look for a task of {_minute(attempt.submitted_at)} in "
            f"{attempt.provider}'s own list and resolve it here; it is given up in {until}."
        )
    return Explanation("warn", what, stake(job), do)


def _minute(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M UTC")


def _queued(job: Job, services: Services, now: int) -> Explanation | None:
    if now - job.created_at < PATIENCE_MS and not job.attempts:
        return None
    gateway = job.route[0] if job.route else "a gateway"
    full = _full(gateway, services, now)
    instead = _instead(job, services, now) if full or _is_throttled(gateway, services, now) else ""
    what = _refused(job, now) or _paused(gateway, services, now) or full
    what = what + instead if what else _no_worker(job, services, now)
    if what is None:
        return None
    return Explanation("warn", what, stake(job), "It goes on by itself; until a gateway has it, it can be canceled.")


def _paused(gateway: str, services: Services, now: int) -> str | None:
    health = services.ledger.gateways.health(gateway)
    until = int(health.get("paused_until", 0))
    if until <= now:
        return None
    why = health.get("why", "its own trouble").replace("_", " ")
    return f"Waits for {gateway}, which is paused for {span((until - now) / 1000)}: {why}. An admin can end the pause."


def _full(gateway: str, services: Services, now: int) -> str | None:
    caps = services.settings.gateways.get(gateway)
    if caps is None:
        return f"Waits for {gateway}, which is not enabled here: its API key is not set."
    if services.ledger.gateways.in_flight(gateway) >= caps.max_in_flight:
        return f"Waits for a place at {gateway}: it has {caps.max_in_flight} jobs, as many as it may have."
    if services.ledger.gateways.submits_last_minute(gateway, now) >= caps.submits_per_minute:
        return f"Waits for {gateway}: it was sent {caps.submits_per_minute} jobs this minute, as many as it may be."
    return None


def _is_throttled(gateway: str, services: Services, now: int) -> bool:
    health = services.ledger.gateways.health(gateway)
    return int(health.get("paused_until", 0)) > now and health.get("why") == Reason.RATE


def _instead(job: Job, services: Services, now: int) -> str:
    """Which other gateway may take it, and when."""
    if len(job.route) < 2:
        return ""
    left_s = (cheapest_wait.until(job, services.settings.policy) - now) / 1000
    others = " or ".join(job.route[1:])
    return f" In {span(left_s)} {others} may take it instead." if left_s > 0 else f" {others} may take it by now."


def _refused(job: Job, now: int) -> str | None:
    attempt = job.attempt
    if attempt is None or attempt.status is not AttemptStatus.REJECTED or attempt.error is None:
        return None
    again = span(max(0, (job.due_at or now) - now) / 1000)
    return f"{attempt.provider} did not take it: {attempt.error.message} It is tried again in {again}."


def _no_worker(job: Job, services: Services, now: int) -> str | None:
    if services.ledger.workers(now) == 0:
        return "Waits for a worker, and none shows that it lives. Start `worker` and `scheduler` (see the Procfile)."
    late_ms = now - (job.due_at or now)
    if late_ms > PATIENCE_MS:
        return f"Should have been taken by a worker {span(late_ms / 1000)} ago. Do `worker` and `scheduler` keep up?"
    return None


def _archiving(job: Job, services: Services, now: int) -> Explanation | None:
    delayed = [note for note in job.history if note.what in DELAYS]
    if not delayed:
        return None
    link = job.current.link
    left = span(max(0, (link.expires_at if link and link.expires_at else now) - now) / 1000)
    return Explanation(
        "warn",
        "The clip is made, but could not be copied to the bucket yet. It is tried again by itself.",
        f"The gateway's link dies in {left}; after that a fresh one is asked for.",
        DELAYS[delayed[-1].what],
        delayed[-1].detail,
    )


# What keeps a clip from the bucket, by the note of it, and what to do.
DELAYS = {
    "archive delayed": "See whether the bucket is in reach: GET /readyz, or `rushes doctor`.",
    "link refused": "Tell the gateway, or allow the address in RUSHES_EGRESS_ALLOW and restart.",
}


def _running(job: Job, services: Services, now: int) -> Explanation | None:
    attempt = job.current
    if job.has_noted(NO_LINK, since=attempt.submitted_at):
        what = f"{attempt.provider} says that the clip is finished, but gave no link to it."
        return Explanation("warn", what, stake(job), "It is asked again, ever more slowly; look for the task there.")
    late = attempt.asked_at == 0 and (job.due_at or now) + PATIENCE_MS < now
    if late and services.ledger.workers(now) == 0:
        what = f"{attempt.provider} has it, but no worker shows that it lives, so nobody asks how it stands."
        return Explanation("warn", what, stake(job), "Start `worker` and `scheduler` (see the Procfile).")
    return None


EXPLAINED: dict[State, Callable[[Job, Services, int], Explanation | None]] = {
    State.FAILED: _failed,
    State.UNCONFIRMED: _unconfirmed,
    State.QUEUED: _queued,
    State.ARCHIVING: _archiving,
    State.RUNNING: _running,
}


def stake(job: Job) -> str:
    """What money is spent, or may be."""
    spent, open_ = money.spent(job.attempts), open_usd(job)
    if not any(attempt.paid for attempt in job.attempts):
        return "Nothing was paid."
    told = [f"{usd(spent)} was charged."] if spent else []
    if open_:
        told.append(f"Up to {usd(open_)} may have been charged.")
    elif any(a.paid and a.cost_usd is None and a.estimated_usd is None for a in job.attempts):
        told.append("What it may have cost is not known: there is no price for it.")
    return " ".join(told) or "As far as the gateways say, nothing was charged."


def a_retry(job: Job) -> str:
    """What a retry does, and costs."""
    standing = [a for a in job.attempts if a.task_id and a.status not in GONE]
    if standing:
        return f"A retry asks {standing[-1].provider} first: a clip that is still there is fetched and not paid again."
    return f"A retry is a new paid call{f', about {usd(job.estimated_usd)}' if job.estimated_usd else ''}."
