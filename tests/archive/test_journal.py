"""The journal of paid calls, in a real S3."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from factories import MINUTE, NOW, attempt, job_in, rejected
from patience import PATIENCE_S, wait_until

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Job, State
from rushes.shared.storage import journal as journals
from rushes.shared.storage.archive import Archive, ArchiveUnavailable
from rushes.shared.storage.journal import Entry, Intent, Journal, Outcome

TOKEN = "1-abcDEF_ghi-123"
BODY = {"prompt": "a kite", "image_url": "https://clips.example/who.jpg?X-Amz-Signature=abc"}
PAID = Request("POST", "https://api.apimart.example/v1", {"Authorization": "Bearer sk-secret"}, BODY)


@pytest.fixture
def journal(archive: Archive) -> Iterator[Journal]:
    journal_under_test = Journal(archive)
    yield journal_under_test
    journal_under_test.flush()


def new_job(**changes: Any) -> Job:
    return job_in(State.SUBMITTING, **changes)


def objects(s3: Any, bucket: str) -> dict[str, str]:
    entries = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {entry["Key"]: s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read().decode() for entry in entries}


def test_an_intent_stands_in_the_bucket_when_the_call_may_be_sent(journal: Journal, s3: Any, bucket: str) -> None:
    subject = new_job()
    journal.record_intents([(subject, PAID)], NOW)

    (name,) = objects(s3, bucket)
    assert name.startswith("journal/2026/09/21/1413/")
    assert list(journal.read(NOW)) == [Intent(subject, NOW, {**BODY, "image_url": "https://clips.example/who.jpg?…"})]


def test_no_key_and_no_token_is_written_down(journal: Journal, s3: Any, bucket: str) -> None:
    address = f"https://rushes.example/callbacks/evolink/job_01ABC/{TOKEN}"
    subject = new_job(plan={"body": {"callback_url": address}})
    journal.record_intents([(subject, Request("POST", PAID.url, PAID.headers, {"callback_url": address}))], NOW)

    (text,) = objects(s3, bucket).values()
    assert "/callbacks/evolink/job_01ABC/…" in text
    assert not [secret for secret in (TOKEN, "sk-secret", "Bearer") if secret in text]


@pytest.mark.parametrize(
    "event",
    [
        events.Accepted("task-9", attempt=1),
        events.Refused(Reason.RATE, "too fast", 7.5, attempt=1),
        events.Lost("HTTP 502", attempt=1),
        events.Withdrawn(NOW, attempt=1),
    ],
)
def test_an_answer_comes_back_as_it_was_heard(journal: Journal, event: events.Event) -> None:
    subject = new_job()
    journal.record_outcome(subject, event, "HTTP 200 so it was", NOW)
    journal.flush()

    assert list(journal.read(NOW)) == [Outcome(subject.id, 1, NOW, NOW, event, "HTTP 200 so it was")]


def test_an_answer_is_stored_a_moment_later_without_anybody_asking(journal: Journal) -> None:
    journal.record_outcome(new_job(), events.Lost(""), None, NOW)
    wait_until(lambda: bool(list(journal.read(NOW))), "the answer in the bucket")


def test_what_comes_while_an_object_is_stored_shares_the_next(
    journal: Journal, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, first_is_out, may_go_on = [], threading.Event(), threading.Event()

    def put(name: str, text: str) -> None:
        stored.append(text.count("\n") + 1)
        first_is_out.set()
        may_go_on.wait(PATIENCE_S)

    monkeypatch.setattr(archive, "put_journal", put)
    callers = [threading.Thread(target=journal.record_intents, args=([(new_job(), PAID)], NOW)) for _ in range(9)]
    callers[0].start()
    first_is_out.wait(PATIENCE_S)
    for caller in callers[1:]:
        caller.start()
    wait_until(lambda: len(journal._lines) == 8, "all who wait")
    waiting = [caller.is_alive() for caller in callers]
    may_go_on.set()
    for caller in callers:
        caller.join(PATIENCE_S)

    assert waiting == [True] * 9
    assert stored == [1, 8]


def test_without_the_bucket_an_intent_is_refused(journal: Journal, answers: Callable[..., list[str]]) -> None:
    answers("PutObject", 403, "AccessDenied")
    with pytest.raises(ArchiveUnavailable):
        journal.record_intents([(new_job(), PAID)], NOW)


# --- several intents in one call


def test_the_intents_of_a_call_stand_in_one_object_and_each_can_be_read(journal: Journal, s3: Any, bucket: str) -> None:
    subjects = [new_job() for _ in range(3)]
    calls = [(subject, Request("POST", "", {}, {"prompt": f"kite {n}"})) for n, subject in enumerate(subjects)]
    journal.record_intents(calls, NOW)

    assert [text.count('"kind":"intent"') for text in objects(s3, bucket).values()] == [3]
    assert list(journal.read(NOW)) == [Intent(subject, NOW, call.json or {}) for subject, call in calls]
    assert [journal.entries(subject) for subject in subjects] == [
        [Entry(1, "apimart", NOW, {"prompt": f"kite {n}"})] for n in range(3)
    ]


def test_no_token_of_any_call_is_written_down(journal: Journal, s3: Any, bucket: str) -> None:
    address = f"https://rushes.example/callbacks/evolink/job_01ABC/{TOKEN}"
    calls = [(new_job(plan={"body": {"callback_url": address}}), Request("POST", "", {}, {"u": address})) for _ in "ab"]
    journal.record_intents(calls, NOW)

    (text,) = objects(s3, bucket).values()
    assert (text.count("/callbacks/evolink/job_01ABC/…"), TOKEN in text) == (4, False)


def test_without_the_bucket_all_intents_of_a_call_are_refused_and_none_is_stored_later(
    journal: Journal, s3: Any, bucket: str, answers: Callable[..., list[str]]
) -> None:
    answers("PutObject", 403, "AccessDenied")
    refused, later = [new_job() for _ in range(3)], new_job()
    with pytest.raises(ArchiveUnavailable):
        journal.record_intents([(subject, PAID) for subject in refused], NOW)
    journal.record_intents([(later, PAID)], NOW)

    assert [line.job for line in journal.read(NOW) if isinstance(line, Intent)] == [later]
    assert len(objects(s3, bucket)) == 1


def test_one_that_cannot_be_told_leaves_nothing_of_its_call(journal: Journal, s3: Any, bucket: str) -> None:
    odd = Request("POST", "", {}, {"prompt": object()})
    with pytest.raises(TypeError):
        journal.record_intents([(new_job(), PAID), (new_job(), odd), (new_job(), PAID)], NOW)
    journal.flush()

    assert objects(s3, bucket) == {}


def test_the_intents_of_a_call_are_never_parted(
    journal: Journal, s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MAX_GROUP_LINES", 1)
    journal.record_outcome(new_job(), events.Lost(""), None, NOW)
    journal.record_intents([(new_job(), PAID) for _ in range(3)], NOW + 1)
    journal.record_intents([(new_job(), PAID) for _ in range(2)], NOW + 2)

    assert [text.count("\n") + 1 for _, text in sorted(objects(s3, bucket).items())] == [1, 3, 2]


def test_calls_that_come_while_an_object_is_stored_share_the_next_and_the_same_end(
    journal: Journal, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, first_is_out, may_go_on = [], threading.Event(), threading.Event()
    ends: list[str] = []

    def put(name: str, text: str) -> None:
        stored.append(text.count('"kind":"intent"'))
        first_is_out.set()
        may_go_on.wait(PATIENCE_S)
        if len(stored) == 2:
            raise ArchiveUnavailable("S3 was not reached")

    def call(count: int) -> None:
        try:
            journal.record_intents([(new_job(), PAID) for _ in range(count)], NOW)
            ends.append("stored")
        except ArchiveUnavailable:
            ends.append("refused")

    monkeypatch.setattr(archive, "put_journal", put)
    callers = [threading.Thread(target=call, args=(count,)) for count in (2, 3, 4)]
    callers[0].start()
    first_is_out.wait(PATIENCE_S)
    for caller in callers[1:]:
        caller.start()
    wait_until(lambda: len(journal._lines) == 2, "all who wait")
    may_go_on.set()
    for caller in callers:
        caller.join(PATIENCE_S)

    assert (stored, sorted(ends)) == ([2, 7], ["refused", "refused", "stored"])


# --- in time, in order, and whatever the words


def test_an_intent_that_is_not_stored_in_time_is_refused_and_never_stored(
    journal: Journal, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, busy, may_go_on = [], threading.Event(), threading.Event()

    def put(name: str, text: str) -> None:
        busy.set()
        may_go_on.wait(PATIENCE_S)
        stored.append(text)

    monkeypatch.setattr(archive, "put_journal", put)
    monkeypatch.setattr(journals, "STORE_TIMEOUT_S", 0.05)

    def first_comes() -> None:
        with suppress(ArchiveUnavailable):
            journal.record_intents([(new_job(), PAID)], NOW)

    first, late = threading.Thread(target=first_comes), [new_job(), new_job()]
    first.start()
    busy.wait(PATIENCE_S)
    with pytest.raises(ArchiveUnavailable):
        journal.record_intents([(subject, PAID) for subject in late], NOW)
    may_go_on.set()
    first.join(PATIENCE_S)
    journal.flush()

    assert len(stored) == 1
    assert not [subject for subject in late if subject.id in stored[0]]


def test_answers_that_could_not_be_stored_go_with_the_next(journal: Journal, answers: Callable[..., list[str]]) -> None:
    answers("PutObject", 500, "InternalError")
    earlier, subject = new_job(), new_job()
    journal.record_outcome(earlier, events.Accepted("task-1"), None, NOW)
    journal.flush()
    journal.record_intents([(subject, PAID)], NOW)

    assert [type(line) for line in journal.read(NOW)] == [Outcome, Intent]


def test_reading_begins_at_a_moment_and_ends_at_one(journal: Journal) -> None:
    for at in (NOW, NOW + 10 * MINUTE, NOW + 20 * MINUTE):
        journal.record_intents([(new_job(), PAID)], at)

    assert [line.at for line in journal.read(NOW + 1)] == [NOW + 10 * MINUTE, NOW + 20 * MINUTE]
    assert [line.at for line in journal.read(NOW, NOW + 20 * MINUTE)] == [NOW, NOW + 10 * MINUTE]


def test_a_line_that_cannot_be_read_hides_no_other(journal: Journal, archive: Archive) -> None:
    archive.put_journal("2026/09/21/1413/0", '{"kind":"intent"\nnull\n{"kind":"answer","at":1}')
    journal.record_intents([(new_job(), PAID)], NOW)

    assert [type(line) for line in journal.read(NOW - 2 * MINUTE)] == [str, str, str, Intent]


def test_odd_words_of_a_request_stay_in_their_line(journal: Journal) -> None:
    subject = new_job(request={"model": "kling-v3", "prompt": "two\u2028lines \x85 and half a pair \ud800"})
    journal.record_intents([(subject, PAID)], NOW)

    (line,) = journal.read(NOW)
    assert isinstance(line, Intent)
    assert line.job == subject


def test_the_entries_of_a_job_tell_what_was_sent_and_answered(journal: Journal) -> None:
    first = new_job()
    second = new_job(id=first.id, attempts=(rejected(), attempt(2, provider="evolink", submitted_at=NOW + MINUTE)))
    journal.record_intents([(new_job(), PAID)], NOW)
    journal.record_intents([(first, PAID)], NOW)
    journal.record_outcome(first, events.Refused(Reason.RATE, "too fast"), "HTTP 429", NOW + 5)
    journal.record_intents([(second, Request("POST", "", {}, {"model": "k"}))], NOW + MINUTE)

    assert journal.entries(second) == [
        Entry(1, "apimart", NOW, {**BODY, "image_url": "https://clips.example/who.jpg?…"}, "refused", "HTTP 429"),
        Entry(2, "evolink", NOW + MINUTE, {"model": "k"}),
    ]


def test_switched_off_it_writes_nothing(archive: Archive, calls: list[str]) -> None:
    off = Journal(archive, enabled=False)
    off.record_intents([(new_job(), PAID)], NOW)
    off.record_outcome(new_job(), events.Lost(""), None, NOW)
    off.flush()

    assert calls == []
