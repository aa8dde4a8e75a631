"""Which attempt is which: numbers are used again where one was held back, the moment tells them apart."""

from __future__ import annotations

import pytest
from factories import MINUTE, NOW, attempt, job, job_in, rejected

from rushes.shared.domain.job import State
from rushes.shared.operations.recovery import lacks_task_id

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
