"""What a step does: one look at a job that came due, and one fact about it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from rushes.shared import notifications
from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Chore, Job, State
from rushes.shared.http import AnswerLost, Forbidden, NotSent
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.operations.task_query import question, understood
from rushes.shared.providers.reading import retry_after_s
from rushes.shared.services import Services
from rushes.worker import archive
from rushes.worker.archive import Copied, write_manifest
from rushes.worker.group_commit import InHand, write_down
from rushes.worker.leases import Lease, hold
from rushes.worker.poll import meant, poll, task_of, too_soon
from rushes.worker.step_failures import guarded, worn_out
from rushes.worker.submit import Plan, readied, send_all, submit, unmeasured
from rushes.worker.thread_pools import InTurn, ThreadPools

log = structlog.get_logger()

Step = Callable[[Job, Lease, Services], Event | None]


def run(tickets: Sequence[Ticket], services: Services, hands: ThreadPools | None = None) -> None:
    """Do what is due for some jobs, side by side; a ticket that was opened before, or is too old, ends quietly.

    Where the ledger goes out of reach, the leases run out and the jobs are offered again.
    """
    hands = hands or InTurn()
    once = list(dict.fromkeys(tickets))  # a ticket opens its job to each that stands in one message
    try:
        opened = services.ledger.open_tickets(once, services.now())
    except LedgerUnavailable as lost:
        log.warning("ledger out of reach", jobs=len(once), reason=str(lost))
        return
    # Held from now on, also while they wait for a free hand.
    by_kind = defaultdict[str, list[InHand]](list)
    for job, ticket in filter(None, opened):
        by_kind[schedule.kind_of(ticket.lane)].append((job, hold(ticket, services)))
    each = partial(look, services=services)
    for kind, held in by_kind.items():
        if together := TOGETHER.get(kind):
            hands.give(kind, partial(together, services=services, hands=hands), [held])
        else:
            hands.give(kind, each, held)


def look(one: InHand, services: Services) -> None:
    """One look at a job that is in our hands."""
    job, mine = one
    asked_at = services.now()
    try:
        event = _asked(perform(job, mine, services), asked_at)
        if event:
            record(job, event, services)
    except LedgerUnavailable as lost:
        log.warning("ledger out of reach", job=job.id, reason=str(lost))
    finally:
        mine.let_go()


def submit_all(queued: Sequence[InHand], services: Services, hands: ThreadPools) -> None:
    """Submit many jobs at once; what must be measured first, or begins otherwise, is looked at alone."""
    now = services.now()
    ready = [(job, mine) for job, mine in queued if submits_at_once(job)]
    try:
        hands.give("submit", partial(look, services=services), [one for one in queued if not submits_at_once(one[0])])
        outcomes = list(zip(ready, readied(ready, services), strict=True))
        plans = [outcome for _, outcome in outcomes if isinstance(outcome, Plan)]
        standing = [(one, outcome) for one, outcome in outcomes if not isinstance(outcome, Plan)]
        write_down([(one, _asked(event, now)) for one, event in standing], services)
        send_all(plans, services, hands)
    except LedgerUnavailable as lost:
        log.warning("ledger out of reach", jobs=len(ready), reason=str(lost))
    finally:
        for _, mine in ready:
            mine.let_go()


def archive_all(clips: Sequence[InHand], services: Services, hands: ThreadPools) -> None:
    """Archive many clips at once; what is to be done otherwise is looked at alone."""
    now = services.now()
    ready = {job.id: (job, mine) for job, mine in clips if archives_at_once(job)}
    try:
        hands.give("archive", partial(look, services=services), [one for one in clips if not archives_at_once(one[0])])
        for group in archive.archived([job for job, _ in ready.values()], services, hands):
            ends = [(ready.pop(job.id), end) for job, end in group]
            facts = [(one, _asked(end, now)) for one, end in ends if not isinstance(end, Copied)]
            copies = [(one, end) for one, end in ends if isinstance(end, Copied)]
            hands.give("archive", partial(finish, asked_at=now, services=services), copies)
            write_down(facts, services)
    finally:
        for _, mine in ready.values():
            mine.let_go()


def finish(copied: tuple[InHand, Copied], asked_at: int, services: Services) -> None:
    """Write the manifest of a clip alone, and that it is archived."""
    (job, mine), copy = copied
    event: Event | None = None
    try:
        event = guarded(job, lambda: archive.manifested(job, copy, services), services)
    finally:
        write_down([((job, mine), _asked(event, asked_at))], services)


def archives_at_once(job: Job) -> bool:
    """Whether its step is the copy of a clip."""
    return job.state is State.ARCHIVING and job.tries <= schedule.CRASHES


def _asked(event: Event | None, at: int) -> Event | None:
    return replace(event, asked_at=at) if event and not event.asked_at else event


def submits_at_once(job: Job) -> bool:
    """Whether its step is a submit and nothing before it."""
    return job.state is State.QUEUED and job.tries <= schedule.CRASHES and not unmeasured(job)


def look_at_all(polls: Sequence[InHand], services: Services, hands: ThreadPools) -> None:
    """Ask about many tasks at once, and write down what is heard in groups; the rest is looked at alone."""
    now = services.now()
    waiting = dict(enumerate(polls))

    def leave(numbers: Iterable[int]) -> None:
        numbers = list(numbers)
        hands.give("poll", partial(look, services=services), [waiting[number] for number in numbers])
        for number in numbers:
            del waiting[number]

    try:
        found = {number: asking(job, now, services) for number, (job, _) in waiting.items()}
        questions = {number: question_ for number, question_ in found.items() if question_}
        leave(number for number in found if number not in questions)
        asked = list(questions)
        for group in services.http_client.send_all([*questions.values()], deadline_s=schedule.POLL_DEADLINE_S):
            leave(asked[place] for place, answer in group if answer is None)
            answered = {asked[place]: answer for place, answer in group if answer}
            facts = [heard(waiting[number][0], answer, now, services) for number, answer in answered.items()]
            write_down([(waiting.pop(number), fact) for number, fact in zip(answered, facts, strict=True)], services)
    finally:
        for _, mine in waiting.values():
            mine.let_go()


def asking(job: Job, now: int, services: Services) -> Request | None:
    """The call that asks about a job's task; None where there is more to its step than that."""
    task_id = task_of(job)
    if task_id is None or job.tries > schedule.CRASHES or too_soon(job, now):
        return None
    try:
        return question(job.current, task_id, services)
    except Exception:  # told where it is looked at alone
        return None


