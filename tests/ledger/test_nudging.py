from __future__ import annotations

from typing import Any

import pytest
from factories import HOUR, MINUTE, NOW, POLICY, SECOND, attempt, job_in
from ledger_steps import (
    archiving,
    claim,
    contents,
    created,
    engaged,
    places,
    polls,
    racing,
    repeating,
    running,
    score,
    submits,
    taken,
)

from rushes.shared.domain import events
from rushes.shared.domain.job import Job, Note, Nudge, State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import Store

LATER = NOW + 5 * SECOND


def nudged(ledger: Ledger, subject: Job, task_id: str | None = None, number: int = 1, now: int = LATER) -> Job:
    assert ledger.nudge("apimart", subject.id, number, task_id, now) == "noted"
    found = ledger.get(subject.id)
    assert found is not None
    return found


def doubted(ledger: Ledger) -> Job:
    created(ledger)
    subject, _ = engaged(ledger, NOW)
    lost = ledger.apply(subject.id, events.Lost("reset", attempt=1, asked_at=NOW), NOW)
    assert lost is not None
    return lost


def test_a_call_about_an_unknown_job_is_answered_so(ledger: Ledger, store: Store) -> None:
    assert ledger.nudge("apimart", "job_unknown", 1, "task-1", NOW) == "unknown"
    assert contents(store) == {}


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELED])
def test_a_call_about_an_ended_job_writes_nothing(ledger: Ledger, store: Store, state: State) -> None:
    subject = job_in(state)
    ledger.create(subject)
    before = contents(store)
    assert ledger.nudge("apimart", subject.id, 1, "task-1", LATER) == "ended"
    assert contents(store) == before


