"""Leases of jobs: writes that need them, renewals, batches whose items fail alone, and commits in groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from factories import NOW, SECOND, job_in

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.submits import CapReached
from rushes.shared.ledger.tickets import LeaseLost, Ticket
from rushes.worker import leases
from rushes.worker.group_commit import LeasedJob, commit, commit_and_release
from rushes.worker.leases import FRESH_S, Lease, renew_all, write_with_leases
from rushes.worker.step_failures import guard_batch, guard_step

LATER = NOW + 3 * SECOND
LEASE = schedule.LEASE_S * SECOND


@pytest.fixture(autouse=True)
def active_leases(monkeypatch: pytest.MonkeyPatch) -> set[Lease]:
    """The leases of this worker, for this test alone."""
    active: set[Lease] = set()
    monkeypatch.setattr(leases, "ACTIVE", active)
    return active


def makeshift(**parts: Any) -> Any:
    """Services of these parts alone."""
    return SimpleNamespace(**parts)


class RecordingLedger:
    """Records renewals, and raises `trouble` if it is set; the jobs in `lost` are another worker's."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.trouble: Exception | None = None
        self.renewed: list[list[str]] = []

    def renew_many(self, tickets: Sequence[Ticket], now: int) -> list[Ticket | None]:
        self.renewed.append([ticket.job_id for ticket in tickets])
        if self.trouble:
            raise self.trouble
        longer = [replace(ticket, lease=now + LEASE) for ticket in tickets]
        return [None if ticket.job_id in self.lost else ticket for ticket in longer]

    def renew(self, ticket: Ticket, now: int) -> Ticket | None:
        return self.renew_many([ticket], now)[0]


class LeasedSubmits:
    """Some submits, each with a lease whose ticket was opened a while ago."""

    def __init__(self, count: int = 3) -> None:
        self.jobs = [job_in(State.QUEUED) for _ in range(count)]
        self.tickets = [Ticket("submit:apimart", job.id, NOW + number) for number, job in enumerate(self.jobs)]
        self.ledger, self.now = RecordingLedger(), LATER
        self.services = makeshift(ledger=self.ledger, now=lambda: self.now)
        self.all_leases = [leases.acquire(ticket, self.services) for ticket in self.tickets]
        self.written: list[Sequence[Ticket]] = []

    def lose(self, number: int) -> None:
        """Another worker has this job now."""
        with self.all_leases[number].locked():
            self.all_leases[number].replace_ticket(None)

    def write_with_leases(self, *outcomes: Job | Exception) -> list[Job | Exception | None]:
        def write(tickets: Sequence[Ticket]) -> Sequence[Job | Exception]:
            self.written.append(tickets)
            return outcomes

        return write_with_leases(self.all_leases, write, LATER)

    @property
    def expiries(self) -> list[int | None]:
        """When each lease expires; no write is under way."""
        assert not any(lease._lock.locked() for lease in self.all_leases)
        return [lease._ticket.lease if lease._ticket else None for lease in self.all_leases]


# --- a write that needs the leases


def test_a_write_is_asked_for_all_at_once_and_told_in_their_order() -> None:
    submits = LeasedSubmits()
    outcomes: list[Job | Exception] = [submits.jobs[0], CapReached("inflight", NOW), submits.jobs[2]]

    assert submits.write_with_leases(*outcomes) == outcomes
    assert submits.written == [submits.tickets]


def test_a_write_renews_the_leases_of_those_that_were_written_and_of_no_others() -> None:
    submits = LeasedSubmits()
    submits.write_with_leases(submits.jobs[0], LeaseLost("taken"), submits.jobs[2])

    assert submits.expiries == [LATER + LEASE, NOW + 1, LATER + LEASE]


def test_where_all_are_refused_every_ticket_stays_as_it_was() -> None:
    submits = LeasedSubmits()
    outcomes = [CapReached("budget", NOW), LeaseLost("taken"), CapReached("pause", NOW)]

    assert submits.write_with_leases(*outcomes) == outcomes
    assert submits.expiries == [NOW, NOW + 1, NOW + 2]


@pytest.mark.parametrize("lost_one", [0, 1, 2])
def test_one_that_is_gone_is_not_written_and_the_others_get_what_is_theirs(lost_one: int) -> None:
    submits = LeasedSubmits()
    submits.lose(lost_one)
    first, second = (number for number in range(3) if number != lost_one)
    written, refused = submits.jobs[first], LeaseLost("taken")
    results = submits.write_with_leases(written, refused)

    assert submits.written == [[submits.tickets[first], submits.tickets[second]]]
    assert [results[number] for number in (lost_one, first, second)] == [None, written, refused]
    assert [submits.expiries[number] for number in (lost_one, first, second)] == [None, LATER + LEASE, NOW + second]


