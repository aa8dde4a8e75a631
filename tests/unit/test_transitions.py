from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from factories import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    POLICY,
    ROUTE,
    SECOND,
    attempt,
    failed,
    job,
    job_in,
    link,
    rejected,
    result,
)

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import AttemptStatus, Chore, CostSource, Error, Job, Link, Nudge, State
from rushes.shared.domain.moves.running import UNKNOWN_TASK_ANSWERS
from rushes.shared.domain.moves.submitting import is_not_taken
from rushes.shared.domain.transitions import transition

LATER = NOW + MINUTE
WEEK = 7 * DAY


def after(subject: Job, *facts: Event, now: int = LATER) -> Job:
    for fact in facts:
        subject = transition(subject, fact, now, POLICY)
    return subject


# --- every pair of a state and an event is decided

EVENTS: dict[str, Event] = {
    "measured": events.Measured({"video_s": 5}, ROUTE, Decimal("0.42")),
    "begun": events.Begun(attempt(1, submitted_at=LATER)),
    "deferred": events.Deferred(LATER + MINUTE, "window"),
    "rerouted": events.Rerouted(ROUTE[1:], "paused"),
    "parked": events.Parked(ROUTE),
    "barred": events.Barred(Error("no_provider", "none can do it")),
    "accepted": events.Accepted("task-1"),
    "refused": events.Refused(Reason.DOWN, "503"),
    "withdrawn": events.Withdrawn(NOW),
    "lost": events.Lost("connection reset"),
    "not found": events.NotFound(),
    "resent": events.Resent(NOW),
    "unclear": events.Unclear("502"),
    "progressed": events.Progressed(40),
    "succeeded": events.Succeeded(link(video_url="https://files.apimart.example/again.mp4")),
    "failed": events.Failed(Reason.PROVIDER, "no luck"),
    "canceled": events.Canceled(),
    "expired": events.Expired(),
    "resolved": events.Resolved("resubmit"),
    "archived": events.Archived(result()),
    "archive failed": events.ArchiveFailed("archive_failed", "S3 is away"),
    "manifested": events.Manifested(),
    "notified": events.Notified(),
    "notice failed": events.NoticeFailed("500"),
    "replayed": events.Replayed(task_id="task-7"),
    "recalled": events.Recalled(),
    "erasure requested": events.ErasureRequested("caller"),
    "erased": events.Erased(LATER),
    "erasure delayed": events.ErasureDelayed("S3 is away"),
}

# The whole life of a job. What is not written here changes nothing.
LIFE: dict[str, dict[str, str]] = {
    "queued": {
        "measured": "queued",
        "begun": "submitting",
        "deferred": "queued",
        "rerouted": "queued",
        "parked": "queued",
        "barred": "failed",
        "canceled": "canceled",
    },
    "submitting": {
        "accepted": "running",
        "refused": "queued",
        "withdrawn": "queued",
        "lost": "unconfirmed",
        "unclear": "unconfirmed",
        "succeeded": "archiving",
        "failed": "queued",
    },
    "unconfirmed": {
        "deferred": "unconfirmed",
        "accepted": "running",
        "refused": "unconfirmed",
        "withdrawn": "queued",
        "lost": "unconfirmed",
        "not found": "unconfirmed",
        "unclear": "unconfirmed",
        "progressed": "running",
        "succeeded": "archiving",
        "failed": "queued",
        "resolved": "queued",
        "replayed": "unconfirmed",
    },
    "running": {
        "deferred": "running",
        "lost": "running",
        "unclear": "running",
        "progressed": "running",
        "succeeded": "archiving",
        "failed": "queued",
        "replayed": "running",
    },
    "archiving": {
        "deferred": "archiving",
        "lost": "archiving",
        "unclear": "archiving",
        "progressed": "archiving",
        "succeeded": "archiving",
        "failed": "archiving",
        "archived": "completed",
        "archive failed": "archiving",
    },
    "completed": {
        "notified": "completed",
        "notice failed": "completed",
        "recalled": "completed",
        "erasure requested": "completed",
    },
    "failed": {
        "archive failed": "failed",
        "manifested": "failed",
        "notified": "failed",
        "notice failed": "failed",
        "recalled": "failed",
        "erasure requested": "failed",
    },
    "canceled": {
        "archive failed": "canceled",
        "manifested": "canceled",
        "notified": "canceled",
        "notice failed": "canceled",
        "recalled": "canceled",
        "erasure requested": "canceled",
    },
}


def test_every_state_and_every_event_is_in_the_table_above() -> None:
    assert set(LIFE) == {state.value for state in State}
    known = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    assert {type(event) for event in EVENTS.values()} == known - {Event}


@pytest.mark.parametrize("state", State)
def test_every_pair_of_a_state_and_an_event_is_decided(state: State) -> None:
    before = job_in(state)
    for word, event in EVENTS.items():
        moved = transition(before, event, LATER, POLICY)
        assert (moved is not before) == (word in LIFE[state]), word
        if moved is not before:
            assert (moved.state.value, moved.updated_at) == (LIFE[state][word], LATER), word


@pytest.mark.parametrize("state", State)
def test_an_event_that_changes_nothing_keeps_a_waiting_hint_for_later(state: State) -> None:
    hinted = job_in(state, nudge=Nudge(NOW, 1, "task-9"))
    idle = [word for word in EVENTS if word not in LIFE[state]]
    assert idle
    for word in idle:
        assert transition(hinted, EVENTS[word], LATER, POLICY) is hinted, word


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELED])
def test_an_ended_job_is_never_left(state: State) -> None:
    assert {after(job_in(state), event).state for event in EVENTS.values()} == {state}


@pytest.mark.parametrize("number", [2, 7])
@pytest.mark.parametrize("state", State)
def test_news_of_another_attempt_moves_no_job(state: State, number: int) -> None:
    before = job_in(state)
    for word, event in EVENTS.items():
        if word != "accepted":
            assert transition(before, replace(event, attempt=number), LATER, POLICY) is before, word


# --- queued


def test_a_begun_submit_is_written_down_with_its_attempt() -> None:
    plan = attempt(1, submitted_at=LATER, estimated_usd=Decimal("0.5"))
    begun = after(job(tries=3), events.Begun(plan))
    assert begun.attempts == (plan,)
    assert (begun.tries, begun.estimated_usd) == (0, Decimal("0.5"))
    assert begun.due_at == schedule.after(LATER, schedule.LEASE_S)


def test_a_measured_job_keeps_its_place_in_the_line_under_its_new_order() -> None:
    measured = after(job(tries=2), events.Measured({"video_s": 7}, ("newapi", "apimart"), Decimal("0.1")))
    assert (measured.route, measured.inputs, measured.estimated_usd) == (
        ("newapi", "apimart"),
        {"video_s": 7},
        Decimal("0.1"),
    )
    assert (measured.due_at, measured.tries) == (NOW, 0)


def test_a_cap_puts_a_job_off_without_counting_a_setback() -> None:
    put_off = after(job(tries=2, setbacks=1), events.Deferred(LATER + HOUR, "budget"))
    assert (put_off.due_at, put_off.tries, put_off.setbacks) == (LATER + HOUR, 0, 1)


def test_a_step_of_ours_that_broke_is_counted_until_one_comes_to_an_end() -> None:
    broken = after(job(tries=2), events.Deferred(LATER + HOUR, "broke", broke=True))
    assert (broken.due_at, broken.tries) == (LATER + HOUR, 2)
    assert after(broken, events.Deferred(LATER, "window")).tries == 0


