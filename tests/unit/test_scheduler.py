"""What a turn of the scheduler hands out, how long it then waits, and who does the work."""

from __future__ import annotations

import importlib
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from factories import NOW, POLICY, job
from hypothesis import given
from hypothesis import strategies as st

from rushes.shared.domain import schedule
from rushes.shared.gateway_settings import GatewaySettings, single
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.providers import PROVIDERS
from rushes.shared.tenants import Tenants
from rushes.worker import scheduler as schedulers
from rushes.worker.broker_sender import BrokerUnavailable
from rushes.worker.lane_capacity import ADDED, CALLS, SHARES
from rushes.worker.scheduler import BATCH_DELAY_MAX_S, BATCH_DELAY_S, LOOK_MS, MAX_WAIT_S, Scheduler, messages

LANES = ("submit:apimart", "submit:newapi", "poll:apimart", "poll:evolink", "archive", "notify", "erase", "retire")
many_tickets = st.lists(st.sampled_from(LANES), max_size=300).map(
    lambda lanes: [Ticket(lane, f"job_{number}", NOW) for number, lane in enumerate(lanes)]
)


def kinds(message: list[Ticket]) -> Counter[str]:
    return Counter(schedule.kind_of(ticket.lane) for ticket in message)


# --- messages


@given(many_tickets, st.integers(1, 3))
def test_no_message_holds_more_of_a_kind_than_its_batch(tickets: list[Ticket], workers: int) -> None:
    in_all = kinds(tickets)
    for message in messages(tickets, workers):
        assert all(count <= SHARES[kind].batch_of(in_all[kind], workers) for kind, count in kinds(message).items())


def test_a_batch_grows_with_the_tickets_of_each_worker_to_twice_its_size() -> None:
    poll = SHARES["poll"]
    assert [poll.batch_of(count, 1) for count in (1, 2 * poll.batch, 3 * poll.batch, 9 * poll.batch)] == [
        poll.batch,
        poll.batch,
        poll.batch * 3 // 2,
        poll.batch * 2,
    ]
    assert poll.batch_of(3 * poll.batch, 2) == poll.batch


@given(many_tickets)
def test_each_ticket_travels_once_and_in_its_order(tickets: list[Ticket]) -> None:
    sent = [ticket for message in messages(tickets) for ticket in message]
    assert sorted(sent, key=lambda ticket: ticket.job_id) == sorted(tickets, key=lambda ticket: ticket.job_id)
    for kind in SHARES:
        assert [t for t in sent if schedule.kind_of(t.lane) == kind] == [
            t for t in tickets if schedule.kind_of(t.lane) == kind
        ]


