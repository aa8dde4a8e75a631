"""Submits that travel in one message: they are written down together, and each is paid for, or not, on its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from patience import PATIENCE_S
from world import Died, World, why

from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import AttemptStatus, State
from rushes.shared.domain.schedule import HANDOUT_S, LEASE_S, RENEW_S
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.shared.storage.journal import Intent
from rushes.worker import leases, steps, submit, submit_batch
from rushes.worker.scheduler import Scheduler
from rushes.worker.thread_pools import ThreadPools, WorkerThreads

DUE, LEASED = "{rushes}:due:submit:newapi:acme:5", "{rushes}:leased:submit:newapi"


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> set[leases.Lease]:
    """What this worker holds; of this test alone."""
    mine: set[leases.Lease] = set()
    monkeypatch.setattr(leases, "ACTIVE", mine)
    return mine


def enqueued(world: World, *gateways: str) -> list[str]:
    """A job for each gateway; nothing is left to be measured."""
    return [ready(world, world.submit(world.request_for(gateway))) for gateway in gateways]


def ready(world: World, job_id: str) -> str:
    job = world.job(job_id)
    if submit.needs_measuring(job):
        world.ledger.apply(job_id, submit.measure_inputs(job, world.services), world.clock())
    return job_id


def send(
    world: World, tickets: Sequence[Ticket] | None = None, hands: ThreadPools | None = None, together: bool = False
) -> None:
    """What is due, or these tickets, as one message; a worker that dies does none of the rest."""
    tickets = world.claim() if tickets is None else tickets
    world.http_client.ends_together = together
    with suppress(Died):
        steps.run(tickets, world.services, hands)


def states(world: World, jobs: Sequence[str]) -> list[State]:
    return [world.job(job_id).state for job_id in jobs]


def finished(world: World, jobs: Sequence[str]) -> list[State]:
    return [world.finish(job_id).state for job_id in jobs]


def out_of_reach(*_: object, **__: object) -> Any:
    raise LedgerUnavailable("TimeoutError")


def no_bucket(*_: object) -> None:
    raise ArchiveUnavailable("S3 was not reached")


def generous(world: World) -> Scheduler:
    """A scheduler that hands more out than the workers' caps allow."""
    settings = world.services.settings
    gateways = {
        name: replace(gateway, max_in_flight=99, submits_per_minute=999) for name, gateway in settings.gateways.items()
    }
    return Scheduler(replace(world.services, settings=replace(settings, gateways=gateways)), world._take)


# --- what goes together


