"""Several accounts of a gateway in the ledger: each has caps, pauses and jobs of its own, the line is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories import MINUTE, NOW, SECOND
from ledger_steps import LEASE, claim, created, engage, plan, submits, taken

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LaneRoom, Store
from rushes.shared.ledger.submits import CapReached, Caps

BOTH = ("default", "b")


def lane(cap: int = 20, rate: int = 60, accounts: tuple[str, ...] = BOTH) -> LaneRoom:
    return replace(submits(cap=cap, rate=rate), accounts=accounts)


def caps(account: str, cap: int = 20, rate: int = 60) -> Caps:
    return Caps("apimart", cap, rate, account=account, has_others=True)


def engaged(ledger: Ledger, account: str, now: int = NOW, **limits: int) -> Job:
    """The next queued job, its submit through this account written down."""
    subject, ticket = taken(ledger, lane(), now)
    event = events.Begun(plan(subject, now, account=account))
    return engage(ledger, subject, ticket, event, caps(account, **limits), now)


def running(ledger: Ledger, account: str, now: int = NOW, **limits: int) -> Job:
    """The same, and the account has taken it."""
    moved = ledger.apply(engaged(ledger, account, now, **limits).id, events.Accepted("task-1", attempt=1), now)
    assert moved is not None
    return moved


def shut(ledger: Ledger, account: str, now: int = NOW, **limits: int) -> tuple[str, int]:
    with pytest.raises(CapReached) as reached:
        engaged(ledger, account, now, **limits)
    return reached.value.cap, reached.value.until


def strike(ledger: Ledger, account: str, reason: Reason = Reason.BALANCE, now: int = NOW) -> int:
    ledger.gateways.strike("apimart", reason, None, now, account)
    return ledger.gateways.paused_until("apimart", account)


# --- how many go


def test_the_free_places_of_the_accounts_are_added_up(ledger: Ledger) -> None:
    created(ledger, 9)
    running(ledger, "b", NOW + 9)
    assert len(claim(ledger, lane(cap=3), NOW + 9)) == 5


def test_a_drained_account_gives_no_place(ledger: Ledger) -> None:
    created(ledger, 9)
    assert len(claim(ledger, lane(cap=3, accounts=("b",)), NOW + 9)) == 3


def test_submits_of_a_minute_are_of_each_account(ledger: Ledger) -> None:
    created(ledger, 9)
    for _ in range(2):
        running(ledger, "b", NOW + 9, rate=2)
    assert shut(ledger, "b", NOW + 9, rate=2)[0] == "window"
    assert len(claim(ledger, lane(rate=2), NOW + 9)) == 2


def test_a_paused_account_leaves_the_places_of_the_others(ledger: Ledger) -> None:
    created(ledger, 9)
    strike(ledger, "default")
    assert len(claim(ledger, lane(cap=3), NOW + 9)) == 3


def test_where_all_are_paused_the_first_end_is_waited_for(ledger: Ledger) -> None:
    created(ledger)
    subject, _ = taken(ledger, lane(), NOW)
    until = strike(ledger, "b", Reason.RATE)
    assert strike(ledger, "default") > until
    pause = ledger.gateways.pause_of("apimart", BOTH)
    assert (pause.until, pause.why) == (until, "rate_limited")
    ledger.apply(subject.id, events.Parked(("apimart",)), NOW)
    assert claim(ledger, lane(), until - 1) == []
    assert [ticket.job_id for ticket in claim(ledger, lane(), until)] == [subject.id]


def test_a_full_line_comes_again_when_a_pause_ends(ledger: Ledger) -> None:
    created(ledger, 3)
    until = strike(ledger, "default")
    running(ledger, "b", NOW + 3, cap=1)
    soonest, tickets = ledger.claim([lane(cap=1)], NOW + 3)
    assert (soonest, tickets) == (until, [])


def test_an_account_that_refused_of_late_is_given_one_job(ledger: Ledger) -> None:
    created(ledger, 9)
    over = max(strike(ledger, account) for account in BOTH)
    assert len(claim(ledger, lane(), over)) == 2
    assert claim(ledger, lane(), over) == []


def test_one_that_is_well_is_not_held_up_by_one_that_refused(ledger: Ledger) -> None:
    created(ledger, 9)
    over = strike(ledger, "default")
    assert len(claim(ledger, lane(cap=3), over)) == 4


# --- the gates at the write


def test_each_cap_is_of_the_account(ledger: Ledger, store: Store) -> None:
    created(ledger, 3)
    engaged(ledger, "b", cap=1, now=NOW + 3)
    assert shut(ledger, "b", NOW + 3, cap=1)[0] == "inflight"
    created(ledger, 1, at=NOW + 4)
    engaged(ledger, "default", NOW + 4, cap=1)
    assert store.counters(keys.IN_FLIGHT) == {"apimart/b": "1", "apimart": "1"}
    assert [standing.in_flight for standing in ledger.gateways.standings("apimart", BOTH, NOW + 4)] == [1, 1]
    assert [standing.submits for standing in ledger.gateways.standings("apimart", BOTH, NOW + 4)] == [1, 1]


@pytest.mark.parametrize("paused", BOTH)
def test_a_pause_is_of_the_account(ledger: Ledger, paused: str) -> None:
    created(ledger, 2)
    until = strike(ledger, paused)
    other = next(account for account in BOTH if account != paused)
    engaged(ledger, other, NOW + 2)
    assert shut(ledger, paused, NOW + 2) == ("pause", until)


@pytest.mark.parametrize(("account", "cap"), [("default", "pause"), ("b", "stop")])
def test_an_operator_pauses_every_account(ledger: Ledger, account: str, cap: str) -> None:
    created(ledger)
    subject, ticket = taken(ledger, lane(), NOW)
    ledger.gateways.pause("apimart", "operator", NOW + MINUTE)
    event = events.Begun(plan(subject, NOW, account=account))
    with pytest.raises(CapReached) as reached:
        engage(ledger, subject, ticket, event, caps(account), NOW)
    assert (reached.value.cap, reached.value.until) == (cap, NOW + MINUTE)
    assert ledger.gateways.health("apimart", account)["why"] == "operator"


def test_one_call_at_a_time_shows_whether_an_account_is_well_again(ledger: Ledger) -> None:
    created(ledger, 4)
    over = strike(ledger, "b")
    first = engaged(ledger, "b", over)
    assert shut(ledger, "b", over) == ("trial", over + LEASE)
    engaged(ledger, "default", over)
    ledger.apply(first.id, events.Accepted("task-1", attempt=1), over + 1)
    created(ledger, 1, at=over + 2)
    engaged(ledger, "b", over + 2)
    assert ledger.gateways.health("apimart", "b") == {"trial_until": str(over + 2 + LEASE)}


def test_a_new_refusal_ends_the_trial_with_a_longer_pause(ledger: Ledger) -> None:
    created(ledger, 2)
    over = strike(ledger, "b")
    engaged(ledger, "b", over)
    assert strike(ledger, "b", now=over + 1) > over + 30 * SECOND
    assert "trial_until" not in ledger.gateways.health("apimart", "b")


def test_an_account_that_takes_a_job_is_well_and_no_other(ledger: Ledger) -> None:
    created(ledger)
    subject = engaged(ledger, "b")
    until = [strike(ledger, account) for account in BOTH]
    ledger.apply(subject.id, events.Accepted("task-1", attempt=1), NOW + 1)
    assert [ledger.gateways.paused_until("apimart", account) for account in BOTH] == [until[0], 0]


def test_a_resume_ends_the_pauses_of_all_accounts(ledger: Ledger) -> None:
    for account in BOTH:
        strike(ledger, account)
    ledger.gateways.resume("apimart", ["apimart"], BOTH)
    assert [dict(ledger.gateways.health("apimart", account)) for account in BOTH] == [{}, {}]


def test_a_top_up_ends_the_pause_of_its_account_alone(ledger: Ledger) -> None:
    for account in BOTH:
        strike(ledger, account)
    assert ledger.gateways.end_pause("apimart", Reason.BALANCE, ["apimart"], NOW, "b")
    assert ledger.gateways.paused_until("apimart", "b") == 0 < ledger.gateways.paused_until("apimart")


# --- what the ledger tells


def test_jobs_are_listed_under_their_gateway_and_counted_by_account(ledger: Ledger, store: Store) -> None:
    created(ledger, 3)
    one, two = engaged(ledger, "b", NOW + 3), engaged(ledger, "default", NOW + 3)
    ledger.apply(one.id, events.Lost("reset", attempt=1), NOW + 3)
    found: list[Any] = ledger.overview.newest("acme", 9, provider="apimart")
    assert sorted(job.id for job in found) == sorted([one.id, two.id])
    assert ledger.overview.jobs_by_account() == {"apimart": 1, "apimart/b": 1}
    assert Inspection(store).in_flight(["apimart"]) == {"apimart": 0, "apimart/b": 0}


def test_the_audit_counts_each_account_anew(ledger: Ledger, store: Store) -> None:
    created(ledger)
    engaged(ledger, "b")
    store.increase(keys.IN_FLIGHT, {"apimart/b": 2, "apimart/gone": 1})
    off = Inspection(store).in_flight(["apimart"])
    assert off == {"apimart": 0, "apimart/b": 2, "apimart/gone": 1}
    for account, by in off.items():
        Inspection(store).set_right(account, by)
    assert ledger.gateways.in_flight("apimart", "b") == 1


def test_while_a_trial_is_out_no_further_job_is_handed_out_for_it(ledger: Ledger) -> None:
    """Also where its call has ended and said nothing of the account, as a refusal of the input does."""
    created(ledger, 2)
    over = max(strike(ledger, account) for account in BOTH)
    ledger.gateways.strike("apimart", Reason.BALANCE, None, over, "default")
    subject = engaged(ledger, "b", over)
    ledger.apply(subject.id, events.Refused(Reason.INPUT, "no", attempt=1), over)
    soonest, tickets = ledger.claim([lane()], over + 1)
    assert (soonest, tickets) == (min(over + LEASE, ledger.gateways.paused_until("apimart")), [])
