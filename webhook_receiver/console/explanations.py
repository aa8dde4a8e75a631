"""Why a job is not simply on its way: what happened, what money is at stake, and what to do next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from rushes.shared.domain import cheapest_wait, money, schedule
from rushes.shared.domain.accounts import DEFAULT, GatewayPause
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.domain.moves.running import NO_LINK
from rushes.shared.ledger.overview import AT_AN_ACCOUNT
from rushes.shared.operations.accounts import MissingAccount
from rushes.shared.operations.retry import GONE
from rushes.shared.services import AccountMissing, Services
from rushes.webhook_receiver.console import labels
from rushes.webhook_receiver.console.formatting import span, unsettled_usd, usd

# A wait that is longer than this is explained.
PATIENCE_MS = 20_000


@dataclass(frozen=True, slots=True)
class Explanation:
    """Two or three sentences at the top of a job's page."""

    tone: str
    problem: str
    money_at_stake: str
    next_step: str
    message: str | None = None


def explain(job: Job, services: Services, now: int) -> Explanation | None:
    """Why the job is not simply on its way; None where there is nothing to explain."""
    if missing := _account_missing(job, services):
        return missing
    explainer = EXPLAINERS.get(job.state)
    return explainer(job, services, now) if explainer else None


def _account_missing(job: Job, services: Services) -> Explanation | None:
    if job.state not in AT_AN_ACCOUNT:
        return None
    try:
        services.access(job.current.provider, job.current)
    except AccountMissing as missing:
        problem = f"Its account {missing.account} at {missing.gateway} is in no setting; no other one is asked for it."
        advice = MissingAccount(missing.gateway, missing.account, 1).advice
        return Explanation("bad", problem, money_at_stake(job), f"It waits: {advice}.")
    return None


def _failed(job: Job, services: Services, now: int) -> Explanation:
    error = job.error
    problem, next_step = labels.FAILURES.get(error.code, labels.UNKNOWN_FAILURE) if error else labels.UNKNOWN_FAILURE
    gateway = (error.provider if error else None) or job.provider or "the gateway"
    problem, next_step = (
        text.replace("{gateway}", gateway).replace("{retry}", retry_effect(job)) for text in (problem, next_step)
    )
    return Explanation("bad", problem, money_at_stake(job), next_step, error.message if error else None)


def _unconfirmed(job: Job, services: Services, now: int) -> Explanation:
    attempt, policy = job.current, services.settings.policy
    problem = f"The paid call to {attempt.provider} was sent and its answer never came. It may make the clip, or not."
    if attempt.task_id:
        next_step = (
            f"A callback named task {attempt.task_id}; {attempt.provider} is asked about it. Wait for its answer first."
        )
    elif attempt.askable:
        next_step = (
            f"{attempt.provider} is asked by our own id whether it has it. What it has goes on; what it has not is "
            "sent again under the same id, which it takes once. There is nothing to do."
        )
    elif attempt.body is not None and job.setbacks < schedule.ASK_AGAIN_TRIES:
        next_step = "It is asked again under the same idempotency key, which does not pay twice. Wait for that first."
    else:
        until = span((schedule.deadline(attempt, policy) - now) / 1000)
        next_step = (
            f"A callback settles it by itself. Otherwise look for a task of {_minute(attempt.submitted_at)} in "
            f"{attempt.provider}'s own list and resolve it here; it is given up in {until}."
        )
    return Explanation("warn", problem, money_at_stake(job), next_step)


