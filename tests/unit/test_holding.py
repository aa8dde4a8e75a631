"""Jobs in a worker's hands: what needs their leases, what is done for many at once, and what is written of them."""

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
from rushes.worker.group_commit import InHand, write, write_down
from rushes.worker.leases import SURE_S, Lease, engage, still
from rushes.worker.step_failures import guarded, together

LATER = NOW + 3 * SECOND
LEASE = schedule.LEASE_S * SECOND


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> set[Lease]:
    """What this worker holds; of this test alone."""
    mine: set[Lease] = set()
    monkeypatch.setattr(leases, "HELD", mine)
    return mine


def makeshift(**parts: Any) -> Any:
    """Services of these parts alone."""
    return SimpleNamespace(**parts)


class Book:
    """A ledger that takes notes, and raises `trouble` if there is any; the jobs in `lost` are another's."""

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


class Desk:
    """Some submits in a worker's hands, each held by a ticket that was opened a while ago."""

    def __init__(self, count: int = 3) -> None:
        self.jobs = [job_in(State.QUEUED) for _ in range(count)]
        self.tickets = [Ticket("submit:apimart", job.id, NOW + number) for number, job in enumerate(self.jobs)]
        self.book, self.moment = Book(), LATER
        self.services = makeshift(ledger=self.book, now=lambda: self.moment)
        self.holds = [leases.hold(ticket, self.services) for ticket in self.tickets]
        self.asked: list[Sequence[Ticket]] = []

    def lose(self, number: int) -> None:
        """It is known that this one is another's."""
        with self.holds[number].kept():
            self.holds[number].have(None)

    def engage(self, *outcomes: Job | Exception) -> list[Job | Exception | None]:
        def told(tickets: Sequence[Ticket]) -> Sequence[Job | Exception]:
            self.asked.append(tickets)
            return outcomes

        return engage(self.holds, told, LATER)

    @property
    def leases(self) -> list[int | None]:
        """What each holds now; nobody is in the midst of a write."""
        assert not any(hold._lock.locked() for hold in self.holds)
        return [hold._ticket.lease if hold._ticket else None for hold in self.holds]


# --- a write that needs the leases


def test_a_write_is_asked_for_all_at_once_and_told_in_their_order() -> None:
    desk = Desk()
    outcomes: list[Job | Exception] = [desk.jobs[0], CapReached("inflight", NOW), desk.jobs[2]]

    assert desk.engage(*outcomes) == outcomes
    assert desk.asked == [desk.tickets]


def test_a_write_renews_the_leases_of_those_that_were_written_and_of_no_others() -> None:
    desk = Desk()
    desk.engage(desk.jobs[0], LeaseLost("taken"), desk.jobs[2])

    assert desk.leases == [LATER + LEASE, NOW + 1, LATER + LEASE]


def test_where_all_are_refused_every_ticket_stays_as_it_was() -> None:
    desk = Desk()
    outcomes = [CapReached("budget", NOW), LeaseLost("taken"), CapReached("pause", NOW)]

    assert desk.engage(*outcomes) == outcomes
    assert desk.leases == [NOW, NOW + 1, NOW + 2]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_one_that_is_gone_is_not_written_and_the_others_get_what_is_theirs(gone: int) -> None:
    desk = Desk()
    desk.lose(gone)
    first, second = (number for number in range(3) if number != gone)
    written, refused = desk.jobs[first], LeaseLost("taken")
    told = desk.engage(written, refused)

    assert desk.asked == [[desk.tickets[first], desk.tickets[second]]]
    assert [told[number] for number in (gone, first, second)] == [None, written, refused]
    assert [desk.leases[number] for number in (gone, first, second)] == [None, LATER + LEASE, NOW + second]


def test_where_none_is_ours_any_more_nothing_is_written() -> None:
    desk = Desk(2)
    desk.lose(0)
    desk.lose(1)

    assert desk.engage() == [None, None]
    assert (desk.asked, desk.leases) == ([], [None, None])


@pytest.mark.parametrize("trouble", [LedgerUnavailable("away"), ZeroDivisionError(), KeyboardInterrupt()])
def test_a_write_that_breaks_leaves_every_ticket_as_it_was(trouble: BaseException) -> None:
    desk = Desk()

    def broken(tickets: Sequence[Ticket]) -> Sequence[Job | Exception]:
        raise trouble

    with pytest.raises(type(trouble)):
        engage(desk.holds, broken, LATER)

    assert desk.leases == [NOW, NOW + 1, NOW + 2]


