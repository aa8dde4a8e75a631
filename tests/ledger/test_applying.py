from __future__ import annotations

from decimal import Decimal
from functools import partial

import pytest
from factories import DAY, HOUR, MINUTE, NOW, PACE, SECOND, link, result
from ledger_steps import (
    CAPS,
    archiving,
    claim,
    contents,
    created,
    engaged,
    places,
    plan,
    polls,
    racing,
    repeating,
    running,
    score,
    submits,
    taken,
)

from shared.domain import events
from shared.domain.events import Reason
from shared.domain.job import AttemptStatus, State
from shared.ledger.ledger import Ledger
from shared.ledger.store import LaneRoom, Store

LATER = NOW + MINUTE
USAGE, HELD = "rushes:usage:2026-09-21", "rushes:held:2026-09-21"


def test_what_happened_is_written_down_once_and_the_job_is_due_anew(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    moved = ledger.apply(subject.id, events.Progressed(40), LATER)
    assert moved is not None
    assert (moved.progress, moved.version, moved.updated_at) == (40, subject.version + 1, LATER)
    assert ledger.get(subject.id) == moved
    assert score(store, "due:poll:apimart", subject.id) == moved.due_at


def test_late_news_writes_nothing(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    before = contents(store)
    assert ledger.apply(subject.id, events.Refused(Reason.DOWN, "503"), LATER) == subject
    assert contents(store) == before


def test_news_of_a_job_that_has_left_is_nobodys(ledger: Ledger, store: Store) -> None:
    assert ledger.apply("job_unknown", events.Progressed(40), LATER) is None
    assert contents(store) == {}


def test_a_step_that_is_told_of_gives_the_lease_back(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    taken(ledger, polls(), subject.due_at or 0)
    ledger.apply(subject.id, events.Progressed(40), LATER)
    assert places(store, subject.id) == ["rushes:due:poll:apimart"]


def test_a_job_changes_lanes_with_its_state(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    seen = [places(store, subject.id)]
    for event in (events.Succeeded(link()), events.Archived(result())):
        ledger.apply(subject.id, event, LATER)
        seen.append(places(store, subject.id))
    assert seen == [["rushes:due:poll:apimart"], ["rushes:due:archive"], ["rushes:due:retire"]]


# --- others were first: every race is written as steps in an order


def test_a_poll_that_lost_the_race_to_a_callback_changes_nothing(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    won = events.Succeeded(link(), heard_by="callback", attempt=1)
    late = racing(store, partial(ledger.apply, subject.id, won, LATER))
    moved = late.apply(subject.id, events.Progressed(70, attempt=1, asked_at=LATER - 1), LATER + 1)
    assert moved is not None
    assert moved == ledger.get(subject.id)
    assert (moved.state, moved.current.heard_by) == (State.ARCHIVING, "callback")


def test_what_was_decided_on_an_old_version_is_decided_anew(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    first = partial(ledger.apply, subject.id, events.Progressed(60), LATER)
    moved = racing(store, first).apply(subject.id, events.Progressed(40), LATER + 1)
    assert moved is not None
    assert (moved.progress, moved.current.polls) == (60, 2)
    assert moved.version == subject.version + 2


def test_a_hint_that_came_while_we_decided_is_not_lost(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    taken(ledger, polls(), subject.due_at or 0)
    hint = partial(ledger.nudge, "apimart", subject.id, 1, None, LATER)
    asked = events.Progressed(40, attempt=1, asked_at=LATER - SECOND)
    moved = racing(store, hint).apply(subject.id, asked, LATER + 1)
    assert moved is not None
    assert (moved.due_at, moved.progress) == (LATER + 1, 40)


def test_a_cancel_that_came_too_late_does_not_cancel(ledger: Ledger, store: Store) -> None:
    (subject,) = created(ledger)
    job, ticket = taken(ledger, submits(), NOW)
    begin = partial(ledger.engage, job, ticket, events.Begun(plan(job, NOW)), CAPS, NOW)
    moved = racing(store, begin).apply(subject.id, events.Canceled(), NOW)
    assert moved is not None
    assert moved.state is State.SUBMITTING


def test_a_job_that_left_meanwhile_is_gone(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    leave = partial(ledger.retire, subject)
    assert racing(store, leave).apply(subject.id, events.Progressed(40), LATER) is None


def test_an_endless_race_is_a_fault_and_not_a_loop(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    others = [partial(ledger.apply, subject.id, events.Progressed(1), LATER)] * 60
    with pytest.raises(RuntimeError, match=subject.id):
        racing(store, *others).apply(subject.id, events.Progressed(2), LATER)


# --- lost replies


def test_an_apply_whose_reply_is_lost_is_not_counted_twice(store: Store) -> None:
    subject = running(Ledger(store, PACE))
    failed = events.Failed(Reason.PROVIDER, "no luck", Decimal("0.1"))
    moved = repeating(store).apply(subject.id, failed, LATER)
    assert moved is not None
    assert (moved.setbacks, moved.version) == (1, subject.version + 1)
    assert Ledger(store, PACE).get(subject.id) == moved
    assert store.counters("rushes:inflight") == {"apimart": "0"}
    assert store.counters(HELD) == {"acme": "10000000"}
    assert store.counters(USAGE)["acme|apimart|failed"] == "1"


# --- counters


def test_the_counters_tell_the_story_of_a_job(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    assert store.counters(HELD) == {"acme": "42000000"}
    ledger.apply(subject.id, events.Archived(result(duration_s=Decimal("5.04")), Decimal("0.4")), LATER)
    counted = {name: int(count) for name, count in store.counters(USAGE).items() if count != "0"}
    assert counted == {
        "acme|apimart|jobs": 1,
        "acme|apimart|completed": 1,
        "acme|apimart|made_ms": 5040,
        "acme|apimart|estimated": 42_000_000,
        "acme|apimart|actual": 40_000_000,
    }
    assert store.counters(HELD) == {"acme": "40000000"}


def test_two_tenants_money_is_kept_apart(ledger: Ledger, store: Store) -> None:
    running(ledger)
    running(ledger, NOW + SECOND, tenant="zenith")
    assert store.counters(HELD) == {"acme": "42000000", "zenith": "42000000"}
    assert store.counters("rushes:inflight") == {"apimart": "2"}


# --- leaving


def test_a_job_leaves_only_after_the_retention(ledger: Ledger) -> None:
    subject = archiving(ledger)
    over = ledger.apply(subject.id, events.Archived(result()), LATER)
    assert over is not None
    retire = LaneRoom("retire", 9)
    assert claim(ledger, retire, LATER + 7 * DAY - 1) == []
    assert len(claim(ledger, retire, LATER + 7 * DAY)) == 1


def test_a_job_that_leaves_takes_everything_but_its_counters_along(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    over = ledger.apply(subject.id, events.Archived(result()), LATER)
    assert over is not None
    counters = [store.counters(key) for key in (HELD, USAGE)]
    job, _ = taken(ledger, LaneRoom("retire", 9), over.due_at or 0)
    ledger.retire(job)
    assert ledger.get(subject.id) is None
    assert not any(subject.id in str(held) for name, held in contents(store).items() if "window" not in name)
    assert [store.counters(key) for key in (HELD, USAGE)] == counters
    assert ledger.counts("acme")[State.COMPLETED] == 0


def test_a_job_that_changed_meanwhile_does_not_leave(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    ledger.apply(subject.id, events.Progressed(40), LATER)
    before = contents(store)
    ledger.retire(subject)
    assert contents(store) == before


def test_a_late_archive_failure_does_not_hurry_a_completed_job_out(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    over = ledger.apply(subject.id, events.Archived(result()), LATER)
    late = ledger.apply(subject.id, events.ArchiveFailed("archive_failed", "slow worker"), LATER + HOUR)
    assert late == over
    assert score(store, "due:retire", subject.id) == LATER + 7 * DAY


def test_a_late_answer_of_an_older_attempt_keeps_its_task_id_for_the_record(ledger: Ledger, store: Store) -> None:
    created(ledger)
    lost, _ = engaged(ledger, NOW)
    for event in (events.Lost("reset"), events.Resolved("resubmit")):
        ledger.apply(lost.id, event, NOW)
    engaged(ledger, NOW)
    moved = ledger.apply(lost.id, events.Accepted("late", attempt=1), LATER)
    assert moved is not None
    assert [each.status for each in moved.attempts] == [AttemptStatus.UNCONFIRMED, AttemptStatus.SUBMITTING]
    assert [each.task_id for each in moved.attempts] == ["late", None]
    assert len(places(store, lost.id)) == 1
