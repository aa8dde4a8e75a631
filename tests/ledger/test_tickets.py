from __future__ import annotations

from dataclasses import replace

import pytest
from factories import NOW, POLICY, SECOND, job_in
from ledger_steps import (
    HANDOUT,
    LEASE,
    archiving,
    claim,
    contents,
    created,
    places,
    polls,
    repeating,
    running,
    score,
    submits,
    taken,
)

from rushes.shared.domain import events
from rushes.shared.domain.job import Chore, State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import Commit, LaneRoom, LeaseRequest, Store, Writes
from rushes.shared.ledger.tickets import Ticket

ARCHIVE = LaneRoom("archive", 9)


def test_a_ticket_opens_once(ledger: Ledger) -> None:
    created(ledger)
    (ticket,) = claim(ledger, submits(), NOW)
    assert ledger.open_tickets([ticket], NOW + 1)[0] is not None
    assert ledger.open_tickets([ticket], NOW + 2)[0] is None


def test_an_open_ticket_holds_the_job_for_the_time_of_a_lease(ledger: Ledger, store: Store) -> None:
    (subject,) = created(ledger)
    _, ticket = taken(ledger, submits(), NOW)
    assert ticket.lease == NOW + LEASE
    assert score(store, "leased:submit:apimart", subject.id) == ticket.lease


def test_a_late_ticket_opens_if_nobody_was_offered_the_job_again(ledger: Ledger) -> None:
    created(ledger)
    (ticket,) = claim(ledger, submits(), NOW)
    assert ledger.open_tickets([ticket], ticket.lease + SECOND)[0] is not None


def test_a_late_ticket_stays_shut_once_the_job_was_offered_again(ledger: Ledger) -> None:
    created(ledger)
    (late,) = claim(ledger, submits(), NOW)
    (fresh,) = claim(ledger, submits(), late.lease)
    assert ledger.open_tickets([late], late.lease + 1)[0] is None
    assert ledger.open_tickets([fresh], late.lease + 1)[0] is not None


def test_a_ticket_of_a_job_that_moved_on_stays_shut(ledger: Ledger) -> None:
    (subject,) = created(ledger)
    (ticket,) = claim(ledger, submits(), NOW)
    ledger.apply(subject.id, events.Canceled(), NOW)
    assert ledger.open_tickets([ticket], NOW)[0] is None


def test_a_ticket_of_a_job_that_has_left_cleans_up_after_it(ledger: Ledger, store: Store) -> None:
    (subject,) = created(ledger)
    (ticket,) = claim(ledger, submits(), NOW)
    store.commit([Commit(subject.id, 0, "0a", "", Writes())])
    assert ledger.open_tickets([ticket], NOW)[0] is None
    assert places(store, subject.id) == []


def test_each_opening_is_counted_as_a_try(ledger: Ledger) -> None:
    created(ledger)
    tries, now = [], NOW
    for _ in range(3):
        subject, ticket = taken(ledger, submits(), now)
        tries.append((subject.tries, subject.version))
        now = ticket.lease
    assert tries == [(1, 1), (2, 2), (3, 3)]


def test_a_step_that_says_what_happened_begins_its_tries_anew(ledger: Ledger) -> None:
    created(ledger)
    subject, _ = taken(ledger, submits(), NOW)
    ledger.apply(subject.id, events.Deferred(NOW, "window"), NOW)
    assert taken(ledger, submits(), NOW)[0].tries == 1


def test_an_opening_whose_reply_is_lost_opens_for_the_same_call(store: Store) -> None:
    created(Ledger(store, POLICY))
    ledger = repeating(store)
    (ticket,) = claim(ledger, submits(), NOW)
    opened = ledger.open_tickets([ticket], NOW)[0]
    assert opened is not None
    assert (opened[0].tries, opened[0].version) == (1, 1)
    assert ledger.open_tickets([ticket], NOW)[0] is None


def test_a_hint_does_not_shut_out_the_call_whose_reply_is_lost(store: Store) -> None:
    subject = running(Ledger(store, POLICY))
    (ticket,) = claim(Ledger(store, POLICY), polls(), subject.due_at or 0)
    opening = LeaseRequest(ticket.lane, subject.id, ticket.lease, ticket.lease + 1)
    (first,) = store.open_tickets([opening], "0a")
    store.nudge("poll:apimart", subject.id, f"{NOW}:1:task-1", NOW)
    (again,) = store.open_tickets([opening], "0a")
    assert first is not None
    assert again is not None
    assert again.split(" ")[:3] == [str(subject.version + 2), "0a", "1"]


def test_two_deliveries_of_a_ticket_in_the_same_moment_do_not_collide(ledger: Ledger) -> None:
    created(ledger)
    (ticket,) = claim(ledger, submits(), NOW)
    far = replace(ticket, lease=ticket.lease)
    assert ledger.open_tickets([ticket], NOW - 80 * SECOND)[0] is not None
    assert ledger.open_tickets([far], NOW - 80 * SECOND)[0] is None


@pytest.mark.parametrize("chore", Chore)
def test_a_chore_can_be_opened_like_any_step(ledger: Ledger, chore: Chore) -> None:
    subject = job_in(State.FAILED, chores=(chore,))
    ledger.create(subject)
    lane = {"manifest": "archive", "notice": "notify", "erase": "erase", "retire": "retire"}[chore]
    assert taken(ledger, LaneRoom(lane, 1), NOW)[0].id == subject.id


