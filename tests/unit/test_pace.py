from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from factories import DAY, HOUR, MINUTE, NOW, PACE, SECOND, job, job_in, link
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import events, pace
from shared.domain.job import Chore, Job, State
from shared.domain.transitions import transition

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
        due_at = pace.next_poll(replace(subject, version=len(waits)), now, PACE)
        waits.append(seconds(due_at, now))
        now = due_at
    return waits


def test_the_first_poll_comes_soon() -> None:
    assert seconds(pace.first_poll(running(), NOW, PACE)) == pytest.approx(15, rel=0.1)


def test_where_a_callback_is_asked_for_the_first_poll_comes_after_a_grace() -> None:
    assert seconds(pace.first_poll(running(callback=True), NOW, PACE)) == pytest.approx(180, rel=0.1)


def test_a_task_of_a_minute_is_polled_a_few_times() -> None:
    waits = pauses(running())
    assert waits[0] == pytest.approx(15, rel=0.1)
    assert sum(waits[:4]) >= 54


def test_pauses_grow_to_two_minutes_within_the_first_hour() -> None:
    now, subject = NOW, running()
    growth = [seconds(pace.next_poll(subject, now + age, PACE), now + age) for age in range(0, HOUR, MINUTE)]
    assert growth == sorted(growth)
    assert growth[-1] == pytest.approx(120, rel=0.1)


def test_past_an_hour_a_stuck_task_decays_to_the_slow_lane() -> None:
    later = NOW + 10 * HOUR
    assert seconds(pace.next_poll(running(), later, PACE), later) == pytest.approx(1800, rel=0.1)
    assert len(pauses(running())) < 150


def test_with_a_callback_safety_polls_are_two_minutes_apart() -> None:
    assert seconds(pace.next_poll(running(callback=True), NOW, PACE)) == pytest.approx(120, rel=0.1)


@given(st.integers(0, DAY - 2 * SECOND), st.booleans(), st.integers(0, 999))
def test_no_poll_is_put_off_past_the_deadline(age: int, callback: bool, version: int) -> None:
    due_at = pace.next_poll(running(callback, version), NOW + age, PACE)
    assert NOW + age + SECOND <= due_at <= NOW + DAY


@given(st.integers(0, 10**6), st.floats(0.1, 10**5))
def test_jitter_stays_within_a_tenth(version: int, wait_s: float) -> None:
    assert wait_s * 0.9 <= pace.jittered(wait_s, job(version=version)) <= wait_s * 1.1


def test_jitter_is_the_same_for_the_same_job_and_version() -> None:
    subject = job(version=3)
    assert pace.jittered(100, subject) == pace.jittered(100, replace(subject, setbacks=2))
    assert pace.jittered(100, subject) != pace.jittered(100, replace(subject, version=4))


def test_jitter_spreads_jobs_that_were_born_together() -> None:
    waits = sorted(pace.jittered(100, job()) for _ in range(200))
    assert waits[0] < 93
    assert waits[-1] > 107


# --- setbacks


@pytest.mark.parametrize(("again", "first_s", "last_s"), [(pace.retry, 2, 300), (pace.archive_retry, 2, 120)])
def test_pauses_after_a_setback_double_up_to_a_cap(
    again: Callable[[Job, int], int], first_s: float, last_s: float
) -> None:
    waits = [seconds(again(job(setbacks=number), NOW)) for number in range(40)]
    expected = [min(first_s * 2**number, last_s) for number in range(40)]
    assert waits == [pytest.approx(wait_s, rel=0.1) for wait_s in expected]


def test_a_wish_for_patience_is_heeded_up_to_a_day() -> None:
    assert seconds(pace.retry(job(), NOW, 60)) == 60
    assert seconds(pace.retry(job(), NOW, 0.1)) > 1
    assert seconds(pace.retry(job(), NOW, 10**9)) == 86_400


def test_notices_follow_the_schedule_of_standard_webhooks() -> None:
    waits = [seconds(pace.notice_retry(job(setbacks=number), NOW)) for number in range(10)]
    expected = [5, 30, 120, 600, 1800, 3600, 7200, 10800, 10800, 10800]
    assert waits == [pytest.approx(wait_s, rel=0.1) for wait_s in expected]
    assert seconds(pace.notice_retry(job(), NOW, 60)) == 60


# --- archives


def test_of_two_clips_the_one_whose_link_dies_sooner_is_fetched_first() -> None:
    dying = pace.archive_due(NOW + HOUR, NOW, PACE)
    fresh = pace.archive_due(NOW + DAY, NOW - HOUR, PACE)
    assert dying < fresh <= NOW


@given(moments, st.integers(1, 2 * DAY))
def test_a_clip_is_never_put_off(now: int, life: int) -> None:
    assert pace.archive_due(now + life, now, PACE) <= now
    assert pace.archive_due(None, now, PACE) == now


def test_an_archive_that_is_tried_again_waits_its_turn() -> None:
    subject = job_in(State.ARCHIVING, {"link": link(expires_at=NOW + HOUR)}, setbacks=1)
    assert pace.archive_retry(subject, NOW) > NOW


# --- leases and lanes


def test_a_lease_outlives_two_renewals_that_failed() -> None:
    assert pace.LEASE_S > 3 * pace.RENEW_S


LANES = {
    State.QUEUED: "submit:apimart",
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
    assert pace.lane(job_in(state)) == LANES[state]


@pytest.mark.parametrize("chore", Chore)
def test_every_chore_waits_in_a_lane(chore: Chore) -> None:
    lane = pace.lane(job_in(State.FAILED, chores=(chore,)))
    assert lane in ("archive", "notify", "retire")


def test_a_job_that_owes_nothing_waits_nowhere() -> None:
    assert pace.lane(job_in(State.COMPLETED, chores=())) is None


def test_a_queued_job_waits_for_the_first_of_its_route() -> None:
    moved = transition(job_in(State.QUEUED), events.Rerouted(("newapi",), "paused"), NOW, PACE)
    assert pace.lane(moved) == "submit:newapi"
    assert pace.kind_of("submit:newapi") == "submit"
