"""The polls of a message: asked together, written down in groups, and each held exactly for as long as it is needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from factories import NOW, POLICY, SECOND, job_in

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Job, Nudge, State
from rushes.shared.http import AnswerLost
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import LaneRoom, LedgerUnavailable
from rushes.shared.operations.task_query import read_response
from rushes.shared.providers.base import Access
from rushes.worker import leases, steps
from rushes.worker.group_commit import LeasedJob
from rushes.worker.thread_pools import Sequential

Outcome = Response | AnswerLost | None
Group = list[tuple[int, Outcome]]
LATER = NOW + 3 * SECOND


def answer(http: int = 200, **data: Any) -> Response:
    return Response(http, {}, json.dumps({"code": http, "data": data}).encode())


def at_it(percent: int) -> Response:
    return answer(status="processing", progress=percent)


def running(number: int = 1, plan: dict[str, Any] | None = None, **changes: Any) -> Job:
    """A job whose task has this number."""
    return job_in(State.RUNNING, {"task_id": f"task-{number}", **(plan or {})}, **changes)


class Grip:
    """A hold that counts how often it was let go."""

    def __init__(self, diary: list[str]) -> None:
        self.let_go_times, self._diary = 0, diary

    def release(self) -> None:
        self.let_go_times += 1
        self._diary.append("let go")


class Gateways:
    """Answers in groups as it is told; an error among them is raised there. The clock moves on while it is asked."""

    def __init__(self, services: Any, *groups: Group | BaseException) -> None:
        self.asked: list[Request] = []
        self.deadline_s = 0.0
        self._services, self._groups = services, groups

    def send_all(self, requests: Sequence[Request], *, deadline_s: float) -> Iterator[Group]:
        self.asked, self.deadline_s = list(requests), deadline_s
        self._services.moment = LATER
        for group in self._groups:
            if isinstance(group, BaseException):
                raise group
            yield group


class Book:
    """A ledger that takes notes; what is in `troubles` is raised, one for each time it is written to."""

    def __init__(self, diary: list[str]) -> None:
        self.written: list[list[tuple[Job, Event]]] = []
        self.written_at: list[int] = []
        self.troubles: list[Exception | None] = []
        self.unwritable: dict[str, Exception] = {}
        self.quarantine = Away()
        self._diary = diary

    def apply_all(self, happened: Sequence[tuple[Job, Event]], now: int, *_: object) -> list[object]:
        if not happened:
            return []
        self._diary.append("written")
        if trouble := self.troubles.pop(0) if self.troubles else None:
            raise trouble
        self.written.append(list(happened))
        self.written_at.append(now)
        return []

    def apply(self, job_id: str, event: Event, now: int, known: Job) -> None:
        if trouble := self.unwritable.get(job_id):
            raise trouble
        self.written.append([(known, event)])


class Away:
    """What is out of reach."""

    def newest(self, *_: object) -> Any:
        raise LedgerUnavailable("away")


class Desk:
    """Some polls in a worker's hands, and what becomes of them."""

    def __init__(self, *jobs: Job) -> None:
        self.diary: list[str] = []
        self.jobs, self.grips = jobs, [Grip(self.diary) for _ in jobs]
        self.book = Book(self.diary)
        self.left_alone: list[Job] = []
        self.moment = NOW
        self.services: Any = SimpleNamespace(ledger=self.book, now=lambda: self.moment, access=access)

    def look(self, *groups: Group | BaseException) -> Gateways:
        """Ask about all of them; what is to be looked at alone is noted, and stays held."""
        gateways = Gateways(self, *groups)
        self.services.http_client = gateways
        polls: Any = list(zip(self.jobs, self.grips, strict=True))
        steps.poll_all(polls, self.services, self)  # type: ignore[arg-type]
        return gateways

    def start(self, kind: str, function: Any, polls: Sequence[LeasedJob]) -> None:
        self.left_alone += [job for job, _ in polls]
        self.diary += ["alone"] * bool(polls)

    @property
    def written(self) -> list[tuple[Job, Event]]:
        return [fact for group in self.book.written for fact in group]

    @property
    def release(self) -> list[int]:
        """How often each was let go."""
        return [grip.let_go_times for grip in self.grips]


