from __future__ import annotations

from collections import Counter
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import redis
from factories import DAY, HOUR, MINUTE, NOW, POLICY, REQUEST, SECOND, id_at, link, result
from ledger_steps import (
    CAPS,
    Through,
    archiving,
    claim,
    contents,
    created,
    engage,
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

from rushes.shared.domain import events
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger import keys, record
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Commit, LaneRoom, Store, Verdict, Writes
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.operations import retirement

LATER = NOW + MINUTE
USAGE, HELD = "{rushes}:usage:2026-09-21", "{rushes}:held:2026-09-21"


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
    assert places(store, subject.id) == ["{rushes}:due:poll:apimart"]


def test_a_job_changes_lanes_with_its_state(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    seen = [places(store, subject.id)]
    for event in (events.Succeeded(link()), events.Archived(result())):
        ledger.apply(subject.id, event, LATER)
        seen.append(places(store, subject.id))
    assert seen == [["{rushes}:due:poll:apimart"], ["{rushes}:due:archive"], []]


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
    begin = partial(engage, ledger, job, ticket, events.Begun(plan(job, NOW)), CAPS, NOW)
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
    subject = running(Ledger(store, POLICY))
    failed = events.Failed(Reason.PROVIDER, "no luck", Decimal("0.1"))
    moved = repeating(store).apply(subject.id, failed, LATER)
    assert moved is not None
    assert (moved.setbacks, moved.version) == (1, subject.version + 1)
    assert Ledger(store, POLICY).get(subject.id) == moved
    assert store.counters("{rushes}:inflight") == {"apimart": "0"}
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
    assert store.counters("{rushes}:inflight") == {"apimart": "2"}


# --- leaving


def test_a_job_leaves_only_after_the_retention(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    over = ledger.apply(subject.id, events.Archived(result()), LATER)
    assert over is not None
    assert leaving(ledger, LATER + 7 * DAY - 1) == []
    assert places(store, subject.id) == []
    assert [ticket.job_id for ticket in leaving(ledger, LATER + 7 * DAY)] == [subject.id]
    assert leaving(ledger, LATER + 7 * DAY) == []  # it is handed out


def test_a_job_whose_retention_is_longer_now_leaves_later(ledger: Ledger) -> None:
    subject = archiving(ledger)
    ledger.apply(subject.id, events.Archived(result()), LATER)
    longer = replace(POLICY, retention_s=9 * 86_400)
    assert leaving(ledger, LATER + 8 * DAY, longer) == []
    assert len(leaving(ledger, LATER + 9 * DAY, longer)) == 1


def test_a_job_that_owes_something_still_does_not_leave(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger, request={**REQUEST, "callback_url": "https://caller.example"})
    ledger.apply(subject.id, events.Archived(result()), LATER)
    assert leaving(ledger, LATER + 30 * DAY) == []
    assert places(store, subject.id) == ["{rushes}:due:notify"]


def test_many_jobs_leave_page_by_page(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "PAGE", 2)
    subjects = [archiving(ledger, NOW + number) for number in range(5)]
    for subject in subjects:
        ledger.apply(subject.id, events.Archived(result()), LATER)
    assert list(retirement.walk(ledger, POLICY, LATER + 7 * DAY)) == [2, 2, 1]


def test_one_whose_retention_is_not_over_keeps_no_older_one_from_leaving(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retirement, "PAGE", 1)
    older, newer = archiving(ledger, NOW), archiving(ledger, NOW + 1)
    ledger.apply(older.id, events.Archived(result()), LATER)
    ledger.apply(newer.id, events.Archived(result()), LATER + DAY)
    assert [ticket.job_id for ticket in leaving(ledger, LATER + 7 * DAY)] == [older.id]


def test_jobs_of_all_tenants_leave(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "INDEXES", 1)
    for tenant in ("acme", "rival", "third"):
        ledger.apply(archiving(ledger, tenant=tenant).id, events.Archived(result()), LATER)
    assert len(leaving(ledger, LATER + 7 * DAY)) == 3


def test_a_job_that_an_earlier_version_put_in_line_to_leave_leaves_once(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    over = ledger.apply(subject.id, events.Archived(result()), LATER)
    assert over is not None
    inspection = Inspection(store)
    inspection.retire([over])  # as that version did at the end
    assert inspection.repair([over], True) == []
    assert list(inspection.misplaced(keys.due("retire"), True)) == [[]]
    assert len(leaving(ledger, LATER + 7 * DAY)) == 1
    assert leaving(ledger, LATER + 7 * DAY) == []


def leaving(ledger: Ledger, now: int, policy: Policy = POLICY) -> list[Ticket]:
    """The jobs that are handed out to leave, once those whose retention is over are due."""
    for _ in retirement.walk(ledger, policy, now):
        pass
    return claim(ledger, LaneRoom("retire", 9), now)


def test_a_job_that_leaves_takes_everything_but_its_counters_along(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    over = ledger.apply(subject.id, events.Archived(result()), LATER)
    assert over is not None
    counters = [store.counters(key) for key in (HELD, USAGE)]
    (ticket,) = leaving(ledger, over.due_at or 0)
    (opened,) = filter(None, ledger.open_tickets([ticket], over.due_at or 0))
    ledger.retire(opened[0])
    assert ledger.get(subject.id) is None
    assert not any(subject.id in str(held) for name, held in contents(store).items() if "window" not in name)
    assert [store.counters(key) for key in (HELD, USAGE)] == counters
    assert ledger.overview.counts("acme")[State.COMPLETED] == 0


def test_a_job_that_changed_meanwhile_does_not_leave(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    ledger.apply(subject.id, events.Progressed(40), LATER)
    before = contents(store)
    ledger.retire(subject)
    assert contents(store) == before


def test_a_late_archive_failure_does_not_hurry_a_completed_job_out(ledger: Ledger) -> None:
    subject = archiving(ledger)
    over = ledger.apply(subject.id, events.Archived(result()), LATER)
    late = ledger.apply(subject.id, events.ArchiveFailed("archive_failed", "slow worker"), LATER + HOUR)
    assert late
    assert late == over
    assert late.due_at == LATER + 7 * DAY


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


# --- many at once


class Counted(Through):
    """A store that counts what is asked of it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.calls = Counter[str]()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self.store, name)


HAPPENED: tuple[Event, ...] = (
    events.Progressed(40, attempt=1, asked_at=LATER),
    events.Succeeded(link(), Decimal("0.3"), heard_by="callback", attempt=1),
    events.Failed(Reason.PROVIDER, "no luck", Decimal("0.1"), attempt=1),
    events.Lost("reset", attempt=1),
    events.Unclear("HTTP 500", Reason.DOWN, 40, attempt=1),
    events.Refused(Reason.DOWN, "503", attempt=1),  # late, so no news
    events.Accepted("task-2", attempt=7),  # of an attempt that nobody knows
)
IDS = [id_at(NOW + number) for number in range(len(HAPPENED))]


def known(ledger: Ledger, count: int = 3) -> list[Job]:
    """Jobs that gateways have, as whoever asks about them sees them; their ids are the same in every ledger."""
    return [running(ledger, NOW + number, id=IDS[number]) for number in range(count)]


def polled(jobs: list[Job], *percents: int) -> list[tuple[Job, Event]]:
    return [(job, events.Progressed(at, attempt=1, asked_at=LATER)) for job, at in zip(jobs, percents, strict=True)]


def progress(ledger: Ledger, jobs: list[Job]) -> list[int | None]:
    return [held.progress if held else None for held in ledger.get_many([job.id for job in jobs])]


def test_what_happened_to_many_is_written_down_in_one_call(ledger: Ledger, store: Store) -> None:
    jobs = known(ledger)
    counted: Any = Counted(store)
    Ledger(counted, POLICY).apply_all(polled(jobs, 10, 20, 30), LATER)
    assert progress(ledger, jobs) == [10, 20, 30]
    assert (counted.calls["commit"], counted.calls["records"]) == (1, 0)


def test_many_at_once_come_to_the_same_as_one_by_one(ledger: Ledger, store: Store) -> None:
    alone = Ledger(MemoryStore(), POLICY)
    for event, job in zip(HAPPENED, known(alone, len(HAPPENED)), strict=True):
        alone.apply(job.id, event, LATER, known=job)
    ledger.apply_all(list(zip(known(ledger, len(HAPPENED)), HAPPENED, strict=True)), LATER)
    assert contents(store) == contents(alone.store)


def test_nothing_that_is_news_writes_nothing(ledger: Ledger, store: Store) -> None:
    jobs = known(ledger)
    counted: Any = Counted(store)
    before = contents(store)
    Ledger(counted, POLICY).apply_all([], LATER)
    Ledger(counted, POLICY).apply_all([(job, events.Refused(Reason.DOWN, "503")) for job in jobs], LATER)
    assert contents(store) == before
    assert counted.calls["commit"] == 0


def test_what_is_no_news_for_the_caller_may_be_some_for_what_stands_now(ledger: Ledger) -> None:
    created(ledger)
    seen, _ = engaged(ledger, NOW)
    ledger.apply(seen.id, events.Accepted("task-1", attempt=1), NOW)
    (other,) = known(ledger, 1)
    ledger.apply_all(polled([seen, other], 40, 50), LATER)
    assert progress(ledger, [seen, other]) == [40, 50]


def test_one_to_which_others_were_first_is_decided_anew_and_the_rest_are_written(ledger: Ledger, store: Store) -> None:
    jobs = known(ledger)
    first = partial(ledger.apply, jobs[1].id, events.Progressed(60), LATER)
    racing(store, first).apply_all(polled(jobs, 10, 20, 30), LATER + 1)
    held = [job for job in ledger.get_many([job.id for job in jobs]) if job]
    assert [(job.progress, job.current.polls) for job in held] == [(10, 1), (60, 2), (30, 1)]
    assert [job.version - seen.version for job, seen in zip(held, jobs, strict=True)] == [1, 2, 1]


def test_a_poll_among_many_that_lost_the_race_to_a_callback_changes_nothing(ledger: Ledger, store: Store) -> None:
    jobs = known(ledger, 2)
    won = events.Succeeded(link(), heard_by="callback", attempt=1)
    racing(store, partial(ledger.apply, jobs[0].id, won, LATER)).apply_all(polled(jobs, 10, 20), LATER + 1)
    assert [job and job.state for job in ledger.get_many(IDS[:2])] == [State.ARCHIVING, State.RUNNING]
    assert progress(ledger, jobs) == [100, 20]


def test_one_that_left_meanwhile_is_gone_and_the_rest_are_written(ledger: Ledger, store: Store) -> None:
    jobs = known(ledger)
    leave = partial(ledger.retire, jobs[1])
    racing(store, leave).apply_all(polled(jobs, 10, 20, 30), LATER)
    assert progress(ledger, jobs) == [10, None, 30]


def test_two_facts_about_one_job_are_both_applied(ledger: Ledger) -> None:
    (job,) = known(ledger, 1)
    ledger.apply_all(polled([job, job], 40, 60), LATER)
    held = ledger.get(job.id)
    assert held is not None
    assert (held.progress, held.current.polls, held.version) == (60, 2, job.version + 2)


def test_each_change_is_told_of_once_and_none_that_was_not_made(ledger: Ledger, store: Store) -> None:
    jobs = known(ledger, 5)
    told: list[tuple[Job | None, Job, Event | None]] = []

    def others() -> None:
        ledger.apply(jobs[1].id, events.Progressed(60), LATER)
        ledger.retire(jobs[2])

    happened = [*polled(jobs[:4], 10, 20, 30, 40), (jobs[4], events.Refused(Reason.DOWN, "503"))]
    listened = Ledger(racing(store, others).store, POLICY, lambda *moved: told.append(moved))
    listened.apply_all(happened, LATER + 1)
    told.sort(key=lambda moved: moved[1].id)
    assert [(new, event) for _, new, event in told] == [(ledger.get(IDS[at]), happened[at][1]) for at in (0, 1, 3)]
    assert [old and old.version for old, _, _ in told] == [jobs[0].version, jobs[1].version + 1, jobs[3].version]


def test_many_whose_replies_are_lost_are_not_counted_twice(store: Store) -> None:
    alone = Ledger(MemoryStore(), POLICY)
    for ledger in (alone, repeating(store)):
        ledger.apply_all(list(zip(known(ledger, len(HAPPENED)), HAPPENED, strict=True)), LATER)
    assert contents(store) == contents(alone.store)
    assert store.counters(USAGE)["acme|apimart|failed"] == "1"


def noted(job: Job, operation: str = "one", version: int | None = None) -> Commit:
    """A line for a job's history, as decided on a version."""
    version = job.version if version is None else version
    moved = replace(job.noted(LATER, operation), version=version + 1)
    return Commit(job.id, version, operation, record.encode(moved, operation), Writes())


def test_each_commit_has_its_own_verdict_in_its_place(ledger: Ledger, store: Store) -> None:
    first, late, held_up, last = known(ledger, 4)
    ledger.gateways.pause("apimart", "operator", LATER)
    behind_a_gate = noted(held_up)
    gate = ["pause", behind_a_gate.writes.number(keys.gateway("apimart")), NOW]
    shut = Commit(held_up.id, held_up.version, "one", behind_a_gate.record, behind_a_gate.writes, [gate])
    (stands,) = store.records([late.id])

    verdicts = store.commit(
        [noted(first), noted(replace(first, id="job_unknown")), noted(late, version=0), shut, noted(last)]
    )

    done = Verdict("done")
    assert verdicts == [
        done,
        Verdict("gone"),
        Verdict("conflict", stands or ""),
        Verdict("shut", "pause", str(LATER)),
        done,
    ]
    histories = [[note.what for note in job.history].count("one") for job in ledger.get_many(IDS[:4]) if job]
    assert histories == [1, 0, 0, 1]


def test_commits_are_known_again_each_by_its_own_operation(ledger: Ledger, store: Store) -> None:
    first, second = known(ledger, 2)
    store.commit([noted(first, "one"), noted(second, "two")])
    before = contents(store)
    kinds = [verdict.kind for verdict in store.commit([noted(first, "one"), noted(second, "three")])]
    assert kinds == ["done", "conflict"]
    assert contents(store) == before


def test_many_are_written_by_a_redis_that_forgot_the_programs(redis_store: RedisStore) -> None:
    ledger = Ledger(redis_store, POLICY)
    jobs = known(ledger)
    redis_store._client.script_flush()
    ledger.apply_all(polled(jobs, 10, 20, 30), LATER)
    assert progress(ledger, jobs) == [10, 20, 30]


def test_one_that_redis_refuses_is_told_of_and_the_rest_are_written(redis_store: RedisStore) -> None:
    ledger = Ledger(redis_store, POLICY)
    jobs = known(ledger)
    happened = polled(jobs, 10, 20, 30)
    happened[1] = (jobs[1], events.Succeeded(link(), attempt=1))
    redis_store._client.set("{rushes}:due:archive", "no zset")
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        ledger.apply_all(happened, LATER)
    assert progress(ledger, jobs) == [10, 0, 30]


def test_what_is_no_news_for_who_saw_the_job_once_is_news_for_what_stands_now(ledger: Ledger) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    engage(ledger, subject, ticket, events.Begun(plan(subject, NOW)), CAPS, NOW)
    moved = ledger.apply(subject.id, events.Accepted("task-1"), NOW, known=subject)

    assert moved == ledger.get(subject.id)
    assert moved
    assert (moved.state, moved.current.task_id) == (State.RUNNING, "task-1")