def test_an_answer_that_is_not_of_all_is_not_taken_for_one() -> None:
    desk = Desk()

    with pytest.raises(ValueError, match="zip"):
        desk.engage(desk.jobs[0], desk.jobs[1])

    assert desk.leases == [NOW, NOW + 1, NOW + 2]


# --- whether they are still ours


def test_all_are_asked_for_in_one_call_and_renewed() -> None:
    desk = Desk()

    assert still(desk.holds, desk.services) == [True, True, True]
    assert desk.book.renewed == [[job.id for job in desk.jobs]]
    assert desk.leases == [LATER + LEASE] * 3


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_one_that_another_has_is_not_ours_from_then_on_and_the_others_are(lost: int) -> None:
    desk = Desk()
    desk.book.lost = {desk.jobs[lost].id}
    first = still(desk.holds, desk.services)
    again = still(desk.holds, desk.services)

    assert first == again == [number != lost for number in range(3)]
    assert desk.book.renewed[1] == [job.id for number, job in enumerate(desk.jobs) if number != lost]
    assert desk.leases == [None if number == lost else LATER + LEASE for number in range(3)]


def test_where_none_is_ours_any_more_the_ledger_is_not_asked() -> None:
    desk = Desk(2)
    desk.lose(0)
    desk.lose(1)

    assert still(desk.holds, desk.services) == [False, False]
    assert desk.book.renewed == []


def test_a_ledger_out_of_reach_says_nothing_of_any() -> None:
    desk = Desk()
    desk.lose(1)
    desk.book.trouble = LedgerUnavailable("away")

    with pytest.raises(LedgerUnavailable):
        still(desk.holds, desk.services)

    assert desk.leases == [NOW, None, NOW + 2]


def test_one_that_was_written_a_moment_ago_is_surely_ours() -> None:
    desk = Desk()
    desk.lose(2)
    desk.engage(desk.jobs[0], LeaseLost("taken"))
    after = [SURE_S * SECOND, SURE_S * SECOND + 1]
    sure = [[hold.sure(LATER + ms) for hold in desk.holds] for ms in after]

    assert sure == [[True, False, False], [False, False, False]]


def test_one_that_was_asked_for_a_moment_ago_is_surely_ours() -> None:
    desk = Desk(2)
    desk.book.lost = {desk.jobs[1].id}
    before = [hold.sure(LATER) for hold in desk.holds]
    still(desk.holds, desk.services)

    assert (before, [hold.sure(LATER + SECOND) for hold in desk.holds]) == ([False, False], [True, False])


# --- what a heartbeat does meanwhile


class Latch:
    """The lock of a hold; it notes in the diary when it shuts, and what the ticket was when it opened."""

    def __init__(self, name: str, hold: Lease, diary: list[str]) -> None:
        self._name, self._hold, self._diary = name, hold, diary

    def __enter__(self) -> None:
        self._diary.append(f"{self._name} shut")

    def __exit__(self, *_: object) -> None:
        ticket = self._hold._ticket
        self._diary.append(f"{self._name} open {ticket.lease - LATER if ticket else 'gone'}")


def latched(desk: Desk) -> list[str]:
    diary: list[str] = []
    for name, hold in zip("abc", desk.holds, strict=False):
        hold._lock = Latch(name, hold, diary)  # type: ignore[assignment]
    return diary


def test_no_renewal_comes_between_a_write_and_its_tickets() -> None:
    desk = Desk(2)
    diary = latched(desk)

    def told(tickets: Sequence[Ticket]) -> Sequence[Job | Exception]:
        diary.append("written")
        return desk.jobs

    engage(desk.holds, told, LATER)

    assert diary == ["a shut", "b shut", "written", f"b open {LEASE}", f"a open {LEASE}"]


def test_no_renewal_comes_between_the_question_whether_they_are_ours_and_their_tickets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(2)
    desk.book.lost = {desk.jobs[1].id}
    diary, renew = latched(desk), desk.book.renew_many

    def asked(tickets: Sequence[Ticket], now: int) -> list[Ticket | None]:
        diary.append("asked")
        return renew(tickets, now)

    monkeypatch.setattr(desk.book, "renew_many", asked)
    still(desk.holds, desk.services)

    assert diary == ["a shut", "b shut", "asked", "b open gone", f"a open {LEASE}"]


