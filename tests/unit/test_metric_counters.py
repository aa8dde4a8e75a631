"""What a move adds to the metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories import HOUR, MINUTE, NOW, POLICY, SECOND, attempt, job, job_in, link, rejected, result

from rushes.shared.domain import events, metric_counters
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.domain.transitions import transition


def counted(subject: Job, event: Event, now: int = NOW) -> dict[str, int]:
    """What the move that an event makes is counted as, each line as the ledger writes it."""
    moved = transition(subject, event, now, POLICY)
    return {"|".join(line[1:]): step for line, step in metric_counters.increments(subject, moved).items()}


def test_a_new_job_is_counted() -> None:
    assert metric_counters.increments(None, job()) == {("tally", "created"): 1}


def test_what_moves_nothing_is_counted_as_nothing() -> None:
    running = job_in(State.RUNNING)
    assert counted(running, events.Progressed(40)) == counted(running, events.Accepted("task-1")) == {}
    assert counted(job_in(State.COMPLETED, result=result()), events.Notified()) == {}


def test_a_submit_that_is_only_begun_has_no_verdict() -> None:
    assert counted(job(), events.Begun(attempt())) == {}


SUBMITS: list[tuple[State, Event, dict[str, int]]] = [
    (State.SUBMITTING, events.Accepted("task-1"), {"submits|apimart|accepted|": 1}),
    (State.SUBMITTING, events.Lost("reset"), {"submits|apimart|unconfirmed|": 1}),
    (State.SUBMITTING, events.Refused(Reason.RATE, "no"), {"submits|apimart|refused|rate_limited": 1}),
    (State.UNCONFIRMED, events.Accepted("task-1"), {"submits|apimart|confirmed|": 1}),
    (State.UNCONFIRMED, events.Progressed(10), {"submits|apimart|confirmed|": 1}),
    (State.UNCONFIRMED, events.Lost("reset"), {}),
    (State.SUBMITTING, events.Withdrawn(NOW), {}),
]


@pytest.mark.parametrize(("state", "event", "lines"), SUBMITS)
def test_a_submit_is_counted_by_what_became_of_it(state: State, event: Event, lines: dict[str, int]) -> None:
    assert counted(job_in(state), event) == lines


def test_a_refusal_that_later_leaves_the_record_stays_counted() -> None:
    subject = job(attempts=tuple(rejected(number) for number in range(1, 20)))
    assert counted(subject, events.Begun(attempt(20))) == {}


def test_a_clip_is_counted_with_its_time_and_its_polls() -> None:
    subject = job_in(State.RUNNING, {"polls": 7, "callback": True})
    event = events.Succeeded(link(), heard_by="callback")
    lines = {"polls|apimart|callback|asked|7": 1, "task|apimart|90": 1, "task|apimart|ms": 61_000}
    assert counted(subject, event, NOW + 61 * SECOND) == lines


def test_a_task_that_failed_is_counted_with_its_polls_and_not_with_its_time() -> None:
    lines = counted(job_in(State.RUNNING, {"polls": 3}), events.Failed(Reason.INPUT, "no"))
    assert lines == {"polls|apimart|poll|unasked|3": 1, "ended|failed|input_rejected": 1}


def test_a_task_whose_submit_was_never_answered_is_counted_as_confirmed_by_its_end() -> None:
    lines = counted(job_in(State.UNCONFIRMED), events.Succeeded(link()))
    assert lines["submits|apimart|confirmed|"] == 1
    assert lines["polls|apimart|poll|unasked|0"] == 1


def test_an_adopted_task_has_no_time_of_its_own() -> None:
    lines = counted(job_in(State.RUNNING, {"adopted": True}), events.Succeeded(link()))
    assert lines == {"polls|apimart|poll|unasked|0": 1}


def archived(**changes: Any) -> dict[str, int]:
    return counted(job_in(State.ARCHIVING, changes), events.Archived(result()), NOW + 5 * SECOND)


def test_an_archive_is_counted_by_its_lag_and_by_what_was_left_of_the_link() -> None:
    lines = archived(link=link(expires_at=NOW + HOUR))
    assert lines == {"lag|apimart|5": 1, "lag|apimart|ms": 5000, "left|apimart|3600": 1, "left|apimart|ms": 3_595_000}


def test_no_time_is_negative() -> None:
    lines = archived(link=link(expires_at=NOW - HOUR), ended_at=NOW + MINUTE)
    assert lines == {"lag|apimart|1": 1, "lag|apimart|ms": 0, "left|apimart|0": 1, "left|apimart|ms": 0}


def test_what_took_longer_than_every_bucket_is_counted_too() -> None:
    assert archived(ended_at=NOW - 1000 * HOUR)["lag|apimart|inf"] == 1


def test_polls_without_end_make_no_names_without_end() -> None:
    lines = counted(job_in(State.RUNNING, {"polls": 9999}), events.Failed(Reason.INPUT, "no"))
    assert "polls|apimart|poll|unasked|200" in lines


def test_an_end_without_a_clip_is_counted_by_its_error() -> None:
    assert counted(job(), events.Canceled()) == {"ended|canceled|": 1}
    timed_out = counted(job_in(State.RUNNING), events.Lost("reset"), NOW + 25 * HOUR)
    assert timed_out == {"ended|failed|timed_out": 1}


def test_a_failover_counts_the_task_and_not_yet_the_job() -> None:
    lines = counted(job_in(State.RUNNING), events.Failed(Reason.PROVIDER, "no"))
    assert lines == {"polls|apimart|poll|unasked|0": 1}


def test_an_attempt_that_was_withdrawn_leaves_the_one_before_uncounted() -> None:
    plans = (rejected(1), attempt(2, status=AttemptStatus.SUBMITTING))
    subject = replace(job_in(State.SUBMITTING), attempts=plans)
    assert counted(subject, events.Withdrawn(NOW, attempt=2)) == {}