def test_where_none_is_ours_any_more_nothing_is_written() -> None:
    submits = LeasedSubmits(2)
    submits.lose(0)
    submits.lose(1)

    assert submits.write_with_leases() == [None, None]
    assert (submits.written, submits.expiries) == ([], [None, None])


@pytest.mark.parametrize("trouble", [LedgerUnavailable("away"), ZeroDivisionError(), KeyboardInterrupt()])
def test_a_write_that_breaks_leaves_every_ticket_as_it_was(trouble: BaseException) -> None:
    submits = LeasedSubmits()

    def broken(tickets: Sequence[Ticket]) -> Sequence[Job | Exception]:
        raise trouble

    with pytest.raises(type(trouble)):
        write_with_leases(submits.all_leases, broken, LATER)

    assert submits.expiries == [NOW, NOW + 1, NOW + 2]


def test_an_answer_that_is_not_of_all_is_not_taken_for_one() -> None:
    submits = LeasedSubmits()

    with pytest.raises(ValueError, match="zip"):
        submits.write_with_leases(submits.jobs[0], submits.jobs[1])

    assert submits.expiries == [NOW, NOW + 1, NOW + 2]


# --- whether they are still ours


def test_all_are_asked_for_in_one_call_and_renewed() -> None:
    submits = LeasedSubmits()

    assert renew_all(submits.all_leases, submits.services) == [True, True, True]
    assert submits.ledger.renewed == [[job.id for job in submits.jobs]]
    assert submits.expiries == [LATER + LEASE] * 3


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_one_that_another_has_is_not_ours_from_then_on_and_the_others_are(lost: int) -> None:
    submits = LeasedSubmits()
    submits.ledger.lost = {submits.jobs[lost].id}
    first = renew_all(submits.all_leases, submits.services)
    again = renew_all(submits.all_leases, submits.services)

    assert first == again == [number != lost for number in range(3)]
    assert submits.ledger.renewed[1] == [job.id for number, job in enumerate(submits.jobs) if number != lost]
    assert submits.expiries == [None if number == lost else LATER + LEASE for number in range(3)]


def test_where_none_is_ours_any_more_the_ledger_is_not_asked() -> None:
    submits = LeasedSubmits(2)
    submits.lose(0)
    submits.lose(1)

    assert renew_all(submits.all_leases, submits.services) == [False, False]
    assert submits.ledger.renewed == []


def test_a_ledger_out_of_reach_says_nothing_of_any() -> None:
    submits = LeasedSubmits()
    submits.lose(1)
    submits.ledger.trouble = LedgerUnavailable("away")

    with pytest.raises(LedgerUnavailable):
        renew_all(submits.all_leases, submits.services)

    assert submits.expiries == [NOW, None, NOW + 2]


def test_one_that_was_written_a_moment_ago_is_surely_ours() -> None:
    submits = LeasedSubmits()
    submits.lose(2)
    submits.write_with_leases(submits.jobs[0], LeaseLost("taken"))
    after = [FRESH_S * SECOND, FRESH_S * SECOND + 1]
    fresh = [[lease.is_fresh(LATER + ms) for lease in submits.all_leases] for ms in after]

    assert fresh == [[True, False, False], [False, False, False]]


def test_one_that_was_asked_for_a_moment_ago_is_surely_ours() -> None:
    submits = LeasedSubmits(2)
    submits.ledger.lost = {submits.jobs[1].id}
    before = [lease.is_fresh(LATER) for lease in submits.all_leases]
    renew_all(submits.all_leases, submits.services)

    assert (before, [lease.is_fresh(LATER + SECOND) for lease in submits.all_leases]) == ([False, False], [True, False])


# --- what a heartbeat does meanwhile


class RecordingLock:
    """The lock of a hold; it notes in the diary when it shuts, and what the ticket was when it opened."""

    def __init__(self, name: str, lease: Lease, log: list[str]) -> None:
        self._name, self._lease, self._log = name, lease, log

    def __enter__(self) -> None:
        self._log.append(f"{self._name} shut")

    def __exit__(self, *_: object) -> None:
        ticket = self._lease._ticket
        self._log.append(f"{self._name} open {ticket.lease - LATER if ticket else 'gone'}")


def record_locks(submits: LeasedSubmits) -> list[str]:
    log: list[str] = []
    for name, lease in zip("abc", submits.all_leases, strict=False):
        lease._lock = RecordingLock(name, lease, log)  # type: ignore[assignment]
    return log


def test_no_renewal_comes_between_a_write_and_its_tickets() -> None:
    submits = LeasedSubmits(2)
    log = record_locks(submits)

    def write(tickets: Sequence[Ticket]) -> Sequence[Job | Exception]:
        log.append("written")
        return submits.jobs

    write_with_leases(submits.all_leases, write, LATER)

    assert log == ["a shut", "b shut", "written", f"b open {LEASE}", f"a open {LEASE}"]


