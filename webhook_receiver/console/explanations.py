"""The top of a job's page: what happens, what money is at stake, and what happens or has to be done next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from rushes.shared.domain import cheapest_wait, gateway_pauses, money, routing, schedule
from rushes.shared.domain.accounts import DEFAULT, GatewayPause
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import IN_FLIGHT, Attempt, AttemptStatus, Chore, Job, Note, State
from rushes.shared.domain.moves.ended import RECALLED
from rushes.shared.domain.moves.running import NO_LINK
from rushes.shared.ledger.overview import AT_AN_ACCOUNT
from rushes.shared.operations import submit_hold
from rushes.shared.operations.accounts import MissingAccount
from rushes.shared.operations.alert_causes import NEEDS_OPERATOR
from rushes.shared.operations.retry import GONE
from rushes.shared.services import AccountMissing, Services
from rushes.webhook_receiver.console import labels, status_sentences
from rushes.webhook_receiver.console.formatting import span, unsettled_usd, usd
from rushes.webhook_receiver.console.status_sentences import moment, utc_minute

# A wait that is longer than this is explained.
PATIENCE_MS = 20_000
NOTICE_FAILED = "notice failed"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Two or three sentences at the top of a job's page; one alone where the job is simply on its way."""

    tone: str
    problem: str
    money_at_stake: str = ""
    next_step: str = ""
    message: str | None = None


def explain(job: Job, services: Services, now: int) -> Explanation:
    """What happens to the job and what happens next, in every state."""
    explained = _erased(job) or _account_missing(job, services) or _unattended(job, services, now)
    explained = explained or EXPLAINERS[job.state](job, services, now)
    return explained or Explanation("", status_sentences.sentence(job, services, now))


def _erased(job: Job) -> Explanation | None:
    """An erased job says no more why it failed or whom it owes something: nothing of that is left to act on."""
    if job.erase_asked_at is None:
        return None
    delays = [note for note in job.history if note.what == "erasure delayed"]
    if job.erased_at or not delays:
        return Explanation("", status_sentences.erasure(job))
    problem = "Its content is gone from this record, but could not be erased in the bucket and the journal yet."
    return Explanation("warn", problem, "", "It is tried again by itself until it succeeds.", delays[-1].detail)


def _unattended(job: Job, services: Services, now: int) -> Explanation | None:
    """A job that nobody works on, because there is no worker."""
    late_ms = now - (job.due_at or now)
    if job.state not in ATTENDED or late_ms < PATIENCE_MS or services.ledger.workers(now):
        return None
    if job.state is State.UNCONFIRMED and not _can_be_asked(job.current):
        return None
    problem = f"{ATTENDED[job.state].replace('{gateway}', job.provider or 'a gateway')}, but no worker is running."
    next_step = "Start `worker` and `scheduler` (see the Procfile); then it goes on by itself, and nothing is lost."
    return Explanation("warn", problem, money_at_stake(job), next_step)


def _can_be_asked(attempt: Attempt) -> bool:
    """Whether a worker can find out what became of a submit without an answer."""
    return bool(attempt.task_id or attempt.askable or attempt.body is not None)


# What should be going on, while a worker has to do something about it.
ATTENDED = {
    State.SUBMITTING: "The paid call to {gateway} was recorded, and what became of it has to be found out",
    State.UNCONFIRMED: "The answer of {gateway} to the paid call never came, and it has to be asked",
    State.RUNNING: "{gateway} has it, and has to be asked for its state",
    State.ARCHIVING: "The clip is made, and has to be copied to the bucket before the link of {gateway} expires",
}


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
        _capitalized(text.replace("{gateway}", gateway).replace("{retry}", retry_effect(job)))
        for text in (problem, next_step)
    )
    if _failed_notice(job):
        next_step = f"{next_step} Its caller could not be notified. {_next_notice(job, now)}"
    return Explanation("bad", problem, money_at_stake(job), next_step, error.message if error else None)


def _capitalized(text: str) -> str:
    """A sentence with a great first letter; a gateway's name keeps its own."""
    return text.replace("the gateway", "The gateway", 1) if text.startswith("the gateway") else text


def _canceled(job: Job, services: Services, now: int) -> Explanation | None:
    if job.error is None:
        return _unnotified(job, services, now)
    return replace(_failed(job, services, now), tone="warn")


def _unnotified(job: Job, services: Services, now: int) -> Explanation | None:
    """An ended job whose caller could not be notified, or not yet."""
    notice = _failed_notice(job)
    if notice is None:
        return None
    how = "Its clip is in the bucket" if job.state is State.COMPLETED else "It was canceled"
    problem = f"{how}, but its caller could not be notified."
    return Explanation("warn", problem, "", _next_notice(job, now), notice.detail)