def _minute(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%H:%M UTC")


def _queued(job: Job, services: Services, now: int) -> Explanation | None:
    if now - job.created_at < PATIENCE_MS and not job.attempts:
        return None
    gateway = job.route[0] if job.route else "a gateway"
    full = _full(gateway, services, now)
    instead = _instead(job, services, now) if full or _is_throttled(gateway, services, now) else ""
    problem = _refused(job, now) or _paused(gateway, services, now) or full
    problem = problem + instead if problem else _no_worker(job, services, now)
    if problem is None:
        return None
    return Explanation(
        "warn", problem, money_at_stake(job), "It goes on by itself. Until a gateway has it, it can be canceled."
    )


def _pause_of(gateway: str, services: Services) -> GatewayPause:
    settings = services.settings.gateways.get(gateway)
    return services.ledger.gateways.pause_of(gateway, settings.open_names if settings else (DEFAULT,))


def _paused(gateway: str, services: Services, now: int) -> str | None:
    pause = _pause_of(gateway, services)
    if pause.until <= now:
        return None
    why = (pause.why or "for a reason of its own").replace("_", " ")
    left = span((pause.until - now) / 1000)
    return f"Waits for {gateway}, which is paused for {left}: {why}. An admin can end the pause."


def _full(gateway: str, services: Services, now: int) -> str | None:
    caps = services.settings.gateways.get(gateway)
    if caps is None:
        return f"Waits for {gateway}, which is not enabled here: its API key is not set."
    standings = services.ledger.gateways.standings(gateway, caps.open_names, now)
    if all(standing.in_flight >= caps.max_in_flight for standing in standings):
        return f"Waits for a place at {gateway}: it has {caps.max_in_flight * len(standings)} jobs, which is its cap."
    if all(standing.submits >= caps.submits_per_minute for standing in standings):
        cap = caps.submits_per_minute * len(standings)
        return f"Waits for {gateway}: it got {cap} jobs this minute, which is its cap."
    return None


def _is_throttled(gateway: str, services: Services, now: int) -> bool:
    pause = _pause_of(gateway, services)
    return pause.until > now and pause.why == Reason.RATE


def _instead(job: Job, services: Services, now: int) -> str:
    """Which other gateway may take the job, and when."""
    if len(job.route) < 2:
        return ""
    left_s = (cheapest_wait.until(job, services.settings.policy) - now) / 1000
    others = " or ".join(job.route[1:])
    return f" In {span(left_s)} {others} may take it instead." if left_s > 0 else f" {others} may take it now."


def _refused(job: Job, now: int) -> str | None:
    attempt = job.attempt
    if attempt is None or attempt.status is not AttemptStatus.REJECTED or attempt.error is None:
        return None
    again = span(max(0, (job.due_at or now) - now) / 1000)
    return f"{attempt.provider} refused it: {attempt.error.message} It is tried again in {again}."


def _no_worker(job: Job, services: Services, now: int) -> str | None:
    if services.ledger.workers(now) == 0:
        return "Waits for a worker, and none is running. Start `worker` and `scheduler` (see the Procfile)."
    late_ms = now - (job.due_at or now)
    if late_ms > PATIENCE_MS:
        return f"A worker should have taken it {span(late_ms / 1000)} ago. Do `worker` and `scheduler` keep up?"
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
        f"The gateway's link expires in {left}; after that Rushes asks for a new one.",
        DELAYS[delayed[-1].what],
        delayed[-1].detail,
    )


# What delays the archive, by the note in the history, and what to do.
DELAYS = {
    "archive delayed": "Check whether the bucket can be reached: GET /readyz, or `rushes doctor`.",
    "link refused": "Report it to the gateway, or allow the address in RUSHES_EGRESS_ALLOW and restart.",
}


def _running(job: Job, services: Services, now: int) -> Explanation | None:
    attempt = job.current
    if job.has_noted(NO_LINK, since=attempt.submitted_at):
        problem = f"{attempt.provider} reports that the clip is finished, but gave no link to it."
        return Explanation(
            "warn", problem, money_at_stake(job), "It is asked again, at growing pauses. Look for the task there."
        )
    late = attempt.asked_at == 0 and (job.due_at or now) + PATIENCE_MS < now
    if late and services.ledger.workers(now) == 0:
        problem = f"{attempt.provider} has it, but no worker is running, so nobody asks for its state."
        return Explanation("warn", problem, money_at_stake(job), "Start `worker` and `scheduler` (see the Procfile).")
    return None


EXPLAINERS: dict[State, Callable[[Job, Services, int], Explanation | None]] = {
    State.FAILED: _failed,
    State.UNCONFIRMED: _unconfirmed,
    State.QUEUED: _queued,
    State.ARCHIVING: _archiving,
    State.RUNNING: _running,
}


def money_at_stake(job: Job) -> str:
    """What was spent, or may have been."""
    spent, unsettled = money.spent(job.attempts), unsettled_usd(job)
    if not any(attempt.paid for attempt in job.attempts):
        return "Nothing was paid."
    sentences = [f"{usd(spent)} was charged."] if spent else []
    if unsettled:
        sentences.append(f"Up to {usd(unsettled)} may have been charged.")
    elif any(a.paid and a.cost_usd is None and a.estimated_usd is None for a in job.attempts):
        sentences.append("What it may have cost is unknown: it has no price.")
    return " ".join(sentences) or "According to the gateways, nothing was charged."


def retry_effect(job: Job) -> str:
    """What a retry does and costs."""
    adoptable = [a for a in job.attempts if a.task_id and a.status not in GONE]
    if adoptable:
        return f"A retry asks {adoptable[-1].provider} first: a clip that is still there is fetched and not paid again."
    return f"A retry is a new paid call{f', about {usd(job.estimated_usd)}' if job.estimated_usd else ''}."