def test_a_rerouted_job_asks_another_gateway_at_once() -> None:
    moved = after(job(), events.Rerouted(("evolink", "apimart"), "apimart is paused"))
    assert (moved.route, moved.due_at, moved.attempts) == (("evolink", "apimart"), LATER, ())
    assert moved.history[-1].detail == "apimart is paused"


def test_a_barred_job_fails_and_says_why() -> None:
    barred = after(job(), events.Barred(Error("budget_exceeded", "over max_cost_usd")))
    assert barred.error == Error("budget_exceeded", "over max_cost_usd")
    assert (barred.ended_at, barred.attempts) == (LATER, ())


# --- submitting and unconfirmed: the dangerous minute


def test_an_accepted_submit_runs_and_is_looked_at_first_after_a_while() -> None:
    running = after(job_in(State.SUBMITTING, setbacks=2), events.Accepted("task-7"))
    assert (running.current.status, running.current.task_id) == (AttemptStatus.RUNNING, "task-7")
    assert running.setbacks == 0
    assert LATER + 13 * SECOND < (running.due_at or 0) < LATER + 17 * SECOND


@pytest.mark.parametrize("word", ["lost", "unclear"])
def test_a_submit_whose_answer_is_lost_is_in_doubt(word: str) -> None:
    doubted = after(job_in(State.SUBMITTING), EVENTS[word])
    assert (doubted.state, doubted.current.status) == (State.UNCONFIRMED, AttemptStatus.UNCONFIRMED)
    assert (doubted.current.ended_at, doubted.due_at) == (None, NOW + schedule.PLACE_S * SECOND)


ANSWERS_IN_DOUBT = ["lost", "unclear", "refused"]


@pytest.mark.parametrize("first", ["lost", "unclear"])
@pytest.mark.parametrize("then", [word for word in EVENTS if word not in ("failed", "resolved", "withdrawn")])
def test_a_submit_in_doubt_is_never_queued_by_itself(first: str, then: str) -> None:
    doubted = after(job_in(State.SUBMITTING), EVENTS[first])
    assert after(doubted, EVENTS[then]).state is not State.QUEUED


@pytest.mark.parametrize("word", ANSWERS_IN_DOUBT)
def test_asking_again_without_an_answer_for_a_day_ends_in_doubt(word: str) -> None:
    doubted = after(job_in(State.UNCONFIRMED), EVENTS[word], now=NOW + DAY)
    assert doubted.error is not None
    assert (doubted.state, doubted.error.code) == (State.FAILED, "submit_unconfirmed")
    assert doubted.current.status is AttemptStatus.UNCONFIRMED


@pytest.mark.parametrize("word", ANSWERS_IN_DOUBT)
def test_a_submit_in_doubt_is_held_until_a_day_is_over(word: str) -> None:
    doubted = after(job_in(State.UNCONFIRMED), EVENTS[word], now=NOW + DAY - 1)
    assert (doubted.state, doubted.due_at) == (State.UNCONFIRMED, NOW + DAY)


def test_a_submit_that_may_be_repeated_is_asked_again_soon_and_not_for_ever() -> None:
    doubted = after(job_in(State.SUBMITTING, {"body": {"prompt": "x"}}), events.Lost("reset"))
    waits = []
    for _ in range(9):
        waits.append((doubted.due_at or 0) - LATER)
        doubted = after(doubted, events.Lost("reset"))
    assert [wait < 5 * MINUTE for wait in waits] == [True] * schedule.ASK_AGAIN_TRIES + [False] * 3
    assert doubted.due_at == NOW + schedule.PLACE_S * SECOND


def test_a_submit_in_doubt_gives_its_place_up_after_half_an_hour() -> None:
    over = NOW + schedule.PLACE_S * SECOND
    held = after(job_in(State.UNCONFIRMED), events.Unclear("no answer"), now=over - 1)
    let_go = after(held, events.Unclear("no answer"), now=over)
    assert (held.current.let_go, let_go.current.let_go) == (False, True)
    assert let_go.due_at == NOW + DAY


def test_a_submit_that_is_confirmed_after_its_place_was_given_up_holds_one_again() -> None:
    let_go = job_in(State.UNCONFIRMED, {"let_go": True})
    confirmed = after(let_go, events.Accepted("task-7", attempt=1))
    assert (let_go.current.let_go, confirmed.current.let_go) == (True, False)


# --- in doubt, at a gateway that can be asked by our own id


def askable(**plan: Any) -> Job:
    """A submit in doubt that can be asked for; it was sent at NOW."""
    return job_in(State.UNCONFIRMED, {"askable": True, "body": {"prompt": "x"}, **plan})


def not_found(at: int) -> Event:
    return events.NotFound(attempt=1, asked_at=at)


GRACE = round(POLICY.callback_grace_s * SECOND)


def test_a_submit_that_can_be_asked_for_is_asked_for_at_once() -> None:
    doubted = after(job_in(State.SUBMITTING, {"askable": True}), events.Lost("reset"))
    assert (doubted.state, doubted.due_at) == (State.UNCONFIRMED, LATER)


def test_it_is_asked_for_at_growing_pauses_and_at_the_moment_that_decides() -> None:
    doubted, now, waits = askable(), NOW, []
    while now < NOW + GRACE:
        doubted = after(doubted, not_found(now), now=now)
        waits.append((doubted.due_at or 0) - now)
        now = doubted.due_at or 0
    assert now == NOW + GRACE
    assert waits[:-1] == sorted(waits[:-1])
    assert (len(waits) > 5, doubted.current.polls) == (True, len(waits))


@pytest.mark.parametrize(
    ("asked_at", "polls", "grace_s", "decides"),
    [
        (NOW + GRACE, 2, 180, True),
        (NOW + GRACE - 1, 9, 180, False),
        (NOW + GRACE, 1, 180, False),
        (NOW + schedule.NOT_TAKEN_S * SECOND, 2, 1, True),
        (NOW + schedule.NOT_TAKEN_S * SECOND - 1, 2, 1, False),
    ],
)
def test_when_an_unknown_task_was_not_taken(asked_at: int, polls: int, grace_s: float, decides: bool) -> None:
    policy = replace(POLICY, callback_grace_s=grace_s)
    assert is_not_taken(askable(polls=polls).current, asked_at, policy) is decides


def test_of_a_gateway_that_cannot_be_asked_no_silence_means_that_it_took_nothing() -> None:
    assert not is_not_taken(attempt(askable=False, polls=99), NOW + DAY, POLICY)


def test_the_second_call_begins_the_questions_anew() -> None:
    again = after(askable(polls=7), events.Resent(NOW, attempt=1), now=NOW + GRACE)
    assert (again.state, again.current.resent_at, again.current.polls) == (State.UNCONFIRMED, NOW + GRACE, 0)
    assert not is_not_taken(replace(again.current, polls=9), NOW + 2 * GRACE - 1, POLICY)
    assert is_not_taken(replace(again.current, polls=9), NOW + 2 * GRACE, POLICY)


@pytest.mark.parametrize("state", [State.SUBMITTING, State.UNCONFIRMED])
def test_the_wait_for_a_task_begins_when_the_lost_call_had_ended(state: State) -> None:
    """The journal may take a minute between the writing down and the call."""
    doubted = after(job_in(state, {"askable": True}), events.Lost("reset"), now=NOW + 55 * SECOND)
    attempt = replace(doubted.current, polls=9)

    assert not is_not_taken(attempt, NOW + 55 * SECOND + GRACE - 1, POLICY)
    assert is_not_taken(attempt, NOW + 55 * SECOND + GRACE, POLICY)


