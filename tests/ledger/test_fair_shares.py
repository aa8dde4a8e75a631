"""Several tenants wait for one gateway: each gets its share of it in estimated dollars, whatever it has queued."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from factories import NOW, REQUEST, SECOND, job
from ledger_steps import CAPS, claim, created, engage, places, plan, submits

from rushes.shared.domain import events, fair_shares
from rushes.shared.domain.job import Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LaneRoom, Store, Writes
from rushes.shared.ledger.writes import gathered

GATEWAY = LaneRoom("submit:apimart", 10_000, "apimart", 10_000, 10_000)


def queue(ledger: Ledger, tenant: str, count: int, usd: str | None = "0.5", at: int = NOW, **fields: Any) -> list[Job]:
    price = None if usd is None else Decimal(usd)
    return created(ledger, count, at, tenant=tenant, estimated_usd=price, **{"route": ("apimart",), **fields})


def served(
    ledger: Ledger, rounds: int, now: int = NOW + 60 * SECOND, each: int = 1, usd: Mapping[str, str] | None = None
) -> list[Job]:
    """The jobs that are handed out, so many a turn, each of them submitted at once; `usd` is learned at the submit."""
    jobs: list[Job] = []
    for turn in range(now, now + rounds):
        room = room_for(ledger.gateways.in_flight("apimart") + each)
        for held, ticket in filter(None, ledger.open_tickets(claim(ledger, room, turn), turn)):
            price = Decimal(usd[held.tenant]) if usd and held.tenant in usd else held.estimated_usd
            engage(ledger, held, ticket, events.Begun(plan(held, turn, estimated_usd=price)), CAPS_WIDE, turn)
            ledger.apply(held.id, events.Accepted("task", attempt=1), turn)
            jobs.append(held)
    return jobs


def room_for(count: int) -> LaneRoom:
    return LaneRoom("submit:apimart", 10_000, "apimart", count, 10_000)


CAPS_WIDE = type(CAPS)("apimart", 10_000, 10_000)


def dollars(jobs: list[Job]) -> dict[str, Decimal]:
    spent: dict[str, Decimal] = {}
    for each in jobs:
        spent[each.tenant] = spent.get(each.tenant, Decimal(0)) + (each.estimated_usd or 0)
    return spent


def tenants(jobs: list[Job]) -> str:
    return "".join(each.tenant[0] for each in jobs)


def test_a_tenant_with_one_job_does_not_wait_behind_a_thousand_of_another(ledger: Ledger) -> None:
    queue(ledger, "big", 60)
    queue(ledger, "small", 1, at=NOW + SECOND)
    assert "s" in tenants(served(ledger, 2))


def test_dear_jobs_are_fewer_for_the_same_share(ledger: Ledger) -> None:
    queue(ledger, "dear", 30, "1.50")
    queue(ledger, "cheap", 60, "0.50")
    assert Counter(tenants(served(ledger, 40))) == {"d": 10, "c": 30}


def test_shares_divide_the_dollars(ledger: Ledger) -> None:
    ledger.tenant_terms.keep({"three": "3000:", "one": "1000:"})
    queue(ledger, "three", 60)
    queue(ledger, "one", 60)
    assert Counter(tenants(served(ledger, 40))) == {"t": 30, "o": 10}


def test_sixty_tenants_are_served_by_their_shares(ledger: Ledger) -> None:
    """Within a tenth of its share each, over prices and lengths of line that have nothing to do with it."""
    draw = random.Random(7)
    shares = {f"tenant{number}": draw.choice((1, 2, 3)) for number in range(60)}
    ledger.tenant_terms.keep({name: f"{share}000:" for name, share in shares.items()})
    for name in shares:
        for _ in range(draw.randint(130, 160)):
            queue(ledger, name, 1, draw.choice(("0.10", "0.20", "0.30")))
    spent = dollars(served(ledger, 40, each=90))
    for name, share in shares.items():
        due = sum(spent.values()) * share / sum(shares.values())
        assert abs(spent[name] - due) <= due / 10, name


def test_what_others_leave_is_anybodys(ledger: Ledger) -> None:
    ledger.tenant_terms.keep({"small": "1:", "large": "1000000:"})
    queue(ledger, "small", 20)
    queue(ledger, "large", 2)
    assert len(served(ledger, 1, each=22)) == 22


def test_time_without_a_job_is_not_saved_up(ledger: Ledger) -> None:
    queue(ledger, "busy", 60)
    served(ledger, 20)
    queue(ledger, "late", 20, at=NOW + 90 * SECOND)
    assert Counter(tenants(served(ledger, 20, NOW + 120 * SECOND))) == {"b": 10, "l": 10}


def test_coming_back_with_each_job_alone_gains_nothing(ledger: Ledger) -> None:
    queue(ledger, "many", 60)
    jobs = []
    for turn in range(20):
        if turn == 0 or jobs[-1].tenant == "alone":
            queue(ledger, "alone", 1, at=NOW + turn)
        jobs += served(ledger, 1, NOW + (60 + turn) * SECOND)
    assert Counter(tenants(jobs)) in ({"m": 10, "a": 10}, {"m": 9, "a": 11})


def test_inside_a_tenant_the_higher_priority_goes_first_and_then_who_came_first(ledger: Ledger) -> None:
    low, high = (queue(ledger, "acme", 2, request={**REQUEST, "priority": value}) for value in (1, 8))
    (usual,) = queue(ledger, "acme", 1, at=NOW - SECOND)
    assert [each.id for each in served(ledger, 5)] == [job.id for job in (*high, usual, *low)]


def test_a_job_of_high_priority_that_is_not_due_holds_nobody_up(ledger: Ledger) -> None:
    queue(ledger, "acme", 1, request={**REQUEST, "priority": 9}, due_at=NOW + 3_600 * SECOND)
    (now,) = queue(ledger, "acme", 1)
    soonest, _ = ledger.claim([GATEWAY], NOW - SECOND)
    assert soonest == NOW
    assert [each.id for each in served(ledger, 3)] == [now.id]
    assert len(served(ledger, 1, NOW + 3_601 * SECOND)) == 1


def test_a_price_that_is_learned_at_the_submit_corrects_the_account(ledger: Ledger, store: Store) -> None:
    """A reference clip is measured by the worker: until then a job counts as one without a price."""
    queue(ledger, "long", 30, None)
    queue(ledger, "plain", 30, "0.50")
    jobs = served(ledger, 24, usd={"long": "2.50"})
    assert Counter(tenants(jobs)) == {"l": 4, "p": 20}
    assert store.counters(keys.charged("apimart")) == {}


def test_a_job_that_was_not_submitted_after_all_costs_its_tenant_nothing(ledger: Ledger, store: Store) -> None:
    queue(ledger, "one", 2)
    queue(ledger, "two", 2)
    before = dict(store.ripe([(keys.turns("submit", "apimart"), 10**15)], 9)[0])
    for held, _ in filter(None, ledger.open_tickets(claim(ledger, room_for(2), NOW + 9), NOW + 9)):
        ledger.apply(held.id, events.Deferred(NOW, "waits"), NOW + 9)
    after = dict(store.ripe([(keys.turns("submit", "apimart"), 10**15)], 9)[0])
    assert (before, after) == ({}, {"one": 0, "two": 0})
    assert store.counters(keys.charged("apimart")) == {}


def test_a_tenant_at_its_most_in_flight_waits_and_holds_nobody_up(ledger: Ledger) -> None:
    ledger.tenant_terms.keep({"capped": "1000:2"})
    queue(ledger, "capped", 6)
    queue(ledger, "free", 6)
    jobs = served(ledger, 3, each=4)
    assert Counter(tenants(jobs)) == {"c": 2, "f": 6}
    soonest, tickets = ledger.claim([GATEWAY], NOW + 61 * SECOND)
    assert (tickets, soonest is not None and soonest <= NOW + 62 * SECOND) == ([], True)
    first = next(each for each in jobs if each.tenant == "capped")
    ledger.apply(first.id, events.Failed(events.Reason.POLICY, "no"), NOW + 61 * SECOND)
    assert len(claim(ledger, GATEWAY, NOW + 62 * SECOND)) == 1


def test_those_who_stand_by_take_turns_too(ledger: Ledger) -> None:
    over = NOW + 60 * SECOND
    queue(ledger, "big", 20, route=("evolink", "apimart"))
    (small,) = queue(ledger, "small", 1, at=NOW + SECOND, route=("evolink", "apimart"))
    rooms = [submits(gateway="evolink", cap=0), room_for(2)]
    assert small.id in [ticket.job_id for ticket in ledger.claim(rooms, over)[1]]


# --- upgrades, and what is amiss


def test_jobs_in_the_one_line_of_an_older_version_are_handed_out(ledger: Ledger, store: Store) -> None:
    (subject,) = queue(ledger, "acme", 1)
    store.move(keys.due("submit:apimart:acme:5"), keys.due("submit:apimart"))
    assert places(store, subject.id) == [keys.due("submit:apimart")]
    assert Inspection(store).repair([subject], False) == []
    assert [ticket.job_id for ticket in claim(ledger, GATEWAY, NOW + 9)] == [subject.id]


def test_so_are_those_that_stand_by_are_parked_or_are_canceled(ledger: Ledger, store: Store) -> None:
    first, second = queue(ledger, "acme", 2, route=("evolink", "apimart"))
    store.move(keys.due("submit:evolink:acme:5"), keys.due("parked:evolink"))
    store.move(keys.standby_line("apimart", "acme:5"), keys.standby("apimart"))
    ledger.apply(first.id, events.Canceled(), NOW)
    assert places(store, first.id) != [keys.due("parked:evolink")]
    rooms = [submits(gateway="evolink", cap=0), room_for(9)]
    assert [ticket.job_id for ticket in ledger.claim(rooms, NOW + 60 * SECOND)[1]] == [second.id]


def test_a_line_that_nobody_knows_of_is_found_and_put_right(ledger: Ledger, store: Store) -> None:
    (subject,) = queue(ledger, "acme", 1)
    store.move(keys.later("submit", "apimart"), "elsewhere")
    assert claim(ledger, GATEWAY, NOW + 9) == []
    assert Inspection(store).repair([subject], True) == [(subject.id, "unlined")]
    assert len(claim(ledger, GATEWAY, NOW + 9)) == 1


def test_terms_that_are_no_longer_given_are_forgotten(ledger: Ledger) -> None:
    ledger.tenant_terms.keep({"a": "2000:", "b": "1000:5"})
    ledger.tenant_terms.keep({"b": "1000:5"})
    assert ledger.tenant_terms.read() == {"b": "1000:5"}


@pytest.mark.parametrize(("usd", "cost"), [("0.42", 420_000), ("0", 1), (None, fair_shares.UNPRICED)])
def test_what_a_job_counts_for(usd: str | None, cost: int) -> None:
    assert fair_shares.ticket(job(estimated_usd=usd and Decimal(usd))) == f"acme:5:{cost}"


def test_joined_commands_keep_what_they_say_of_a_line() -> None:
    """A batch puts a thousand jobs into a line: the line is looked at when the first of them is due."""
    writes = Writes(["later", "line"])
    writes.commands = [["ZADD", 2, "LT", 7, "a:5"], ["ZADD", 3, 7, "one"], ["ZADD", 2, "LT", 5, "a:5"]]
    assert gathered(writes).commands == [["ZADD", 2, "LT", 5, "a:5"], ["ZADD", 3, 7, "one"]]