def test_no_renewal_comes_between_the_question_whether_they_are_ours_and_their_tickets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submits = LeasedSubmits(2)
    submits.ledger.lost = {submits.jobs[1].id}
    log, renew = record_locks(submits), submits.ledger.renew_many

    def written(tickets: Sequence[Ticket], now: int) -> list[Ticket | None]:
        log.append("asked")
        return renew(tickets, now)

    monkeypatch.setattr(submits.ledger, "renew_many", written)
    renew_all(submits.all_leases, submits.services)

    assert log == ["a shut", "b shut", "asked", "b open gone", f"a open {LEASE}"]


def test_a_renewal_is_shut_off_from_a_write_and_begins_with_the_ticket_that_it_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    submits = LeasedSubmits(1)
    submits.write_with_leases(submits.jobs[0])
    submits.now = LATER + 9 * SECOND
    log, seen = record_locks(submits), []

    def renewed(ticket: Ticket, now: int) -> Ticket | None:
        log.append("renewed")
        seen.append(ticket.lease)
        return replace(ticket, lease=now + LEASE)

    monkeypatch.setattr(submits.ledger, "renew", renewed)
    submits.all_leases[0].renew(submits.services)

    assert (log, seen) == (["a shut", "renewed", f"a open {LEASE + 9 * SECOND}"], [LATER + LEASE])


def test_a_job_is_renewed_only_once_it_was_held_for_a_while() -> None:
    submits = LeasedSubmits(1)
    submits.now = LATER + schedule.RENEW_S * SECOND - 1
    submits.all_leases[0].renew(submits.services)
    within = list(submits.ledger.renewed)
    submits.now += 1
    submits.all_leases[0].renew(submits.services)

    assert (within, submits.ledger.renewed) == ([], [[submits.jobs[0].id]])


def test_one_that_another_has_is_not_renewed_any_more() -> None:
    submits = LeasedSubmits(1)
    submits.ledger.lost, submits.now = {submits.jobs[0].id}, LATER + LEASE
    submits.all_leases[0].renew(submits.services)
    submits.all_leases[0].renew(submits.services)

    assert (submits.ledger.renewed, submits.expiries) == ([[submits.jobs[0].id]], [None])


def test_what_is_let_go_is_held_no_more(active_leases: set[Lease]) -> None:
    submits = LeasedSubmits()
    submits.all_leases[1].release()
    submits.all_leases[1].release()

    assert active_leases == {submits.all_leases[0], submits.all_leases[2]}


# --- all at once, or each alone


class Doubler:
    """Doubles numbers, as many as it is given; `breaks` are the numbers that it breaks at."""

    def __init__(self, **breaks: Exception) -> None:
        self.breaks = breaks
        self.calls: list[list[str]] = []

    def __call__(self, items: Sequence[str]) -> list[str]:
        self.calls.append([*items])
        for item in items:
            if item in self.breaks:
                raise self.breaks[item]
        return [item * 2 for item in items]


def of(**states: State) -> Callable[[str], Job]:
    return lambda item: job_in(states.get(item, State.QUEUED))


def done(work: Doubler, items: str, **states: State) -> Sequence[str | Event]:
    services = makeshift(now=lambda: NOW)
    return guard_batch(work, [*items], of(**states), services)


def test_what_goes_well_is_done_once_for_all() -> None:
    work = Doubler()

    assert done(work, "abc") == ["aa", "bb", "cc"]
    assert work.calls == [["a", "b", "c"]]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_that_breaks_keeps_no_other_from_being_done(bad: int) -> None:
    work = Doubler(**{"abc"[bad]: ZeroDivisionError()})
    results = done(work, "abc")

    assert [text for text in results if isinstance(text, str)] == [
        letter * 2 for letter in "abc" if letter != "abc"[bad]
    ]
    assert isinstance(results[bad], events.Deferred)
    assert work.calls == [["a", "b", "c"], ["a"], ["b"], ["c"]]


def test_what_a_break_means_is_told_by_the_job_that_broke() -> None:
    work = Doubler(a=ZeroDivisionError(), b=KeyError())
    results = done(work, "abc", b=State.SUBMITTING)

    assert results == [
        events.Deferred(NOW + SECOND, "a step of ours broke; see the worker's log", broke=True),
        events.Lost("a step of ours broke; see the worker's log"),
        "cc",
    ]


def test_one_alone_that_breaks_is_not_done_twice() -> None:
    work = Doubler(a=ZeroDivisionError())

    assert isinstance(done(work, "a")[0], events.Deferred)
    assert work.calls == [["a"]]