def test_of_two_workers_that_would_send_it_again_one_does() -> None:
    again = after(askable(), events.Resent(NOW, attempt=1), now=NOW + GRACE)
    assert transition(again, events.Resent(NOW, attempt=1), LATER + GRACE, POLICY) is again


def test_a_final_refusal_of_the_second_call_ends_it_once_no_task_shows_to_the_last() -> None:
    refused = after(askable(resent_at=LATER), events.Refused(Reason.INPUT, "no", attempt=1), now=LATER + SECOND)
    asked = after(refused, not_found(LATER + 2 * SECOND), now=LATER + 2 * SECOND)
    asked = after(asked, not_found(LATER + GRACE - 1), now=LATER + GRACE - 1)
    ended = after(asked, not_found(LATER + GRACE), now=LATER + GRACE)
    assert (refused.state, asked.state) == (State.UNCONFIRMED, State.UNCONFIRMED)
    assert (ended.state, ended.error) == (State.FAILED, Error("input_rejected", "no", "apimart"))
    assert (ended.current.status, ended.current.body) == (AttemptStatus.REJECTED, None)


@pytest.mark.parametrize("reason", [Reason.RATE, Reason.BALANCE, Reason.KEY, Reason.DOWN, Reason.MOVED])
def test_a_refusal_of_the_second_call_that_may_pass_decides_nothing(reason: Reason) -> None:
    refused = after(askable(resent_at=LATER), events.Refused(reason, "later", attempt=1))
    assert (refused.state, refused.current.error) == (State.UNCONFIRMED, None)


def test_a_task_that_is_found_after_a_refusal_leaves_no_error() -> None:
    refused = after(askable(resent_at=LATER), events.Refused(Reason.INPUT, "no", attempt=1))
    found = after(refused, events.Resolved("adopt", "task-7", by="apimart", attempt=1))
    assert (found.state, found.current.task_id, found.current.error) == (State.RUNNING, "task-7", None)
    assert found.due_at == LATER


def test_no_news_of_an_unknown_task_moves_a_submit_that_cannot_be_asked_for() -> None:
    held = job_in(State.UNCONFIRMED, {"polls": 9})
    asked = after(held, not_found(NOW + DAY - 1), now=NOW + DAY - 1)
    assert asked.state is State.UNCONFIRMED


def test_only_a_gateway_that_does_not_know_the_task_shows_that_its_name_was_made_up() -> None:
    named = job_in(State.UNCONFIRMED, {"task_id": "task-7"})
    for _ in range(2 * UNKNOWN_TASK_ANSWERS):
        named = after(named, events.Unclear("HTTP 502", attempt=1))
    assert (named.current.task_id, named.current.polls) == ("task-7", 0)


def test_with_resubmit_a_doubted_job_is_decided_after_the_grace() -> None:
    eager = replace(POLICY, resubmit_unconfirmed=True)
    doubted = transition(job_in(State.SUBMITTING), events.Lost("reset"), LATER, eager)
    assert (doubted.state, doubted.due_at) == (State.UNCONFIRMED, NOW + 180 * SECOND)


def test_a_submit_that_was_held_back_leaves_no_attempt_behind() -> None:
    withdrawn = after(job_in(State.SUBMITTING), events.Withdrawn(NOW, attempt=1))
    assert (withdrawn.state, withdrawn.attempts, withdrawn.due_at) == (State.QUEUED, (), LATER)


def test_a_submit_that_was_held_back_begins_anew_when_it_may() -> None:
    until = LATER + MINUTE
    withdrawn = after(job_in(State.SUBMITTING, tries=3, setbacks=2), events.Withdrawn(NOW, attempt=1, until=until))
    assert (withdrawn.due_at, withdrawn.tries, withdrawn.setbacks) == (until, 0, 0)


def test_a_submit_of_another_under_the_same_number_is_not_taken_back() -> None:
    subject = job_in(State.SUBMITTING)
    assert after(subject, events.Withdrawn(NOW - 1, attempt=1)) is subject


def test_a_submit_in_doubt_is_taken_back_only_where_nobody_can_have_asked_for_it_again() -> None:
    under_a_key = job_in(State.UNCONFIRMED, {"body": {"prompt": "x"}})
    assert after(under_a_key, events.Withdrawn(NOW, attempt=1)) is under_a_key
    assert after(job_in(State.UNCONFIRMED), events.Withdrawn(NOW, attempt=1)).state is State.QUEUED


def test_a_submit_that_was_held_back_touches_no_other_attempt() -> None:
    subject = job_in(State.SUBMITTING)
    assert after(subject, events.Withdrawn(NOW, attempt=2)) is subject


def test_a_late_acceptance_settles_the_doubt() -> None:
    settled = after(job_in(State.UNCONFIRMED), events.Accepted("task-7", attempt=1))
    assert (settled.state, settled.current.task_id) == (State.RUNNING, "task-7")


def test_a_running_task_confirms_a_submit_in_doubt() -> None:
    settled = after(job_in(State.UNCONFIRMED, {"task_id": "task-7"}), events.Progressed(30))
    assert (settled.state, settled.current.status) == (State.RUNNING, AttemptStatus.RUNNING)
    assert (settled.current.task_id, settled.progress) == ("task-7", 30)


@pytest.mark.parametrize("state", [State.SUBMITTING, State.UNCONFIRMED])
def test_a_finished_clip_needs_no_confirmation(state: State) -> None:
    finished = after(job_in(state), events.Succeeded(link(), task_id="task-7", heard_by="callback"))
    assert (finished.state, finished.current.task_id) == (State.ARCHIVING, "task-7")
    assert finished.current.heard_by == "callback"


def test_a_late_answer_of_an_older_attempt_only_fills_in_its_task_id() -> None:
    older = attempt(1, status=AttemptStatus.UNCONFIRMED)
    newer = attempt(2, status=AttemptStatus.RUNNING, task_id="task-2")
    before = job(state=State.RUNNING, attempts=(older, newer), due_at=NOW + HOUR)
    told = after(before, events.Accepted("task-1", attempt=1))
    assert told == replace(before, attempts=(replace(older, task_id="task-1"), newer))


def test_a_task_id_that_is_known_is_not_overwritten_by_late_news() -> None:
    before = job(attempts=(attempt(1, task_id="task-1"), attempt(2)), state=State.SUBMITTING)
    assert after(before, events.Accepted("other", attempt=1)) is before


def test_late_news_of_an_older_attempt_does_not_silence_a_callback() -> None:
    older = attempt(1, status=AttemptStatus.UNCONFIRMED)
    newer = attempt(2, status=AttemptStatus.RUNNING, task_id="task-2")
    called = job(state=State.RUNNING, attempts=(older, newer), due_at=NOW + HOUR, nudge=Nudge(NOW, 2))
    told = after(called, events.Accepted("task-1", attempt=1, asked_at=LATER))
    assert (told.due_at, told.nudge) == (LATER, Nudge(NOW, 2))


# --- refusals


