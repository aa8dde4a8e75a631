"""The journal: what was about to be paid for, and what came of it, written to S3 beside the ledger.

The ledger may be lost, with a machine or in a failover; money that was spent must not be spent again for that. Before a
paid call its attempt is stored here, with the job's whole record; the answer follows. Lines of one moment share an
object: while one is being stored, those that come meanwhile wait for the next together, so that a paid call costs a
share of a PUT.

    {prefix}journal/{YYYY}/{MM}/{DD}/{HHMM}/{ULID}.jsonl

Names sort by time. A line is at the latest in the object of its own moment, never in an earlier one.
"""

from __future__ import annotations

import atexit
import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from rushes.shared.compact_json import compact
from rushes.shared.domain import events, ids
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Job
from rushes.shared.ledger import record
from rushes.shared.single_flight import SingleFlight
from rushes.shared.storage.archive import Archive, ArchiveUnavailable

log = structlog.get_logger()

# A paid call waits for its intent no longer than this; then it is not sent.
WAIT_S = 20
# A line waits so long for those of the same moment: a handful of submits is handed out together.
GATHER_S = 0.015
# A caller waits so long to hear whether the journal is empty.
EMPTY_S = 2.0
# Answers wait so long for company; nobody waits for them.
LINGER_S = 1.0
# An answer is evidence, not an archive; a body that is larger than this is no request of ours.
ANSWER_CHARS, SENT_CHARS = 2_000, 64_000
# Answers that could not be stored are tried again with the next, up to so many.
KEPT = 10_000
GROUP = 2_000
READERS = 16
# An answer comes with the submit's deadline at the latest, and is stored moments later.
ANSWERED_WITHIN_MS = 120_000
# `entries` reads so many objects at the most: a busy minute has many.
OBJECTS = 400

