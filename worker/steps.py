"""What a step does: one look at a job that came due, and one fact about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import structlog

from shared import notify
from shared.asking import ask
from shared.domain import events, pace
from shared.domain.events import Event
from shared.domain.job import Chore, Error, Job, Link, State
from shared.domain.transitions import MADE_UP
from shared.http import AnswerLost, Forbidden, NotSent
from shared.ledger.ledger import Ticket
from shared.ledger.quarantine import IN_ALL
from shared.ledger.store import LedgerUnavailable
from shared.providers.reading import retry_after_s
from shared.wiring import Services
from worker.archiving import archive_clip, write_manifest
from worker.heartbeat import Hold, hold
from worker.submitting import ask_again, submit

log = structlog.get_logger()

Step = Callable[[Job, Hold, Services], Event | None]
InHand = tuple[Job, Hold]
Hands = Callable[[Callable[[InHand], None], Iterable[InHand]], Iterable[None]]


def run(tickets: Sequence[Ticket], services: Services, hands: Hands = map) -> None:
    """Do what is due for some jobs, side by side; a ticket that was opened before, or is too old, ends quietly.

    Where the ledger goes out of reach, the leases run out and the jobs are offered again.
    """
    try:
        opened = services.ledger.begin_many(tickets, services.now())
    except LedgerUnavailable as lost:
        log.warning("ledger out of reach", jobs=len(tickets), reason=str(lost))
        return
    # Held from now on, also while they wait for a free hand.
    mine = [(job, hold(ticket, services)) for job, ticket in filter(None, opened)]
    for _ in hands(lambda one: look(*one, services), mine):
        pass


def look(job: Job, mine: Hold, services: Services) -> None:
    """One look at a job that is in our hands."""
    asked_at = services.now()
    try:
        event = perform(job, mine, services)
        if event:
            record(job, event if event.asked_at else replace(event, asked_at=asked_at), services)
    except LedgerUnavailable as lost:
        log.warning("ledger out of reach", job=job.id, reason=str(lost))
    finally:
        mine.let_go()


def perform(job: Job, mine: Hold, services: Services) -> Event | None:
    """The step of the job's state; a step that breaks is put off, and tried ever more slowly."""
    if job.tries > pace.CRASHES:
        return worn_out(job, services)
    try:
        return STEPS[job.state](job, mine, services)
    except LedgerUnavailable:
        raise
    except Exception:
        log.exception("step broke", job=job.id, state=job.state.value, tries=job.tries)
        return setback(job, services)


def setback(job: Job, services: Services) -> Event:
    """What a step that broke means for a job: nothing but a pause."""
    message = "a step of ours broke; see the worker's log"
    if job.state is State.QUEUED:
        return events.Deferred(pace.after(services.now(), min(2.0**job.tries, 300)), message, broke=True)
    if job.chores[:1] == (Chore.NOTICE,):
        return events.NoticeFailed(message)
    if job.state is State.ARCHIVING or job.ended:
        return events.ArchiveFailed("archive_failed", message)
    return events.Lost(message)


def worn_out(job: Job, services: Services) -> Event:
    """A step that took its worker down with it again and again is not tried for ever."""
    message = f"the step of a {job.state.value} job ended its worker {job.tries - 1} times"
    log.error("step given up", job=job.id, state=job.state.value)
    if job.state is State.QUEUED:
        return events.Barred(Error("input_rejected", message))
    if job.chores[:1] == (Chore.NOTICE,):
        return events.NoticeFailed(message, final=True)
    if job.state is State.ARCHIVING or job.ended:
        return events.ArchiveFailed("archive_failed", message, final=True)
    return events.Lost(message)


def record(job: Job, event: Event, services: Services) -> None:
    """Write down what happened."""
    services.ledger.apply(job.id, event, services.now(), known=job)


def crashed(job: Job, mine: Hold, services: Services) -> Event:
    """A worker died with the paid call in its hands: nobody knows whether it was sent."""
    return events.Lost("the worker died while it submitted", attempt=job.current.number)


