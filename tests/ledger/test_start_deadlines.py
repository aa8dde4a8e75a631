"""A job that has to begin by some moment comes due then, wherever it waits."""

from __future__ import annotations

import pytest
from factories import NOW, REQUEST, SECOND
from ledger_steps import ALL_ROOMS, created, engage, places, plan, submits, taken

from rushes.shared.domain import events, schedule, start_deadline
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job, State
from rushes.shared.intake.job_document import moment
from rushes.shared.ledger import keys
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LaneRoom, Store
from rushes.shared.ledger.submits import CapReached, Caps

DEADLINE = NOW + 60 * SECOND
ROOMS = [LaneRoom(start_deadline.LANE, 100), submits(cap=0), submits(gateway="evolink", cap=0)]


def waiting(ledger: Ledger, **fields: object) -> Job:
    (subject,) = created(ledger, request={**REQUEST, "start_before": moment(DEADLINE)}, **fields)
    return subject


def expiring(store: Store) -> list[str]:
    return [job_id for job_id, _ in store.ripe([(keys.START_BEFORE, DEADLINE)], 9)[0]]


def test_a_job_in_line_is_handed_out_at_that_moment_although_no_gateway_has_room(ledger: Ledger, store: Store) -> None:
    subject = waiting(ledger)
    assert ledger.claim(ROOMS, DEADLINE - 1) == (DEADLINE, [])
    (ticket,) = ledger.claim(ROOMS, DEADLINE)[1]
    assert (ticket.lane, ticket.job_id) == (start_deadline.LANE, subject.id)
    assert places(store, subject.id) == ["{rushes}:leased:expire"]


def test_it_ends_there_and_stands_nowhere_else(ledger: Ledger, store: Store) -> None:
    waiting(ledger, route=("apimart", "evolink"))
    ((held, _),) = filter(None, ledger.open_tickets(ledger.claim(ROOMS, DEADLINE)[1], DEADLINE))
    ended = ledger.apply(held.id, events.Expired(), DEADLINE)
    assert ended
    assert ended.state is State.CANCELED
    assert places(store, held.id) == ["{rushes}:due:archive"]
    assert expiring(store) == []
    assert store.ripe([(keys.standby("evolink"), NOW * 2)], 9) == [[]]


@pytest.mark.parametrize("due_in_s", [0, 3600])
def test_so_is_one_that_is_parked_or_not_due(ledger: Ledger, due_in_s: int) -> None:
    subject = waiting(ledger)
    held, _ = taken(ledger, submits(), NOW)
    ledger.gateways.strike("apimart", Reason.KEY, None, NOW)
    event = events.Deferred(schedule.after(NOW, due_in_s), "later") if due_in_s else events.Parked(held.route)
    ledger.apply(held.id, event, NOW)
    assert [ticket.job_id for ticket in ledger.claim(ROOMS, DEADLINE)[1]] == [subject.id]


def test_one_that_a_worker_holds_is_left_to_it_and_comes_due_if_it_waits_again(ledger: Ledger, store: Store) -> None:
    subject = waiting(ledger)
    held, _ = taken(ledger, submits(), DEADLINE - 1)
    assert ledger.claim(ROOMS, DEADLINE)[1] == []
    ledger.apply(held.id, events.Deferred(NOW, "waits"), DEADLINE)
    assert [ticket.job_id for ticket in ledger.claim(ROOMS, DEADLINE)[1]] == [subject.id]


def test_its_submit_is_not_written_down_from_that_moment_on(ledger: Ledger, store: Store) -> None:
    waiting(ledger)
    held, ticket = taken(ledger, submits(), DEADLINE - 1)
    with pytest.raises(CapReached) as reached:
        engage(ledger, held, ticket, events.Begun(plan(held, DEADLINE)), Caps("apimart", 9, 9), DEADLINE)
    assert reached.value.cap == "deadline"
    assert ledger.get(held.id) == held
    engage(ledger, held, ticket, events.Begun(plan(held, DEADLINE - 1)), Caps("apimart", 9, 9), DEADLINE - 1)
    assert expiring(store) == []


def test_the_auditor_finds_nothing_amiss_while_it_waits(ledger: Ledger, store: Store) -> None:
    subject = waiting(ledger)
    sets = [
        keys.START_BEFORE,
        *(place(room.lane) for room in [*ALL_ROOMS, *ROOMS] for place in (keys.due, keys.leased)),
    ]
    inspection = Inspection(store)
    assert [page for name in sets for page in inspection.misplaced(name, False) if page] == []
    ledger.apply(subject.id, events.Canceled(), NOW)
    assert expiring(store) == []
