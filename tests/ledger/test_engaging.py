from __future__ import annotations

from dataclasses import replace
from functools import partial

import ledger_steps as steps
import pytest
from factories import DAY, MINUTE, NOW, PACE, SECOND
from ledger_steps import (
    CAPS,
    LEASE,
    claim,
    contents,
    created,
    engaged,
    places,
    plan,
    racing,
    repeating,
    running,
    score,
    submits,
    taken,
)

from shared.domain import events
from shared.domain.events import Reason
from shared.domain.job import Job, State
from shared.ledger.ledger import CapReached, Caps, LeaseLost, Ledger, Ticket
from shared.ledger.store import Store

PRICE = 42_000_000  # what an attempt of the factories holds
WINDOW = 61 * SECOND


def engage(ledger: Ledger, subject: Job, ticket: Ticket, now: int, caps: Caps = CAPS) -> Job:
    return steps.engage(ledger, subject, ticket, events.Begun(plan(subject, now)), caps, now)


def dollars(budget: int) -> Caps:
    return replace(CAPS, budget=budget * PRICE, price=PRICE)


def test_a_submit_is_written_down_before_it_is_sent(ledger: Ledger, store: Store) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    begun = engage(ledger, subject, ticket, NOW)
    assert ledger.get(subject.id) == begun
    assert (begun.state, begun.version) == (State.SUBMITTING, subject.version + 1)
    assert store.counters("rushes:inflight") == {"apimart": "1"}
    assert store.counters("rushes:held:2026-09-21") == {"acme": str(PRICE)}


def test_a_submit_keeps_its_lease(ledger: Ledger, store: Store) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    begun = engage(ledger, subject, ticket, NOW + 3 * SECOND)
    assert places(store, subject.id) == ["rushes:leased:submit:apimart"]
    assert score(store, "leased:submit:apimart", subject.id) == begun.due_at == NOW + 3 * SECOND + LEASE


def test_a_crashed_submit_comes_back_as_submitting_after_its_lease(ledger: Ledger) -> None:
    created(ledger)
    begun, _ = engaged(ledger, NOW)
    lease = begun.due_at or 0
    assert claim(ledger, submits(), lease - 1) == []
    again, _ = taken(ledger, submits(), lease)
    assert (again.state, again.attempts) == (State.SUBMITTING, begun.attempts)
    lost = ledger.apply(again.id, events.Lost("crashed", attempt=1), lease)
    assert lost is not None
    assert lost.state is State.UNCONFIRMED


# --- the lease


def test_a_worker_whose_lease_ran_out_and_was_given_on_may_not_submit(ledger: Ledger, store: Store) -> None:
    created(ledger)
    subject, slow = taken(ledger, submits(), NOW)
    claim(ledger, submits(), slow.lease)
    before = contents(store)
    with pytest.raises(LeaseLost):
        engage(ledger, subject, slow, slow.lease + 1)
    assert contents(store) == before


def test_of_two_workers_with_the_same_job_only_the_one_with_the_lease_submits(ledger: Ledger) -> None:
    created(ledger)
    subject, slow = taken(ledger, submits(), NOW)
    again, fresh = taken(ledger, submits(), slow.lease)
    engage(ledger, again, fresh, slow.lease + 1)
    with pytest.raises(LeaseLost):
        engage(ledger, subject, slow, slow.lease + 2)


def test_a_job_that_was_canceled_meanwhile_is_not_submitted(ledger: Ledger, store: Store) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    cancel = partial(ledger.apply, subject.id, events.Canceled(), NOW)
    with pytest.raises(LeaseLost):
        engage(racing(store, cancel), subject, ticket, NOW)
    assert ledger.counts("acme")[State.CANCELED] == 1
    assert store.counters("rushes:inflight") == {}


def test_a_job_that_has_left_is_not_submitted(ledger: Ledger) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    ledger.retire(subject)
    with pytest.raises(LeaseLost):
        engage(ledger, subject, ticket, NOW)


# --- caps


def test_at_the_in_flight_cap_nothing_is_written(ledger: Ledger, store: Store) -> None:
    running(ledger)
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    before = contents(store)
    with pytest.raises(CapReached) as reached:
        engage(ledger, subject, ticket, NOW, replace(CAPS, max_in_flight=1))
    assert (reached.value.cap, reached.value.until) == ("inflight", NOW)
    assert contents(store) == before


def test_a_full_minute_says_when_it_opens_and_opens_then(ledger: Ledger) -> None:
    running(ledger, NOW)
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW + 30 * SECOND)
    one = replace(CAPS, submits_per_minute=1)
    for now in (NOW + 30 * SECOND, NOW + WINDOW):
        with pytest.raises(CapReached) as reached:
            engage(ledger, subject, ticket, now, one)
        assert (reached.value.cap, reached.value.until) == ("window", NOW + WINDOW + 1)
    assert engage(ledger, subject, ticket, reached.value.until, one).state is State.SUBMITTING


