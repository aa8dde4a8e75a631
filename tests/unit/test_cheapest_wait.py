"""The wait for the cheapest gateway: one for a job's whole life, whatever it meets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import HOUR, MINUTE, NOW, POLICY, SECOND, attempt, job, job_in

from rushes.shared.domain import cheapest_wait, events
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.domain.transitions import transition

A, B, C = "apimart", "evolink", "newapi"
WAIT = round(POLICY.wait_for_cheapest_s * SECOND)


def submitting(at: int = NOW, **changes: object) -> Job:
    """A job whose call to the first gateway of its route was sent at that moment."""
    return job_in(State.SUBMITTING, {"submitted_at": at}, **changes)


def after(subject: Job, event: Event, now: int) -> Job:
    return transition(subject, event, now, POLICY)


def throttled(retry_after_s: float | None = None) -> Event:
    return events.Refused(Reason.RATE, "slow down", retry_after_s=retry_after_s)


@pytest.mark.parametrize("retry_after_s", [None, 0, 5, 30])
def test_a_gateway_over_its_rate_is_waited_for_within_the_wait(retry_after_s: float | None) -> None:
    waiting = after(submitting(), throttled(retry_after_s), NOW + 100)
    assert (waiting.state, waiting.route) == (State.QUEUED, (A, B, C))
    assert NOW + (retry_after_s or 0) * SECOND < (waiting.due_at or 0) <= cheapest_wait.until(waiting, POLICY)
    assert waiting.history[-1].what == "waits"


@pytest.mark.parametrize("retry_after_s", [31, 300, 3600])
def test_one_that_asks_for_longer_than_is_left_is_passed_by_at_once(retry_after_s: float) -> None:
    onward = after(submitting(), throttled(retry_after_s), NOW + 100)
    assert (onward.state, onward.route, onward.due_at) == (State.QUEUED, (B, C, A), NOW + 100)
    assert onward.history[-1].what == "rerouted"


def test_a_pinned_job_waits_whatever_it_is_told() -> None:
    pinned = after(submitting(route=(A,)), throttled(3600), NOW + HOUR)
    assert (pinned.state, pinned.route, pinned.due_at) == (State.QUEUED, (A,), NOW + 2 * HOUR)
    assert [note.what for note in pinned.history] == ["refused"]


def test_waits_add_up_over_all_refusals() -> None:
    subject, now = submitting(), NOW
    for _ in range(3):
        subject = after(subject, throttled(9), now)
        assert subject.route == (A, B, C)
        now = subject.due_at or 0
        subject = after(subject, events.Begun(attempt(9, submitted_at=now)), now)
    assert now == NOW + 27 * SECOND
    assert after(subject, throttled(9), now).route == (B, C, A)


def test_a_backoff_of_ours_is_no_longer_than_the_wait() -> None:
    waiting = after(submitting(setbacks=9), throttled(), NOW)
    assert waiting.due_at == NOW + WAIT


def test_past_the_wait_refusals_that_were_waited_out_before_do_not_slow_the_next_gateway_down() -> None:
    onward = after(submitting(setbacks=9, waits_until=NOW), throttled(), NOW)
    assert (onward.route, onward.due_at) == ((B, C, A), NOW)


def test_a_clock_that_is_behind_that_of_the_call_shortens_no_wait() -> None:
    refused = after(submitting(NOW + 10 * SECOND), throttled(1), NOW + 9 * SECOND)
    assert cheapest_wait.until(refused, POLICY) == NOW + WAIT


def test_the_time_of_a_call_or_of_a_task_is_no_wait() -> None:
    refused = after(submitting(NOW + 10 * SECOND), throttled(1), NOW + 70 * SECOND)
    assert cheapest_wait.until(refused, POLICY) == NOW + WAIT + MINUTE
    running = job_in(State.RUNNING, {"submitted_at": NOW + 10 * SECOND})
    failed = after(running, events.Failed(Reason.PROVIDER, "no luck"), NOW + HOUR)
    assert cheapest_wait.until(failed, POLICY) == NOW + HOUR + 20 * SECOND


def test_a_wait_that_is_over_stays_over() -> None:
    running = job_in(State.RUNNING, {"submitted_at": NOW + HOUR})
    failed = after(running, events.Failed(Reason.PROVIDER, "no luck"), NOW + 2 * HOUR)
    assert cheapest_wait.until(failed, POLICY) == NOW + WAIT


@pytest.mark.parametrize(
    "event", [events.Withdrawn(NOW + 10 * SECOND, until=NOW + MINUTE), events.Refused(Reason.DOWN, "503")]
)
def test_what_never_was_a_wait_for_a_gateway_does_not_count(event: Event) -> None:
    subject = after(submitting(NOW + 10 * SECOND), event, NOW + MINUTE)
    assert cheapest_wait.until(subject, POLICY) == NOW + MINUTE + 20 * SECOND


def test_a_submit_in_doubt_that_is_sent_again_waits_for_what_was_left() -> None:
    doubted = job_in(State.UNCONFIRMED, {"submitted_at": NOW + 10 * SECOND, "status": AttemptStatus.UNCONFIRMED})
    again = after(doubted, events.Resolved("resubmit"), NOW + HOUR)
    assert cheapest_wait.until(again, POLICY) == NOW + HOUR + 20 * SECOND


def test_a_job_in_line_stands_by_at_the_further_gateways_of_its_route_and_nobody_else_does() -> None:
    assert cheapest_wait.standby(job(route=(A, B, C)), POLICY) == {B: NOW + WAIT, C: NOW + WAIT}
    assert cheapest_wait.standby(job(route=(A,)), POLICY) == {}
    assert cheapest_wait.standby(job(route=(A, B), due_at=NOW + HOUR), POLICY) == {B: NOW + HOUR}
    assert [cheapest_wait.standby(job_in(state), POLICY) for state in State if state is not State.QUEUED] == [{}] * 7


def test_a_new_job_that_is_due_later_waits_from_then_on() -> None:
    later = cheapest_wait.begun(job(route=(A, B), due_at=NOW + HOUR), POLICY)
    assert cheapest_wait.until(later, POLICY) == NOW + HOUR + WAIT
    assert cheapest_wait.begun(job(route=(A, B)), POLICY).waits_until is None
    assert cheapest_wait.until(job(), replace(POLICY, wait_for_cheapest_s=0)) == NOW
