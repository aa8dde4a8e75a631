"""Puts back into the ledger what the journal knows and the ledger lost. Nothing is sent to a gateway here.

What becomes of a journalled attempt follows from its answer: accepted, it is polled; refused or held back, it goes on
as it would have; without an answer it is in doubt, as a submit whose worker died is. What the ledger knows is the
ledger's, and a job whose manifest stands in the bucket has ended. So it may run twice, and while the system runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Self

import structlog

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.transitions import transition
from rushes.shared.services import Services
from rushes.shared.storage.journal import Intent, Outcome

log = structlog.get_logger()

PAGE = 200
LOOKERS = 16
# No document says for how long apimart honours a key: what is older than this is not asked for again under it.
KEY_LIFE_S = 3600
# The clocks of the workers that write the journal may be so far apart.
SKEW_MS = 60_000

AttemptKey = tuple[str, int, int]


@dataclass
class Report:
    """What a recovery came to; in a dry run, what it would come to."""

    put_back: list[Job] = field(default_factory=list)
    """Jobs that the ledger did not have, or not with their newest attempt, as they stand now."""
    answered: list[str] = field(default_factory=list)
    """Jobs that it had, and to which a task id was added."""
    known: int = 0
    ended: int = 0
    unreadable: int = 0


@dataclass
class JournalAnswers:
    """What the journal says: of each job the newest attempt, of each attempt what came of it."""

    read_at: int = 0
    """When it was last begun to read, ms."""
    intents: dict[str, Intent] = field(default_factory=dict)
    outcomes: dict[AttemptKey, Event] = field(default_factory=dict)
    unreadable: int = 0

    def hear(self, lines: Iterable[Intent | Outcome | str]) -> Self:
        """Sort more of the journal's lines."""
        for line in lines:
            if isinstance(line, str):
                self.unreadable += bool(line.strip())
            elif isinstance(line, Intent):
                known = self.intents.get(line.job.id)
                if known is None or rank(known.job) < rank(line.job):
                    self.intents[line.job.id] = line
            elif isinstance(line.event, events.Accepted) or line_key(line) not in self.outcomes:
                self.outcomes[line_key(line)] = line.event
        return self

    def outcome(self, intent: Intent) -> Event | None:
        """What came of a paid call, where that was noted."""
        event = self.outcomes.get((intent.job.id, *newest(intent.job)))
        # A frozen worker took back what another had sent meanwhile, under the same key: it may have been paid for.
        return None if isinstance(event, events.Withdrawn) and asked_again(intent.job) else event


def recover(services: Services, since: int = 0, dry_run: bool = False) -> Report:
    """Compare the journal since a moment (ms) with the ledger, and put back what is missing there.

    Raises ArchiveUnavailable and LedgerUnavailable; what was put back until then stays, and a second run does the rest.
    """
    told = JournalAnswers(read_at=services.now()).hear(services.journal.read(since))
    report = Report(unreadable=told.unreadable)
    for intents in pages([*told.intents.values()]):
        compare(intents, told, report, services, dry_run)
    fill_in(told, report, services, dry_run)
    log.info(
        "recovered",
        put_back=len(report.put_back),
        answered=len(report.answered),
        known=report.known,
        ended=report.ended,
        unreadable=report.unreadable,
        dry_run=dry_run,
    )
    return report


def newest(job: Job) -> tuple[int, int]:
    """What tells one attempt of a job from another: one that was held back leaves its number to the next."""
    return job.current.number, job.current.submitted_at


def asked_again(job: Job) -> bool:
    """Whether an intent is of a second call for the same attempt, made because the first one's answer was lost."""
    return job.state is State.UNCONFIRMED


def rank(job: Job) -> tuple[int, int, bool]:
    """Orders the intents of a job: a later attempt is higher, and of one attempt the call that was made again."""
    return (*newest(job), asked_again(job))


def line_key(line: Outcome) -> AttemptKey:
    return line.job_id, line.attempt, line.submitted_at