def test_a_gateway_of_no_submits_a_minute_is_asked_again_in_a_minute(ledger: Ledger) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    with pytest.raises(CapReached) as reached:
        engage(ledger, subject, ticket, NOW, replace(CAPS, submits_per_minute=0))
    assert reached.value.until == NOW + WINDOW + 1


def test_over_the_budget_a_job_waits_for_the_next_day(ledger: Ledger) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    with pytest.raises(CapReached) as reached:
        engage(ledger, subject, ticket, NOW, replace(dollars(1), budget=PRICE - 1))
    midnight = NOW - NOW % DAY + DAY
    assert (reached.value.cap, reached.value.until) == ("budget", midnight)


def test_a_new_day_has_a_new_budget(ledger: Ledger) -> None:
    running(ledger)
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    with pytest.raises(CapReached):
        engage(ledger, subject, ticket, NOW, dollars(1))
    assert engage(ledger, subject, ticket, NOW + DAY, dollars(1)).state is State.SUBMITTING


def test_two_engage_at_the_last_dollar_and_one_wins(ledger: Ledger, store: Store) -> None:
    created(ledger, 2)
    first, second = taken(ledger, submits(), NOW), taken(ledger, submits(), NOW + 1)
    last = dollars(1)
    ahead = partial(engage, ledger, *first, NOW + 1, last)
    with pytest.raises(CapReached) as reached:
        engage(racing(store, ahead), *second, NOW + 1, last)
    assert reached.value.cap == "budget"
    assert store.counters("rushes:held:2026-09-21") == {"acme": str(PRICE)}


def test_money_that_a_refusal_gives_back_can_be_spent_again(ledger: Ledger) -> None:
    created(ledger)
    subject, _ = engaged(ledger, NOW, dollars(1))
    ledger.apply(subject.id, events.Refused(Reason.INPUT, "no"), NOW)
    created(ledger)
    assert engaged(ledger, NOW, dollars(1))[0].state is State.SUBMITTING


def test_another_tenants_budget_is_his_own(ledger: Ledger) -> None:
    running(ledger)
    created(ledger, tenant="zenith")
    assert engaged(ledger, NOW, dollars(1))[0].state is State.SUBMITTING


CAPPED = [
    ("inflight", Caps("apimart", 7, 100)),
    ("window", Caps("apimart", 100, 7)),
    ("budget", Caps("apimart", 100, 100, budget=8 * PRICE - 1, price=PRICE)),
]


@pytest.mark.parametrize(("cap", "caps"), CAPPED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_cap_holds_exactly_over_many_jobs(ledger: Ledger, cap: str, caps: Caps) -> None:
    created(ledger, 20)
    outcomes = []
    for number in range(20):
        subject, ticket = taken(ledger, submits(cap=100, rate=100), NOW + MINUTE // 4 + number)
        try:
            outcomes.append(engage(ledger, subject, ticket, NOW + MINUTE // 4 + number, caps).state.value)
        except CapReached as reached:
            outcomes.append(reached.cap)
    assert outcomes == ["submitting"] * 7 + [cap] * 13


def test_no_minute_ever_holds_more_submits_than_the_cap(ledger: Ledger) -> None:
    created(ledger, 30)
    caps, now = Caps("apimart", 100, 5), NOW + MINUTE
    sent: list[int] = []
    while len(sent) < 30 and now < NOW + DAY:
        soonest, tickets = ledger.claim([submits(100, cap=100, rate=5)], now)
        for ticket in tickets:
            opened = ledger.begin_many([ticket], now)[0]
            assert opened is not None
            engage(ledger, *opened, now, caps)
            sent.append(now)
        now = now + 7 * SECOND if tickets else soonest or now
        for each in ledger.newest(None, 100, states=[State.SUBMITTING]):
            ledger.apply(each.id, events.Accepted("task", attempt=1), now)
    assert len(sent) == 30
    assert all(late - early > MINUTE for early, late in zip(sent, sent[5:], strict=False))


# --- lost replies


def test_a_submit_whose_reply_is_lost_is_written_down_once(store: Store) -> None:
    created(Ledger(store, PACE))
    subject, ticket = taken(Ledger(store, PACE), submits(), NOW)
    begun = engage(repeating(store), subject, ticket, NOW, dollars(1))
    assert Ledger(store, PACE).get(subject.id) == begun
    assert store.counters("rushes:inflight") == {"apimart": "1"}
    assert store.counters("rushes:held:2026-09-21") == {"acme": str(PRICE)}
    assert len(contents(store)["rushes:window:apimart"]) == 1