# --- renewals


def test_a_living_worker_keeps_its_job(ledger: Ledger) -> None:
    archiving(ledger)
    _, ticket = taken(ledger, ARCHIVE, NOW)
    kept = ledger.renew(ticket, NOW + 9 * SECOND)
    assert kept == replace(ticket, lease=NOW + 9 * SECOND + LEASE)
    assert claim(ledger, ARCHIVE, ticket.lease + 1) == []
    assert len(claim(ledger, ARCHIVE, NOW + 9 * SECOND + LEASE)) == 1


def test_a_worker_that_was_taken_for_dead_cannot_renew(ledger: Ledger, store: Store) -> None:
    archiving(ledger)
    _, ticket = taken(ledger, ARCHIVE, NOW)
    claim(ledger, ARCHIVE, ticket.lease)
    before = contents(store)
    assert ledger.renew(ticket, ticket.lease + 1) is None
    assert contents(store) == before


def test_a_job_that_moved_on_is_not_held_again(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    _, ticket = taken(ledger, ARCHIVE, NOW)
    ledger.apply(subject.id, events.ArchiveFailed("archive_failed", "S3"), NOW)
    assert ledger.renew(ticket, NOW + SECOND) is None
    assert places(store, subject.id) == ["{rushes}:due:archive"]


def test_a_renewal_whose_reply_is_lost_is_a_renewal(store: Store) -> None:
    archiving(Ledger(store, POLICY))
    ledger = repeating(store)
    _, ticket = taken(ledger, ARCHIVE, NOW)
    kept = ledger.renew(ticket, NOW + 9 * SECOND)
    assert kept is not None
    assert ledger.renew(kept, NOW + 12 * SECOND) is not None


def test_a_renewal_never_shortens_a_lease(ledger: Ledger, store: Store) -> None:
    subject = archiving(ledger)
    _, ticket = taken(ledger, ARCHIVE, NOW)
    kept = ledger.renew(ticket, NOW - 100 * SECOND)
    assert kept is not None
    assert score(store, "leased:archive", subject.id) == kept.lease > ticket.lease


def in_hand(ledger: Ledger, count: int) -> list[tuple[str, Ticket]]:
    """So many queued jobs and one that archives, in a worker's hands; that one stands second."""
    archiving(ledger)
    clip, ticket = taken(ledger, ARCHIVE, NOW)
    created(ledger, count)
    opened = ledger.open_tickets(claim(ledger, submits(), NOW + count), NOW)
    first, *rest = [(one[0].id, one[1]) for one in opened if one]
    return [first, (clip.id, ticket), *rest]


def test_each_of_a_call_is_told_whether_it_is_still_ours(ledger: Ledger, store: Store) -> None:
    held = in_hand(ledger, 4)
    tickets = [ticket for _, ticket in held]
    kept = ledger.renew_many([tickets[0], tickets[1], tickets[4]], NOW + SECOND)
    ledger.apply(held[2][0], events.Canceled(), NOW + SECOND)
    (again,) = claim(ledger, submits(), tickets[3].lease)
    asked = [ticket for ticket in (kept[0], kept[1], tickets[2], tickets[3], kept[2]) if ticket]
    renewed = ledger.renew_many(asked, NOW + 9 * SECOND)

    lease = NOW + 9 * SECOND + LEASE
    assert renewed == [replace(t, lease=lease) if place not in (2, 3) else None for place, t in enumerate(asked)]
    assert [score(store, "leased:submit:apimart", held[place][0]) for place in (0, 4)] == [lease, lease]
    assert score(store, "leased:archive", held[1][0]) == lease
    assert (again.job_id, score(store, "leased:submit:apimart", again.job_id)) == (held[3][0], again.lease)
    assert places(store, held[2][0]) == ["{rushes}:due:archive"]


def test_renewals_of_a_call_are_told_in_the_order_asked(ledger: Ledger) -> None:
    held = in_hand(ledger, 4)
    ledger.apply(held[0][0], events.Canceled(), NOW)
    backwards = [ticket for _, ticket in held][::-1]
    renewed = ledger.renew_many(backwards, NOW + SECOND)
    assert [ticket.job_id if ticket else None for ticket in renewed] == [t.job_id for t in backwards[:-1]] + [None]


def test_renewals_of_a_call_whose_reply_is_lost_are_renewals(store: Store) -> None:
    held = in_hand(Ledger(store, POLICY), 3)
    ledger = repeating(store)
    ledger.apply(held[3][0], events.Canceled(), NOW)
    first = ledger.renew_many([ticket for _, ticket in held], NOW + 9 * SECOND)
    again = ledger.renew_many([ticket for ticket in first if ticket], NOW + 12 * SECOND)
    assert [ticket is not None for ticket in first] == [True, True, True, False]
    assert [ticket.lease if ticket else None for ticket in again] == [NOW + 12 * SECOND + LEASE] * 3


def test_a_ticket_that_nobody_opens_is_offered_again_soon(ledger: Ledger) -> None:
    (subject,) = created(ledger)
    assert claim(ledger, submits(), NOW) == [Ticket("submit:apimart", subject.id, NOW + HANDOUT)]
