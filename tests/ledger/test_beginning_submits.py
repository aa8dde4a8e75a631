from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import ledger_steps as steps
import pytest
from factories import DAY, MINUTE, NOW, POLICY, SECOND
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

from rushes.shared.domain import events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import Store
from rushes.shared.ledger.submits import CapReached, Caps, Submit
from rushes.shared.ledger.tickets import LeaseLost, Ticket

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
    assert store.counters("{rushes}:inflight") == {"apimart": "1"}
    assert store.counters("{rushes}:held:2026-09-21") == {"acme": str(PRICE)}


def test_a_submit_keeps_its_lease(ledger: Ledger, store: Store) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    begun = engage(ledger, subject, ticket, NOW + 3 * SECOND)
    assert places(store, subject.id) == ["{rushes}:leased:submit:apimart"]
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
    assert ledger.overview.counts("acme")[State.CANCELED] == 1
    assert store.counters("{rushes}:inflight") == {}


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


def test_each_try_of_one_job_counts_in_the_minute(ledger: Ledger, store: Store) -> None:
    created(ledger, route=("apimart",))
    subject, _ = engaged(ledger, NOW)
    again = ledger.apply(subject.id, events.Refused(Reason.DOWN, "503", attempt=1), NOW)
    assert again
    engaged(ledger, again.due_at or 0, replace(CAPS, submits_per_minute=2))

    assert len(contents(store)["{rushes}:window:apimart"]) == 2


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
    assert store.counters("{rushes}:held:2026-09-21") == {"acme": str(PRICE)}


def test_money_that_a_refusal_gives_back_can_be_spent_again(ledger: Ledger) -> None:
    created(ledger)
    subject, _ = engaged(ledger, NOW, dollars(1))
    ledger.apply(subject.id, events.Refused(Reason.INPUT, "no"), NOW)
    created(ledger)
    assert engaged(ledger, NOW, dollars(1))[0].state is State.SUBMITTING


def test_a_month_has_a_budget_of_its_own_over_its_days(ledger: Ledger) -> None:
    caps = replace(CAPS, price=PRICE, monthly_budget=2 * PRICE)
    for now in (NOW, NOW + DAY):
        created(ledger, at=now)
        begun = engage(ledger, *taken(ledger, submits(), now), now, caps)
        ledger.apply(begun.id, events.Accepted("task-1"), now)
    now = NOW + 2 * DAY
    created(ledger, at=now)
    subject, ticket = taken(ledger, submits(), now)
    with pytest.raises(CapReached) as reached:
        engage(ledger, subject, ticket, now, caps)
    ledger.apply(subject.id, events.Canceled(), now)
    october = NOW - NOW % DAY + 10 * DAY
    assert (reached.value.cap, reached.value.until) == ("month", october)
    created(ledger, at=october)
    engage(ledger, *taken(ledger, submits(), october), october, caps)


def test_a_tenant_has_no_more_in_flight_than_it_may(ledger: Ledger, store: Store) -> None:
    created(ledger, 2)
    caps = replace(CAPS, tenant_in_flight=1)
    first, ticket = taken(ledger, submits(), NOW + 1)
    engage(ledger, first, ticket, NOW + 1, caps)
    second, ticket = taken(ledger, submits(), NOW + 1)
    with pytest.raises(CapReached) as reached:
        engage(ledger, second, ticket, NOW + 1, caps)
    assert reached.value.cap == "tenant"
    ledger.apply(first.id, events.Refused(Reason.INPUT, "no", attempt=1), NOW + 1)
    engage(ledger, second, ticket, NOW + 1, caps)
    assert store.counters("{rushes}:inflight:tenants") == {"acme": "1"}


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
            opened = ledger.open_tickets([ticket], now)[0]
            assert opened is not None
            engage(ledger, *opened, now, caps)
            sent.append(now)
        now = now + 7 * SECOND if tickets else soonest or now
        for each in ledger.overview.newest(None, 100, states=[State.SUBMITTING]):
            ledger.apply(each.id, events.Accepted("task", attempt=1), now)
    assert len(sent) == 30
    assert all(late - early > MINUTE for early, late in zip(sent, sent[5:], strict=False))


# --- lost replies


def test_a_submit_whose_reply_is_lost_is_written_down_once(store: Store) -> None:
    created(Ledger(store, POLICY))
    subject, ticket = taken(Ledger(store, POLICY), submits(), NOW)
    begun = engage(repeating(store), subject, ticket, NOW, dollars(1))
    assert Ledger(store, POLICY).get(subject.id) == begun
    assert store.counters("{rushes}:inflight") == {"apimart": "1"}
    assert store.counters("{rushes}:held:2026-09-21") == {"acme": str(PRICE)}
    assert len(contents(store)["{rushes}:window:apimart"]) == 1


# --- several in one call


Opened = tuple[Job, Ticket]


def in_hand(ledger: Ledger, count: int, gateway: str = "apimart") -> list[Opened]:
    """So many jobs of a gateway, in a worker's hands."""
    created(ledger, count, route=(gateway,))
    opened = ledger.open_tickets(claim(ledger, submits(gateway=gateway), NOW + count), NOW + count)
    return [one for one in opened if one]


def engage_all(
    ledger: Ledger, opened: Sequence[Opened], caps: Sequence[Caps], now: int = NOW + SECOND
) -> list[Job | LeaseLost | CapReached]:
    asked = zip(opened, caps, strict=True)
    return ledger.begin_submits([Submit(job, t, events.Begun(plan(job, now)), c) for (job, t), c in asked], now)