def pages(intents: Iterable[Intent]) -> Iterator[list[Intent]]:
    rest = iter(intents)
    while page := list(islice(rest, PAGE)):
        yield page


def compare(intents: Sequence[Intent], told: JournalAnswers, report: Report, services: Services, dry_run: bool) -> None:
    """Hold a page of intents against the ledger, and what it does not know against the bucket."""
    held = services.ledger.get_many([intent.job.id for intent in intents])
    lost = [intent for intent, job in zip(intents, held, strict=True) if job is None]
    behind = [(intent, job) for intent, job in zip(intents, held, strict=True) if job and is_behind(job, intent, told)]
    if behind:  # what was held back since the journal was read is gone from the ledger; its line was stored before that
        since, told.read_at = told.read_at - SKEW_MS, services.now()
        told.hear(services.journal.read(since))
    behind = [(intent, job) for intent, job in behind if is_behind(job, intent, told)]
    with ThreadPoolExecutor(LOOKERS, thread_name_prefix="recovery") as pool:
        over = list(pool.map(lambda intent: has_manifest(intent.job, services), lost))
    missing = [intent for intent, is_over in zip(lost, over, strict=True) if not is_over]
    report.ended += sum(over)
    for intent, is_over in zip(lost, over, strict=True):
        if is_over and not dry_run:
            services.ledger.restore_key(intent.job, services.now())
    report.known += len(intents) - len(lost) - len(behind)
    for intent in (*missing, *(intent for intent, _ in behind)):
        put_back(intent, told.outcome(intent), report, services, dry_run)


def is_behind(job: Job, intent: Intent, told: JournalAnswers) -> bool:
    """Whether the ledger lacks an attempt that may have been sent; one that was held back leaves no trace there."""
    held_back = isinstance(told.outcome(intent), events.Withdrawn)
    return not (job.ended or held_back or job.knows(intent.job.current))


def has_manifest(job: Job, services: Services) -> bool:
    folder = services.archive.folder(job.id, job.created_at)
    return services.archive.head(folder + "manifest.json") is not None


def put_back(intent: Intent, outcome: Event | None, report: Report, services: Services, dry_run: bool) -> None:
    """Write a job down as it must stand by now."""
    now = services.now()
    job = replayed(intent.job, outcome, now, services.settings.policy)
    held_back = isinstance(outcome, events.Withdrawn)
    if dry_run or services.ledger.restore(job, intent.job.current, overwrite=not held_back):
        report.put_back.append(job)
        log.info("put back", job=job.id, state=job.state.value, provider=job.provider, dry_run=dry_run)
    else:
        report.known += 1


def replayed(job: Job, outcome: Event | None, now: int, policy: schedule.Policy) -> Job:
    """The job after what the journal says came of its newest attempt; without a word it is in doubt."""
    if now > schedule.after(job.current.submitted_at, KEY_LIFE_S):
        job = job.with_attempt(body=None)
    moved = transition(job, outcome or events.Lost("the journal has no answer"), now, policy)
    moved = replace(moved, version=job.version + 1).noted(now, "put back", "from the journal")
    return replace(moved, due_at=now) if moved.state is State.RUNNING else moved


def fill_in(told: JournalAnswers, report: Report, services: Services, dry_run: bool) -> None:
    """Tell the ledger of tasks whose answers it lost."""
    accepted = [(key, event) for key, event in told.outcomes.items() if isinstance(event, events.Accepted)]
    rest = iter(accepted)
    while page := list(islice(rest, PAGE)):
        jobs = services.ledger.get_many([job_id for (job_id, _, _), _ in page])
        for ((_, number, submitted_at), event), job in zip(page, jobs, strict=True):
            if job and unanswered(job, number, submitted_at):
                report.answered.append(job.id)
                if not dry_run:
                    services.ledger.apply(job.id, event, services.now())


def unanswered(job: Job, number: int, submitted_at: int) -> bool:
    """Whether the ledger has this attempt, and no task for it."""
    return any((a.number, a.submitted_at, a.task_id) == (number, submitted_at, None) for a in job.attempts)