def access(provider: str, attempt: Any = None) -> Access:
    return Access(attempt.base_url, "key")


def paths(gateways: Gateways) -> list[str]:
    return [request.url.rpartition("/")[2] for request in gateways.asked]


def percents(facts: Sequence[tuple[Job, Event]]) -> list[tuple[str | None, int | None]]:
    return [(job.current.task_id, event.percent) for job, event in facts if isinstance(event, events.Progressed)]


# --- who is asked with the others


def test_all_are_asked_in_one_call_and_what_is_heard_is_written_in_groups() -> None:
    desk = Desk(running(1), running(2), running(3))

    gateways = desk.look([(2, at_it(30)), (0, at_it(10))], [(1, at_it(20))])

    assert paths(gateways) == ["task-1", "task-2", "task-3"]
    assert gateways.deadline_s == schedule.POLL_DEADLINE_S
    assert [percents(group) for group in desk.book.written] == [[("task-3", 30), ("task-1", 10)], [("task-2", 20)]]
    assert (desk.left_alone, desk.release) == ([], [1, 1, 1])


MOMENT_AGO = {"asked_at": NOW - schedule.NUDGE_GAP_S * SECOND + 1}
GAP_AGO = {"asked_at": NOW - schedule.NUDGE_GAP_S * SECOND}
NUDGED = Nudge(NOW, 1)
LEFT_ALONE: dict[str, Job] = {
    "nudged, and asked a moment ago": running(9, MOMENT_AGO, nudge=NUDGED),
    "without a task": running(9, {"task_id": None}),
    "with a hint to another attempt's task": running(9, {"task_id": None}, nudge=Nudge(NOW, 2, "task-9")),
    "begun too often": running(9, tries=schedule.CRASHES + 1),
    "of a gateway that nobody knows": running(9, {"provider": "gone"}),
    "with a task that cannot be asked for": running(9, {"task_id": "\ud83d"}),
}
ASKED: dict[str, Job] = {
    "asked a moment ago, and not nudged": running(9, MOMENT_AGO),
    "nudged, and asked a while ago": running(9, GAP_AGO, nudge=NUDGED),
    "with a task that a callback named": running(9, {"task_id": None}, nudge=Nudge(NOW, 1, "task-9")),
    "begun just not too often": running(9, tries=schedule.CRASHES),
    "in doubt": job_in(State.UNCONFIRMED, {"task_id": "task-9"}),
}


