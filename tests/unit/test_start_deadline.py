"""A job that has not begun by its `start_before` ends canceled, and has cost nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories import NOW, POLICY, REQUEST, SECOND, attempt, failed, job, rejected

from rushes.shared.domain import changes, events, schedule, start_deadline
from rushes.shared.domain.job import Chore, Job, State, moment_ms
from rushes.shared.domain.transitions import transition
from rushes.shared.intake.job_document import moment

DEADLINE = NOW + 60 * SECOND


def waiting(**fields: Any) -> Job:
    return job(request={**REQUEST, "start_before": moment(DEADLINE)}, **fields)


def test_it_ends_at_that_moment_and_not_before() -> None:
    subject = waiting()
    assert transition(subject, events.Expired(), DEADLINE - 1, POLICY) is subject
    ended = transition(subject, events.Expired(), DEADLINE, POLICY)
    assert (ended.state, ended.attempts, ended.chores[0]) == (State.CANCELED, (), Chore.MANIFEST)
    assert ended.error
    assert ended.error.code == "start_deadline_passed"


def test_no_paid_call_is_written_down_from_that_moment_on() -> None:
    begun = events.Begun(attempt(1, submitted_at=DEADLINE))
    assert transition(waiting(), begun, DEADLINE - 1, POLICY).state is State.SUBMITTING
    assert transition(waiting(), begun, DEADLINE, POLICY).state is State.CANCELED


@pytest.mark.parametrize(("attempts", "has_begun"), [((), False), ((rejected(),), False), ((failed(),), True)])
def test_a_job_has_begun_with_its_first_call_that_may_have_been_paid(attempts: Any, has_begun: bool) -> None:
    """What a gateway that took it makes of it, another one included, is no matter of this deadline."""
    after = transition(waiting(attempts=attempts), events.Expired(), DEADLINE, POLICY)
    assert (after.state is State.QUEUED) is has_begun


def test_it_stands_among_those_that_end_for_as_long_as_it_waits() -> None:
    assert changes.created(waiting(), POLICY).start_before == DEADLINE
    assert start_deadline.LANE in schedule.leasing(waiting())
    begun = transition(waiting(), events.Begun(attempt(1)), NOW, POLICY)
    assert changes.submitted(waiting(), begun, POLICY).no_longer_start_before
    canceled = transition(waiting(), events.Canceled(), NOW, POLICY)
    change = changes.moved(waiting(), canceled, events.Canceled(), NOW, POLICY)
    assert change.no_longer_start_before
    assert change.start_before is None


def test_a_withdrawn_call_puts_it_back_among_them() -> None:
    begun = transition(waiting(), events.Begun(attempt(1, submitted_at=NOW)), NOW, POLICY)
    back = transition(begun, events.Withdrawn(NOW), NOW, POLICY)
    assert changes.moved(begun, back, events.Withdrawn(NOW), NOW, POLICY).start_before == DEADLINE


def test_a_moment_is_read_with_its_offset() -> None:
    assert moment_ms("2026-12-01T09:30:00.5+01:30") == moment_ms("2026-12-01T08:00:00.500Z")
    assert replace(job(), request={**REQUEST, "not_before": "1970-01-01T00:00:01Z"}).not_before == 1000