def _failed_notice(job: Job) -> Note | None:
    """The note of the last notification, where it failed."""
    notes = [note for note in job.history if note.what in ("notified", NOTICE_FAILED, RECALLED)]
    return notes[-1] if notes and notes[-1].what == NOTICE_FAILED else None


def _next_notice(job: Job, now: int) -> str:
    if Chore.NOTICE not in job.chores:
        return "That was given up. Mend the endpoint, then press Replay notification."
    return f"The caller is tried again {moment(job.due_at, now)}, for a day in all. Does its endpoint answer with 2xx?"


def _unconfirmed(job: Job, services: Services, now: int) -> Explanation:
    attempt = job.current
    problem = f"The paid call to {attempt.provider} was sent and its answer never came. It may make the clip, or not."
    came = next((note.detail for note in reversed(job.history) if note.what == "unconfirmed"), None)
    return Explanation("warn", problem, money_at_stake(job), _settled_by(job, services, now), came)


def _settled_by(job: Job, services: Services, now: int) -> str:
    """What settles an unconfirmed submit, and when."""
    attempt, policy, again = job.current, services.settings.policy, moment(job.due_at, now)
    if attempt.task_id:
        return (
            f"A callback named task {attempt.task_id}; {attempt.provider} is asked about it {again}, and its answer "
            "settles it. Wait for that first."
        )
    if attempt.askable:
        return (
            f"{attempt.provider} is asked {again} by our own id whether it has it. What it has goes on; what it has "
            "not is sent again under the same id, which it takes once. There is nothing to do."
        )
    if attempt.body is not None and job.setbacks < schedule.ASK_AGAIN_TRIES:
        return (
            f"It is asked again {again} under the same idempotency key, which does not pay twice. Wait for that first."
        )
    callback = "A callback settles it by itself; until then" if attempt.callback else "No callback was asked for:"
    if policy.resubmit_unconfirmed:
        return f"{callback} it is to be sent again {again}, as RUSHES_UNCONFIRMED says; that may be paid for twice."
    until = moment(schedule.deadline(attempt, policy), now)
    return (
        f"{callback} look for a task of {utc_minute(attempt.submitted_at, now)} in {attempt.provider}'s own list, and "
        f"resolve it below. It is given up {until}."
    )


def _queued(job: Job, services: Services, now: int) -> Explanation | None:
    if (now - job.created_at < PATIENCE_MS and not job.attempts) or (job.not_before or 0) > now:
        return None
    gateway = job.route[0] if job.route else "a gateway"
    full = _full(gateway, services, now)
    instead = _instead(job, services, now) if full or _is_throttled(gateway, services, now) else ""
    problem = _refused(job, services, now) or _paused(gateway, services, now) or full
    problem = problem + instead if problem else _held_up(job, services, now)
    if problem is None:
        return None
    return Explanation("warn", problem, money_at_stake(job), _goes_on(job, gateway, services, now))


def _goes_on(job: Job, gateway: str, services: Services, now: int) -> str:
    pause = _pause_of(gateway, services)
    if pause.until > now and pause.why in NEEDS_OPERATOR:
        settings = services.settings.gateways.get(gateway)
        advice = gateway_pauses.advice(gateway, pause.why, settings.key_name if settings else "")
        return f"{gateway} gets no new jobs meanwhile. {advice}{_given_up(job, services, now)}"
    if job.start_before and not any(attempt.paid for attempt in job.attempts):
        return f"It goes on by itself, or ends canceled {moment(job.start_before, now)}, its `start_before`."
    return f"It goes on by itself, and can be canceled until a gateway has it.{_given_up(job, services, now)}"


def _given_up(job: Job, services: Services, now: int) -> str:
    """When a job that is refused again and again ends."""
    since = routing.refused_since(job)
    until = schedule.after(since, services.settings.policy.job_timeout_s) if since else now
    return f" If that goes on, the job fails {moment(until, now)}." if until > now else ""


def _held_up(job: Job, services: Services, now: int) -> str | None:
    """What else than its gateway holds it up."""
    return (
        _no_worker(services, now)
        or _submits_held(services)
        or _tenant_full(job, services)
        or _inputs(job, now)
        or _late(job, now)
    )


def _submits_held(services: Services) -> str | None:
    reason = submit_hold.reason(services)
    return f"Every submit is {reason}." if reason else None