def test_for_none_nothing_is_done() -> None:
    work = Doubler()

    assert (done(work, ""), work.calls) == ([], [])


@pytest.mark.parametrize("items", ["a", "ab"])
def test_a_ledger_out_of_reach_is_told_and_not_taken_for_a_break(items: str) -> None:
    with pytest.raises(LedgerUnavailable):
        done(Doubler(a=LedgerUnavailable("away")), items)


def test_a_step_tells_what_it_came_to_and_only_a_break_is_a_setback() -> None:
    services = makeshift(now=lambda: NOW)
    tries = [guard_step(job_in(State.QUEUED, tries=tries), lambda: 1 // 0, services) for tries in (1, 3, 12)]

    assert guard_step(job_in(State.QUEUED), lambda: 7, services) == 7
    assert [one.until - NOW for one in tries if isinstance(one, events.Deferred)] == [2_000, 8_000, 300_000]


# --- writing down


class RecordingLease:
    """A hold that notes when it was let go."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def release(self) -> None:
        self._log.append("let go")


class Records:
    """A ledger that is written to; `together` is raised where all are written at once, `alone` for single jobs."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.groups: list[list[tuple[Job, Event]]] = []
        self.single: list[tuple[str, Event, Job]] = []
        self.together: BaseException | None = None
        self.alone: dict[str, Exception] = {}
        self.services = makeshift(ledger=self, now=lambda: NOW)

    def apply_all(self, changes: Sequence[tuple[Job, Event]], now: int) -> None:
        if self.together:
            raise self.together
        self.groups.append([*changes])
        self.log.append("written")

    def apply(self, job_id: str, event: Event, now: int, known: Job) -> None:
        if job_id in self.alone:
            raise self.alone[job_id]
        self.single.append((job_id, event, known))

    def facts(self, *progressed: Event | None) -> list[tuple[LeasedJob, Event | None]]:
        lease: Any = RecordingLease(self.log)
        return [((job_in(State.RUNNING), lease), event) for event in progressed]


def progressed(count: int = 3) -> list[tuple[Job, Event]]:
    return [(job_in(State.RUNNING), events.Progressed(number)) for number in range(count)]


def test_what_was_heard_is_written_in_one_call() -> None:
    records, changes = Records(), progressed()
    commit(changes, records.services)

    assert (records.groups, records.single) == ([changes], [])


@pytest.mark.parametrize("bad", [0, 2])
def test_what_cannot_be_written_keeps_nothing_else_from_it(bad: int) -> None:
    records, changes = Records(), progressed()
    records.together, records.alone = RuntimeError("changed"), {changes[bad][0].id: RuntimeError("changed")}
    commit(changes, records.services)

    assert records.single == [(job.id, event, job) for job, event in changes if job is not changes[bad][0]]


def test_a_ledger_out_of_reach_is_told_at_once() -> None:
    records = Records()
    records.together = LedgerUnavailable("away")
    with pytest.raises(LedgerUnavailable):
        commit(progressed(), records.services)

    assert records.single == []


def test_a_ledger_out_of_reach_for_one_is_told_when_the_others_are_written() -> None:
    records, changes = Records(), progressed()
    records.together, records.alone = RuntimeError("changed"), {changes[0][0].id: LedgerUnavailable("away")}
    with pytest.raises(LedgerUnavailable):
        commit(changes, records.services)

    assert [job_id for job_id, _, _ in records.single] == [job.id for job, _ in changes[1:]]


def test_only_news_is_written_and_all_are_let_go_after_it() -> None:
    records = Records()
    facts = records.facts(events.Progressed(1), None, events.Progressed(3))
    commit_and_release(facts, records.services)

    assert records.groups == [[(facts[0][0][0], events.Progressed(1)), (facts[2][0][0], events.Progressed(3))]]
    assert records.log == ["written", "let go", "let go", "let go"]


def test_without_news_the_ledger_is_not_asked_and_all_are_let_go() -> None:
    records = Records()
    commit_and_release(records.facts(None, None), records.services)

    assert (records.groups, records.log) == ([], ["let go", "let go"])


@pytest.mark.parametrize("trouble", [LedgerUnavailable("away"), RuntimeError("changed")])
def test_what_cannot_be_written_down_is_let_go_all_the_same(trouble: Exception) -> None:
    records = Records()
    records.together = trouble
    commit_and_release(records.facts(events.Progressed(1), None), records.services)

    assert records.log == ["let go", "let go"]


def test_whoever_is_interrupted_while_it_is_written_lets_all_go() -> None:
    records = Records()
    records.together = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        commit_and_release(records.facts(events.Progressed(1), None), records.services)

    assert records.log == ["let go", "let go"]
