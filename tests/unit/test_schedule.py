from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from factories import DAY, HOUR, MINUTE, NOW, POLICY, SECOND, job, job_in, link
from hypothesis import given
from hypothesis import strategies as st

from rushes.shared.domain import events, schedule, timing
from rushes.shared.domain.job import Chore, Job, State
from rushes.shared.domain.transitions import transition

moments = st.integers(NOW, NOW + 3 * DAY)


def seconds(due_at: int, now: int = NOW) -> float:
    return (due_at - now) / SECOND


def running(callback: bool = False, version: int = 0) -> Job:
    return job_in(State.RUNNING, {"callback": callback}, version=version)


def pauses(subject: Job) -> list[float]:
    """The pauses between all polls of a task that never ends, in seconds."""
    now = NOW
    waits: list[float] = []
    while now < NOW + DAY:
        due_at = schedule.next_poll(replace(subject, version=len(waits)), now, POLICY)
        waits.append(seconds(due_at, now))
        now = due_at
    return waits


def test_the_first_poll_comes_soon() -> None:
    assert seconds(schedule.first_poll(running(), NOW, POLICY)) == pytest.approx(15, rel=0.1)


def test_where_a_callback_is_asked_for_the_first_poll_comes_after_a_grace() -> None:
    assert seconds(schedule.first_poll(running(callback=True), NOW, POLICY)) == pytest.approx(180, rel=0.1)


def test_a_task_of_a_minute_is_polled_a_few_times() -> None:
    waits = pauses(running())
    assert waits[0] == pytest.approx(15, rel=0.1)
    assert sum(waits[:4]) >= 54


def test_pauses_grow_to_two_minutes_within_the_first_hour() -> None:
    now, subject = NOW, running()
    growth = [seconds(schedule.next_poll(subject, now + age, POLICY), now + age) for age in range(0, HOUR, MINUTE)]
    assert growth == sorted(growth)
    assert growth[-1] == pytest.approx(120, rel=0.1)


def test_past_an_hour_a_stuck_task_decays_to_the_slow_lane() -> None:
    later = NOW + 10 * HOUR
    assert seconds(schedule.next_poll(running(), later, POLICY), later) == pytest.approx(1800, rel=0.1)
    assert len(pauses(running())) < 150


def test_with_a_callback_safety_polls_are_two_minutes_apart() -> None:
    assert seconds(schedule.next_poll(running(callback=True), NOW, POLICY)) == pytest.approx(120, rel=0.1)


@given(st.integers(0, DAY - 2 * SECOND), st.booleans(), st.integers(0, 999))
def test_no_poll_is_put_off_past_the_deadline(age: int, callback: bool, version: int) -> None:
    due_at = schedule.next_poll(running(callback, version), NOW + age, POLICY)
    assert NOW + age + SECOND <= due_at <= NOW + DAY


@given(st.integers(0, 10**6), st.floats(0.1, 10**5))
def test_jitter_stays_within_a_tenth(version: int, wait_s: float) -> None:
    assert wait_s * 0.9 <= schedule.jittered(wait_s, job(version=version)) <= wait_s * 1.1


def test_jitter_is_the_same_for_the_same_job_and_version() -> None:
    subject = job(version=3)
    assert schedule.jittered(100, subject) == schedule.jittered(100, replace(subject, setbacks=2))
    assert schedule.jittered(100, subject) != schedule.jittered(100, replace(subject, version=4))


def test_jitter_spreads_jobs_that_were_born_together() -> None:
    waits = sorted(schedule.jittered(100, job()) for _ in range(200))
    assert waits[0] < 93
    assert waits[-1] > 107


# --- setbacks


@pytest.mark.parametrize(("again", "first_s", "last_s"), [(schedule.retry, 2, 300), (schedule.archive_retry, 2, 120)])
def test_pauses_after_a_setback_double_up_to_a_cap(
    again: Callable[[Job, int], int], first_s: float, last_s: float
) -> None:
    waits = [seconds(again(job(setbacks=number), NOW)) for number in range(40)]
    expected = [min(first_s * 2**number, last_s) for number in range(40)]
    assert waits == [pytest.approx(wait_s, rel=0.1) for wait_s in expected]


def test_a_wish_for_patience_is_heeded_up_to_a_day() -> None:
    assert seconds(schedule.retry(job(), NOW, 60)) == 60
    assert seconds(schedule.retry(job(), NOW, 0.1)) > 1
    assert seconds(schedule.retry(job(), NOW, 10**9)) == 86_400


def test_notices_follow_the_schedule_of_standard_webhooks() -> None:
    waits = [seconds(schedule.notice_retry(job(setbacks=number), NOW)) for number in range(10)]
    expected = [5, 30, 120, 600, 1800, 3600, 7200, 10800, 10800, 10800]
    assert waits == [pytest.approx(wait_s, rel=0.1) for wait_s in expected]
    assert seconds(schedule.notice_retry(job(), NOW, 60)) == 60


# --- archives


def test_of_two_clips_the_one_whose_link_dies_sooner_is_fetched_first() -> None:
    dying = schedule.archive_due(NOW + HOUR, NOW, POLICY)
    fresh = schedule.archive_due(NOW + DAY, NOW - HOUR, POLICY)
    assert dying < fresh <= NOW


@given(moments, st.integers(1, 2 * DAY))
def test_a_clip_is_never_put_off(now: int, life: int) -> None:
    assert schedule.archive_due(now + life, now, POLICY) <= now
    assert schedule.archive_due(None, now, POLICY) == now


