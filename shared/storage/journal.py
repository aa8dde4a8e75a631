"""The journal: each paid call before it is sent, and its outcome, stored in S3 beside the ledger.

The ledger may be lost, with its machine or in a failover, and a clip must not be paid for twice because of that. Before
a paid call its attempt is stored here with the job's whole record; the outcome follows. Concurrent lines share an
object: while one object is being stored, new lines wait for the next one, so a paid call costs a fraction of a PUT.

    {prefix}journal/{YYYY}/{MM}/{DD}/{HHMM}/{ULID}.jsonl

Names sort by time. An object is named by the time of its newest line, so no line is in an object named before its time.
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
from functools import partial
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
from rushes.shared.storage.journal_erasure import without_content

log = structlog.get_logger()

# A paid call waits at most this long for its intent to be stored; then it is not sent.
STORE_TIMEOUT_S = 20
# A line waits this long for others: submits are handed out in groups.
GATHER_S = 0.015
# A caller of `is_empty` waits at most this long.
EMPTY_TIMEOUT_S = 2.0
# Outcomes alone wait this long for other lines; nobody waits for them.
LINGER_S = 1.0
# Longer answers are cut: they are kept as evidence. Longer request bodies are left out: no adapter sends them.
MAX_ANSWER_CHARS, MAX_SENT_CHARS = 2_000, 64_000
# Outcomes that could not be stored are kept for the next object, up to this many.
MAX_KEPT_LINES = 10_000
MAX_GROUP_LINES = 2_000
READERS = 16
# An outcome comes with the submit's deadline at the latest, and is stored moments later.
ANSWERED_WITHIN_MS = 120_000
# `entries` reads at most this many objects per attempt: a busy minute has many.
MAX_OBJECTS = 400

TOKEN = re.compile(r"(/callbacks/[^/\"\s]+/job_\w+/)[\w-]+")
CUT_TOKEN = re.compile(r"(/callbacks/[^/\"\s]+/job_\w+/)…")
SIGNED_QUERY = re.compile(r"(https?://[^\s\"?#\\]+)\?[^\s\"\\]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt in the journal: `at` in ms, `sent` the request body without secrets, `answer` the gateway's text."""

    attempt: int
    provider: str
    at: int
    sent: Mapping[str, Any]
    outcome: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A paid call before it is sent, with the job as it is then; `at` in ms."""

    job: Job
    at: int
    sent: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a paid call: its event, and `text`, the gateway's answer; `at` in ms."""

    job_id: str
    attempt: int
    submitted_at: int
    at: int
    event: Event
    text: str | None = None


