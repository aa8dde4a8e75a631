"""Restores jobs that the journal has and the ledger lost. Nothing is sent to a gateway here.

The journal's outcome of an attempt decides: an accepted one is polled, a refused or withdrawn one goes on as it would
have, and one without an outcome is unconfirmed, like a submit whose worker died. A job that the ledger has is left as
it is, and a job whose manifest is in the bucket has ended. So a recovery may run twice, and while the system runs.
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
from rushes.shared.storage.journal import Intent, Outcome, with_token

log = structlog.get_logger()

PAGE = 200
MANIFEST_THREADS = 16
# No document says how long apimart honours an idempotency key: an older call is not sent again under its key.
KEY_LIFE_S = 3600
# The clocks of the workers that write the journal may differ by this much.
SKEW_MS = 60_000

AttemptKey = tuple[str, int, int]


@dataclass
class Report:
    """What a recovery did; after a dry run, what it would do."""

    put_back: list[Job] = field(default_factory=list)
    """Restored jobs: those that the ledger lacked, or had without their newest attempt."""
    answered: list[str] = field(default_factory=list)
    """The ids of jobs that it had, and to which a task id was added."""
    known: int = 0
    ended: int = 0
    unreadable: int = 0


@dataclass
class JournalContent:
    """The content of the journal: the newest intent of each job, and the outcome of each attempt."""

    read_at: int = 0
    """When the last reading began, in ms."""
    intents: dict[str, Intent] = field(default_factory=dict)
    outcomes: dict[AttemptKey, Event] = field(default_factory=dict)
    unreadable: int = 0

    def add(self, lines: Iterable[Intent | Outcome | str]) -> Self:
        """Add more lines of the journal."""
        for line in lines:
            if isinstance(line, str):
                self.unreadable += bool(line.strip())
            elif isinstance(line, Intent):
                intent = self.intents.get(line.job.id)
                if intent is None or call_order(intent.job) < call_order(line.job):
                    self.intents[line.job.id] = line
            elif isinstance(line.event, events.Accepted) or line_key(line) not in self.outcomes:
                self.outcomes[line_key(line)] = line.event
        return self

    def outcome(self, intent: Intent) -> Event | None:
        """The outcome of a paid call, None if the journal has none."""
        event = self.outcomes.get((intent.job.id, *attempt_key(intent.job)))
        # A second call is never taken as withdrawn: a frozen worker may have withdrawn the first one while another sent
        # it again under the same key, so it may have been paid for.
        return None if isinstance(event, events.Withdrawn) and is_second_call(intent.job) else event


def recover(services: Services, since: int = 0, dry_run: bool = False) -> Report:
    """Compare the journal since a time (ms) with the ledger, and restore what is missing there.

    Raises ArchiveUnavailable and LedgerUnavailable. What was restored before stays, and a second run does the rest.
    """
    journal = JournalContent(read_at=services.now()).add(services.journal.read(since))
    report = Report(unreadable=journal.unreadable)
    for intents in pages([*journal.intents.values()]):
        compare(intents, journal, report, services, dry_run)
    add_task_ids(journal, report, services, dry_run)
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


def attempt_key(job: Job) -> tuple[int, int]:
    """Identifies a job's newest attempt. Its number alone does not: a withdrawn attempt leaves it to the next one."""
    return job.current.number, job.current.submitted_at


def is_second_call(job: Job) -> bool:
    """Whether an intent is of a second call of the same attempt, made because the first one's response was lost."""
    return job.state is State.UNCONFIRMED


def call_order(job: Job) -> tuple[int, int, bool]:
    """Orders the intents of a job by time: by attempt, and within an attempt the first call before the second."""
    return (*attempt_key(job), is_second_call(job))


def line_key(line: Outcome) -> AttemptKey:
    return line.job_id, line.attempt, line.submitted_at


def pages(intents: Iterable[Intent]) -> Iterator[list[Intent]]:
    rest = iter(intents)
    while page := list(islice(rest, PAGE)):
        yield page