def test_an_archive_that_is_tried_again_waits_its_turn() -> None:
    subject = job_in(State.ARCHIVING, {"link": link(expires_at=NOW + HOUR)}, setbacks=1)
    assert schedule.archive_retry(subject, NOW) > NOW


# --- leases and lanes


def test_a_lease_outlives_two_renewals_that_failed() -> None:
    assert schedule.LEASE_S > 3 * schedule.RENEW_S


LANES = {
    State.QUEUED: "submit:apimart:acme:5",
    State.SUBMITTING: "submit:apimart",
    State.UNCONFIRMED: "poll:apimart",
    State.RUNNING: "poll:apimart",
    State.ARCHIVING: "archive",
    State.COMPLETED: "notify",
    State.FAILED: "archive",
    State.CANCELED: "archive",
}


@pytest.mark.parametrize("state", State)
def test_every_state_waits_in_its_own_lane(state: State) -> None:
    assert schedule.lane(job_in(state)) == LANES[state]


@pytest.mark.parametrize("chore", Chore)
def test_every_chore_waits_in_a_lane(chore: Chore) -> None:
    lane = schedule.lane(job_in(State.FAILED, chores=(chore,)))
    assert lane in ("archive", "notify", "erase", "retire")


def test_a_job_that_owes_nothing_waits_nowhere() -> None:
    assert schedule.lane(job_in(State.COMPLETED, chores=())) is None


def test_a_queued_job_waits_for_the_first_of_its_route() -> None:
    moved = transition(job_in(State.QUEUED), events.Rerouted(("newapi",), "paused"), NOW, POLICY)
    assert schedule.lane(moved) == "submit:newapi:acme:5"
    assert schedule.kind_of("submit:newapi") == "submit"


# --- what finished jobs taught


def taught(*times_s: float, silences: int = 0, **changes: Any) -> schedule.Policy:
    """A pace that knows so long each of the jobs before took, and how many ends came without their callback."""
    known = timing.Timing(Counter(map(timing.bucket, times_s)))
    return schedule.Policy(timings=timing.Timings(of=lambda kind: known, silent=lambda gateway: silences), **changes)


MINUTE_LONG = [60.0] * 100


def test_the_first_poll_comes_when_the_job_is_likely_to_be_done() -> None:
    assert 60 <= seconds(schedule.first_poll(running(), NOW, taught(*MINUTE_LONG))) < 90


def test_a_few_jobs_do_not_move_the_first_poll() -> None:
    few, subject = taught(*MINUTE_LONG[: timing.FEWEST - 1]), running()
    assert schedule.first_poll(subject, NOW, few) == schedule.first_poll(subject, NOW, POLICY)


def test_polls_follow_the_plan_while_it_goes_on() -> None:
    known = taught(*MINUTE_LONG)
    timings = known.timings.for_job(running())
    assert timings is not None
    then_s = timings.next_s(65)
    assert then_s is not None
    assert schedule.next_poll(running(), NOW + 65_000, known) == schedule.after(NOW, then_s)


def test_past_all_experience_pauses_grow_with_the_age() -> None:
    late, subject = NOW + 600_000, running()
    assert schedule.next_poll(subject, late, taught(*MINUTE_LONG)) == schedule.next_poll(subject, late, POLICY)


def test_after_an_unclear_answer_pauses_are_the_classical_ones() -> None:
    soon, subject = NOW + 20_000, running()
    unclear = schedule.next_poll(subject, soon, taught(*MINUTE_LONG), clear=False)
    assert unclear == schedule.next_poll(subject, soon, POLICY, clear=False)
    assert unclear != schedule.next_poll(subject, soon, taught(*MINUTE_LONG))


def test_where_a_callback_is_awaited_polls_are_a_safety_net() -> None:
    known, awaited = taught(*MINUTE_LONG, silences=timing.SILENT - 1), running(callback=True)
    assert seconds(schedule.first_poll(awaited, NOW, known)) == pytest.approx(180, rel=0.1)
    assert seconds(schedule.next_poll(awaited, NOW + 30_000, known), NOW + 30_000) == pytest.approx(120, rel=0.1)


@pytest.mark.parametrize("times_s", [MINUTE_LONG, []], ids=["known", "unknown"])
def test_where_callbacks_fell_silent_jobs_are_polled_as_if_none_were_asked_for(times_s: list[float]) -> None:
    known, subject = taught(*times_s, silences=timing.SILENT), running()
    for ask in (schedule.first_poll, schedule.next_poll):
        assert ask(subject.with_attempt(callback=True), NOW, known) == ask(subject, NOW, known)


def test_no_pause_is_longer_than_allowed_whatever_was_learned() -> None:
    known = taught(*[3000.0] * 100)
    later = NOW + 100_000
    assert seconds(schedule.next_poll(running(), later, known), later) == 120
    patient = replace(known, poll_max_s=600)
    assert seconds(schedule.next_poll(running(), later, patient), later) == 600


def test_nothing_learned_puts_a_poll_off_past_the_deadline() -> None:
    known = taught(*[3000.0] * 100, job_timeout_s=100.0)
    assert seconds(schedule.first_poll(running(), NOW, known)) == 100
    assert seconds(schedule.next_poll(running(), NOW + 99_500, known)) == 100.5


@given(st.integers(0, 200), st.integers(0, 2 * DAY))
def test_a_learned_poll_is_never_at_once(length_s: int, age: int) -> None:
    known, now = taught(*[float(length_s)] * 30), NOW + age
    for ask in (schedule.first_poll, schedule.next_poll):
        assert ask(running(), now, known) >= schedule.after(now, timing.GAP_S)