def test_a_renewal_is_shut_off_from_a_write_and_begins_with_the_ticket_that_it_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(1)
    desk.engage(desk.jobs[0])
    desk.moment = LATER + 9 * SECOND
    diary, seen = latched(desk), []

    def renewed(ticket: Ticket, now: int) -> Ticket | None:
        diary.append("renewed")
        seen.append(ticket.lease)
        return replace(ticket, lease=now + LEASE)

    monkeypatch.setattr(desk.book, "renew", renewed)
    desk.holds[0].renew(desk.services)

    assert (diary, seen) == (["a shut", "renewed", f"a open {LEASE + 9 * SECOND}"], [LATER + LEASE])


def test_a_job_is_renewed_only_once_it_was_held_for_a_while() -> None:
    desk = Desk(1)
    desk.moment = LATER + schedule.RENEW_S * SECOND - 1
    desk.holds[0].renew(desk.services)
    within = list(desk.book.renewed)
    desk.moment += 1
    desk.holds[0].renew(desk.services)

    assert (within, desk.book.renewed) == ([], [[desk.jobs[0].id]])


def test_one_that_another_has_is_not_renewed_any_more() -> None:
    desk = Desk(1)
    desk.book.lost, desk.moment = {desk.jobs[0].id}, LATER + LEASE
    desk.holds[0].renew(desk.services)
    desk.holds[0].renew(desk.services)

    assert (desk.book.renewed, desk.leases) == ([[desk.jobs[0].id]], [None])


def test_what_is_let_go_is_held_no_more(held: set[Lease]) -> None:
    desk = Desk()
    desk.holds[1].let_go()
    desk.holds[1].let_go()

    assert held == {desk.holds[0], desk.holds[2]}


# --- all at once, or each alone


class Work:
    """Doubles numbers, as many as it is given; `breaks` are the numbers that it breaks at."""

    def __init__(self, **breaks: Exception) -> None:
        self.breaks = breaks
        self.given: list[list[str]] = []

    def __call__(self, items: Sequence[str]) -> list[str]:
        self.given.append([*items])
        for item in items:
            if item in self.breaks:
                raise self.breaks[item]
        return [item * 2 for item in items]


def of(**states: State) -> Callable[[str], Job]:
    return lambda item: job_in(states.get(item, State.QUEUED))


def done(work: Work, items: str, **states: State) -> Sequence[str | Event]:
    services = makeshift(now=lambda: NOW)
    return together(work, [*items], of(**states), services)


def test_what_goes_well_is_done_once_for_all() -> None:
    work = Work()

    assert done(work, "abc") == ["aa", "bb", "cc"]
    assert work.given == [["a", "b", "c"]]


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_one_that_breaks_keeps_no_other_from_being_done(bad: int) -> None:
    work = Work(**{"abc"[bad]: ZeroDivisionError()})
    told = done(work, "abc")

    assert [one for one in told if isinstance(one, str)] == [one * 2 for one in "abc" if one != "abc"[bad]]
    assert isinstance(told[bad], events.Deferred)
    assert work.given == [["a", "b", "c"], ["a"], ["b"], ["c"]]


def test_what_a_break_means_is_told_by_the_job_that_broke() -> None:
    work = Work(a=ZeroDivisionError(), b=KeyError())
    told = done(work, "abc", b=State.SUBMITTING)

    assert told == [
        events.Deferred(NOW + SECOND, "a step of ours broke; see the worker's log", broke=True),
        events.Lost("a step of ours broke; see the worker's log"),
        "cc",
    ]


def test_one_alone_that_breaks_is_not_done_twice() -> None:
    work = Work(a=ZeroDivisionError())

    assert isinstance(done(work, "a")[0], events.Deferred)
    assert work.given == [["a"]]


def test_for_none_nothing_is_done() -> None:
    work = Work()

    assert (done(work, ""), work.given) == ([], [])


@pytest.mark.parametrize("items", ["a", "ab"])
def test_a_ledger_out_of_reach_is_told_and_not_taken_for_a_break(items: str) -> None:
    with pytest.raises(LedgerUnavailable):
        done(Work(a=LedgerUnavailable("away")), items)