@pytest.mark.parametrize("reason", [Reason.INPUT, Reason.POLICY])
def test_a_request_at_fault_is_shown_to_no_other_gateway(reason: Reason) -> None:
    refused = after(job_in(State.SUBMITTING), events.Refused(reason, "no"))
    assert (refused.state, refused.error) == (State.FAILED, Error(reason.value, "no", "apimart"))


@pytest.mark.parametrize("reason", [Reason.BALANCE, Reason.KEY, Reason.DOWN])
def test_a_gateway_that_is_unwell_is_asked_again_after_the_others(reason: Reason) -> None:
    refused = after(job_in(State.SUBMITTING), events.Refused(reason, "no"))
    assert (refused.state, refused.route) == (State.QUEUED, ("evolink", "newapi", "apimart"))
    assert refused.due_at == LATER


@pytest.mark.parametrize("reason", [Reason.BALANCE, Reason.KEY, Reason.DOWN, Reason.RATE])
def test_the_only_gateway_of_a_route_is_waited_for(reason: Reason) -> None:
    refused = after(job_in(State.SUBMITTING, route=("apimart",)), events.Refused(reason, "no"))
    assert (refused.state, refused.route) == (State.QUEUED, ("apimart",))
    assert LATER + SECOND < (refused.due_at or 0) < LATER + 3 * SECOND


def test_a_gateway_in_a_hurry_is_waited_for_although_others_are_there() -> None:
    refused = after(job_in(State.SUBMITTING), events.Refused(Reason.RATE, "slow down", retry_after_s=20))
    assert (refused.state, refused.route, refused.due_at) == (State.QUEUED, ROUTE, LATER + 20 * SECOND)


def test_a_gateway_that_cannot_is_not_asked_again() -> None:
    refused = after(job_in(State.SUBMITTING), events.Refused(Reason.PROVIDER, "model not found"))
    assert (refused.state, refused.route, refused.due_at) == (State.QUEUED, ROUTE[1:], LATER)


def test_when_no_gateway_is_left_the_job_fails_with_the_last_refusal() -> None:
    alone = job_in(State.SUBMITTING, route=("apimart",))
    refused = after(alone, events.Refused(Reason.PROVIDER, "model not found"))
    assert (refused.state, refused.error) == (State.FAILED, Error("provider_error", "model not found", "apimart"))


def test_a_refused_attempt_is_rejected_and_holds_no_money() -> None:
    refused = after(job_in(State.SUBMITTING, {"body": {"a": 1}}), events.Refused(Reason.DOWN, "503"))
    assert (refused.current.status, refused.current.ended_at) == (AttemptStatus.REJECTED, LATER)
    assert (refused.current.error, refused.current.body) == (Error("provider_error", "503", "apimart"), None)


def test_each_gateway_is_asked_at_once_and_then_pauses_grow() -> None:
    subject, waits = job_in(State.SUBMITTING), []
    for number in range(2, 9):
        subject = after(subject, events.Refused(Reason.DOWN, "503"))
        waits.append(((subject.due_at or 0) - LATER) / SECOND)
        subject = after(subject, events.Begun(attempt(number)))
    assert waits[:2] == [0, 0]
    assert waits[2:] == sorted(waits[2:])
    assert waits[2] > 5


def refused_for(span: int, reason: Reason) -> Job:
    subject = job_in(State.SUBMITTING)
    for number in range(2, 300):
        now = NOW + span * number // 300
        plan = attempt(number, submitted_at=now)
        subject = after(subject, events.Refused(reason, "503"), events.Begun(plan), now=now)
    return subject


def test_many_refusals_do_not_grow_the_record_without_bound() -> None:
    subject = refused_for(DAY - HOUR, Reason.RATE)
    assert len(subject.attempts) <= 10
    assert (subject.attempts[0].number, subject.current.number) == (1, 299)


@pytest.mark.parametrize(("reason", "code"), [(Reason.RATE, "rate_limited"), (Reason.BALANCE, "insufficient_balance")])
def test_a_job_refused_for_a_whole_day_fails_with_that_refusals_code(reason: Reason, code: str) -> None:
    subject = refused_for(DAY - HOUR, reason)
    still = after(subject, events.Refused(reason, "not now"), now=NOW + DAY - 1)
    given_up = after(subject, events.Refused(reason, "not now"), now=NOW + DAY)
    assert still.state is State.QUEUED
    assert given_up.error is not None
    assert (given_up.state, given_up.error.code) == (State.FAILED, code)


def test_a_day_of_refusals_is_counted_from_the_last_paid_attempt() -> None:
    early = (rejected(1, submitted_at=NOW - 3 * DAY), failed(2, submitted_at=NOW - 2 * DAY))
    subject = job(state=State.SUBMITTING, attempts=(*early, attempt(3, submitted_at=NOW)), route=("newapi",))
    for number in range(4, 60):
        now = NOW + number * 10 * MINUTE
        subject = after(
            subject, events.Refused(Reason.KEY, "401"), events.Begun(attempt(number, submitted_at=now)), now=now
        )
    assert after(subject, events.Refused(Reason.KEY, "401"), now=NOW + DAY - 1).state is State.QUEUED
    assert after(subject, events.Refused(Reason.KEY, "401"), now=NOW + DAY).state is State.FAILED


def test_a_day_in_line_before_the_first_refusal_does_not_count() -> None:
    late = job_in(State.SUBMITTING, {"submitted_at": NOW}, created_at=NOW - 2 * DAY)
    assert after(late, events.Refused(Reason.DOWN, "503")).state is State.QUEUED


# --- running


@pytest.mark.parametrize(
    "answer",
    [
        events.Lost("timeout"),
        events.Unclear("404", missing=True),
        events.Unclear("500"),
        events.Unclear("401", reason=Reason.KEY),
        events.Unclear("not JSON"),
        events.Progressed(drift="PONDERING"),
    ],
)
def test_an_answer_that_is_no_verdict_only_waits(answer: Event) -> None:
    subject = job_in(State.RUNNING)
    for hour in range(1, 24):
        subject = after(subject, answer, now=NOW + hour * HOUR)
        assert subject.state is State.RUNNING
        assert NOW + hour * HOUR < (subject.due_at or 0) <= NOW + DAY
    assert (subject.current.status, subject.current.task_id) == (AttemptStatus.RUNNING, "task-1")
    assert subject.current.polls == 23


@pytest.mark.parametrize("word", ["lost", "unclear", "progressed"])
def test_after_a_day_we_stop_waiting_and_say_nothing_of_the_gateway(word: str) -> None:
    given_up = after(job_in(State.RUNNING), EVENTS[word], now=NOW + DAY)
    assert given_up.error is not None
    assert (given_up.state, given_up.error.code) == (State.FAILED, "timed_out")
    assert (given_up.current.status, given_up.current.ended_at) == (AttemptStatus.RUNNING, None)


def test_a_gateway_that_begs_for_patience_gets_it_until_the_deadline() -> None:
    asked = after(job_in(State.RUNNING), events.Unclear("429", retry_after_s=600))
    begged = after(job_in(State.RUNNING), events.Unclear("429", retry_after_s=10**9))
    assert (asked.due_at, begged.due_at) == (LATER + 10 * MINUTE, NOW + DAY)


def test_progress_never_runs_backward_nor_reaches_the_end_by_itself() -> None:
    subject, seen = job_in(State.RUNNING), []
    for percent in (10, 60, 30, None, 100):
        subject = after(subject, events.Progressed(percent))
        seen.append(subject.progress)
    assert seen == [10, 60, 60, 60, 99]