def test_the_submits_of_a_message_are_written_down_together_and_each_is_paid_once(
    world: World, held: set[leases.Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi", "apimodels", "apimodels")
    written, stored = noting(world, monkeypatch)
    send(world)
    sent, after = world.posts(), states(world, jobs)
    intents = [text.count('"kind":"intent"') for text in stored]

    assert (written, [number for number in intents if number]) == ([5], [5])
    assert (sent, after, held) == (5, [State.RUNNING] * 5, set())
    assert finished(world, jobs) == [State.COMPLETED] * 5
    assert (world.posts(), len(world.bills())) == (5, 5)
    assert [len(world.job(job_id).attempts) for job_id in jobs] == [1] * 5


def noting(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[str]]:
    """How many submits each call to the ledger had, and what was stored of the journal."""
    engage, put = world.ledger.begin_submits, world.services.archive.put_journal
    written: list[int] = []
    stored: list[str] = []

    def engage_many(submits: Any, now: int) -> Any:
        written.append(len(submits))
        return engage(submits, now)

    def put_journal(name: str, text: str) -> None:
        stored.append(text)
        put(name, text)

    monkeypatch.setattr(world.ledger, "begin_submits", engage_many)
    monkeypatch.setattr(world.services.archive, "put_journal", put_journal)
    return written, stored


def noted(world: World, jobs: Sequence[str]) -> list[tuple[str, str]]:
    """What stands in the journal of these jobs: what it is, and of which."""
    lines = [line for line in world.services.journal.read(int(world.began_at * 1000)) if not isinstance(line, str)]
    told = [
        ("intent", line.job.id) if isinstance(line, Intent) else (type(line.event).__name__, line.job_id)
        for line in lines
    ]
    return [(what, job_id) for what, job_id in told if job_id in jobs]


def test_all_stand_in_the_ledger_and_in_the_journal_before_the_first_is_sent(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    seen: list[Any] = []
    with world.before(world.http_client, "send", lambda: seen.extend([states(world, jobs), noted(world, jobs)])):
        send(world)

    assert seen == [[State.SUBMITTING] * 3, [("intent", job_id) for job_id in jobs]]


def test_in_threads_side_by_side_each_is_paid_once(world: World, held: set[leases.Lease]) -> None:
    jobs = enqueued(world, *["newapi"] * 4, *["apimodels"] * 4)
    done = threading.Event()
    threads = WorkerThreads({"submit": 2, "send": 4}, done.set)
    send(world, hands=threads)
    heard = done.wait(PATIENCE_S)
    for pool in threads._pools.values():
        pool.shutdown()

    assert (heard, states(world, jobs), held) == (True, [State.RUNNING] * 8, set())
    assert (world.posts(), len(world.bills())) == (8, 8)


def test_each_is_held_until_its_outcome_is_written_and_no_longer(
    world: World, held: set[leases.Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueued(world, "newapi", "newapi", "newapi")
    sizes: list[tuple[str, int]] = []

    def counting(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            sizes.append((what, len(held)))
            return real(*args, **options)

        return call

    monkeypatch.setattr(world.http_client, "send", counting("sent", world.http_client.send))
    monkeypatch.setattr(world.ledger, "apply_all", counting("written", world.ledger.apply_all))
    send(world)

    assert sizes == [(what, number) for number in (3, 2, 1) for what in ("sent", "written")]
    assert held == set()


def test_a_message_that_comes_twice_pays_each_of_its_jobs_once(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi", "apimart")
    tickets = world.claim()
    send(world, tickets)
    send(world, tickets)

    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


def test_one_whose_input_is_to_be_measured_goes_with_those_of_text(world: World) -> None:
    jobs = [world.submit(world.request_for(name)) for name in ("newapi", "evolink", "apimart", "newapi")]
    send(world)
    after, measured = states(world, jobs), world.job(jobs[1]).inputs

    assert (after, world.posts()) == ([State.RUNNING] * 4, 4)
    assert measured["video_url"]["duration_s"]
    assert finished(world, jobs) == [State.COMPLETED] * 4
    assert len(world.bills()) == 4


def test_one_whose_input_is_not_to_be_had_keeps_no_other_from_being_sent(world: World) -> None:
    bad = world.submit({**world.request_for("evolink"), "image_url": f"{world.gateways_url}/inputs/none.jpg"})
    jobs = [bad, *enqueued(world, "newapi", "newapi")]
    send(world)

    assert states(world, jobs) == [State.FAILED, State.RUNNING, State.RUNNING]
    assert (why(world.job(bad)), world.posts(), len(world.bills())) == ("input_rejected", 2, 2)


# --- caps


def test_of_a_message_no_more_are_in_flight_than_allowed_and_the_rest_comes_later(
    open_world: Callable[..., World],
) -> None:
    world = open_world(NEWAPI_MAX_IN_FLIGHT="2")
    jobs = enqueued(world, *["newapi"] * 5)
    usual, world.scheduler = world.scheduler, generous(world)
    send(world)
    after, sent, world.scheduler = states(world, jobs), world.posts(), usual
    waiting = world.redis.zrange(DUE, 0, -1)
    ends = finished(world, jobs)

    at = [world.job(job_id).attempts[0].submitted_at for job_id in jobs]
    assert (after, sent, waiting) == ([State.RUNNING] * 2 + [State.QUEUED] * 3, 2, jobs[2:])
    assert (ends, at) == ([State.COMPLETED] * 5, sorted(at))
    assert (world.posts(), len(world.bills())) == (5, 5)


def test_of_a_message_no_more_are_submitted_in_a_minute_than_allowed(open_world: Callable[..., World]) -> None:
    world = open_world(NEWAPI_SUBMITS_PER_MINUTE="2")
    jobs = enqueued(world, "newapi", "newapi", "newapi", "apimart")
    usual, world.scheduler = world.scheduler, generous(world)
    send(world)
    after, world.scheduler = states(world, jobs), usual
    ends = finished(world, jobs)

    at = [world.job(job_id).attempts[0].submitted_at for job_id in jobs]
    assert after == [State.RUNNING, State.RUNNING, State.QUEUED, State.RUNNING]
    assert (ends, at[2] - at[0] > 60_000) == ([State.COMPLETED] * 4, True)
    assert (world.posts(), len(world.bills())) == (4, 4)


def test_of_a_message_no_more_is_spent_than_the_budget_of_the_day(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_DAILY_BUDGET_USD="0.40").begin_a_day()
    jobs = [world.submit(world.text, provider="apimodels") for _ in range(3)]
    send(world)
    sent = world.posts()

    assert finished(world, jobs) == [State.COMPLETED, State.COMPLETED, State.FAILED]
    assert (why(world.job(jobs[2])), world.job(jobs[2]).attempts) == ("budget_exceeded", ())
    assert (sent, len(world.bills())) == (2, 2)


def test_those_of_a_gateway_that_was_paused_meanwhile_wait_and_the_others_are_sent(world: World) -> None:
    jobs = enqueued(world, "newapi", "apimart", "newapi", "apimart")
    tickets = world.claim()
    world.ledger.gateways.pause("newapi", "an operator", world.clock() + 60_000)
    send(world, tickets)
    after = states(world, jobs)

    assert after == [State.QUEUED, State.RUNNING, State.QUEUED, State.RUNNING]
    assert finished(world, jobs) == [State.COMPLETED] * 4
    assert (world.posts(), len(world.bills())) == (4, 4)


@pytest.mark.parametrize("trouble", [LedgerUnavailable("TimeoutError"), ZeroDivisionError()])
def test_one_that_cannot_be_told_how_long_to_wait_keeps_no_other_from_being_sent(
    world: World, held: set[leases.Lease], trouble: Exception
) -> None:
    jobs = enqueued(world, "newapi", "apimart", "newapi", "apimart")
    tickets = world.claim()
    world.ledger.gateways.pause("newapi", "an operator", world.clock() + 5_000)

    def troubled() -> None:
        raise trouble

    with world.before(world.ledger.gateways, "pause_of", troubled):
        send(world, tickets)
    after, sent = states(world, jobs), world.posts()

    assert (after, sent) == ([State.QUEUED, State.RUNNING, State.QUEUED, State.RUNNING], 2)
    assert held == set()
    assert finished(world, jobs) == [State.COMPLETED] * 4
    assert (world.posts(), len(world.bills())) == (4, 4)


# --- one that is not ours any more, or not able


def taken_by_another(world: World, job_id: str) -> None:
    """Its lease runs out, and another worker does what is due."""
    world.redis.zadd(LEASED, {job_id: world.clock()})
    assert world.step() == 1


def test_one_that_was_canceled_meanwhile_keeps_no_other_from_being_sent(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    with world.before(world.ledger, "begin_submits", lambda: world.api("POST", f"/v1/jobs/{jobs[1]}/cancel")):
        send(world)

    assert states(world, jobs) == [State.RUNNING, State.CANCELED, State.RUNNING]
    assert finished(world, jobs) == [State.COMPLETED, State.CANCELED, State.COMPLETED]
    assert (world.job(jobs[1]).attempts, world.posts(), len(world.bills())) == ((), 2, 2)


def test_one_that_another_worker_took_before_it_was_written_down_is_sent_by_that_one_alone(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    with world.before(world.ledger, "begin_submits", lambda: taken_by_another(world, jobs[1])):
        send(world)
    after = states(world, jobs)

    assert (after, world.posts()) == ([State.RUNNING] * 3, 3)
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert [len(world.job(job_id).attempts) for job_id in jobs] == [1] * 3
    assert len(world.bills()) == 3


def test_one_that_changed_before_it_was_written_down_is_not_sent_unwritten(world: World) -> None:
    world.fault("newapi", "refuse_503", stage="submit")
    refused = enqueued(world, "newapi")
    send(world)
    world.ledger.gateways.resume("newapi", [])
    jobs = [*refused, *enqueued(world, "newapi", "newapi")]
    world.advance(5)
    with world.before(world.ledger, "begin_submits", lambda: world.ledger.note(jobs[0], "seen", None, world.clock())):
        send(world)
    after, sent = states(world, jobs), world.posts()

    assert (after, sent) == ([State.QUEUED, State.RUNNING, State.RUNNING], 3)
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert [len(world.job(job_id).attempts) for job_id in jobs] == [2, 1, 1]
    assert (world.posts(), len(world.bills())) == (4, 3)


@pytest.mark.parametrize("place", [0, 2])
def test_one_that_a_heartbeat_found_to_be_anothers_is_left_to_it(
    world: World, held: set[leases.Lease], monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    build_attempt, beats = submit.build_attempt, [lambda: taken_by_another(world, jobs[place])]

    def prepared(*args: Any) -> Any:
        while beats:
            world.advance(RENEW_S)
            beats.pop()()
            for mine in list(held):
                mine.renew(world.services)
        return build_attempt(*args)

    monkeypatch.setattr(submit, "build_attempt", prepared)
    send(world)

    assert (states(world, jobs), world.posts(), held) == ([State.RUNNING] * 3, 3, set())
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


def test_one_that_another_worker_took_before_it_was_sent_is_held_back_and_paid_once(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    with world.before(world.ledger, "renew_many", lambda: taken_by_another(world, jobs[1])):
        send(world)
    after, sent = states(world, jobs), world.posts()

    assert (after, sent) == ([State.RUNNING, State.QUEUED, State.RUNNING], 2)
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


def test_those_whose_turn_comes_late_are_sent_only_while_they_are_still_ours(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")

    def freeze() -> None:
        """The worker stands still between two calls for longer than it may, another does what is due."""
        world.advance(LEASE_S + 1)
        world.exhaust()

    with world.after(world.http_client, "send", freeze):
        send(world)
    after, sent = states(world, jobs), world.posts()

    assert (after, sent) == ([State.RUNNING, State.QUEUED, State.QUEUED], 1)
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


def test_those_whose_turn_comes_late_and_that_are_still_ours_are_sent(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    with world.after(world.http_client, "send", lambda: world.advance(LEASE_S - 5)):
        send(world)

    assert (states(world, jobs), world.posts()) == ([State.RUNNING] * 3, 3)


def test_one_whose_gateway_is_not_enabled_any_more_keeps_no_other_from_being_sent(
    open_world: Callable[..., World],
) -> None:
    before = open_world()
    jobs = enqueued(before, "newapi", "apimart", "apimodels")
    tickets = before.claim()
    after = open_world(NEWAPI_API_KEY="")
    send(after, tickets)

    assert states(after, jobs) == [State.FAILED, State.RUNNING, State.RUNNING]
    assert (why(after.job(jobs[0])), after.posts(), len(after.bills())) == ("no_provider", 2, 2)


# --- one that breaks


def breaking(real: Callable[..., Any], job_id: str) -> Callable[..., Any]:
    """Breaks wherever this job is among what it is given."""

    def call(*args: Any, **options: Any) -> Any:
        if job_id in repr(args):
            raise ZeroDivisionError
        return real(*args, **options)

    return call


BREAKS: dict[str, tuple[Callable[[World], tuple[Any, str]], State, int, int]] = {
    "choosing": (lambda world: (submit, "choose_gateways"), State.QUEUED, 2, 3),
    "preparing": (lambda world: (submit, "build_attempt"), State.QUEUED, 2, 3),
    "writing down": (lambda world: (world.ledger, "begin_submits"), State.QUEUED, 2, 3),
    "the journal": (lambda world: (world.services.journal, "record_intents"), State.QUEUED, 2, 3),
    "confirming": (lambda world: (world.ledger, "renew_many"), State.QUEUED, 2, 3),
    "sending": (lambda world: (submit_batch, "read_answer"), State.SUBMITTING, 3, 4),
    "hearing": (lambda world: (world.services.journal, "record_outcome"), State.SUBMITTING, 3, 4),
}


@pytest.mark.parametrize(("where", "left", "at_once", "in_all"), BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("place", [0, 2])
def test_one_that_breaks_keeps_no_other_from_being_sent_and_none_is_paid_twice(
    world: World,
    held: set[leases.Lease],
    monkeypatch: pytest.MonkeyPatch,
    where: Callable[[World], tuple[Any, str]],
    left: State,
    at_once: int,
    in_all: int,
    place: int,
) -> None:
    jobs = enqueued(world, "apimart", "apimart", "apimart")
    with monkeypatch.context() as broken:
        part, door = where(world)
        broken.setattr(part, door, breaking(getattr(part, door), jobs[place]))
        send(world)
    after, sent = states(world, jobs), world.posts()

    assert after == [left if number == place else State.RUNNING for number in range(3)]
    assert (sent, held) == (at_once, set())
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (in_all, 3)


def test_a_break_after_all_were_written_down_pays_none_twice(world: World) -> None:
    jobs = enqueued(world, "apimart", "apimart", "apimart")
    with world.after(world.ledger, "begin_submits", lambda: 1 / 0):
        send(world)
    sent, after = world.posts(), states(world, jobs)

    assert (sent, after) == (0, [State.SUBMITTING] * 3)
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


def test_an_outcome_that_cannot_be_written_keeps_no_other_from_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueued(world, "apimart", "apimart", "apimart")
    with monkeypatch.context() as broken:
        for door in ("apply_all", "apply"):
            broken.setattr(world.ledger, door, breaking(getattr(world.ledger, door), jobs[1]))
        send(world, together=True)
    after = states(world, jobs)

    assert after == [State.RUNNING, State.SUBMITTING, State.RUNNING]
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (4, 3)


BROKEN_OFF: dict[str, Callable[[World], tuple[Any, str]]] = {
    "writing down": lambda world: (world.ledger, "begin_submits"),
    "sending": lambda world: (world.http_client, "send"),
    "settling": lambda world: (world.ledger, "apply_all"),
}


@pytest.mark.parametrize("where", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_whatever_breaks_a_message_off_none_of_it_stays_held(
    world: World, held: set[leases.Lease], where: Callable[[World], tuple[Any, str]]
) -> None:
    enqueued(world, "newapi", "newapi", "newapi")
    with world.before(*where(world), world.die):
        send(world)

    assert held == set()


def test_a_worker_that_dies_between_two_calls_leaves_none_to_be_paid_twice(world: World) -> None:
    jobs = enqueued(world, "apimart", "apimart", "apimart")
    with world.after(world.ledger, "apply_all", world.die):
        send(world)
    sent, after = world.posts(), states(world, jobs)

    assert (sent, after) == (1, [State.RUNNING, State.SUBMITTING, State.SUBMITTING])
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


def test_a_worker_that_dies_with_all_answers_in_hand_leaves_none_to_be_paid_twice(world: World) -> None:
    jobs = enqueued(world, "apimart", "apimart", "newapi")
    with world.before(world.ledger, "apply_all", world.die):
        send(world, together=True)
    sent, after = world.posts(), states(world, jobs)

    assert (sent, after) == (3, [State.SUBMITTING] * 3)
    assert finished(world, jobs) == [State.COMPLETED, State.COMPLETED, State.FAILED]
    assert (world.posts(), len(world.bills()), why(world.job(jobs[2]))) == (5, 3, "submit_unconfirmed")


# --- the journal and the ledger


def test_without_the_journal_nothing_is_sent_and_all_come_back(
    world: World, held: set[leases.Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueued(world, "newapi", "newapi", "apimart")
    with monkeypatch.context() as down:
        down.setattr(world.services.archive, "put_journal", no_bucket)
        send(world)
        left = [world.job(job_id) for job_id in jobs]
        again = world.claim()
    sent = world.posts()

    assert (sent, again, held) == (0, [], set())
    assert [(job.state, job.attempts, job.tries) for job in left] == [(State.QUEUED, (), 0)] * 3
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


GONE = {
    "before they are written down": ("before", "begin_submits"),
    "when they are written down, unheard": ("after", "begin_submits"),
    "before they are confirmed": ("before", "renew_many"),
    "when they are confirmed, unheard": ("after", "renew_many"),
}


@pytest.mark.parametrize(("when", "door"), GONE.values(), ids=GONE)
def test_while_the_ledger_is_gone_nothing_is_sent_and_all_come_back(
    world: World, held: set[leases.Lease], when: str, door: str
) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    with getattr(world, when)(world.ledger, door, out_of_reach):
        send(world)
    left, sent = [world.job(job_id) for job_id in jobs], world.posts()

    assert (sent, held) == (0, set())
    assert [(job.state, job.attempts) for job in left] == [(State.QUEUED, ())] * 3
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)
    assert [len(world.job(job_id).attempts) for job_id in jobs] == [1] * 3


def test_what_is_held_back_stands_in_the_journal_before_the_ledger_forgets_it(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    seen: list[Any] = []
    with (
        world.before(world.ledger, "renew_many", out_of_reach),
        world.before(world.ledger, "apply_all", lambda: seen.extend([states(world, jobs), noted(world, jobs)])),
    ):
        send(world)

    assert seen[0] == [State.SUBMITTING] * 3
    assert seen[1][3:] == [("Withdrawn", job_id) for job_id in jobs]


def test_a_ledger_that_is_gone_when_the_message_comes_has_all_offered_again(world: World) -> None:
    jobs = enqueued(world, "newapi", "newapi")
    with world.before(world.ledger, "open_tickets", out_of_reach):
        send(world)
    world.advance(HANDOUT_S + 1)
    send(world)

    assert (states(world, jobs), world.posts(), len(world.bills())) == ([State.RUNNING] * 2, 2, 2)


class Naps:
    """Time as `settle` sees it: nobody really sleeps, and each nap is noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept_s: list[float] = []
        monkeypatch.setattr(submit, "time", SimpleNamespace(monotonic=self._now_s, sleep=self.slept_s.append))

    def _now_s(self) -> float:
        return sum(self.slept_s)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> Naps:
    return Naps(monkeypatch)


def gone_for(world: World, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is out of reach for so many attempts to write an outcome down."""
    apply_all, left = world.ledger.apply_all, [None] * times

    def call(*args: Any) -> Any:
        if left:
            left.pop()
            out_of_reach()
        return apply_all(*args)

    monkeypatch.setattr(world.ledger, "apply_all", call)


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "at once"])
def test_outcomes_are_written_once_the_ledger_is_back(
    world: World, naps: Naps, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    gone_for(world, 3, monkeypatch)
    send(world, together=together)

    assert (states(world, jobs), naps.slept_s) == ([State.RUNNING] * 3, [1, 1])
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


def test_while_the_ledger_is_away_the_other_answers_are_heard(
    world: World, naps: Naps, held: set[leases.Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    gone_for(world, 2, monkeypatch)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(submit.time, "sleep", lambda _: seen.append((world.posts(), len(held))))
    monkeypatch.setattr(submit.time, "monotonic", lambda: 0)
    send(world)

    assert (seen, states(world, jobs), held) == ([(3, 3)], [State.RUNNING] * 3, set())


def test_what_was_held_back_comes_back_once_the_ledger_does(
    world: World, naps: Naps, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    gone_for(world, 2, monkeypatch)
    with world.before(world.ledger, "renew_many", out_of_reach):
        send(world)

    assert (states(world, jobs), world.posts(), naps.slept_s) == ([State.QUEUED] * 3, 0, [1, 1])
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert (world.posts(), len(world.bills())) == (3, 3)


def test_a_ledger_that_stays_away_is_given_up_in_the_end_and_none_is_paid_twice(
    world: World, naps: Naps, held: set[leases.Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = enqueued(world, "apimart", "apimart", "apimart")
    with monkeypatch.context() as gone:
        gone_for(world, 10_000, gone)
        send(world, together=True)
    after = states(world, jobs)

    assert (after, held) == ([State.SUBMITTING] * 3, set())
    assert len(naps.slept_s) == submit.LEDGER_WAIT_S + 1
    assert finished(world, jobs) == [State.COMPLETED] * 3
    assert len(world.bills()) == 3


# --- what the gateways say


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "at once"])
def test_each_of_a_message_ends_as_its_own_gateway_answered(world: World, together: bool) -> None:
    world.fault("apimart", "answer_lost")
    world.fault("evolink", "refuse_503", stage="submit")
    world.fault("apimodels", "no_balance", stage="submit")
    jobs = [
        *enqueued(world, "newapi", "apimart"),
        ready(world, world.submit(world.motion, provider=["evolink", "apimaster"])),
        world.submit(world.text, provider=["apimodels", "newapi"]),
    ]
    send(world, together=together)
    after = [(world.job(job_id).state, world.job(job_id).attempts[0].status) for job_id in jobs]
    ends = finished(world, jobs)

    assert after == [
        (State.RUNNING, AttemptStatus.RUNNING),
        (State.UNCONFIRMED, AttemptStatus.UNCONFIRMED),
        (State.QUEUED, AttemptStatus.REJECTED),
        (State.QUEUED, AttemptStatus.REJECTED),
    ]
    assert ends == [State.COMPLETED] * 4
    assert [[attempt.provider for attempt in world.job(job_id).attempts] for job_id in jobs] == [
        ["newapi"],
        ["apimart"],
        ["evolink", "apimaster"],
        ["apimodels", "newapi"],
    ]
    assert sorted(bill["gateway"] for bill in world.bills()) == ["apimart", "apimaster", "newapi", "newapi"]
    assert world.ledger.gateways.health("apimodels")["why"] == "insufficient_balance"


def test_refusals_of_a_message_are_counted_each_once(world: World) -> None:
    world.fault("newapi", "refuse_503", stage="submit", times=2)
    enqueued(world, "newapi", "newapi")
    send(world, together=True)

    assert world.ledger.gateways.health("newapi") == {"strikes": "2", "why": "unavailable"}


def test_a_ledger_that_goes_away_while_refusals_are_counted_has_none_counted_twice(
    world: World, naps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fault("newapi", "refuse_503", stage="submit", times=2)
    enqueued(world, "newapi", "newapi")
    strike, calls = world.ledger.gateways.strike, []

    def second_time_away(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            out_of_reach()
        strike(*args)

    monkeypatch.setattr(world.ledger.gateways, "strike", second_time_away)
    send(world, together=True)

    assert world.ledger.gateways.health("newapi") == {"strikes": "2", "why": Reason.DOWN.value}
    assert world.ledger.gateways.paused_until("newapi") == 0


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "at once"])
def test_one_whose_refusal_cannot_be_counted_keeps_no_other_from_being_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    world.fault("newapi", "refuse_503", stage="submit")
    jobs = enqueued(world, "newapi", "newapi", "newapi")
    with monkeypatch.context() as broken:
        broken.setattr(world.ledger.gateways, "strike", lambda *_: 1 / 0)
        send(world, together=together)
    after = states(world, jobs)

    assert after == [State.QUEUED, State.RUNNING, State.RUNNING]
    assert finished(world, jobs) == [State.COMPLETED] * 3