@given(many_tickets)
def test_there_are_as_few_messages_as_the_largest_kind_needs(tickets: list[Ticket]) -> None:
    needed = [-(-count // SHARES[kind].batch_of(count, 1)) for kind, count in kinds(tickets).items()]
    made = messages(tickets)
    assert len(made) == max(needed, default=0)
    assert all(made)


# --- turns


class Stand:
    """A scheduler over a ledger in memory; `handed` is what it handed out, message by message."""

    def __init__(self) -> None:
        self.now = NOW
        self.handed: list[list[tuple[str, str, int]]] = []
        self.ledger = Ledger(MemoryStore(), POLICY)
        self.gateways = {name: GatewaySettings(name, single("k"), "https://g.test", 100, 100) for name in PROVIDERS}
        settings = SimpleNamespace(gateways=self.gateways, tenants=Tenants({}))
        services: Any = SimpleNamespace(ledger=self.ledger, settings=settings, now=lambda: self.now)
        self.scheduler = Scheduler(services, lambda tickets: self.handed.append(list(tickets)))

    def queue(self, count: int, **changes: Any) -> None:
        for _ in range(count):
            self.ledger.create(job(**changes))

    def turn(self) -> float:
        return self.scheduler.turn(self.now)


@pytest.fixture
def stand() -> Stand:
    return Stand()


def test_what_is_due_is_handed_out_once(stand: Stand) -> None:
    stand.queue(3)
    stand.turn()
    stand.turn()
    (message,) = stand.handed
    assert {lane for lane, _, _ in message} == {"submit:apimart"}
    assert {lease for _, _, lease in message} == {schedule.after(NOW, schedule.HANDOUT_S)}


def test_a_turn_that_hands_nothing_out_needs_no_delay(stand: Stand) -> None:
    stand.turn()
    assert (stand.scheduler.batch_delay_s, stand.handed) == (0, [])


def test_the_more_is_handed_out_the_longer_is_the_delay_up_to_a_limit(stand: Stand) -> None:
    delays = []
    for counts in ({"apimart": 1}, {"evolink": 10}, {"apimart": 32, "evolink": 32, "newapi": 32}):
        for gateway, count in counts.items():
            stand.queue(count, route=(gateway,))
        stand.turn()
        delays.append(stand.scheduler.batch_delay_s)
    assert BATCH_DELAY_S < delays[0] < delays[1] < delays[2] == BATCH_DELAY_MAX_S
    stand.turn()
    assert stand.scheduler.batch_delay_s == 0


def test_what_the_workers_end_in_a_second_may_wait_for_them_too(stand: Stand) -> None:
    rates: dict[str, float] = {}
    stand.scheduler = Scheduler(stand.scheduler._services, stand.scheduler._hand_out, rates=lambda now: rates)
    stand.queue(100)
    stand.turn()
    usual = SHARES["submit"].max_tickets
    assert sum(map(len, stand.handed)) == usual
    rates["submit"] = 2 * ADDED + 1.5
    stand.turn()
    assert sum(map(len, stand.handed)) == usual + 2 * ADDED
    rates["submit"] = 0
    stand.turn()
    assert sum(map(len, stand.handed)) == usual + 2 * ADDED


def test_jobs_of_a_gateway_that_is_not_enabled_are_handed_out(stand: Stand) -> None:
    del stand.gateways["newapi"]
    stand.turn()  # it has none yet, and is not asked for
    stand.queue(1, route=("newapi",))
    stand.now += LOOK_MS
    stand.turn()
    assert [lane for message in stand.handed for lane, _, _ in message] == ["submit:newapi"]


def test_the_nap_ends_when_the_next_job_is_due(stand: Stand) -> None:
    assert stand.turn() == MAX_WAIT_S
    stand.queue(1, due_at=NOW + 300)
    assert stand.turn() == pytest.approx(0.3)


# --- the loop


class Bed:
    """A ledger to listen at: it notes how long it is slept, and refuses what no clock can wait."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    def listen(self, timeout_s: float) -> None:
        assert timeout_s >= 0
        self.slept_s.append(timeout_s)


def run_loop(monkeypatch: pytest.MonkeyPatch, turn: Any, batch_delay_s: float) -> tuple[Bed, list[float], int]:
    """One round of the loop: where it slept, its breaths, and how often the watchdog heard of it."""
    bed, delays, turned, rounds = Bed(), list[float](), list[int](), iter((False, True))
    monkeypatch.setattr("time.sleep", delays.append)
    scheduler: Any = SimpleNamespace(turn=turn, batch_delay_s=batch_delay_s)
    services: Any = SimpleNamespace(ledger=bed, now=lambda: NOW)
    dog: Any = SimpleNamespace(record_turn=lambda: turned.append(1))
    schedulers.run(scheduler, services, lambda: next(rounds), dog)
    return bed, delays, len(turned)


@pytest.mark.parametrize(("wait_s", "slept_s"), [(1.0, 0.9), (0.1, 0.0), (0.0, 0.0)])
def test_the_batch_delay_is_part_of_the_wait(monkeypatch: pytest.MonkeyPatch, wait_s: float, slept_s: float) -> None:
    bed, delays, turned = run_loop(monkeypatch, lambda now: wait_s, batch_delay_s=0.1)
    assert bed.slept_s == [pytest.approx(slept_s)]
    assert (delays, turned) == ([0.1], 1)


@pytest.mark.parametrize("lost", [LedgerUnavailable("away"), BrokerUnavailable("away")])
def test_what_is_out_of_reach_is_waited_for(monkeypatch: pytest.MonkeyPatch, lost: Exception) -> None:
    def turn(now: int) -> float:
        raise lost

    bed, delays, _ = run_loop(monkeypatch, turn, batch_delay_s=0.1)
    assert (bed.slept_s, delays) == ([schedulers.RETRY_S], [])


# --- the tasks


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the tasks."""
    environ = {"REDIS_URL": "redis://127.0.0.1:1/0", "RUSHES_S3_BUCKET": "clips", "AWS_DEFAULT_REGION": "us-east-1"}
    secrets = {"RUSHES_SECRET_KEY": "s" * 40, "RUSHES_API_KEYS": "acme:key-of-acme-of-some-length"}
    for name, value in {**environ, **secrets}.items():
        monkeypatch.setenv(name, value)
    return importlib.import_module("rushes.worker.tasks")


def test_a_wake_up_that_cannot_be_sent_harms_nobody(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[bool] = []

    def ring() -> None:
        rung.append(True)
        raise LedgerUnavailable("away")

    monkeypatch.setattr(tasks, "services", lambda: SimpleNamespace(ledger=SimpleNamespace(wake=ring)))
    tasks._wake_scheduler()
    assert rung == [True]


def test_there_are_threads_for_every_kind_of_work_and_every_kind_of_call(tasks: Any) -> None:
    sizes = {kind: pool._max_workers for kind, pool in tasks.thread_pools()._pools.items()}
    assert sizes == {**{kind: share.threads for kind, share in SHARES.items()}, **CALLS}


def test_hints_are_taken_without_a_receipt_and_what_others_enqueue_with_one(tasks: Any) -> None:
    assert {queue.name: bool(queue.no_ack) for queue in tasks.app.conf.task_queues} == {"work": True, "enqueue": False}


@pytest.mark.parametrize(("awaited", "calls"), [({}, []), ({"tag-1": "message"}, ["ack"])])
def test_a_hint_asks_the_broker_for_nothing_unless_it_waits_for_a_receipt(
    tasks: Any, awaited: dict[str, str], calls: list[str]
) -> None:
    from rushes.worker.task_classes import UnacknowledgedRequest

    assert tasks.work.Request is UnacknowledgedRequest
    made: list[str] = []
    request = object.__new__(UnacknowledgedRequest)
    qos = SimpleNamespace(_delivered=awaited)
    request._message = SimpleNamespace(delivery_tag="tag-1", channel=SimpleNamespace(qos=qos))
    request._connection_errors = ()
    request._on_ack = lambda *_: made.append("ack")
    request.acknowledged = False
    request.acknowledge()
    assert (request.acknowledged, made) == (True, calls)