def test_a_clip_is_archived_at_once_with_what_the_gateway_told() -> None:
    told = events.Succeeded(link(), cost_usd=Decimal("0.4"), made_s=Decimal("5.04"))
    finished = after(job_in(State.RUNNING, setbacks=4), told)
    assert (finished.state, finished.due_at, finished.progress) == (State.ARCHIVING, NOW, 100)
    assert (finished.current.cost_usd, finished.current.made_s) == (Decimal("0.4"), Decimal("5.04"))
    assert (finished.current.status, finished.current.ended_at) == (AttemptStatus.COMPLETED, LATER)
    assert finished.setbacks == 0


def test_a_link_without_a_date_lives_as_long_as_a_link_is_said_to() -> None:
    finished = after(job_in(State.RUNNING), events.Succeeded(link(expires_at=None)))
    assert finished.current.link == link(expires_at=LATER + DAY)


@pytest.mark.parametrize("reason", [Reason.PROVIDER, Reason.RATE, Reason.DOWN, Reason.BALANCE])
def test_a_failed_task_is_tried_at_the_next_gateway(reason: Reason) -> None:
    subject = after(job_in(State.RUNNING, progress=40), events.Failed(reason, "no luck"))
    assert (subject.state, subject.route, subject.due_at) == (State.QUEUED, ROUTE[1:], LATER)
    assert (subject.current.status, subject.current.cost_usd, subject.progress) == (AttemptStatus.FAILED, Decimal(0), 0)


@pytest.mark.parametrize(
    "end", [events.Succeeded(link(), task_id="else"), events.Failed(Reason.INPUT, "no", task_id="else")]
)
def test_an_end_does_not_change_the_task_that_the_gateway_named(end: Event) -> None:
    assert after(job_in(State.RUNNING), end).current.task_id == "task-1"


def test_the_setbacks_of_its_polls_keep_no_job_from_the_next_gateway() -> None:
    subject = after(job_in(State.RUNNING, setbacks=9), events.Failed(Reason.PROVIDER, "no luck"))
    assert (subject.route, subject.due_at) == (ROUTE[1:], LATER)


def test_a_word_of_progress_ends_the_setbacks() -> None:
    assert after(job_in(State.RUNNING, setbacks=9), events.Progressed(40)).setbacks == 0


def test_the_body_of_a_call_is_kept_no_longer_than_it_may_be_sent_again() -> None:
    doubted = job_in(State.UNCONFIRMED, {"body": {"prompt": "a kite"}})
    for end in ("accepted", "succeeded", "failed"):
        assert after(doubted, EVENTS[end]).attempts[0].body is None


@pytest.mark.parametrize("state", [State.RUNNING, State.UNCONFIRMED])
def test_only_a_job_in_line_waits_for_a_gateway(state: State) -> None:
    put_off = after(job_in(state), events.Deferred(NOW + 10_000, "the step broke"), now=NOW + 1)
    assert (put_off.due_at, put_off.waits_until) == (NOW + 10_000, None)


@pytest.mark.parametrize(("reason", "is_news"), [(Reason.KEY, True), (Reason.DOWN, False)])
def test_another_account_is_tried_at_once_only_where_the_refusal_is_of_the_account(
    reason: Reason, is_news: bool
) -> None:
    refused = after(job_in(State.SUBMITTING), events.Refused(reason, "not now", other_account=True))
    assert (refused.history[-1].what == "rerouted") == is_news
    assert (refused.route == ROUTE) == is_news


@pytest.mark.parametrize("reason", [Reason.INPUT, Reason.POLICY])
def test_a_task_that_failed_for_its_request_is_tried_nowhere_else(reason: Reason) -> None:
    subject = after(job_in(State.RUNNING), events.Failed(reason, "no"))
    assert (subject.state, subject.error) == (State.FAILED, Error(reason.value, "no", "apimart"))


def test_a_job_is_paid_for_three_times_at_the_most() -> None:
    subject = job(route=("a", "b", "c", "d", "e"))
    for number in range(1, 4):
        subject = after(subject, events.Begun(attempt(number)), events.Accepted(f"task-{number}"))
        assert subject.state is State.RUNNING
        subject = after(subject, events.Failed(Reason.PROVIDER, "no luck"))
    assert (subject.state, len(subject.attempts)) == (State.FAILED, 3)


def test_refusals_are_not_among_the_three() -> None:
    subject = job(state=State.RUNNING, attempts=(rejected(1), failed(2), rejected(3), attempt(4)), route=("a", "b"))
    subject = after(subject, events.Failed(Reason.PROVIDER, "no luck"))
    assert subject.state is State.QUEUED


def test_a_late_poll_does_not_undo_a_callback() -> None:
    called = after(job_in(State.RUNNING), events.Succeeded(link(), heard_by="callback"))
    finished = after(called, events.Archived(result()))
    for word in ("progressed", "failed", "lost", "unclear", "succeeded"):
        late = replace(EVENTS[word], asked_at=LATER - SECOND)
        assert after(called, late, now=LATER + SECOND) is called
        assert after(finished, late, now=LATER + SECOND) is finished


# --- hints from callbacks


def test_a_callbacks_task_id_makes_a_submit_in_doubt_askable() -> None:
    doubted = job_in(State.SUBMITTING, nudge=Nudge(NOW + SECOND, 1, "task-7"))
    doubted = after(doubted, events.Lost("reset", attempt=1, asked_at=NOW))
    assert (doubted.state, doubted.current.task_id) == (State.UNCONFIRMED, "task-7")
    assert doubted.due_at == LATER
    asked = after(doubted, events.Progressed(50, attempt=1, asked_at=LATER + SECOND), now=LATER + SECOND)
    assert (asked.state, asked.nudge) == (State.RUNNING, None)


def test_a_hint_about_another_attempt_names_no_task() -> None:
    doubted = job_in(State.SUBMITTING, nudge=Nudge(NOW + SECOND, 3, "task-7"))
    assert after(doubted, events.Lost("reset")).current.task_id is None


def test_the_gateways_own_answer_goes_before_a_hint() -> None:
    hinted = job_in(State.RUNNING, {"task_id": "task-1"}, nudge=Nudge(NOW, 1, "forged"))
    assert after(hinted, events.Progressed(10)).current.task_id == "task-1"


def test_a_task_that_the_gateway_does_not_know_shows_that_the_hint_was_forged() -> None:
    hinted = job_in(State.UNCONFIRMED, {"task_id": "forged"}, nudge=Nudge(NOW, 1, "forged"))
    asked = hinted
    for look in range(1, UNKNOWN_TASK_ANSWERS + 1):
        assert asked.current.task_id == "forged"  # one odd answer is no verdict
        asked = after(asked, events.Unclear("404", missing=True, asked_at=NOW + look * SECOND))
    assert (asked.state, asked.current.task_id, asked.nudge) == (State.UNCONFIRMED, None, None)
    assert asked.due_at == NOW + schedule.PLACE_S * SECOND
    again = after(replace(asked, nudge=Nudge(LATER, 1, "task-7")), events.Lost("reset"))
    assert again.current.task_id == "task-7"


def test_an_odd_answer_leaves_the_hint_standing() -> None:
    hinted = job_in(State.UNCONFIRMED, {"task_id": "task-7"})
    asked = after(hinted, events.Unclear("500"))
    assert asked.current.task_id == "task-7"
    assert (asked.due_at or 0) < LATER + 5 * SECOND