def test_a_call_makes_a_running_job_due_now(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    assert claim(ledger, polls(), LATER) == []
    called = nudged(ledger, subject)
    assert (called.nudge, called.version) == (Nudge(LATER, 1), subject.version + 1)
    assert score(store, "due:poll:apimart", subject.id) == LATER
    assert len(claim(ledger, polls(), LATER)) == 1


def test_a_repeated_call_writes_nothing(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    nudged(ledger, subject)
    before = contents(store)
    assert nudged(ledger, subject, now=LATER + SECOND).version == subject.version + 1
    assert contents(store) == before


def test_a_call_whose_reply_is_lost_writes_once(store: Store) -> None:
    subject = running(Ledger(store, POLICY))
    assert nudged(repeating(store), subject).version == subject.version + 1


def test_a_call_does_not_take_a_job_out_of_a_workers_hands(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    _, ticket = taken(ledger, polls(), subject.due_at or 0)
    nudged(ledger, subject, now=(subject.due_at or 0) + 1)
    assert places(store, subject.id) == ["{rushes}:leased:poll:apimart"]
    assert ledger.renew(ticket, (subject.due_at or 0) + 2) is not None


def test_a_call_that_comes_while_a_worker_asks_is_followed_afterwards(ledger: Ledger) -> None:
    subject = running(ledger)
    asked_at = subject.due_at or 0
    taken(ledger, polls(), asked_at)
    nudged(ledger, subject, now=asked_at + 1)
    answer = events.Progressed(40, attempt=1, asked_at=asked_at)
    moved = ledger.apply(subject.id, answer, asked_at + SECOND)
    assert moved is not None
    assert moved.due_at == asked_at + SECOND


def test_a_second_call_while_a_worker_follows_the_first_is_followed_too(ledger: Ledger) -> None:
    subject = running(ledger)
    nudged(ledger, subject)
    taken(ledger, polls(), LATER)
    asked_at = LATER + 100
    nudged(ledger, subject, now=asked_at + 1)
    answer = events.Progressed(99, attempt=1, asked_at=asked_at)
    moved = ledger.apply(subject.id, answer, asked_at + SECOND)
    assert moved is not None
    assert moved.due_at == asked_at + SECOND


def test_a_call_that_was_followed_is_forgotten(ledger: Ledger) -> None:
    subject = running(ledger)
    nudged(ledger, subject)
    taken(ledger, polls(), LATER)
    answer = events.Progressed(40, attempt=1, asked_at=LATER + 1)
    moved = ledger.apply(subject.id, answer, LATER + SECOND)
    assert moved is not None
    assert moved.nudge is None
    assert (moved.due_at or 0) > LATER + 10 * SECOND


def test_a_task_id_is_kept_until_the_submits_answer_is_given_up(ledger: Ledger) -> None:
    created(ledger)
    subject, _ = engaged(ledger, NOW)
    nudged(ledger, subject, "task-7")
    lost = ledger.apply(subject.id, events.Lost("reset", attempt=1, asked_at=NOW), LATER + SECOND)
    assert lost is not None
    assert (lost.state, lost.current.task_id, lost.due_at) == (State.UNCONFIRMED, "task-7", LATER + SECOND)


def test_a_task_id_is_kept_over_a_crash(ledger: Ledger) -> None:
    created(ledger)
    begun, _ = engaged(ledger, NOW)
    nudged(ledger, begun, "task-7")
    again, _ = taken(ledger, submits(), begun.due_at or 0)
    assert again.nudge == Nudge(LATER, 1, "task-7")


def test_a_call_wakes_a_submit_in_doubt_and_brings_its_task(ledger: Ledger) -> None:
    subject = doubted(ledger)
    assert subject.due_at == NOW + 30 * MINUTE
    assert nudged(ledger, subject, "task-7").nudge == Nudge(LATER, 1, "task-7")
    again, _ = taken(ledger, polls(), LATER)
    moved = ledger.apply(again.id, events.Progressed(10, attempt=1, asked_at=LATER), LATER)
    assert moved is not None
    assert (moved.state, moved.current.task_id) == (State.RUNNING, "task-7")


def test_a_call_that_names_no_task_does_not_wipe_out_one_that_did(ledger: Ledger) -> None:
    subject = doubted(ledger)
    nudged(ledger, subject, "task-7")
    assert nudged(ledger, subject, None, now=LATER + SECOND).nudge == Nudge(LATER, 1, "task-7")


def tried(ledger: Ledger, *numbers: int, **changes: Any) -> Job:
    """A submit in doubt, the last of these."""
    subject = job_in(State.UNCONFIRMED, attempts=tuple(attempt(number, **changes) for number in numbers))
    ledger.create(subject)
    return subject


def test_a_late_call_about_an_older_attempt_does_not_wipe_out_the_newer_ones(ledger: Ledger) -> None:
    subject = tried(ledger, 1, 2)
    nudged(ledger, subject, "task-7", number=2)
    assert nudged(ledger, subject, "task-1", number=1, now=LATER + SECOND).nudge == Nudge(LATER, 2, "task-7")


def test_a_call_about_a_newer_attempt_goes_before_an_older_ones(ledger: Ledger) -> None:
    subject = tried(ledger, 2, 12)
    nudged(ledger, subject, "task-1", number=2)
    called = nudged(ledger, subject, "task-2", number=12, now=LATER + SECOND)
    assert called.nudge == Nudge(LATER + SECOND, 12, "task-2")


def test_another_task_id_for_the_same_attempt_is_a_new_hint(ledger: Ledger) -> None:
    subject = doubted(ledger)
    nudged(ledger, subject, "forged")
    assert nudged(ledger, subject, "task-7", now=LATER + 1).nudge == Nudge(LATER + 1, 1, "task-7")


@pytest.mark.parametrize("number", [1, 3])
def test_a_call_that_names_another_task_or_no_attempt_of_the_job_is_strange_and_writes_nothing(
    ledger: Ledger, store: Store, number: int
) -> None:
    subject = tried(ledger, 1, 2, task_id="task-1")
    before = contents(store)
    assert ledger.nudge("apimart", subject.id, number, "task-7", LATER) == "strange"
    assert contents(store) == before


@pytest.mark.parametrize("named", ["task-1", None])
def test_a_call_that_names_the_task_of_its_attempt_or_none_is_not_strange(ledger: Ledger, named: str | None) -> None:
    subject = tried(ledger, 1, 2, task_id="task-1")
    nudged(ledger, subject, named)


def test_a_task_of_any_letters_is_known_again(ledger: Ledger) -> None:
    for name in ("a b:c\n%41 凧", "\x00", '"task_id":"task-1"', "задача"):
        subject = tried(ledger, 1, task_id=name)
        nudged(ledger, subject, name)
        assert ledger.nudge("apimart", subject.id, 1, name + "x", LATER) == "strange"


def test_words_of_the_caller_do_not_make_a_call_strange(ledger: Ledger) -> None:
    subject = job_in(State.RUNNING, request={"prompt": '\ud83d "attempts":[] \x00', "model": "kling-v3"})
    ledger.create(subject)
    nudged(ledger, subject, "task-1")


def test_a_note_leaves_a_job_in_the_hands_that_hold_it(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    _, ticket = taken(ledger, polls(), subject.due_at or 0)
    ledger.note(subject.id, "a callback named another task", "task-7", LATER)
    found = ledger.get(subject.id)
    assert found is not None
    assert found.history[-1] == Note(LATER, "a callback named another task", "task-7")
    assert places(store, subject.id) == ["{rushes}:leased:poll:apimart"]
    assert ledger.renew(ticket, LATER) is not None


def test_a_note_whose_reply_is_lost_is_written_once(store: Store) -> None:
    subject = running(Ledger(store, POLICY))
    repeating(store).note(subject.id, "a note", None, LATER)
    found = Ledger(store, POLICY).get(subject.id)
    assert found is not None
    assert [note.what for note in found.history].count("a note") == 1


def test_a_note_gives_way_to_what_happens_meanwhile(store: Store) -> None:
    subject = running(Ledger(store, POLICY))
    ledger = racing(store, lambda: nudged(Ledger(store, POLICY), subject))
    ledger.note(subject.id, "a note", None, LATER)
    found = ledger.get(subject.id)
    assert found is not None
    assert (found.nudge, found.history[-1].what) == (Nudge(LATER, 1), "a note")


def test_a_task_id_of_any_letters_is_kept(ledger: Ledger) -> None:
    name = "a b:c\n%41 凧 \ud83d\x00"
    subject = doubted(ledger)
    assert nudged(ledger, subject, name).nudge == Nudge(LATER, 1, name)
    again, _ = taken(ledger, polls(), LATER)
    moved = ledger.apply(again.id, events.Progressed(10, asked_at=LATER), LATER)
    assert moved is not None
    assert moved.current.task_id == name


def test_a_call_about_a_job_that_is_being_archived_only_is_noted(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    due_at = score(store, "due:archive", subject.id)
    nudged(ledger, subject)
    assert (places(store, subject.id), score(store, "due:archive", subject.id)) == (["{rushes}:due:archive"], due_at)


def test_a_call_that_came_while_the_job_was_put_off_waits_its_turn(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    nudged(ledger, subject)
    taken(ledger, polls(), LATER)
    ledger.apply(subject.id, events.Deferred(LATER + 2 * SECOND, "asked a moment ago"), LATER)
    assert score(store, "due:poll:apimart", subject.id) == LATER + 2 * SECOND
    again, _ = taken(ledger, polls(), LATER + 2 * SECOND)
    assert again.nudge == Nudge(LATER, 1)


def test_late_news_of_another_attempt_does_not_put_a_nudged_job_to_sleep(ledger: Ledger, store: Store) -> None:
    subject = doubted(ledger)
    ledger.apply(subject.id, events.Resolved("resubmit"), NOW)
    engaged(ledger, NOW)
    again = ledger.apply(subject.id, events.Accepted("task-2", attempt=2, asked_at=NOW), NOW)
    assert again is not None
    nudged(ledger, again, number=2)
    ledger.apply(subject.id, events.Accepted("task-1", attempt=1, asked_at=NOW), LATER)
    assert score(store, "due:poll:apimart", subject.id) == LATER


def test_a_thousand_calls_do_not_grow_a_record(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    for number in range(1000):
        ledger.nudge("apimart", subject.id, 1, None, LATER + number * MINUTE)
    found = ledger.get(subject.id)
    assert found is not None
    assert found.version == subject.version + 1
    assert claim(ledger, polls(), LATER + HOUR)