class Journal:
    """Writes and reads the journal. Create one per process and share it between threads.

    Its writer thread starts with the first line. Methods that use S3 raise ArchiveUnavailable.
    """

    def __init__(self, archive: Archive, enabled: bool = True) -> None:
        self._archive = archive
        self._enabled = enabled
        self._emptiness_check = SingleFlight[bool](EMPTY_TIMEOUT_S)
        self._lines: list[tuple[int, str, Future[None] | None]] = []
        self._urgent = False
        self._wake = threading.Condition()
        self._writer: threading.Thread | None = None
        self._closed = False

    # --- writing

    def record_intents(self, calls: Sequence[tuple[Job, Request]], now: int) -> None:
        """Store the paid calls of some jobs' newest attempts; they are in the bucket when this returns.

        Raises ArchiveUnavailable if they are not stored within STORE_TIMEOUT_S: then none of them may be sent.
        """
        if not self._enabled:
            return
        stored: Future[None] = Future()
        # Invariant: all calls are in one object or none is. One entry of the queue is never split.
        self._enqueue(now, "\n".join(_line_text(_intent_line(job, request, now)) for job, request in calls), stored)
        try:
            stored.result(STORE_TIMEOUT_S)
        except TimeoutError:
            stored.cancel()
            raise ArchiveUnavailable(f"the journal was not stored within {STORE_TIMEOUT_S} s") from None

    def record_outcome(self, job: Job, event: Event, text: str | None, now: int) -> None:
        """Record the outcome of the job's newest attempt; it is stored soon after, without waiting."""
        if not self._enabled:
            return
        attempt = job.current
        line = {
            "kind": "answer",
            "at": now,
            "job": job.id,
            "attempt": attempt.number,
            "submitted_at": attempt.submitted_at,
            "outcome": _encode_event(event),
            "answer": text[:MAX_ANSWER_CHARS] if text else None,
        }
        self._enqueue(now, _line_text(line), None)

    def flush(self, timeout_s: float = 5) -> None:
        """Store the waiting lines, as far as that works within `timeout_s`."""
        if self._writer is None:
            return
        last: Future[None] = Future()
        with self._wake:
            self._lines.append((0, "", last))
            self._urgent = True
            self._wake.notify()
        with suppress(TimeoutError):
            last.exception(timeout_s)

    def close(self) -> None:
        """Store the waiting lines and end the writer thread; a later line starts it again."""
        self.flush()
        atexit.unregister(self.flush)
        with self._wake:
            self._closed = True
            self._wake.notify()

    def _enqueue(self, at: int, text: str, stored: Future[None] | None) -> None:
        with self._wake:
            self._lines.append((at, text, stored))
            self._urgent |= stored is not None
            if self._writer is None or not self._writer.is_alive():
                self._start()
            self._wake.notify()

    def _start(self) -> None:
        self._closed = False
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()
        atexit.register(self.flush)

    def _write(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._lines or self._closed)
                if not self._lines:
                    return
                self._wake.wait_for(lambda: self._urgent, LINGER_S)
            time.sleep(GATHER_S)
            with self._wake:
                group, self._lines = self._lines[:MAX_GROUP_LINES], self._lines[MAX_GROUP_LINES:]
                self._urgent = any(stored for _, _, stored in self._lines)
            # Invariant: an intent whose caller gave up waiting is not stored, since its call is not sent.
            self._store([line for line in group if line[2] is None or line[2].set_running_or_notify_cancel()])

    def _store(self, group: list[tuple[int, str, Future[None] | None]]) -> None:
        if not group:
            return
        failure: BaseException | None = None
        try:
            texts = [text for _, text, _ in group if text]
            if texts:
                self._archive.put_journal(_object_name(max(at for at, _, _ in group)), "\n".join(texts))
        except Exception as error:  # the writer continues, and the waiting callers get the error
            failure = error if isinstance(error, ArchiveUnavailable) else ArchiveUnavailable(repr(error))
            log.warning("journal not stored", lines=len(group), reason=str(error))
        for _, _, stored in group:
            if stored:
                stored.set_exception(failure) if failure else stored.set_result(None)
        if failure:
            self._keep([(at, text, None) for at, text, stored in group if stored is None])

    def _keep(self, outcomes: list[tuple[int, str, Future[None] | None]]) -> None:
        with self._wake:
            self._lines = [*outcomes, *self._lines][:MAX_KEPT_LINES]

    # --- reading

    def is_empty(self) -> bool:
        """Whether the journal has no objects; waits at most EMPTY_TIMEOUT_S for S3."""
        try:
            return self._emptiness_check.call(lambda: next(self._archive.journal_names(""), None) is None)
        except TimeoutError:
            raise ArchiveUnavailable("S3 does not respond") from None

    def read(self, since: int, until: int | None = None) -> Iterator[Intent | Outcome | str]:
        """Yield the lines since a time (ms), roughly in order. A line that cannot be decoded is yielded as its text."""
        names = self._archive.journal_names(
            _object_name(since, bare=True), None if until is None else _object_name(until, bare=True)
        )
        with ThreadPoolExecutor(READERS, thread_name_prefix="journal-read") as pool:
            for batch in _batches(names, READERS * 4):
                for text in pool.map(self._archive.read_journal, batch):
                    yield from map(_decode_line, text.split("\n"))

    def entries(self, job: Job) -> list[Entry]:
        """Return what was sent and answered for each of the job's attempts, as far as the journal has it."""
        return [entry for attempt in job.attempts for entry in self._entry(job, attempt.number, attempt.submitted_at)]

    def erase(self, job_id: str, since: int, until: int, at: int) -> bool:
        """Take the content out of a job's lines between two moments (ms); False if older versions may remain."""
        self.flush()
        names = self._archive.journal_names(_object_name(since, bare=True), _object_name(until, bare=True))
        rewrite = partial(self._archive.rewrite_journal, edit=partial(without_content, job_id=job_id, at=at))
        with ThreadPoolExecutor(READERS, thread_name_prefix="journal-erase") as pool:
            results = [is_all for batch in _batches(names, READERS * 4) for is_all in pool.map(rewrite, batch)]
        return all(results)

    def _entry(self, job: Job, number: int, submitted_at: int) -> list[Entry]:
        entry: Entry | None = None
        for line in self._lines_about(job.id, submitted_at):
            if (line["attempt"], line["submitted_at"]) != (number, submitted_at):
                continue
            if line["kind"] == "intent":
                entry = Entry(number, line["provider"], line["at"], line["sent"])
            elif entry:
                outcome = line["outcome"]["what"]
                return [Entry(number, entry.provider, entry.at, entry.sent, outcome, line["answer"])]
        return [entry] if entry else []

    def _lines_about(self, job_id: str, since: int) -> Iterator[dict[str, Any]]:
        names = self._archive.journal_names(
            _object_name(since, bare=True), _object_name(since + ANSWERED_WITHIN_MS, bare=True)
        )
        for _, name in zip(range(MAX_OBJECTS), names, strict=False):
            for text in self._archive.read_journal(name).split("\n"):
                if f'"job":"{job_id}"' in text:
                    yield json.loads(text)