@pytest.mark.parametrize("asked_at", [NOW, NOW + SECOND])
@pytest.mark.parametrize("word", ["lost", "unclear", "progressed"])
@pytest.mark.parametrize("state", [State.RUNNING, State.UNCONFIRMED])
def test_news_that_may_have_come_after_the_question_keeps_the_job_awake(state: State, word: str, asked_at: int) -> None:
    hinted = job_in(state, {"task_id": "task-1"}, nudge=Nudge(NOW + SECOND, 1))
    asked = after(hinted, replace(EVENTS[word], asked_at=asked_at))
    assert (asked.due_at, asked.nudge) == (LATER, Nudge(NOW + SECOND, 1))


@pytest.mark.parametrize("word", ["lost", "unclear", "progressed"])
@pytest.mark.parametrize("state", [State.RUNNING, State.UNCONFIRMED])
def test_a_question_that_was_put_after_the_news_has_answered_it(state: State, word: str) -> None:
    hinted = job_in(state, {"task_id": "task-1"}, nudge=Nudge(NOW + SECOND, 1))
    asked = after(hinted, replace(EVENTS[word], asked_at=NOW + SECOND + 1))
    assert asked.nudge is None
    assert (asked.due_at or 0) > LATER


def test_a_callback_that_came_before_the_answer_to_the_submit_is_followed_at_once() -> None:
    called = job_in(State.SUBMITTING, nudge=Nudge(NOW + SECOND, 1, "task-1"))
    running = after(called, events.Accepted("task-1", attempt=1, asked_at=NOW))
    assert (running.state, running.due_at) == (State.RUNNING, LATER)


# --- an operator decides


def test_an_operator_may_have_a_doubted_submit_sent_again() -> None:
    resolved = after(job_in(State.UNCONFIRMED, setbacks=3), events.Resolved("resubmit"))
    assert (resolved.state, resolved.due_at, resolved.setbacks) == (State.QUEUED, LATER, 0)
    assert resolved.current.status is AttemptStatus.UNCONFIRMED


def test_not_even_an_operator_has_a_job_paid_for_a_fourth_time() -> None:
    doubted = attempt(3, status=AttemptStatus.UNCONFIRMED)
    subject = job(state=State.UNCONFIRMED, attempts=(failed(1), failed(2), doubted))
    assert after(subject, events.Resolved("resubmit")).state is State.FAILED


def test_an_operator_may_give_a_doubted_submit_up() -> None:
    resolved = after(job_in(State.UNCONFIRMED), events.Resolved("fail"))
    assert resolved.error is not None
    assert (resolved.state, resolved.error.code) == (State.FAILED, "submit_unconfirmed")


def test_an_operator_may_adopt_a_task_that_he_found() -> None:
    resolved = after(job_in(State.UNCONFIRMED), events.Resolved("adopt", task_id="found"))
    assert (resolved.state, resolved.current.task_id, resolved.due_at) == (State.RUNNING, "found", LATER)
    assert resolved.current.status is AttemptStatus.RUNNING


# --- archiving


def test_a_fresh_link_is_fetched_at_once_and_nothing_is_made_again() -> None:
    before = job_in(State.ARCHIVING)
    renewed = after(before, events.Succeeded(link(video_url="https://fresh.example/clip.mp4"), asked_at=LATER))
    assert renewed.current.link == link(video_url="https://fresh.example/clip.mp4")
    assert (renewed.state, renewed.due_at, len(renewed.attempts)) == (State.ARCHIVING, LATER, 1)


def test_a_fresh_link_without_a_date_lives_no_longer_than_the_clip() -> None:
    renewed = after(job_in(State.ARCHIVING), events.Succeeded(link(expires_at=None)), now=NOW + HOUR)
    assert renewed.current.link == link(expires_at=NOW + DAY)


def test_a_link_that_was_asked_for_in_the_very_moment_of_the_end_is_no_late_news() -> None:
    fresh = link(video_url="https://files.apimart.example/fresh.mp4")
    asked = [after(job_in(State.ARCHIVING), events.Succeeded(fresh, asked_at=at)) for at in (NOW - 1, NOW)]
    assert [each.current.link == fresh for each in asked] == [False, True]


def test_the_same_link_once_more_is_not_fetched_in_a_hurry() -> None:
    renewed = after(job_in(State.ARCHIVING), events.Succeeded(link(), asked_at=LATER))
    assert renewed.current == job_in(State.ARCHIVING).current
    assert (renewed.due_at or 0) > LATER + SECOND


def test_an_archive_that_does_not_succeed_is_tried_again_ever_more_slowly() -> None:
    subject, waits = job_in(State.ARCHIVING), []
    for _ in range(9):
        subject = after(subject, EVENTS["archive failed"])
        waits.append((subject.due_at or 0) - LATER)
    assert waits == sorted(waits)
    assert waits[0] < 3 * SECOND
    assert waits[-1] <= 132 * SECOND
    assert [note.what for note in subject.history] == ["archive delayed"]


def test_downloads_that_were_no_whole_clip_are_counted_apart_from_other_setbacks() -> None:
    subject = after(job_in(State.ARCHIVING), EVENTS["archive failed"])
    subject = after(subject, events.ArchiveFailed("result_invalid", "it breaks off"))
    subject = after(subject, events.Succeeded(link(), bad_download=True, asked_at=LATER))
    subject = after(subject, events.Succeeded(link(), asked_at=LATER))
    assert (subject.setbacks, subject.current.bad_downloads) == (4, 2)


def test_an_archive_that_cannot_succeed_fails_the_job() -> None:
    over = after(job_in(State.ARCHIVING), events.ArchiveFailed("result_expired", "the link is dead", final=True))
    assert (over.state, over.error) == (State.FAILED, Error("result_expired", "the link is dead", "apimart"))
    assert over.current.status is AttemptStatus.COMPLETED
    assert over.current.cost_usd == Decimal("0.42")  # it was made, and is paid for


def test_a_delay_of_an_earlier_clip_does_not_silence_that_of_this_one() -> None:
    before = job_in(State.ARCHIVING).noted(NOW - HOUR, "archive delayed", "S3 is away")
    delayed = after(before, EVENTS["archive failed"], EVENTS["archive failed"])
    assert [note.at for note in delayed.history if note.what == "archive delayed"] == [NOW - HOUR, LATER]


def test_a_bill_that_comes_with_a_fresh_link_is_taken_where_none_was_known() -> None:
    bill = events.Succeeded(link(), cost_usd=Decimal("0.5"), asked_at=LATER)
    told = {"cost_usd": Decimal("0.39"), "cost_source": CostSource.SETTLED}
    late, again = after(job_in(State.ARCHIVING), bill), after(job_in(State.ARCHIVING, told), bill)
    assert (late.current.cost_usd, late.current.cost_source) == (Decimal("0.5"), CostSource.REPORTED)
    assert (again.current.cost_usd, again.current.cost_source) == (Decimal("0.39"), CostSource.SETTLED)


def test_an_archived_clip_keeps_when_its_link_dies_and_no_address() -> None:
    kept = link(thumbnail_url="https://cdn.example/t.jpg?sign=1", expires_at=LATER)
    over = after(job_in(State.ARCHIVING, {"link": kept}), events.Archived(result()))
    assert over.current.link == Link("", thumbnail_url=None, expires_at=LATER)


