"""A job in line at the first gateway of its route may go to a further one once it has waited long enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import NOW, POLICY, SECOND
from ledger_steps import HANDOUT, created, engage, places, plan, submits, taken

from rushes.shared.domain import cheapest_wait, events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LaneRoom, Store
from rushes.shared.ledger.submits import Caps
from rushes.shared.ledger.tickets import Ticket

ROUTE = ("apimart", "evolink", "newapi")
WAIT = round(POLICY.wait_for_cheapest_s * SECOND)
OVER = NOW + WAIT + SECOND


def claimed(ledger: Ledger, now: int, *rooms: LaneRoom) -> list[tuple[str, str]]:
    """(lane, job) of what is handed out, where apimart has no place left."""
    return [(ticket.lane, ticket.job_id) for ticket in tickets(ledger, now, *rooms)]


def tickets(ledger: Ledger, now: int, *rooms: LaneRoom) -> list[Ticket]:
    return ledger.claim([submits(cap=0), *(rooms or (submits(gateway="evolink"),))], now)[1]


def stands_by(store: Store, gateway: str) -> list[str]:
    return [job_id for job_id, _ in store.ripe([(keys.standby_line(gateway, "acme:5"), NOW * 2)], 99)[0]]


def test_within_its_wait_a_job_stays_in_line_and_then_a_further_gateway_with_room_takes_it(
    ledger: Ledger, store: Store
) -> None:
    (subject,) = created(ledger, route=ROUTE)
    assert claimed(ledger, NOW + WAIT - 1) == []
    assert claimed(ledger, NOW + WAIT) == [("submit:evolink", subject.id)]
    assert places(store, subject.id) == ["{rushes}:leased:submit:evolink"]


def test_the_scheduler_is_told_when_a_wait_ends(ledger: Ledger) -> None:
    created(ledger, route=ROUTE)
    soonest, _ = ledger.claim([submits(cap=0), submits(gateway="evolink")], NOW + SECOND)
    assert soonest == NOW + WAIT


def test_a_pinned_job_goes_nowhere_else(ledger: Ledger, store: Store) -> None:
    created(ledger, route=("apimart",))
    assert claimed(ledger, OVER) == []
    assert stands_by(store, "evolink") == []


def test_a_place_at_the_first_gateway_goes_before_one_at_a_further_one(ledger: Ledger) -> None:
    (subject,) = created(ledger, route=ROUTE)
    given = ledger.claim([submits(gateway="evolink"), submits()], OVER)[1]
    assert [(ticket.lane, ticket.job_id) for ticket in given] == [("submit:apimart", subject.id)]


def test_those_in_line_there_go_first_and_no_more_than_there_is_room_for(ledger: Ledger) -> None:
    waiting = created(ledger, 3, route=ROUTE)
    (own,) = created(ledger, at=OVER - 1, route=("evolink",))
    given = claimed(ledger, OVER, submits(gateway="evolink", cap=2))
    assert given == [("submit:evolink", own.id), ("submit:evolink", waiting[0].id)]


@pytest.mark.parametrize("room", [submits(gateway="evolink", cap=0), submits(gateway="evolink", rate=0)])
def test_a_further_gateway_without_room_takes_nobody(ledger: Ledger, room: LaneRoom) -> None:
    created(ledger, route=ROUTE)
    assert claimed(ledger, OVER, room) == []


def test_a_further_gateway_that_is_paused_takes_nobody(ledger: Ledger) -> None:
    (subject,) = created(ledger, route=ROUTE)
    ledger.gateways.strike("evolink", Reason.BALANCE, 300, NOW)
    assert claimed(ledger, OVER) == []
    assert claimed(ledger, NOW + 301 * SECOND) == [("submit:evolink", subject.id)]


def test_a_further_gateway_that_is_to_show_that_it_is_well_takes_one(ledger: Ledger) -> None:
    created(ledger, 3, route=ROUTE)
    ledger.gateways.strike("evolink", Reason.DOWN, None, NOW)
    assert len(claimed(ledger, OVER)) == 1


def test_who_waits_for_the_end_of_a_pause_may_leave_too(ledger: Ledger, store: Store) -> None:
    created(ledger, route=ROUTE)
    held, _ = taken(ledger, submits(), NOW)
    ledger.apply(held.id, events.Parked(ROUTE), NOW)
    ledger.gateways.pause("apimart", "operator", NOW * 2)
    assert claimed(ledger, OVER) == [("submit:evolink", held.id)]
    assert places(store, held.id) == ["{rushes}:leased:submit:evolink"]


def test_who_is_in_a_workers_hands_is_not_taken_from_them(ledger: Ledger, store: Store) -> None:
    created(ledger, route=ROUTE)
    held, _ = taken(ledger, submits(), OVER - SECOND)
    assert claimed(ledger, OVER) == []
    ledger.apply(held.id, events.Deferred(NOW, "waits for the inflight cap"), OVER, known=held)
    assert claimed(ledger, OVER) == [("submit:evolink", held.id)]


def test_a_crash_on_the_way_is_offered_again_and_once(ledger: Ledger) -> None:
    (subject,) = created(ledger, route=ROUTE)
    assert claimed(ledger, OVER) == [("submit:evolink", subject.id)]
    assert claimed(ledger, OVER + HANDOUT - 1, submits(gateway="evolink"), submits(gateway="newapi")) == []
    assert claimed(ledger, OVER + HANDOUT) == [("submit:evolink", subject.id)]


def rerouted(ledger: Ledger, now: int) -> Job:
    (ticket,) = tickets(ledger, now)
    opened = ledger.open_tickets([ticket], now)[0]
    assert opened
    route = ("evolink", "apimart", "newapi")
    moved = ledger.apply(opened[0].id, events.Rerouted(route, "waited"), now, known=opened[0])
    assert moved
    return moved


def test_who_has_moved_on_stands_in_one_line_and_by_for_the_others(ledger: Ledger, store: Store) -> None:
    created(ledger, route=ROUTE)
    moved = rerouted(ledger, OVER)
    assert places(store, moved.id) == ["{rushes}:due:submit:evolink:acme:5"]
    assert {name: stands_by(store, name) for name in ROUTE} == {
        "apimart": [moved.id],
        "evolink": [],
        "newapi": [moved.id],
    }
    assert ledger.claim([submits(), submits(gateway="evolink", cap=0)], OVER)[1][0].lane == "submit:apimart"


def test_a_job_that_was_sent_stands_by_nowhere(ledger: Ledger, store: Store) -> None:
    created(ledger, route=ROUTE)
    subject, ticket = taken(ledger, submits(), NOW)
    engage(ledger, subject, ticket, events.Begun(plan(subject, NOW)), Caps("apimart", 20, 60), NOW)
    assert [stands_by(store, name) for name in ROUTE] == [[], [], []]


def test_a_canceled_job_stands_by_nowhere(ledger: Ledger, store: Store) -> None:
    (subject,) = created(ledger, route=ROUTE)
    ledger.apply(subject.id, events.Canceled(), NOW)
    assert [stands_by(store, name) for name in ROUTE] == [[], [], []]
    assert claimed(ledger, OVER) == []


def test_a_gateway_that_leaves_the_route_does_not_take_it(ledger: Ledger, store: Store) -> None:
    (subject,) = created(ledger, route=ROUTE)
    ledger.apply(subject.id, events.Measured({}, ("apimart", "newapi"), None), NOW)
    assert stands_by(store, "evolink") == []
    assert claimed(ledger, OVER) == []


@pytest.mark.parametrize("delay_s", [10, 3_600])
def test_a_job_that_is_to_wait_first_waits_no_shorter_for_its_first_gateway(ledger: Ledger, delay_s: int) -> None:
    due_at = NOW + delay_s * SECOND
    (subject,) = created(ledger, route=ROUTE, due_at=due_at)
    assert claimed(ledger, due_at + WAIT - 1) == []
    assert claimed(ledger, due_at + WAIT) == [("submit:evolink", subject.id)]


def test_what_stands_in_the_way_of_a_submit_is_no_wait_for_a_gateway(ledger: Ledger) -> None:
    (subject,) = created(ledger, route=ROUTE)
    until = NOW + 900 * SECOND
    ledger.apply(subject.id, events.Deferred(until, "the picture does not answer"), NOW + 10 * SECOND)
    moved = ledger.get(subject.id)
    assert moved
    assert cheapest_wait.until(moved, POLICY) == until + 20 * SECOND
    assert claimed(ledger, until) == []


def test_without_a_wait_a_full_line_is_left_in_the_same_turn(store: Store) -> None:
    ledger = Ledger(store, replace(POLICY, wait_for_cheapest_s=0))
    (subject,) = created(ledger, route=ROUTE)
    assert claimed(ledger, NOW) == [("submit:evolink", subject.id)]