def poll(job: Job, mine: Hold, services: Services) -> Event | None:
    """Ask the gateway how the task stands; of a submit whose answer is lost, what can be known."""
    attempt = job.current
    now = services.now()
    if job.nudge and now < attempt.asked_at + pace.NUDGE_GAP_S * pace.SECOND:
        return events.Deferred(attempt.asked_at + pace.NUDGE_GAP_S * pace.SECOND, "asked a moment ago")
    task_id = attempt.task_id or hinted(job)
    if task_id is None:
        return replace(ask_again(job, services), attempt=attempt.number, asked_at=now)
    event = replace(ask(attempt, task_id, services), attempt=attempt.number, asked_at=now)
    if job.state is State.UNCONFIRMED and isinstance(event, events.Unclear) and event.missing:
        return None if attempt.polls + 1 >= MADE_UP and named_otherwise(job, services) else event
    called = job.nudge is not None and job.nudge.attempt == attempt.number
    if isinstance(event, events.Succeeded) and called:
        return replace(event, heard_by="callback", link=pictured(event.link, job))
    if isinstance(event, events.Failed) and called:
        return replace(event, heard_by="callback")
    return event


def named_otherwise(job: Job, services: Services) -> bool:
    """Whether a later callback named another task: it was set aside while the first name, which is no task's, stood.

    It stays aside until the ledger knows the name: whoever dies between the two finds it again.
    """
    quarantine = services.ledger.quarantine
    for stray in quarantine.newest(job.tenant, services.now(), IN_ALL):
        if (stray.job_id, stray.attempt) == (job.id, job.current.number) and stray.task_id:
            record(job, events.Replayed(task_id=stray.task_id), services)
            quarantine.drop(stray.id)
            return True
    return False


def pictured(link: Link, job: Job) -> Link:
    """The link with the callback's thumbnail, if the gateway's own word has the clip on the same host."""
    told = job.nudge.thumbnail_url if job.nudge else None
    if link.thumbnail_url or not told or urlsplit(told).netloc != urlsplit(link.video_url).netloc:
        return link
    return replace(link, thumbnail_url=told)


def hinted(job: Job) -> str | None:
    """The task id that a callback brought before the submit's own answer."""
    return job.nudge.task_id if job.nudge and job.nudge.attempt == job.current.number else None


def archive(job: Job, mine: Hold, services: Services) -> Event:
    """Copy the clip into the bucket; where its link is dead, ask for a fresh one."""
    return archive_clip(job, services)


def chore(job: Job, mine: Hold, services: Services) -> Event | None:
    """What an ended job still owes."""
    return CHORES[job.chores[0]](job, services)


def tell(job: Job, services: Services) -> Event:
    """Tell the caller of the end."""
    now = services.now()
    secrets = services.settings.webhook_secrets.get(job.tenant, ())
    try:
        request = notify.notice(job, secrets, now)
        answer = services.outside.send(request, deadline_s=pace.NOTICE_DEADLINE_S, max_bytes=1 << 16, fresh=True)
    except Forbidden as forbidden:
        return events.NoticeFailed(str(forbidden), final=True)
    except (NotSent, AnswerLost) as lost:
        return events.NoticeFailed(str(lost))
    if 200 <= answer.status < 300:
        return events.Notified()
    return events.NoticeFailed(f"HTTP {answer.status}", retry_after_s(answer), final=answer.status == 410)


def retire(job: Job, services: Services) -> None:
    """A finished job leaves the ledger; it stays in the bucket."""
    services.ledger.retire(job)


STEPS: dict[State, Step] = {
    State.QUEUED: submit,
    State.SUBMITTING: crashed,
    State.UNCONFIRMED: poll,
    State.RUNNING: poll,
    State.ARCHIVING: archive,
    State.COMPLETED: chore,
    State.FAILED: chore,
    State.CANCELED: chore,
}
CHORES: dict[Chore, Callable[[Job, Services], Event | None]] = {
    Chore.MANIFEST: write_manifest,
    Chore.NOTICE: tell,
    Chore.RETIRE: retire,
}