def test_the_estimate_becomes_the_cost_where_the_gateway_told_none() -> None:
    silent = after(job_in(State.ARCHIVING), events.Archived(result()))
    told = after(job_in(State.ARCHIVING, {"cost_usd": Decimal("0.39")}), events.Archived(result()))
    assert (silent.current.cost_usd, told.current.cost_usd) == (Decimal("0.42"), Decimal("0.39"))


def test_what_was_made_is_charged_before_what_was_estimated() -> None:
    made = events.Archived(result(duration_s=Decimal("5.04")), cost_usd=Decimal("0.4032"))
    silent = after(job_in(State.ARCHIVING), made)
    told = after(job_in(State.ARCHIVING, {"cost_usd": Decimal("0.39"), "made_s": Decimal(5)}), made)
    assert (silent.current.cost_usd, silent.current.made_s) == (Decimal("0.4032"), Decimal("5.04"))
    assert (told.current.cost_usd, told.current.made_s) == (Decimal("0.39"), Decimal(5))


def test_an_unknown_cost_stays_unknown() -> None:
    silent = after(job_in(State.ARCHIVING, {"estimated_usd": None}), events.Archived(result()))
    assert silent.current.cost_usd is None


@pytest.mark.parametrize(
    "told",
    [events.Succeeded(link(), cost_usd=Decimal("0.4")), events.Failed(Reason.PROVIDER, "no luck", Decimal("0.4"))],
)
def test_an_adopted_task_was_paid_for_before(told: Event) -> None:
    adopted = after(job_in(State.RUNNING, {"adopted": True, "estimated_usd": Decimal(0)}), told)
    assert adopted.attempts[0].cost_usd == 0


# --- what an ended job still owes


def ended(state: State, told: bool) -> Job:
    request = {"callback_url": "https://caller.example/heard"} if told else {}
    ways: dict[State, tuple[Job, Event]] = {
        State.COMPLETED: (job_in(State.ARCHIVING, request=request), events.Archived(result())),
        State.FAILED: (job_in(State.QUEUED, request=request), EVENTS["barred"]),
        State.CANCELED: (job_in(State.QUEUED, request=request), events.Canceled()),
    }
    return after(*ways[state])


MANIFEST, NOTICE, RETIRE = Chore.MANIFEST, Chore.NOTICE, Chore.RETIRE


@pytest.mark.parametrize(
    ("state", "told", "owed"),
    [
        (State.COMPLETED, True, (NOTICE, RETIRE)),
        (State.COMPLETED, False, (RETIRE,)),
        (State.FAILED, True, (MANIFEST, NOTICE, RETIRE)),
        (State.FAILED, False, (MANIFEST, RETIRE)),
        (State.CANCELED, True, (MANIFEST, NOTICE, RETIRE)),
        (State.CANCELED, False, (MANIFEST, RETIRE)),
    ],
)
def test_an_ended_job_owes_its_manifest_first_then_the_notice_then_its_leaving(
    state: State, told: bool, owed: tuple[Chore, ...]
) -> None:
    over = ended(state, told)
    assert (over.state, over.chores, over.ended_at) == (state, owed, LATER)


DOES: dict[Chore, Event] = {MANIFEST: events.Manifested(), NOTICE: events.Notified()}


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELED])
def test_a_chore_is_due_at_once_and_leaving_only_after_the_retention(state: State, told: bool) -> None:
    over = ended(state, told)
    for chore in over.chores[:-1]:
        assert over.due_at == LATER
        over = after(over, DOES[chore])
    assert over.due_at == LATER + WEEK


@pytest.mark.parametrize("late", ["archive failed", "manifested", "notified", "notice failed"])
def test_late_news_of_a_chore_does_not_shorten_the_retention(late: str) -> None:
    over = ended(State.COMPLETED, told=False)
    assert after(over, EVENTS[late], now=LATER + HOUR) is over


def test_the_setbacks_of_a_life_do_not_slow_its_notice() -> None:
    over = after(job_in(State.ARCHIVING, setbacks=9, tries=3), events.Archived(result()))
    assert (over.setbacks, over.tries) == (0, 0)
    again = after(over, events.NoticeFailed("500"))
    assert (again.due_at or 0) - LATER < 6 * SECOND


def test_a_caller_who_does_not_answer_is_told_again_for_a_day_and_no_longer() -> None:
    over, now, tries = ended(State.COMPLETED, told=True), LATER, 0
    while NOTICE in over.chores and tries < 99:
        now, tries = over.due_at or 0, tries + 1
        over = after(over, events.NoticeFailed("500"), now=now)
    assert LATER + DAY <= now < LATER + DAY + 4 * HOUR
    assert 10 < tries < 20
    assert (over.chores, over.due_at) == ((RETIRE,), LATER + WEEK)


def test_a_caller_is_given_up_a_day_after_the_end_to_the_moment() -> None:
    over = ended(State.COMPLETED, told=True)
    tries = [after(over, events.NoticeFailed("500"), now=LATER + DAY - early) for early in (1, 0)]
    assert [NOTICE in each.chores for each in tries] == [True, False]


def test_a_caller_who_wants_no_more_is_left_alone() -> None:
    over = after(ended(State.COMPLETED, told=True), events.NoticeFailed("410", final=True))
    assert (over.state, over.chores) == (State.COMPLETED, (RETIRE,))


def test_a_caller_who_asks_for_patience_gets_it_but_no_more_than_a_day() -> None:
    over = ended(State.COMPLETED, told=True)
    assert after(over, events.NoticeFailed("503", retry_after_s=120)).due_at == LATER + 120 * SECOND
    assert after(over, events.NoticeFailed("503", retry_after_s=10**9)).due_at == LATER + DAY


def test_every_try_to_tell_stands_in_the_history() -> None:
    over = after(ended(State.COMPLETED, told=True), events.NoticeFailed("HTTP 500"))
    later = over.due_at or 0
    over = after(over, events.NoticeFailed("HTTP 503", retry_after_s=60), now=later)
    over = after(over, events.Notified(), now=later + 60 * SECOND)
    first, second, last = over.history[-3:]
    assert (first.what, second.what, last.what) == ("notice failed", "notice failed", "notified")
    assert str(first.detail).startswith("HTTP 500, next try at 2026-09-21T14:14:")
    assert str(second.detail).startswith("HTTP 503, next try at 2026-09-21T14:15:")


def test_that_nobody_is_told_any_more_stands_in_the_history() -> None:
    over = after(ended(State.COMPLETED, told=True), events.NoticeFailed("HTTP 410", final=True))
    assert over.history[-1].detail == "HTTP 410; given up"


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELED])
def test_a_caller_is_told_once_more_when_it_is_asked_for(state: State) -> None:
    over = after(ended(state, told=True), events.Manifested(), events.Notified())
    again = after(over, events.Recalled(), now=LATER + HOUR)
    assert (again.state, again.chores, again.due_at) == (state, (NOTICE, RETIRE), LATER + HOUR)
    assert after(again, events.Notified(), now=LATER + HOUR).due_at == LATER + WEEK


def test_a_caller_is_told_once_more_only_after_the_manifest_stands() -> None:
    assert after(ended(State.FAILED, told=True), events.Recalled()).chores == (MANIFEST, NOTICE, RETIRE)


def test_a_caller_who_is_being_told_is_told_at_once() -> None:
    over = ended(State.COMPLETED, told=True)
    for _ in range(5):
        over = after(over, events.NoticeFailed("500"), now=over.due_at or 0)
    again = after(over, events.Recalled(), now=LATER + HOUR)
    assert (again.due_at, again.setbacks, again.chores) == (LATER + HOUR, 0, over.chores)


