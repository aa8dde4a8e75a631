from __future__ import annotations

from typing import Any

import pytest
from factories import HOUR, MINUTE, NOW, POLICY, SECOND, job
from ledger_steps import CAPS, HANDOUT, LEASE, claim, created, engaged, places, polls, running, submits, taken

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.ledger import keys
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LaneRoom, Store
from rushes.shared.ledger.submits import Caps
from rushes.shared.ledger.tickets import Ticket

LATER = NOW + MINUTE


def ids(tickets: list[Ticket]) -> list[str]:
    return [ticket.job_id for ticket in tickets]


def test_nothing_due_is_nothing_claimed(ledger: Ledger) -> None:
    assert ledger.claim([submits(), polls(), LaneRoom("archive", 9)], NOW) == (None, [])


def test_what_is_due_is_leased_and_not_popped(ledger: Ledger, store: Store) -> None:
    (subject,) = created(ledger)
    tickets = claim(ledger, submits(), NOW)
    assert ids(tickets) == [subject.id]
    assert places(store, subject.id) == ["{rushes}:leased:submit:apimart"]


def test_what_is_not_due_yet_is_told_of(ledger: Ledger) -> None:
    created(ledger, 2, due_at=NOW + HOUR)
    created(ledger, due_at=NOW + 2 * HOUR)
    assert ledger.claim([submits()], NOW) == (NOW + HOUR, [])


def test_a_crash_is_offered_again_after_the_lease_and_not_before(ledger: Ledger) -> None:
    (subject,) = created(ledger)
    (first,) = claim(ledger, submits(), NOW)
    assert first.lease == NOW + HANDOUT
    assert ledger.claim([submits()], first.lease - 1) == (first.lease, [])
    (second,) = claim(ledger, submits(), first.lease)
    assert (second.job_id, second.lease) == (subject.id, first.lease + HANDOUT)


def test_the_oldest_come_first(ledger: Ledger) -> None:
    young = created(ledger, 1, due_at=NOW + 7)
    old = created(ledger, 3)
    assert ids(claim(ledger, submits(2), LATER)) == [job.id for job in old[:2]]
    assert ids(claim(ledger, submits(9), LATER)) == [old[2].id, young[0].id]


def test_those_that_are_due_at_the_same_moment_come_in_the_order_of_their_ids(ledger: Ledger) -> None:
    made = [job(due_at=NOW) for _ in range(30)]
    for each in [*made[20:], *made[:20]]:
        ledger.create(each)
    # The room counts what is out already.
    given = [ids(claim(ledger, submits(room, cap=30), NOW)) for room in (7, 19, 30)]
    assert [job_id for some in given for job_id in some] == [each.id for each in made]


def test_a_lane_gives_no_more_than_its_room(ledger: Ledger) -> None:
    created(ledger, 5)
    assert len(claim(ledger, submits(3), LATER)) == 3


def test_tickets_that_are_out_take_up_room(ledger: Ledger) -> None:
    created(ledger, 5)
    claim(ledger, submits(3), LATER)
    assert claim(ledger, submits(3), LATER) == []
    assert len(claim(ledger, submits(4), LATER)) == 1


def test_a_finished_step_gives_its_room_back(ledger: Ledger) -> None:
    created(ledger, 2)
    subject, _ = taken(ledger, submits(1), LATER)
    assert claim(ledger, submits(1), LATER) == []
    ledger.apply(subject.id, events.Deferred(NOW + HOUR, "window"), LATER)
    assert len(claim(ledger, submits(1), LATER)) == 1


def test_a_full_lane_says_when_the_first_lease_ends(ledger: Ledger) -> None:
    created(ledger, 5)
    soonest, _ = ledger.claim([submits(3)], LATER)
    assert soonest == LATER + HANDOUT
    assert ledger.claim([submits(3)], LATER + SECOND) == (LATER + HANDOUT, [])


def test_two_claimers_never_share_a_ticket(ledger: Ledger, store: Store) -> None:
    created(ledger, 10)
    other = Ledger(store, POLICY)
    mine, theirs = claim(ledger, submits(6), LATER), claim(other, submits(20), LATER)
    assert (len(mine), len(theirs)) == (6, 4)
    assert not set(ids(mine)) & set(ids(theirs))


def test_several_lanes_are_claimed_at_once_each_with_its_own_room(ledger: Ledger) -> None:
    created(ledger, 3)
    created(ledger, 3, route=("evolink",))
    subject = running(ledger, NOW + 3, route=("newapi", "apimart"))
    rooms = [submits(1), submits(2, "evolink"), polls(gateway="newapi"), polls()]
    given = ledger.claim(rooms, (subject.due_at or 0) + 1)[1]
    assert [ticket.lane for ticket in given] == [
        "submit:apimart",
        "submit:evolink",
        "submit:evolink",
        "poll:apimart",
    ]


# --- caps of a gateway