TOKEN = re.compile(r"(/callbacks/[^/\"\s]+/job_\w+/)[\w-]+")
SIGNED = re.compile(r"(https?://[^\s\"?#\\]+)\?[^\s\"\\]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt as the journal knows it; `sent` is the body without secrets, `answer` what the gateway said."""

    attempt: int
    provider: str
    at: int
    sent: Mapping[str, Any]
    outcome: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A paid call that was about to be sent, with the job as it was then."""

    job: Job
    at: int
    sent: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a paid call."""

    job_id: str
    attempt: int
    submitted_at: int
    at: int
    event: Event
    text: str | None = None


class Journal:
    """One a process, safe for threads; its writer starts with the first line. Doors raise ArchiveUnavailable."""

    def __init__(self, archive: Archive, enabled: bool = True) -> None:
        self._archive = archive
        self._enabled = enabled
        self._look = SingleFlight[bool](EMPTY_S)
        self._lines: list[tuple[int, str, Future[None] | None]] = []
        self._urgent = False
        self._wake = threading.Condition()
        self._writer: threading.Thread | None = None

    # --- writing

    def intend(self, calls: Sequence[tuple[Job, Request]], now: int) -> None:
        """Store what is about to be sent for some jobs' newest attempts; it stands in the bucket when this returns.

        Raises ArchiveUnavailable where it does not, or not soon enough: then none of it may be sent.
        """
        if not self._enabled:
            return
        stored: Future[None] = Future()
        # One entry, for all of it is to stand in the same object, or none.
        self._take(now, "\n".join(_told_of(_intent(job, request, now)) for job, request in calls), stored)
        try:
            stored.result(WAIT_S)
        except TimeoutError:
            stored.cancel()
            raise ArchiveUnavailable(f"the journal was not stored within {WAIT_S} s") from None

    def answered(self, job: Job, event: Event, text: str | None, now: int) -> None:
        """Note what came of the job's newest attempt; it is stored soon, and nobody waits for it."""
        if not self._enabled:
            return
        attempt = job.current
        line = {
            "kind": "answer",
            "at": now,
            "job": job.id,
            "attempt": attempt.number,
            "submitted_at": attempt.submitted_at,
            "outcome": _told(event),
            "answer": text[:ANSWER_CHARS] if text else None,
        }
        self._take(now, _told_of(line), None)

    def flush(self, timeout_s: float = 5) -> None:
        """Store what waits, as far as it goes within the time."""
        if self._writer is None:
            return
        last: Future[None] = Future()
        with self._wake:
            self._lines.append((0, "", last))
            self._urgent = True
            self._wake.notify()
        with suppress(TimeoutError):
            last.exception(timeout_s)

    def _take(self, at: int, text: str, stored: Future[None] | None) -> None:
        with self._wake:
            self._lines.append((at, text, stored))
            self._urgent |= stored is not None
            if self._writer is None or not self._writer.is_alive():
                self._start()
            self._wake.notify()

    def _start(self) -> None:
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()
        atexit.register(self.flush)

    def _write(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._lines)
                self._wake.wait_for(lambda: self._urgent, LINGER_S)
            time.sleep(GATHER_S)
            with self._wake:
                group, self._lines = self._lines[:GROUP], self._lines[GROUP:]
                self._urgent = any(stored for _, _, stored in self._lines)
            self._store([one for one in group if one[2] is None or one[2].set_running_or_notify_cancel()])

    def _store(self, group: list[tuple[int, str, Future[None] | None]]) -> None:
        if not group:
            return
        failure: BaseException | None = None
        try:
            told = [text for _, text, _ in group if text]
            if told:
                self._archive.put_journal(_name(max(at for at, _, _ in group)), "\n".join(told))
        except Exception as error:  # the writer goes on, and those who wait are told
            failure = error if isinstance(error, ArchiveUnavailable) else ArchiveUnavailable(repr(error))
            log.warning("journal not stored", lines=len(group), reason=str(error))
        for _, _, stored in group:
            if stored:
                stored.set_exception(failure) if failure else stored.set_result(None)
        if failure:
            self._keep([(at, text, None) for at, text, stored in group if stored is None])

    def _keep(self, answers: list[tuple[int, str, Future[None] | None]]) -> None:
        with self._wake:
            self._lines = [*answers, *self._lines][:KEPT]

    # --- reading

    def empty(self) -> bool:
        """Whether nothing was ever noted; a caller waits for the answer."""
        try:
            return self._look.look(lambda: next(self._archive.journal(""), None) is None)
        except TimeoutError:
            raise ArchiveUnavailable("S3 does not answer") from None

    def read(self, since: int, until: int | None = None) -> Iterator[Intent | Answer | str]:
        """Everything noted since a moment (ms), in about its order; a line that cannot be read comes as its text."""
        names = self._archive.journal(_name(since, bare=True), None if until is None else _name(until, bare=True))
        with ThreadPoolExecutor(READERS, thread_name_prefix="journal-read") as pool:
            for batch in _batches(names, READERS * 4):
                for text in pool.map(self._archive.read_journal, batch):
                    yield from map(_line, text.split("\n"))

    def entries(self, job: Job) -> list[Entry]:
        """What was sent for each of the job's attempts, and what was answered, as far as the journal is found."""
        return [entry for attempt in job.attempts for entry in self._entry(job, attempt.number, attempt.submitted_at)]

    def _entry(self, job: Job, number: int, submitted_at: int) -> list[Entry]:
        found: Entry | None = None
        for line in self._lines_about(job.id, submitted_at):
            if (line["attempt"], line["submitted_at"]) != (number, submitted_at):
                continue
            if line["kind"] == "intent":
                found = Entry(number, line["provider"], line["at"], line["sent"])
            elif found:
                outcome = line["outcome"]["what"]
                return [Entry(number, found.provider, found.at, found.sent, outcome, line["answer"])]
        return [found] if found else []

    def _lines_about(self, job_id: str, since: int) -> Iterator[dict[str, Any]]:
        names = self._archive.journal(_name(since, bare=True), _name(since + ANSWERED_WITHIN_MS, bare=True))
        for _, name in zip(range(OBJECTS), names, strict=False):
            for text in self._archive.read_journal(name).split("\n"):
                if f'"job":"{job_id}"' in text:
                    yield json.loads(text)


def _intent(job: Job, request: Request, now: int) -> dict[str, Any]:
    attempt = job.current
    body = compact(request.json)
    return {
        "kind": "intent",
        "at": now,
        "job": job.id,
        "attempt": attempt.number,
        "submitted_at": attempt.submitted_at,
        "provider": attempt.provider,
        "sent": json.loads(SIGNED.sub(r"\1?…", body)) if len(body) <= SENT_CHARS else {},
        "record": record.encode(job, "journal"),
    }


def _told_of(line: Mapping[str, Any]) -> str:
    """A line of the journal, without the token of a callback."""
    return TOKEN.sub(r"\1…", compact(line))


def _name(at: int, bare: bool = False) -> str:
    """The name of an object of that moment; bare, what sorts before all of them and after those of earlier ones."""
    minute = f"{datetime.fromtimestamp(at / 1000, UTC):%Y/%m/%d/%H%M}/"
    if bare:
        return minute + ids.ulid(at << ids.RANDOM_BITS)[:10]
    return f"{minute}{ids.new_id(at).removeprefix('job_')}.jsonl"


def _batches(names: Iterable[str], size: int) -> Iterator[list[str]]:
    batch: list[str] = []
    for name in names:
        batch.append(name)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def _told(event: Event) -> dict[str, Any]:
    """An outcome as it stands in a line: all that is needed to apply it again."""
    told: dict[str, Any] = {"what": type(event).__name__.lower()}
    if isinstance(event, events.Accepted):
        told["task_id"] = event.task_id
    if isinstance(event, events.Refused):
        told |= {"reason": event.reason.value, "message": event.message, "retry_after_s": event.retry_after_s}
    if isinstance(event, events.Lost):
        told["message"] = event.message
    return told


def _line(text: str) -> Intent | Answer | str:
    try:
        line = json.loads(text)
        if line["kind"] == "intent":
            return Intent(record.decode(line["record"]), line["at"], line["sent"])
        number, submitted_at = line["attempt"], line["submitted_at"]
        event = _heard(line["outcome"], number, submitted_at)
        return Answer(line["job"], number, submitted_at, line["at"], event, line["answer"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return text


def _heard(told: Mapping[str, Any], number: int, submitted_at: int) -> Event:
    what = told["what"]
    if what == "accepted":
        return events.Accepted(told["task_id"], attempt=number)
    if what == "refused":
        return events.Refused(events.Reason(told["reason"]), told["message"], told["retry_after_s"], attempt=number)
    if what == "withdrawn":
        return events.Withdrawn(submitted_at, attempt=number)
    return events.Lost(told.get("message", what), attempt=number)