def _tenant_full(job: Job, services: Services) -> str | None:
    cap = services.settings.tenants[job.tenant].max_in_flight
    if cap is None or sum(services.ledger.overview.counts(job.tenant)[state] for state in IN_FLIGHT) < cap:
        return None
    return f"Waits until one of {job.tenant}'s jobs ends: gateways have {cap} of them, which is its `max_in_flight`."


def _inputs(job: Job, now: int) -> str | None:
    if not status_sentences.needs_measuring(job) or (job.due_at or now) <= now:
        return None
    again = moment(job.due_at, now)
    return (
        f"An input could not be fetched yet. It is tried again {again}; after 15 min the job fails. Check its address."
    )


def _pause_of(gateway: str, services: Services) -> GatewayPause:
    settings = services.settings.gateways.get(gateway)
    return services.ledger.gateways.pause_of(gateway, settings.open_names if settings else (DEFAULT,))


def _paused(gateway: str, services: Services, now: int) -> str | None:
    pause = _pause_of(gateway, services)
    if pause.until <= now:
        return None
    why = (pause.why or "for a reason of its own").replace("_", " ")
    if pause.why == gateway_pauses.OPERATOR:
        return f"Waits for {gateway}, which an operator has paused."
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


def _refused(job: Job, services: Services, now: int) -> str | None:
    attempt = job.attempt
    if attempt is None or attempt.status is not AttemptStatus.REJECTED or attempt.error is None:
        return None
    message = attempt.error.message.rstrip(". ")
    again = max(job.due_at or now, _pause_of(job.route[0] if job.route else attempt.provider, services).until)
    return f"{attempt.provider} refused it: {message}. It is tried again {moment(again, now)}."


def _no_worker(services: Services, now: int) -> str | None:
    if services.ledger.workers(now):
        return None
    return "Waits for a worker, and none is running. Start `worker` and `scheduler` (see the Procfile)."


def _late(job: Job, now: int) -> str | None:
    late_ms = now - (job.due_at or now)
    if late_ms > PATIENCE_MS:
        return f"A worker should have taken it {span(late_ms / 1000)} ago. Do `worker` and `scheduler` keep up?"
    return None


def _archiving(job: Job, services: Services, now: int) -> Explanation | None:
    delayed = [note for note in job.history if note.what in DELAYS]
    if not delayed:
        return None
    problem, next_step = (
        text.replace("{gateway}", str(job.provider)).replace("{again}", moment(job.due_at, now))
        for text in DELAYS[delayed[-1].what]
    )
    link = job.current.link
    ends = f"{job.provider}'s link expires {moment(link.expires_at, now)}; " if link and link.expires_at else ""
    stake = f"{ends}then Rushes asks for a new one, and nothing is paid again." if ends else money_at_stake(job)
    return Explanation("warn", problem, stake, next_step, delayed[-1].detail)


# What delays the archive, by the note in the history: what happened, and what happens next.
DELAYS = {
    "archive delayed": (
        "The clip is made, but the bucket did not take it yet.",
        "It is tried again {again}. Check whether the bucket can be reached: GET /readyz, or `rushes doctor`.",
    ),
    "download failed": (
        "The clip is made, but {gateway}'s link did not give the whole of it yet.",
        "It is tried again {again}, also by a fresh link. There is nothing to do, unless it goes on for long.",
    ),
    "link refused": (
        "The clip is made, but Rushes does not fetch the link that {gateway} gave.",
        "{gateway} is asked for another {again}. Report it there, or allow it in RUSHES_EGRESS_ALLOW and restart.",
    ),
}


def _running(job: Job, services: Services, now: int) -> Explanation | None:
    attempt = job.current
    if job.has_noted(NO_LINK, since=attempt.submitted_at):
        problem = f"{attempt.provider} reports that the clip is finished, but gave no link to it."
        return Explanation(
            "warn", problem, money_at_stake(job), "It is asked again, at growing pauses. Look for the task there."
        )
    if services.ledger.learned_times.timings(now).is_stuck(job, now):
        age, until = span((now - attempt.submitted_at) / 1000), schedule.deadline(attempt, services.settings.policy)
        problem = f"{attempt.provider} has had it for {age}, far longer than any such job took."
        next_step = f"It is polled ever more slowly, and given up {moment(until, now)}. Look for the task there."
        return Explanation("warn", problem, money_at_stake(job), next_step)
    return None


EXPLAINERS: dict[State, Callable[[Job, Services, int], Explanation | None]] = {
    State.QUEUED: _queued,
    State.SUBMITTING: lambda *_: None,
    State.UNCONFIRMED: _unconfirmed,
    State.RUNNING: _running,
    State.ARCHIVING: _archiving,
    State.COMPLETED: _unnotified,
    State.FAILED: _failed,
    State.CANCELED: _canceled,
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