def _intent_line(job: Job, request: Request, now: int) -> dict[str, Any]:
    attempt = job.current
    body = compact(request.json)
    return {
        "kind": "intent",
        "at": now,
        "job": job.id,
        "attempt": attempt.number,
        "submitted_at": attempt.submitted_at,
        "provider": attempt.provider,
        "sent": json.loads(SIGNED_QUERY.sub(r"\1?…", body)) if len(body) <= MAX_SENT_CHARS else {},
        "record": record.encode(job, "journal"),
    }


def _line_text(line: Mapping[str, Any]) -> str:
    """The text of a line, without the token of a callback URL."""
    return TOKEN.sub(r"\1…", compact(line))


def with_token(body: Mapping[str, Any], token: str) -> dict[str, Any]:
    """The body of a call as it was sent, made of what the journal has: the token of its callback URL was cut out."""
    return dict(json.loads(CUT_TOKEN.sub(rf"\g<1>{token}", compact(body))))


def _object_name(at: int, bare: bool = False) -> str:
    """The name of an object of that millisecond; with `bare` a prefix that sorts before it and after earlier ones."""
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


def _encode_event(event: Event) -> dict[str, Any]:
    """The fields of an event in a line: all that is needed to apply it again."""
    fields: dict[str, Any] = {"what": type(event).__name__.lower()}
    if isinstance(event, events.Accepted):
        fields["task_id"] = event.task_id
    if isinstance(event, events.Refused):
        fields |= {"reason": event.reason.value, "message": event.message, "retry_after_s": event.retry_after_s}
    if isinstance(event, events.Lost):
        fields["message"] = event.message
    return fields


def _decode_line(text: str) -> Intent | Outcome | str:
    try:
        line = json.loads(text)
        if line["kind"] == "intent":
            return Intent(record.decode(line["record"]), line["at"], line["sent"])
        number, submitted_at = line["attempt"], line["submitted_at"]
        event = _decode_event(line["outcome"], number, submitted_at)
        return Outcome(line["job"], number, submitted_at, line["at"], event, line["answer"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return text


def _decode_event(fields: Mapping[str, Any], number: int, submitted_at: int) -> Event:
    what = fields["what"]
    if what == "accepted":
        return events.Accepted(fields["task_id"], attempt=number)
    if what == "refused":
        reason = events.Reason(fields["reason"])
        return events.Refused(reason, fields["message"], fields["retry_after_s"], attempt=number)
    if what == "withdrawn":
        return events.Withdrawn(submitted_at, attempt=number)
    return events.Lost(fields.get("message", what), attempt=number)