def compare(
    intents: Sequence[Intent], journal: JournalContent, report: Report, services: Services, dry_run: bool
) -> None:
    """Compare a page of intents with the ledger, and those that it lacks with the bucket; restore the missing ones."""
    records = services.ledger.get_many([intent.job.id for intent in intents])
    pairs = list(zip(intents, records, strict=True))
    lost = [intent for intent, job in pairs if job is None]
    behind = [(intent, job) for intent, job in pairs if job and is_behind(job, intent, journal)]
    if behind:
        # An attempt that was withdrawn since the journal was read is gone from the ledger, and would be restored as
        # unconfirmed. Its outcome was stored in the journal before that, so it is read again.
        since, journal.read_at = journal.read_at - SKEW_MS, services.now()
        journal.add(services.journal.read(since))
    behind = [(intent, job) for intent, job in behind if is_behind(job, intent, journal)]
    with ThreadPoolExecutor(MANIFEST_THREADS, thread_name_prefix="recovery") as pool:
        ended = list(pool.map(lambda intent: has_ended(intent.job, services), lost))
    missing = [intent for intent, is_over in zip(lost, ended, strict=True) if not is_over]
    report.ended += sum(ended)
    for intent, is_over in zip(lost, ended, strict=True):
        if is_over and not dry_run:
            services.ledger.restore_key(intent.job, services.now())
    report.known += len(intents) - len(lost) - len(behind)
    for intent in (*missing, *(intent for intent, _ in behind)):
        restore(intent, journal.outcome(intent), report, services, dry_run)


def is_behind(job: Job, intent: Intent, journal: JournalContent) -> bool:
    """Whether the ledger lacks an attempt that may have been sent. A withdrawn one leaves no trace in the ledger."""
    is_withdrawn = isinstance(journal.outcome(intent), events.Withdrawn)
    return not (job.ended or is_withdrawn or job.knows(intent.job.current))


def has_ended(job: Job, services: Services) -> bool:
    """Whether it was erased, which only an ended job is, or its manifest is in the bucket."""
    if job.erase_asked_at is not None:
        return True
    folder = services.archive.folder(job.id, job.created_at)
    return services.archive.head(folder + "manifest.json") is not None


def restore(intent: Intent, outcome: Event | None, report: Report, services: Services, dry_run: bool) -> None:
    """Restore a job to the state that follows from its outcome."""
    now = services.now()
    job = job_after(as_sent(intent.job, services), outcome, now, services.settings.policy)
    is_withdrawn = isinstance(outcome, events.Withdrawn)
    if dry_run or services.ledger.restore(job, intent.job.current, overwrite=not is_withdrawn):
        report.put_back.append(job)
        log.info("put back", job=job.id, state=job.state.value, provider=job.provider, dry_run=dry_run)
    else:
        report.known += 1


def as_sent(job: Job, services: Services) -> Job:
    """The job with the body that its newest attempt sent: with another one apimart refuses the second call of a key."""
    attempt = job.current
    if attempt.body is None:
        return job
    token = services.callback_token(job, attempt.provider, attempt.number)
    return job.with_attempt(body=with_token(attempt.body, token))


def job_after(job: Job, outcome: Event | None, now: int, policy: schedule.Policy) -> Job:
    """The job after the outcome of its newest attempt; without an outcome it is unconfirmed."""
    if not job.current.askable and now > schedule.after(job.current.submitted_at, KEY_LIFE_S):
        job = job.with_attempt(body=None)
    restored = transition(job, outcome or events.Lost("the journal has no answer"), now, policy)
    restored = replace(restored, version=job.version + 1).noted(now, "put back", "from the journal")
    return replace(restored, due_at=now) if restored.state is State.RUNNING else restored


def add_task_ids(journal: JournalContent, report: Report, services: Services, dry_run: bool) -> None:
    """Add task ids that the journal has to attempts in the ledger that have none."""
    accepted = [(key, event) for key, event in journal.outcomes.items() if isinstance(event, events.Accepted)]
    rest = iter(accepted)
    while page := list(islice(rest, PAGE)):
        jobs = services.ledger.get_many([job_id for (job_id, _, _), _ in page])
        for ((_, number, submitted_at), event), job in zip(page, jobs, strict=True):
            if job and lacks_task_id(job, number, submitted_at):
                report.answered.append(job.id)
                if not dry_run:
                    services.ledger.apply(job.id, event, services.now())


def lacks_task_id(job: Job, number: int, submitted_at: int) -> bool:
    """Whether the job has this attempt, without a task id."""
    key = (number, submitted_at, None)
    return any((attempt.number, attempt.submitted_at, attempt.task_id) == key for attempt in job.attempts)
