"""The ledger under any order of its calls, each answer of which may be lost; what fails is cut down to a few calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from factories import NOW, POLICY, SECOND, job, link, result
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from judge import whole
from ledger_steps import ALL_ROOMS, GATEWAYS, Twice, engage, plan
from run_length import LONG_RUN

from rushes.shared.domain import events
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.submits import CapReached, Caps
from rushes.shared.ledger.tickets import LeaseLost, Ticket

MOST_JOBS = 3
IN_DOUBT = (AttemptStatus.SUBMITTING, AttemptStatus.UNCONFIRMED, AttemptStatus.RUNNING)
LATELY = st.integers(0, 7)
# What all orders of calls together came to: where nothing is paid for, nothing is paid for twice.
CAME_TO: Counter[str] = Counter()
FACTS: dict[str, Event] = {
    "accepted": events.Accepted("task-1"),
    "refused": events.Refused(Reason.DOWN, "no"),
    "lost": events.Lost("reset"),
    "progressed": events.Progressed(40),
    "succeeded": events.Succeeded(link()),
    "failed": events.Failed(Reason.PROVIDER, "no luck"),
    "archived": events.Archived(result()),
    "archive failed": events.ArchiveFailed("archive_failed", "S3"),
    "canceled": events.Canceled(),
    "manifested": events.Manifested(),
}


class LedgerMachine(RuleBasedStateMachine):
    """Callers, schedulers, workers and couriers over one ledger; a worker that crashes just never comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore()
        self.straight, self.now = Ledger(self.store, POLICY), NOW
        again: Any = Twice(self.store)
        self.repeating = Ledger(again, POLICY)
        self.tickets: list[Ticket] = []
        self.held: list[tuple[Job, Ticket]] = []
        self.posted: Counter[tuple[str, int]] = Counter()
        self.opened: Counter[Ticket] = Counter()

    def ledger(self, lost: bool) -> Ledger:
        """With the first answer lost, every program is sent twice."""
        return self.repeating if lost else self.straight

    @property
    def jobs(self) -> list[Job]:
        return self.straight.overview.newest(None, 9)

    @precondition(lambda self: len(self.jobs) < MOST_JOBS)
    @rule(lost=st.booleans(), route=st.permutations(GATEWAYS))
    def create(self, lost: bool, route: list[str]) -> None:
        made = job(created_at=self.now, route=tuple(route[:2]))
        assert self.ledger(lost).create(made, f"key {self.now}", "digest") is None
        self.now += 1

    @rule(ms=st.sampled_from([1, SECOND, 11 * SECOND, 16 * SECOND, 70 * SECOND]))
    def pass_time(self, ms: int) -> None:
        self.now += ms

    @rule()
    def claim(self) -> None:
        self.tickets += self.straight.claim(ALL_ROOMS, self.now)[1]

    @precondition(lambda self: self.tickets)
    @rule(which=LATELY, lost=st.booleans())
    def begin(self, which: int, lost: bool) -> None:
        ticket = self.tickets[-1 - which % len(self.tickets)]
        before = self.straight.get(ticket.job_id)
        opened = self.ledger(lost).open_tickets([ticket], self.now)[0]
        assert opened or self.straight.get(ticket.job_id) == before
        if opened:
            self.opened[ticket] += 1
            CAME_TO["opened"] += 1
            self.held.append(opened)

    @precondition(lambda self: self.held)
    @rule(which=LATELY, lost=st.booleans())
    def renew(self, which: int, lost: bool) -> None:
        at = len(self.held) - 1 - which % len(self.held)
        kept = self.ledger(lost).renew(self.held[at][1], self.now)
        if kept:
            self.held[at] = (self.held[at][0], kept)

    @precondition(lambda self: self.held)
    @rule(which=LATELY, lost=st.booleans())
    def engage(self, which: int, lost: bool) -> None:
        """What is engaged is paid for: at most once an attempt, and never beside another that may have been."""
        subject, ticket = self.held[-1 - which % len(self.held)]
        if subject.state is not State.QUEUED:
            return
        before, attempt = self.straight.get(subject.id), plan(subject, self.now)
        try:
            caps = Caps(subject.route[0], 9, 9)
            written = engage(self.ledger(lost), subject, ticket, events.Begun(attempt), caps, self.now)
        except (LeaseLost, CapReached):
            assert self.straight.get(subject.id) == before
            return
        self.posted[subject.id, attempt.number] += 1
        CAME_TO["posted"] += 1
        assert [a.number for a in written.attempts if a.status in IN_DOUBT] == [attempt.number]

    @precondition(lambda self: self.held)
    @rule(which=LATELY, what=st.sampled_from(sorted(FACTS)), lost=st.booleans(), stale=st.booleans())
    def apply(self, which: int, what: str, lost: bool, stale: bool) -> None:
        subject, _ = self.held[-1 - which % len(self.held)]
        before = self.straight.get(subject.id)
        assert before
        event = replace(FACTS[what], asked_at=self.now - (SECOND if stale else 0))
        moved = self.ledger(lost).apply(subject.id, event, self.now)
        assert moved == self.straight.get(subject.id)
        assert not before.ended or (moved and moved.state is before.state)

    @precondition(lambda self: self.jobs)
    @rule(which=LATELY, attempt=st.integers(1, 2), task=st.sampled_from([None, "task-1", "task-2"]), lost=st.booleans())
    def nudge(self, which: int, attempt: int, task: str | None, lost: bool) -> None:
        subject = self.jobs[which % len(self.jobs)]
        self.ledger(lost).nudge(subject.provider or subject.route[0], subject.id, attempt, task, self.now)

    @invariant()
    def each_attempt_is_paid_for_once(self) -> None:
        assert not [attempt for attempt, count in self.posted.items() if count > 1]

    @invariant()
    def each_ticket_opens_once(self) -> None:
        assert not [ticket for ticket, count in self.opened.items() if count > 1]

    @invariant()
    def the_ledger_is_whole(self) -> None:
        assert list(whole(self.store, self.jobs)) == []


@pytest.mark.timeout(900)
def test_no_order_of_calls_breaks_the_ledger() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=2000 if LONG_RUN else 200,
            stateful_step_count=40,
            deadline=None,
            derandomize=not LONG_RUN,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert min(CAME_TO["opened"], CAME_TO["posted"]) > 0