def test_a_gateway_is_given_no_more_than_it_may_have_in_flight(ledger: Ledger) -> None:
    created(ledger, 5)
    assert len(claim(ledger, submits(cap=2), LATER)) == 2
    assert claim(ledger, submits(cap=2), LATER) == []


def test_a_gateway_at_its_cap_is_given_nothing_until_a_job_ends(ledger: Ledger) -> None:
    subject = running(ledger)
    created(ledger, 2)
    soonest, tickets = ledger.claim([submits(cap=1)], LATER)
    assert (soonest, tickets) == (None, [])
    ledger.apply(subject.id, events.Failed(Reason.INPUT, "no"), LATER)
    assert len(claim(ledger, submits(cap=1), LATER)) == 1


def test_a_full_minute_says_when_it_opens(ledger: Ledger) -> None:
    running(ledger, NOW)
    running(ledger, NOW + SECOND)
    created(ledger, 2)
    opens = NOW + 61 * SECOND + 1
    assert ledger.claim([submits(rate=2)], NOW + 2 * SECOND) == (opens, [])
    assert claim(ledger, submits(rate=2), opens - 1) == []
    assert len(claim(ledger, submits(rate=2), opens)) == 1


def test_a_gateway_without_any_submits_a_minute_stops_no_other(ledger: Ledger) -> None:
    created(ledger, 1, route=("apimart",))
    created(ledger, 1, route=("evolink",))
    soonest, tickets = ledger.claim([submits(rate=0), submits(gateway="evolink")], LATER)
    assert [ticket.lane for ticket in tickets] == ["submit:evolink"]
    assert soonest is not None
    assert soonest > LATER


def test_a_crashed_submit_is_offered_again_although_the_gateway_is_full(ledger: Ledger) -> None:
    created(ledger)
    subject, _ = engaged(ledger, NOW, Caps("apimart", 1, 1))
    (ticket,) = claim(ledger, submits(cap=1, rate=1), NOW + LEASE)
    assert ticket.job_id == subject.id


# --- gateways that are unwell


def pause(store: Store, until: int) -> None:
    store.remember("{rushes}:gateway:apimart", {"paused_until": until})


def test_a_paused_gateways_jobs_are_handed_out_only_to_be_moved(ledger: Ledger, store: Store) -> None:
    created(ledger, 60)
    pause(store, LATER + 1)
    assert len(claim(ledger, submits(100, cap=0, rate=0), LATER)) == 50


def test_a_pause_that_is_over_is_over(ledger: Ledger, store: Store) -> None:
    created(ledger, 60)
    pause(store, LATER)
    assert len(claim(ledger, submits(100, cap=20), LATER)) == 20


def test_after_a_strike_one_job_shows_whether_the_gateway_is_well(ledger: Ledger, store: Store) -> None:
    created(ledger, 5)
    assert store.strike("{rushes}:gateway:apimart", {"why": "unavailable"}) == 1
    assert len(claim(ledger, submits(), LATER)) == 1
    assert claim(ledger, submits(), LATER) == []


def test_a_gateway_that_is_well_again_gets_all_it_may_have(ledger: Ledger) -> None:
    created(ledger, 6)
    first, _ = engaged(ledger, NOW)
    ledger.gateways.strike("apimart", Reason.RATE, None, NOW)
    assert ledger.gateways.paused_until("apimart") > NOW
    ledger.apply(first.id, events.Accepted("task-1", attempt=1, asked_at=NOW), NOW)
    assert ledger.gateways.paused_until("apimart") == 0
    assert len(claim(ledger, submits(), NOW + 5)) == 5


@pytest.mark.parametrize(("strikes", "paused"), [(1, False), (2, False), (3, True)])
def test_strikes_are_counted_until_they_pause(ledger: Ledger, strikes: int, paused: bool) -> None:
    for _ in range(strikes):
        ledger.gateways.strike("apimart", Reason.DOWN, None, NOW)
    assert (ledger.gateways.paused_until("apimart") > NOW) is paused
    assert ledger.gateways.health("apimart")["why"] == "unavailable"


def test_caps_of_the_default_are_what_the_tests_say() -> None:
    assert (CAPS.max_in_flight, CAPS.submits_per_minute) == (20, 60)


def test_more_than_fit_into_one_command_are_given_each_once(redis_store: RedisStore) -> None:
    client: Any = redis_store._client
    waiting = [f"job_{number:04}" for number in range(1_100)]
    client.zadd(keys.due("retire"), dict.fromkeys(waiting, NOW))
    given = [redis_store.claim([LaneRoom("retire", 5_000)], now, now + 1, 60_000)[1] for now in (NOW, NOW + 1)]

    assert given == [[("retire", job_id) for job_id in waiting]] * 2
    assert client.zrange(keys.leased("retire"), 0, -1, withscores=True) == [(job_id, NOW + 2) for job_id in waiting]
    assert client.exists(keys.due("retire")) == 0