def told(outcomes: Sequence[Job | LeaseLost | CapReached]) -> list[str]:
    """What became of each: its state, the cap that it met, or `lost`."""
    return [
        one.state.value if isinstance(one, Job) else one.cap if isinstance(one, CapReached) else "lost"
        for one in outcomes
    ]


@pytest.mark.parametrize(("cap", "caps"), CAPPED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_cap_holds_exactly_within_a_call(ledger: Ledger, store: Store, cap: str, caps: Caps) -> None:
    outcomes = engage_all(ledger, in_hand(ledger, 20), [caps] * 20)
    assert told(outcomes) == ["submitting"] * 7 + [cap] * 13
    assert store.counters("{rushes}:inflight") == {"apimart": "7"}
    assert len(contents(store)["{rushes}:window:apimart"]) == 7


def test_each_of_a_call_is_told_what_became_of_it_and_only_what_is_ours_is_written(
    ledger: Ledger, store: Store
) -> None:
    first, taken_up, canceled, left, last = in_hand(ledger, 5)
    ledger.renew_many([first[1], canceled[1], left[1], last[1]], NOW + SECOND)
    renewed = [(job, replace(ticket, lease=NOW + SECOND + LEASE)) for job, ticket in (first, canceled, left, last)]
    assert len(claim(ledger, submits(), taken_up[1].lease)) == 1
    ledger.apply(canceled[0].id, events.Canceled(), NOW)
    ledger.retire(left[0])
    before = contents(store)
    asked = [renewed[0], taken_up, *renewed[1:]]
    outcomes = engage_all(ledger, asked, [CAPS] * 5)
    after = contents(store)

    assert told(outcomes) == ["submitting", "lost", "lost", "lost", "submitting"]
    assert [ledger.get(job.id) for job, _ in (first, last)] == [outcomes[0], outcomes[4]]
    others = [f"{{rushes}}:job:{job.id}" for job, _ in (taken_up, canceled, left)]
    assert [after.get(name) for name in others] == [before.get(name) for name in others]
    assert store.counters("{rushes}:inflight") == {"apimart": "2"}


def test_the_answers_come_in_the_order_asked(ledger: Ledger) -> None:
    opened = in_hand(ledger, 4)[::-1]
    outcomes = engage_all(ledger, opened, [replace(CAPS, max_in_flight=2)] * 4)
    assert told(outcomes) == ["submitting", "submitting", "inflight", "inflight"]
    assert [one.id for one in outcomes if isinstance(one, Job)] == [job.id for job, _ in opened[:2]]


def test_each_of_a_call_keeps_its_own_lease(ledger: Ledger, store: Store) -> None:
    here, there = in_hand(ledger, 2), in_hand(ledger, 2, "evolink")
    evolink = replace(CAPS, gateway="evolink")
    engage_all(ledger, [here[0], there[0], here[1], there[1]], [CAPS, evolink] * 2)
    leases = [
        (places(store, job.id), score(store, ticket.lane.replace("submit", "leased:submit"), job.id))
        for job, ticket in here + there
    ]
    assert leases == [
        ([f"{{rushes}}:leased:submit:{gateway}"], NOW + SECOND + LEASE)
        for gateway in ("apimart", "apimart", "evolink", "evolink")
    ]


def test_a_full_gateway_keeps_no_other_gateways_submit_of_a_call(ledger: Ledger, store: Store) -> None:
    here, there = in_hand(ledger, 2), in_hand(ledger, 2, "evolink")
    one = replace(CAPS, max_in_flight=1)
    outcomes = engage_all(ledger, [*here, *there], [one, one, *[replace(CAPS, gateway="evolink")] * 2])
    assert told(outcomes) == ["submitting", "inflight", "submitting", "submitting"]
    assert store.counters("{rushes}:inflight") == {"apimart": "1", "evolink": "2"}


def test_one_that_is_too_dear_leaves_the_budget_to_the_next_of_a_call(ledger: Ledger, store: Store) -> None:
    prices = [PRICE, 2 * PRICE, PRICE]
    caps = [replace(CAPS, budget=2 * PRICE, price=price) for price in prices]
    assert told(engage_all(ledger, in_hand(ledger, 3), caps)) == ["submitting", "budget", "submitting"]
    assert store.counters("{rushes}:held:2026-09-21") == {"acme": str(2 * PRICE)}


def test_a_call_whose_reply_is_lost_writes_each_down_once(store: Store) -> None:
    ledger = Ledger(store, POLICY)
    opened = in_hand(ledger, 4)
    ledger.apply(opened[1][0].id, events.Canceled(), NOW)
    outcomes = engage_all(repeating(store), opened, [dollars(2)] * 4)
    assert told(outcomes) == ["submitting", "lost", "submitting", "budget"]
    assert [ledger.get(opened[place][0].id) for place in (0, 2)] == [outcomes[0], outcomes[2]]
    assert store.counters("{rushes}:inflight") == {"apimart": "2"}
    assert store.counters("{rushes}:held:2026-09-21") == {"acme": str(2 * PRICE)}
    assert len(contents(store)["{rushes}:window:apimart"]) == 2


def test_only_of_what_was_written_down_others_are_told(store: Store) -> None:
    seen: list[tuple[str, State]] = []
    opened = in_hand(Ledger(store, POLICY), 3)
    ledger = Ledger(store, POLICY, lambda old, new, event: seen.append((new.id, new.state)))
    engage_all(ledger, opened, [CAPS, replace(CAPS, max_in_flight=0), CAPS])
    assert seen == [(job.id, State.SUBMITTING) for job, _ in (opened[0], opened[2])]
