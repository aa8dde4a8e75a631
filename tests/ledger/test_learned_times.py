"""What finished jobs teach, and how it is remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories import MINUTE, NOW, POLICY, SECOND, job_in, link
from ledger_steps import CAPS, Through, created, engage, plan, racing, repeating, submits, taken

from rushes.shared.domain import events, timing
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.timing import Timing
from rushes.shared.ledger import keys
from rushes.shared.ledger.learned_times import FRESH_MS, LearnedTimes
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LedgerUnavailable, Store

KIND = "apimart|kling-v3|std|5"
FIELD = "kling-v3|std|5|{}"
AFTER = NOW + MINUTE


def running(ledger: Ledger, **attempt: Any) -> Job:
    """A job that the gateway has had since NOW; `attempt` changes what was written down of its submit."""
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    engaged = engage(ledger, subject, ticket, events.Begun(plan(subject, NOW, **attempt)), CAPS, NOW)
    moved = ledger.apply(engaged.id, events.Accepted("task-1", attempt=1, asked_at=NOW), NOW)
    assert moved is not None
    return moved


def succeeded(heard_by: str = "callback", took_s: float | None = None) -> events.Succeeded:
    return events.Succeeded(link(), attempt=1, asked_at=AFTER, heard_by=heard_by, took_s=took_s)


def finish(ledger: Ledger, heard_by: str = "callback", at: int = AFTER, callback: bool = True) -> Job:
    """One job of its own, from its submit to its end."""
    moved = ledger.apply(running(ledger, callback=callback).id, succeeded(heard_by), at)
    assert moved is not None
    return moved


def fail(ledger: Ledger, heard_by: str) -> None:
    failed = events.Failed(Reason.INPUT, "no luck", attempt=1, asked_at=AFTER, heard_by=heard_by)
    ledger.apply(running(ledger, callback=True).id, failed, AFTER)


def learned(store: Store) -> dict[str, int]:
    """What stands in the store, by the field."""
    return {field: int(count) for field, count in store.counters(keys.times("apimart")).items()}


def silence(store: Store) -> int:
    return int(store.counters(keys.gateway("apimart")).get("silent", 0))


def known(store: Store, now: int = AFTER) -> Timing | None:
    """As a process that has just started knows it."""
    return LearnedTimes(store).of_gateway("apimart", now).get(KIND)


A_MINUTE = {FIELD.format(timing.bucket(60)): 1}


# --- what a finish teaches


def test_a_finished_job_teaches_how_long_it_took(ledger: Ledger, store: Store) -> None:
    finish(ledger)
    assert learned(store) == A_MINUTE
    found = known(store)
    assert found is not None
    assert found.total == 1
    assert found.quantile_s(0.5) == pytest.approx(60, rel=0.05)


def test_the_gateways_own_word_is_what_is_learned(ledger: Ledger, store: Store) -> None:
    ledger.apply(running(ledger).id, succeeded("poll", took_s=33.0), AFTER)
    assert learned(store) == {FIELD.format(timing.bucket(33)): 1}


def test_jobs_of_one_kind_are_counted_together(ledger: Ledger, store: Store) -> None:
    for length_s in (60, 60, 90):
        finish(ledger, at=NOW + length_s * SECOND)
    assert sorted(learned(store).values()) == [1, 2]
    found = known(store)
    assert found is not None
    assert found.total == 3


def test_a_second_word_on_the_same_end_teaches_nothing_new(ledger: Ledger, store: Store) -> None:
    subject = finish(ledger)
    ledger.apply(subject.id, succeeded("poll"), AFTER + MINUTE)
    assert (learned(store), silence(store)) == (A_MINUTE, 0)


def test_an_end_whose_reply_is_lost_teaches_once(store: Store) -> None:
    subject = running(Ledger(store, POLICY), callback=True)
    repeating(store).apply(subject.id, succeeded("poll"), AFTER)
    assert (sum(learned(store).values()), silence(store)) == (1, 1)


def test_an_end_that_others_came_before_teaches_once(store: Store) -> None:
    ledger = Ledger(store, POLICY)
    subject = running(ledger, callback=True)
    late = racing(store, lambda: ledger.apply(subject.id, succeeded(), AFTER))
    late.apply(subject.id, succeeded("poll"), AFTER, known=subject)
    assert (learned(store), silence(store)) == (A_MINUTE, 0)


def test_a_task_that_was_adopted_teaches_nothing(ledger: Ledger, store: Store) -> None:
    ledger.apply(running(ledger, adopted=True).id, succeeded(), AFTER)
    assert learned(store) == {}


def test_a_task_that_failed_teaches_no_time(ledger: Ledger, store: Store) -> None:
    fail(ledger, "poll")
    assert (learned(store), silence(store)) == ({}, 1)


def test_a_job_that_is_put_back_from_the_journal_teaches_nothing(ledger: Ledger, store: Store) -> None:
    (held,) = created(ledger)
    told = replace(job_in(State.ARCHIVING, {"heard_by": "poll", "callback": True}), id=held.id)
    assert ledger.restore(told, told.current, overwrite=True)
    assert (learned(store), silence(store)) == ({}, 0)


def test_what_was_learned_sets_the_polls_of_the_next_job(ledger: Ledger, store: Store) -> None:
    store.increase(keys.times("apimart"), {FIELD.format(timing.bucket(60)): timing.FEWEST})
    due_at = running(Ledger(store, POLICY)).due_at
    assert due_at is not None
    assert 60 <= (due_at - NOW) / SECOND < 90


# --- callbacks that stay away


def test_three_ends_in_a_row_without_their_callback_make_a_gateway_silent(ledger: Ledger, store: Store) -> None:
    finish(ledger, "poll")
    fail(ledger, "poll")
    assert not LearnedTimes(store).timings(AFTER).is_silent("apimart")
    finish(ledger, "poll")
    assert LearnedTimes(store).timings(AFTER).is_silent("apimart")


@pytest.mark.parametrize("heard", [finish, fail])
def test_one_callback_ends_the_silence(ledger: Ledger, store: Store, heard: Any) -> None:
    for _ in range(timing.SILENT + 2):
        finish(ledger, "poll")
    heard(ledger, "callback")
    assert silence(store) == 0
    assert not LearnedTimes(store).timings(AFTER).is_silent("apimart")


def test_where_no_callback_was_asked_for_none_is_missed(ledger: Ledger, store: Store) -> None:
    for _ in range(timing.SILENT):
        finish(ledger, "poll", callback=False)
    assert silence(store) == 0


def test_a_submit_that_is_taken_does_not_end_the_silence(ledger: Ledger, store: Store) -> None:
    for _ in range(timing.SILENT):
        finish(ledger, "poll")
    running(ledger)
    ledger.gateways.resume("apimart", ["apimart"])
    assert silence(store) == timing.SILENT


def test_polls_of_a_silent_gateway_come_as_if_no_callback_was_asked_for(store: Store) -> None:
    ledger = Ledger(store, POLICY)
    for _ in range(timing.SILENT):
        finish(ledger, "poll")
    due_at = running(Ledger(store, POLICY), callback=True).due_at
    assert due_at is not None
    assert due_at - NOW <= 17 * SECOND


# --- forgetting


def test_of_many_jobs_the_older_half_is_forgotten(store: Store) -> None:
    counts = {FIELD.format(80): timing.MOST, FIELD.format(90): 101, FIELD.format(99): 1}
    other = {"kling-v3|std|50|80": timing.MOST, "kling-v3|pro|5|80": 3}
    store.increase(keys.times("apimart"), counts | other)
    known(store)
    halved = {FIELD.format(80): timing.MOST // 2, FIELD.format(90): 50}
    assert learned(store) == halved | other


def test_what_two_processes_find_to_be_much_is_halved_once(store: Store) -> None:
    store.increase(keys.times("apimart"), {FIELD.format(80): timing.MOST + 2})
    store.halve_counts(keys.times("apimart"), "kling-v3|std|5|", timing.MOST)
    store.halve_counts(keys.times("apimart"), "kling-v3|std|5|", timing.MOST)
    assert learned(store) == {FIELD.format(80): timing.MOST // 2 + 1}


# --- how fresh it is


class Asked(Through):
    """A store that counts how often its counters are read, and may be out of reach."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.reads, self.away = 0, False

    def counters(self, key: str) -> Any:
        self.reads += 1
        if self.away:
            raise LedgerUnavailable("away")
        return self.store.counters(key)