def test_a_step_tells_what_it_came_to_and_only_a_break_is_a_setback() -> None:
    services = makeshift(now=lambda: NOW)
    tries = [guarded(job_in(State.QUEUED, tries=tries), lambda: 1 // 0, services) for tries in (1, 3, 12)]

    assert guarded(job_in(State.QUEUED), lambda: 7, services) == 7
    assert [one.until - NOW for one in tries if isinstance(one, events.Deferred)] == [2_000, 8_000, 300_000]


# --- writing down


class Grip:
    """A hold that notes when it was let go."""

    def __init__(self, diary: list[str]) -> None:
        self._diary = diary

    def let_go(self) -> None:
        self._diary.append("let go")


class Records:
    """A ledger that is written to; `together` is raised where all are written at once, `alone` for single jobs."""

    def __init__(self) -> None:
        self.diary: list[str] = []
        self.groups: list[list[tuple[Job, Event]]] = []
        self.single: list[tuple[str, Event, Job]] = []
        self.together: BaseException | None = None
        self.alone: dict[str, Exception] = {}
        self.services = makeshift(ledger=self, now=lambda: NOW)

    def apply_all(self, news: Sequence[tuple[Job, Event]], now: int) -> None:
        if self.together:
            raise self.together
        self.groups.append([*news])
        self.diary.append("written")

    def apply(self, job_id: str, event: Event, now: int, known: Job) -> None:
        if job_id in self.alone:
            raise self.alone[job_id]
        self.single.append((job_id, event, known))

    def facts(self, *heard: Event | None) -> list[tuple[InHand, Event | None]]:
        grip: Any = Grip(self.diary)
        return [((job_in(State.RUNNING), grip), event) for event in heard]


def heard(count: int = 3) -> list[tuple[Job, Event]]:
    return [(job_in(State.RUNNING), events.Progressed(number)) for number in range(count)]


def test_what_was_heard_is_written_in_one_call() -> None:
    records, news = Records(), heard()
    write(news, records.services)

    assert (records.groups, records.single) == ([news], [])


@pytest.mark.parametrize("bad", [0, 2])
def test_what_cannot_be_written_keeps_nothing_else_from_it(bad: int) -> None:
    records, news = Records(), heard()
    records.together, records.alone = RuntimeError("changed"), {news[bad][0].id: RuntimeError("changed")}
    write(news, records.services)

    assert records.single == [(job.id, event, job) for job, event in news if job is not news[bad][0]]


def test_a_ledger_out_of_reach_is_told_at_once() -> None:
    records = Records()
    records.together = LedgerUnavailable("away")
    with pytest.raises(LedgerUnavailable):
        write(heard(), records.services)

    assert records.single == []


def test_a_ledger_out_of_reach_for_one_is_told_when_the_others_are_written() -> None:
    records, news = Records(), heard()
    records.together, records.alone = RuntimeError("changed"), {news[0][0].id: LedgerUnavailable("away")}
    with pytest.raises(LedgerUnavailable):
        write(news, records.services)

    assert [job_id for job_id, _, _ in records.single] == [job.id for job, _ in news[1:]]


def test_only_news_is_written_and_all_are_let_go_after_it() -> None:
    records = Records()
    facts = records.facts(events.Progressed(1), None, events.Progressed(3))
    write_down(facts, records.services)

    assert records.groups == [[(facts[0][0][0], events.Progressed(1)), (facts[2][0][0], events.Progressed(3))]]
    assert records.diary == ["written", "let go", "let go", "let go"]


def test_without_news_the_ledger_is_not_asked_and_all_are_let_go() -> None:
    records = Records()
    write_down(records.facts(None, None), records.services)

    assert (records.groups, records.diary) == ([], ["let go", "let go"])


@pytest.mark.parametrize("trouble", [LedgerUnavailable("away"), RuntimeError("changed")])
def test_what_cannot_be_written_down_is_let_go_all_the_same(trouble: Exception) -> None:
    records = Records()
    records.together = trouble
    write_down(records.facts(events.Progressed(1), None), records.services)

    assert records.diary == ["let go", "let go"]


def test_whoever_is_interrupted_while_it_is_written_lets_all_go() -> None:
    records = Records()
    records.together = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        write_down(records.facts(events.Progressed(1), None), records.services)

    assert records.diary == ["let go", "let go"]
