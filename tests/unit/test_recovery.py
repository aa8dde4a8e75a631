"""Which attempt is which: numbers are used again where one was held back, the moment tells them apart."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from factories import MINUTE, NOW, POLICY, attempt, job, job_in, rejected

from rushes.shared.domain import events
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import State
from rushes.shared.operations import recovery
from rushes.shared.operations.recovery import (
    JournalContent,
    Report,
    add_task_ids,
    has_ended,
    job_after,
    lacks_task_id,
    pages,
    restore,
)
from rushes.shared.storage.journal import Intent

LATER = NOW + MINUTE


@pytest.mark.parametrize(
    ("number", "submitted_at", "known"),
    [(2, LATER, True), (2, LATER - 1, True), (1, NOW, True), (1, LATER, True), (2, LATER + 1, False), (3, NOW, False)],
)
def test_a_job_knows_an_attempt_that_it_has_or_that_came_before_one(
    number: int, submitted_at: int, known: bool
) -> None:
    subject = job(attempts=(rejected(1), attempt(2, submitted_at=LATER)))

    assert subject.knows(attempt(number, submitted_at=submitted_at)) is known


@pytest.mark.parametrize(
    ("number", "submitted_at", "task_id", "expected"),
    [(1, NOW, None, True), (1, NOW - 1, None, False), (2, NOW, None, False), (1, NOW, "task-1", False)],
)
def test_a_task_id_is_added_only_to_its_own_attempt(
    number: int, submitted_at: int, task_id: str | None, expected: bool
) -> None:
    assert lacks_task_id(job_in(State.UNCONFIRMED, {"task_id": task_id}), number, submitted_at) is expected


def test_what_was_erased_has_ended_whatever_stands_in_the_bucket() -> None:
    nothing: Any = None
    assert has_ended(job_in(State.COMPLETED, erase_asked_at=NOW), nothing)


@pytest.mark.parametrize(("outcome", "overwrites"), [(events.Withdrawn(NOW), False), (None, True)])
def test_what_was_not_sent_is_put_back_over_no_other_record(outcome: Event | None, overwrites: bool) -> None:
    """Another worker may have sent it since."""
    told: list[bool] = []
    ledger = SimpleNamespace(restore=lambda job, attempt, overwrite: told.append(overwrite))
    services: Any = SimpleNamespace(ledger=ledger, now=lambda: LATER, settings=SimpleNamespace(policy=POLICY))
    report = Report()
    restore(Intent(job_in(State.SUBMITTING), NOW, {}), outcome, report, services, dry_run=False)
    assert told == [overwrites]
    assert (report.put_back, report.known) == ([], 1)


def test_however_many_there_are_all_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "PAGE", 2)
    jobs = {each.id: each for each in [job_in(State.UNCONFIRMED) for _ in range(5)]}
    intents = [Intent(each, NOW, {}) for each in jobs.values()]
    told: list[str] = []
    ledger = SimpleNamespace(
        get_many=lambda job_ids: [jobs[job_id] for job_id in job_ids],
        apply=lambda job_id, event, now: told.append(job_id),
    )
    services: Any = SimpleNamespace(ledger=ledger, now=lambda: LATER)
    journal = JournalContent(outcomes={(job_id, 1, NOW): events.Accepted("task-1") for job_id in jobs})
    add_task_ids(journal, report := Report(), services, dry_run=False)

    assert [each for page in pages(intents) for each in page] == intents
    assert told == report.answered == [*jobs]


def test_a_task_that_is_put_back_is_asked_for_at_once_under_a_newer_version() -> None:
    lost = job_in(State.SUBMITTING)
    running = job_after(lost, events.Accepted("task-1"), LATER, POLICY)
    assert (running.state, running.due_at, running.version) == (State.RUNNING, LATER, lost.version + 1)
