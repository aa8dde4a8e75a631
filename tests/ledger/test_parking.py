"""Jobs that wait for a gateway's pause to end."""

from __future__ import annotations

from factories import NOW, SECOND, job
from ledger_steps import claim, created, engaged, places, submits, taken

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import Store


def parked(ledger: Ledger, at: int) -> Job:
    subject = created(ledger, at=at)[0]
    held, _ = taken(ledger, submits(), NOW + SECOND)
    moved = ledger.apply(held.id, events.Parked(held.route), NOW + SECOND)
    assert moved is not None
    assert moved.id == subject.id
    return moved


def paused(ledger: Ledger) -> None:
    ledger.gateways.strike("apimart", Reason.KEY, None, NOW)


def test_a_parked_job_is_not_handed_out_while_the_pause_lasts(ledger: Ledger, store: Store) -> None:
    paused(ledger)
    subject = parked(ledger, NOW)
    assert claim(ledger, submits(), NOW + 2 * SECOND) == []
    assert places(store, subject.id) == ["{rushes}:due:parked:apimart:acme:5"]


def test_the_end_of_a_pause_by_hand_puts_it_back_before_later_jobs(ledger: Ledger) -> None:
    paused(ledger)
    first = parked(ledger, NOW)
    later = created(ledger, at=NOW + SECOND)[0]
    ledger.gateways.resume("apimart", ["apimart"])
    given = claim(ledger, submits(), NOW + 2 * SECOND)
    assert [ticket.job_id for ticket in given] == [first.id, later.id]


def test_jobs_of_one_millisecond_come_back_from_a_pause_in_the_order_of_their_ids(ledger: Ledger) -> None:
    stopped(ledger)
    made = [job() for _ in range(12)]
    for each in made:
        ledger.create(each)
    for held, _ in [found for found in ledger.open_tickets(claim(ledger, submits(), NOW), NOW) if found]:
        ledger.apply(held.id, events.Parked(held.route), NOW)
    later = created(ledger, at=NOW + 1)

    given = claim(ledger, submits(), LATER)
    assert [ticket.job_id for ticket in given] == [each.id for each in [*made, *later]]


def test_a_pause_that_ends_by_itself_lets_one_job_show_that_the_gateway_is_well(ledger: Ledger) -> None:
    paused(ledger)
    first = parked(ledger, NOW)
    parked(ledger, NOW + 1)
    given = claim(ledger, submits(), ledger.gateways.paused_until("apimart"))
    assert [ticket.job_id for ticket in given] == [first.id]


def test_a_parked_job_that_is_canceled_waits_nowhere_in_the_submit_lane(ledger: Ledger, store: Store) -> None:
    paused(ledger)
    subject = parked(ledger, NOW)
    over_at = ledger.gateways.paused_until("apimart")
    claim(ledger, submits(), over_at)
    ledger.apply(subject.id, events.Canceled(), over_at + SECOND)
    assert places(store, subject.id) == ["{rushes}:due:archive"]


def test_refusals_under_way_when_a_pause_began_make_it_no_longer(ledger: Ledger) -> None:
    paused(ledger)
    until = ledger.gateways.paused_until("apimart")
    for _ in range(8):
        paused(ledger)
    assert ledger.gateways.paused_until("apimart") == until


# --- by hand

LATER = NOW + 3_600 * SECOND


def stopped(ledger: Ledger, gateway: str = "apimart") -> None:
    ledger.gateways.pause(gateway, "operator", LATER)


def test_nothing_the_gateway_says_ends_a_pause_by_hand(ledger: Ledger) -> None:
    created(ledger)
    subject, _ = engaged(ledger, NOW)
    stopped(ledger)
    ledger.gateways.strike("apimart", Reason.KEY, None, NOW)
    ledger.apply(subject.id, events.Accepted("task-1", attempt=1, asked_at=NOW), NOW)
    assert (ledger.gateways.paused_until("apimart"), ledger.gateways.health("apimart")["why"]) == (LATER, "operator")


def test_a_pause_by_hand_outlasts_one_that_was_being_written_down(ledger: Ledger, store: Store) -> None:
    stopped(ledger)
    # A strike that was counted before, by a worker that looked a moment earlier.
    store.remember("{rushes}:gateway:apimart", {"why": "rate_limited", "paused_until": NOW + 5 * SECOND})
    assert (ledger.gateways.paused_until("apimart"), ledger.gateways.health("apimart")["why"]) == (LATER, "operator")


def test_a_job_waits_out_a_pause_by_hand_and_comes_back_with_the_resume(ledger: Ledger, store: Store) -> None:
    stopped(ledger)
    subject = parked(ledger, NOW)
    assert claim(ledger, submits(), NOW + 2 * SECOND) == []
    assert places(store, subject.id) == ["{rushes}:due:parked:apimart:acme:5"]

    ledger.gateways.resume("apimart", ["apimart"])
    given = claim(ledger, submits(), NOW + 3 * SECOND)
    assert [ticket.job_id for ticket in given] == [subject.id]


def test_a_pause_by_hand_that_was_given_an_end_ends_there(ledger: Ledger) -> None:
    stopped(ledger)
    subject = parked(ledger, NOW)
    assert [ticket.job_id for ticket in claim(ledger, submits(), LATER)] == [subject.id]


def test_what_waits_at_another_gateway_looks_around_when_one_is_resumed(ledger: Ledger, store: Store) -> None:
    paused(ledger)
    subject = parked(ledger, NOW)
    ledger.gateways.resume("evolink", ["apimart", "evolink"])
    assert places(store, subject.id) == ["{rushes}:due:submit:apimart:acme:5"]
    assert [ticket.job_id for ticket in claim(ledger, submits(), NOW + 2 * SECOND)] == [subject.id]


def test_a_resume_ends_what_the_gateway_said_too(ledger: Ledger) -> None:
    paused(ledger)
    stopped(ledger)
    ledger.gateways.resume("apimart", ["apimart"])
    assert (ledger.gateways.paused_until("apimart"), dict(ledger.gateways.health("apimart"))) == (0, {})