def heard(job: Job, answer: Response | AnswerLost, asked_at: int, services: Services) -> Event | None:
    """What an answer means for its job; None where the ledger is needed to know that, and out of reach."""
    try:
        event = guarded(job, lambda: meant(job, _said(job, answer, services), asked_at, services), services)
    except LedgerUnavailable as lost:
        log.warning("ledger out of reach", job=job.id, reason=str(lost))
        return None
    return replace(event, asked_at=asked_at) if event else None


def _said(job: Job, answer: Response | AnswerLost, services: Services) -> Event:
    if isinstance(answer, AnswerLost):
        return events.Lost(str(answer))
    return understood(job.current, task_of(job) or "", answer, services)


def perform(job: Job, mine: Lease, services: Services) -> Event | None:
    """The step of the job's state; a step that breaks is put off, and tried ever more slowly."""
    if job.tries > schedule.CRASHES:
        return worn_out(job, services)
    return guarded(job, lambda: STEPS[job.state](job, mine, services), services)


def record(job: Job, event: Event, services: Services) -> None:
    """Write down what happened."""
    services.ledger.apply(job.id, event, services.now(), known=job)


def crashed(job: Job, mine: Lease, services: Services) -> Event:
    """A worker died with the paid call in its hands: nobody knows whether it was sent."""
    return events.Lost("the worker died while it submitted", attempt=job.current.number)


def chore(job: Job, mine: Lease, services: Services) -> Event | None:
    """What an ended job still owes."""
    return CHORES[job.chores[0]](job, services)


def tell(job: Job, services: Services) -> Event:
    """Tell the caller of the end."""
    now = services.now()
    secrets = services.settings.webhook_secrets.get(job.tenant, ())
    try:
        request = notifications.notice(job, secrets, now)
        deadline_s = schedule.NOTICE_DEADLINE_S
        answer = services.http_client.send(request, deadline_s=deadline_s, max_bytes=1 << 16, once=True)
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


TOGETHER = {"poll": look_at_all, "submit": submit_all, "archive": archive_all}
STEPS: dict[State, Step] = {
    State.QUEUED: submit,
    State.SUBMITTING: crashed,
    State.UNCONFIRMED: poll,
    State.RUNNING: poll,
    State.COMPLETED: chore,
    State.FAILED: chore,
    State.CANCELED: chore,
}
CHORES: dict[Chore, Callable[[Job, Services], Event | None]] = {
    Chore.MANIFEST: write_manifest,
    Chore.NOTICE: tell,
    Chore.RETIRE: retire,
}