def test_where_there_is_nobody_to_tell_nothing_is_owed() -> None:
    over = ended(State.COMPLETED, told=False)
    assert after(over, events.Recalled()) is over


def test_a_caller_who_is_to_be_told_again_after_a_week_is_tried_for_another_day() -> None:
    over = after(ended(State.COMPLETED, told=True), events.Notified())
    over, tries = after(over, events.Recalled(), now=LATER + 5 * DAY), 0
    while NOTICE in over.chores and tries < 99:
        over, tries = after(over, events.NoticeFailed("500"), now=over.due_at or 0), tries + 1
    assert 10 < tries < 20


def test_a_replayed_callback_brings_the_task_of_a_submit_in_doubt() -> None:
    fields = {"task_id": "task-forged", "polls": UNKNOWN_TASK_ANSWERS - 1}
    doubted = job_in(State.UNCONFIRMED, fields, due_at=NOW + HOUR)
    moved = after(doubted, events.Replayed(task_id="task-7"))
    assert (moved.state, moved.current.task_id, moved.due_at) == (State.UNCONFIRMED, "task-7", LATER)
    names, denied = [], moved
    for _ in range(UNKNOWN_TASK_ANSWERS):
        names.append(denied.current.task_id)
        denied = after(denied, events.Unclear("HTTP 404", missing=True, asked_at=LATER), now=LATER + SECOND)
    assert names == ["task-7"] * UNKNOWN_TASK_ANSWERS
    assert (denied.state, denied.current.task_id) == (State.UNCONFIRMED, None)


def test_a_replayed_callback_does_not_change_the_task_that_a_gateway_named_itself() -> None:
    moved = after(job_in(State.RUNNING, due_at=NOW + HOUR), events.Replayed(task_id="task-7"))
    assert (moved.current.task_id, moved.due_at, moved.nudge) == ("task-1", LATER, Nudge(LATER, 1, "task-7"))


def test_a_manifest_that_cannot_be_written_does_not_hold_up_the_notice() -> None:
    over = after(ended(State.FAILED, told=True), events.ArchiveFailed("archive_failed", "no bucket", final=True))
    assert over.chores == (NOTICE, RETIRE)


def test_history_keeps_its_beginning_and_its_end_in_64_lines() -> None:
    subject = job()
    for number in range(200):
        subject = subject.noted(NOW + number, f"line {number}")
    assert len(subject.history) == 64
    assert [subject.history[0].what, subject.history[-1].what] == ["line 0", "line 199"]


def test_ids_sort_by_the_time_of_their_making() -> None:
    ids: list[Any] = [job(created_at=NOW + step).id for step in range(0, 50_000, 777)]
    assert ids == sorted(ids)
    assert {len(one) for one in ids} == {30}


def test_a_manifest_that_cannot_be_written_is_tried_ever_more_slowly_and_slows_no_notice() -> None:
    over, waits = ended(State.FAILED, told=True), []
    for _ in range(6):
        over = after(over, EVENTS["archive failed"])
        waits.append((over.due_at or 0) - LATER)
    assert waits == sorted(waits)
    assert waits[-1] > 10 * waits[0]
    assert after(over, events.Manifested()).setbacks == 0


def test_at_its_end_a_job_has_no_hint_that_waits() -> None:
    hinted = job_in(State.RUNNING, nudge=Nudge(NOW + 2 * DAY, 1, None))
    assert after(hinted, EVENTS["lost"], now=NOW + DAY).nudge is None


# --- erasure


ERASING = replace(POLICY, erase_after_s=2 * 86_400)


def test_one_that_is_to_be_erased_leaves_after_that_and_once_erased_after_its_retention() -> None:
    over = after(ended(State.COMPLETED, told=True), events.Notified())
    noted = transition(ended(State.COMPLETED, told=True), events.Notified(), LATER, ERASING)
    asked = transition(noted, events.ErasureRequested("plan"), LATER + 2 * DAY, ERASING)
    gone = transition(asked, events.Erased(LATER + 2 * DAY), LATER + 2 * DAY, ERASING)
    assert [each.due_at for each in (over, noted, gone)] == [LATER + WEEK, LATER + 2 * DAY, LATER + WEEK]
    assert gone.result is None


def test_an_erasure_that_is_planned_and_fails_is_put_off() -> None:
    now = LATER + 2 * DAY
    planned = transition(ended(State.COMPLETED, told=True), events.Notified(), LATER, ERASING)
    later = transition(planned, events.ErasureDelayed("S3 is away"), now, ERASING)
    assert (later.due_at or 0) > now
    assert (later.setbacks, later.chores) == (1, (RETIRE,))
    assert "erasure delayed" not in [note.what for note in later.history]  # nobody has asked for it yet


def test_the_setbacks_of_a_life_do_not_slow_its_erasure() -> None:
    asked = after(replace(ended(State.COMPLETED, told=True), setbacks=9, tries=3), events.ErasureRequested("caller"))
    assert (asked.setbacks, asked.tries) == (0, 0)


def test_what_is_erased_owes_no_manifest_and_no_notice_and_leaves_after_the_retention() -> None:
    over = after(ended(State.FAILED, told=True), events.ErasureRequested("caller"))
    assert (over.chores, over.due_at, over.request.get("prompt")) == ((Chore.ERASE, RETIRE), LATER, None)
    gone = after(over, events.Erased(LATER + HOUR), now=LATER + HOUR)
    assert (gone.chores, gone.due_at, gone.erased_at) == ((RETIRE,), LATER + WEEK, LATER + HOUR)
    assert after(gone, events.Erased(LATER + DAY), now=LATER + DAY) is gone


def test_a_second_erasure_and_a_recall_change_nothing() -> None:
    over = after(ended(State.COMPLETED, told=True), events.ErasureRequested("caller"))
    for event in (events.ErasureRequested("caller"), events.Recalled()):
        assert after(over, event, now=LATER + HOUR) is over


def test_an_erasure_that_fails_is_tried_again_for_ever_and_noted_once() -> None:
    over, now = after(ended(State.COMPLETED, told=False), events.ErasureRequested("caller")), LATER
    for _ in range(30):
        now = over.due_at or 0
        over = after(over, events.ErasureDelayed("S3 is away"), now=now)
    assert 0.9 * HOUR <= (over.due_at or 0) - now <= 1.1 * HOUR
    assert [note.what for note in over.history].count("erasure delayed") == 1


def test_an_erased_job_keeps_only_what_is_known_to_tell_nothing() -> None:
    request = {"model": "kling-v3", "batch": "autumn", "prompt": "x", "metadata": {"a": "b"}, "a later field": "y"}
    over = after(job_in(State.FAILED, request=request), events.ErasureRequested("caller"))
    assert over.request == {"model": "kling-v3", "batch": "autumn"}
    assert over.error == Error("provider_error", "(erased)", ROUTE[0])


def test_a_bulk_action_recalls_a_job_once_and_another_may_do_it_again() -> None:
    over = after(ended(State.COMPLETED, told=True), events.Recalled(by="bulk_1"))
    assert after(over, events.Recalled(by="bulk_1"), now=LATER + HOUR) is over
    assert after(over, events.Recalled(by="bulk_2"), now=LATER + HOUR) is not over
    assert after(over, events.Recalled(), now=LATER + HOUR) is not over