@pytest.mark.parametrize("job", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_one_that_cannot_be_asked_with_the_others_is_looked_at_alone(job: Job) -> None:
    desk = Desk(running(1), job, running(2))

    gateways = desk.look([(0, at_it(10)), (1, at_it(20))])

    assert paths(gateways) == ["task-1", "task-2"]
    assert percents(desk.written) == [("task-1", 10), ("task-2", 20)]
    assert desk.left_alone == [job]
    assert desk.release == [1, 0, 1]  # whoever looks at it lets it go


# --- tasks of a gateway that answers about several


def of_kling(number: int, plan: dict[str, Any] | None = None, **changes: Any) -> Job:
    place = {"provider": "kling", "base_url": "https://kling.example", "key_name": "KLING_API_KEY"}
    return running(number, {**place, **(plan or {})}, **changes)


def list_of(*tasks: tuple[str, str]) -> Response:
    data = [{"id": task_id, "status": status} for task_id, status in tasks]
    return Response(200, {}, json.dumps({"code": 0, "data": data}).encode())


def test_several_tasks_of_kling_are_asked_about_in_one_query_and_each_hears_of_its_own() -> None:
    desk = Desk(of_kling(1), running(2), of_kling(3), of_kling(4))

    gateways = desk.look([(1, list_of(("task-3", "failed"), ("task-1", "processing"))), (0, at_it(20))])

    assert paths(gateways) == ["task-2", "tasks?task_ids=task-1,task-3,task-4"]
    heard = {job.current.task_id: type(event).__name__ for job, event in desk.written}
    assert heard == {"task-1": "Progressed", "task-2": "Progressed", "task-3": "Failed", "task-4": "Unclear"}
    assert (desk.left_alone, desk.release) == ([], [1, 1, 1, 1])


def test_tasks_of_another_account_or_address_and_those_that_only_a_callback_named_are_asked_about_apart() -> None:
    named = job_in(State.UNCONFIRMED, {"provider": "kling", "base_url": "https://kling.example", "task_id": "task-9"})
    elsewhere = of_kling(2, {"base_url": "https://beijing.example"})
    desk = Desk(of_kling(1), elsewhere, of_kling(3, {"key_name": "OTHER"}), named)

    gateways = desk.look([])

    assert sorted(paths(gateways)) == [f"tasks?task_ids=task-{number}" for number in (1, 2, 3, 9)]


def test_no_more_tasks_than_the_gateway_may_be_asked_about_stand_in_a_query() -> None:
    desk = Desk(*(of_kling(number) for number in range(45)))

    gateways = desk.look([])

    assert [path.count(",") + 1 for path in paths(gateways)] == [20, 20, 5]


@pytest.mark.parametrize("outcome", [None, answer(400, message="no"), answer(404), answer(422)])
def test_where_a_question_about_several_is_not_taken_each_is_asked_about_alone(outcome: Outcome) -> None:
    jobs = [of_kling(1), of_kling(2)]
    desk = Desk(*jobs)

    desk.look([(0, outcome)])

    assert (desk.left_alone, desk.written, desk.release) == (jobs, [], [0, 0])


@pytest.mark.parametrize("outcome", [AnswerLost("reset"), answer(500), answer(429), answer(401)])
def test_a_question_about_several_without_an_answer_is_no_verdict_on_any(outcome: Outcome) -> None:
    desk = Desk(of_kling(1), of_kling(2))
    desk.services.ledger.gateways = SimpleNamespace(strike=lambda *_: None)

    desk.look([(0, outcome)])

    assert {type(event) for _, event in desk.written} <= {events.Lost, events.Unclear}
    assert (len(desk.written), desk.left_alone, desk.release) == (2, [], [1, 1])


@pytest.mark.parametrize("job", ASKED.values(), ids=ASKED)
def test_one_that_can_be_asked_with_the_others_is(job: Job) -> None:
    desk = Desk(job)

    gateways = desk.look([(0, at_it(10))])

    assert paths(gateways) == ["task-9"]
    assert [held.id for held, _ in desk.written] == [job.id]
    assert (desk.left_alone, desk.release) == ([], [1])


def test_those_without_an_answer_are_looked_at_alone_as_soon_as_that_is_known() -> None:
    desk = Desk(running(1), running(2), running(3))

    desk.look([(0, None)], [(1, at_it(20))], [(2, None)])

    assert desk.left_alone == [desk.jobs[0], desk.jobs[2]]
    assert desk.diary == ["alone", "written", "let go", "alone"]
    assert desk.release == [0, 1, 0]


# --- what an answer means


def test_an_answer_is_written_as_heard_when_it_was_asked_for_whenever_it_came() -> None:
    desk = Desk(running(1), running(2))

    desk.look([(0, at_it(10)), (1, AnswerLost("http://gateway.test: TimeoutError"))])

    assert desk.written == [
        (desk.jobs[0], events.Progressed(10, attempt=1, asked_at=NOW)),
        (desk.jobs[1], events.Lost("http://gateway.test: TimeoutError", attempt=1, asked_at=NOW)),
    ]
    assert desk.book.written_at == [LATER]


def test_an_answer_means_what_it_means_to_one_that_is_asked_alone() -> None:
    nudged = running(1, nudge=Nudge(NOW - SECOND, 1))
    done = answer(status="completed", result={"videos": [{"url": "https://files.apimart.example/clip.mp4"}]})
    desk = Desk(nudged, running(2), running(3))

    desk.look([(0, done), (1, answer(status="failed")), (2, answer(500))])

    first, second, third = (event for _, event in desk.written)
    assert isinstance(first, events.Succeeded)
    assert (first.heard_by, first.asked_at) == ("callback", NOW)
    assert isinstance(second, events.Failed)
    assert (second.heard_by, second.asked_at) == ("poll", NOW)
    assert third == events.Unclear("HTTP 500: ", attempt=1, asked_at=NOW)


def test_an_understanding_that_breaks_puts_off_its_own_job_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(running(1), running(2), running(3))

    def breaking(attempt: Any, task_id: str, *rest: Any) -> Event:
        if task_id == "task-2":
            raise ZeroDivisionError
        return read_response(attempt, task_id, *rest)

    monkeypatch.setattr(steps, "read_response", breaking)
    desk.look([(0, at_it(10)), (1, at_it(20)), (2, at_it(30))])

    setback = events.Lost("a step of ours broke; see the worker's log", asked_at=NOW)
    assert desk.written[1] == (desk.jobs[1], setback)
    assert percents(desk.written) == [("task-1", 10), ("task-3", 30)]
    assert desk.release == [1, 1, 1]


def doubted(polls: int = 2) -> Job:
    """A job whose task may be made up: at one more answer that it is not there, the ledger is asked for another."""
    return job_in(State.UNCONFIRMED, {"task_id": "task-2", "polls": polls})


def test_one_that_needs_a_ledger_out_of_reach_is_not_written_and_the_others_are() -> None:
    desk = Desk(running(1), doubted(), running(3))

    desk.look([(0, at_it(10)), (1, answer(404)), (2, at_it(30))])

    assert percents(desk.written) == [("task-1", 10), ("task-3", 30)]
    assert len(desk.written) == 2
    assert desk.release == [1, 1, 1]


def test_one_whose_answer_called_for_another_step_is_let_go_without_news(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(doubted(), running(3))
    monkeypatch.setattr("rushes.worker.poll.apply_quarantined_task_id", lambda job, services: True)

    desk.look([(0, answer(404)), (1, at_it(30))])

    assert [job for job, _ in desk.written] == [desk.jobs[1]]
    assert desk.release == [1, 1]


# --- how long they are held


def test_a_job_is_held_until_it_is_written_down_and_no_longer() -> None:
    desk = Desk(running(1), running(2), running(3))

    desk.look([(0, at_it(10)), (1, at_it(20))], [(2, at_it(30))])

    assert desk.diary == ["written", "let go", "let go", "written", "let go"]


def test_a_ledger_out_of_reach_for_one_group_does_not_keep_the_next_from_being_written() -> None:
    desk = Desk(running(1), running(2))
    desk.book.troubles = [LedgerUnavailable("away")]

    desk.look([(0, at_it(10))], [(1, at_it(20))])

    assert percents(desk.written) == [("task-2", 20)]
    assert desk.release == [1, 1]


@pytest.mark.parametrize("groups", [[], [[(0, at_it(10))]], [[(0, None)]], [[(0, at_it(10)), (2, at_it(30))]]])
@pytest.mark.parametrize("trouble", [RuntimeError("poll"), KeyboardInterrupt()])
def test_whatever_breaks_the_asking_off_each_is_let_go_once(groups: list[Group], trouble: BaseException) -> None:
    desk = Desk(running(1), running(2), running(3))

    with pytest.raises(type(trouble)):
        desk.look(*groups, trouble)

    alone = [job in desk.left_alone for job in desk.jobs]
    assert desk.release == [int(not mine) for mine in alone]
    assert len(percents(desk.written)) == len([one for group in groups for one in group if one[1]])


@pytest.mark.parametrize("trouble", [LedgerUnavailable("away"), RuntimeError("changed 50 times")])
def test_one_that_cannot_be_written_keeps_no_other_from_it(trouble: Exception) -> None:
    desk = Desk(running(1), running(2), running(3))
    desk.book.troubles, desk.book.unwritable = [RuntimeError("changed 50 times")], {desk.jobs[0].id: trouble}

    desk.look([(0, at_it(10)), (1, at_it(20))], [(2, at_it(30))])

    assert percents(desk.written) == [("task-2", 20), ("task-3", 30)]
    assert desk.release == [1, 1, 1]


def test_whoever_is_interrupted_while_an_answer_is_read_lets_all_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    desk = Desk(running(1), running(2))
    monkeypatch.setattr(steps, "event_for_job", interrupted)
    with pytest.raises(KeyboardInterrupt):
        desk.look([(0, at_it(10)), (1, at_it(20))])

    assert desk.release == [1, 1]


class NoHands(Exception):
    """Nobody is there who could look at one alone."""


@pytest.mark.parametrize("second", [running(2), running(2, {"task_id": None})], ids=["no answer", "no question"])
def test_whoever_finds_no_hands_for_one_alone_lets_all_go(second: Job) -> None:
    desk = Desk(running(1), second, running(3))

    def nobody(kind: str, function: Any, polls: Sequence[LeasedJob]) -> None:
        if polls:
            raise NoHands

    desk.start = nobody  # type: ignore[method-assign]
    with pytest.raises(NoHands):
        desk.look([(0, at_it(10)), (1, None), (2, at_it(30))])

    assert desk.release == [1, 1, 1]


# --- from the message on


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[leases.Lease]:
    """What this worker holds; of this test alone."""
    mine: set[leases.Lease] = set()
    monkeypatch.setattr(leases, "ACTIVE", mine)
    return mine


def test_the_polls_of_a_message_are_in_one_pair_of_hands_and_held_until_they_are_written(
    held: set[leases.Lease],
) -> None:
    ledger = Ledger(MemoryStore(), POLICY)
    jobs = [running(number, due_at=NOW) for number in range(3)]
    for job in jobs:
        ledger.create(job)
    _, tickets = ledger.claim([LaneRoom("poll:apimart", 9)], NOW)
    desk = Desk()
    desk.services.ledger = ledger
    desk.services.http_client = Gateways(desk, [(0, at_it(10)), (1, AnswerLost("reset"))], [(2, at_it(30))])
    handed: list[tuple[str, int, int]] = []

    class Noting(Sequential):
        def start(self, kind: str, function: Any, items: Sequence[Any]) -> None:
            handed.extend((kind, len(item), len(held)) for item in items)
            super().start(kind, function, items)

    steps.run(tickets, desk.services, Noting())

    found = [job for job in ledger.get_many([ticket.job_id for ticket in tickets]) if job]
    assert handed == [("poll", 3, 3)]
    assert [(job.progress, job.current.polls, job.current.asked_at) for job in found] == [
        (10, 1, NOW),
        (0, 1, NOW),
        (30, 1, NOW),
    ]
    assert held == set()


def test_one_alone_is_given_to_hands_of_its_own_kind_and_let_go_after_its_step(held: set[leases.Lease]) -> None:
    ledger = Ledger(MemoryStore(), POLICY)
    ledger.create(running(1, due_at=NOW))
    _, tickets = ledger.claim([LaneRoom("poll:apimart", 9)], NOW)
    desk = Desk()
    desk.services.ledger = ledger
    desk.services.http_client = Gateways(desk, [(0, None)])
    desk.services.http_client.send = lambda request, deadline_s: at_it(40)
    kinds: list[str] = []

    class Noting(Sequential):
        def start(self, kind: str, function: Any, items: Sequence[Any]) -> None:
            kinds.extend([kind] * len(items))
            super().start(kind, function, items)

    steps.run(tickets, desk.services, Noting())

    (job,) = ledger.get_many([tickets[0].job_id])
    assert kinds == ["poll", "poll"]
    assert job is not None
    assert (job.progress, held) == (40, set())