@pytest.fixture
def asked(store: Store) -> Asked:
    return Asked(store)


def total(learned_times: LearnedTimes, now: int) -> int:
    found = learned_times.of_gateway("apimart", now).get(KIND)
    return found.total if found else 0


def test_what_is_known_is_read_anew_after_a_quarter_of_a_minute(asked: Any, store: Store) -> None:
    learned_times = LearnedTimes(asked)
    assert total(learned_times, NOW) == 0
    store.increase(keys.times("apimart"), {FIELD.format(80): 30})
    assert total(learned_times, NOW + FRESH_MS - 1) == 0
    assert total(learned_times, NOW + FRESH_MS) == 30


def test_a_clock_that_was_put_back_does_not_keep_the_old_for_ever(asked: Any, store: Store) -> None:
    learned_times = LearnedTimes(asked)
    total(learned_times, NOW + 10 * MINUTE)
    store.increase(keys.times("apimart"), {FIELD.format(80): 30})
    assert total(learned_times, NOW) == 30


def test_a_thousand_questions_read_the_store_once(asked: Any) -> None:
    timings = LearnedTimes(asked).timings(NOW)
    for _ in range(1000):
        timings.of(KIND)
        timings.is_silent("apimart")
    assert asked.reads == 2


def test_while_the_store_is_out_of_reach_the_old_is_known(asked: Any, store: Store) -> None:
    store.increase(keys.times("apimart"), {FIELD.format(80): 30})
    store.increase(keys.gateway("apimart"), {"silent": timing.SILENT})
    learned_times = LearnedTimes(asked)
    total(learned_times, NOW)
    asked.away = True
    later = NOW + FRESH_MS
    assert total(learned_times, later) == 30
    assert learned_times.timings(later).is_silent("apimart")
    asked.reads = 0
    total(learned_times, later + 1)
    assert asked.reads == 0  # nor is it asked at every turn


def test_a_plan_is_made_anew_only_when_much_has_come_to_it(store: Store) -> None:
    store.increase(keys.times("apimart"), {FIELD.format(80): 100})
    learned_times = LearnedTimes(store)
    first = learned_times.of_gateway("apimart", NOW)[KIND]
    store.increase(keys.times("apimart"), {FIELD.format(80): 5})
    assert learned_times.of_gateway("apimart", NOW + FRESH_MS)[KIND] is first
    store.increase(keys.times("apimart"), {FIELD.format(80): 1})
    assert learned_times.of_gateway("apimart", NOW + 2 * FRESH_MS)[KIND].total == 106


def test_kinds_of_other_gateways_are_kept_apart(store: Store) -> None:
    store.increase(keys.times("evolink"), {FIELD.format(80): 30})
    timings = LearnedTimes(store).timings(NOW)
    assert timings.of(KIND) is None
    assert timings.of("evolink|kling-v3|std|5") is not None
