"""What a job that reached a cap waits for, and which gateway takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from factories import MINUTE, NOW, POLICY, SECOND, job, job_in

from rushes.shared.domain import events
from rushes.shared.domain.accounts import AccountStanding, GatewayPause, gateway_pause
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger.submits import CapReached
from rushes.worker import gateway_choice
from rushes.worker.gateway_choice import BOUND_RETRY_S

A, B, C = "apimart", "evolink", "newapi"
WAIT = round(POLICY.wait_for_cheapest_s * SECOND)
LATER = NOW + MINUTE


def services(
    standings: Mapping[str, Sequence[AccountStanding]] | None = None,
    pauses: Mapping[str, GatewayPause] | None = None,
    accounts: int = 1,
) -> Any:
    """Gateways with these accounts, each with two places; `pauses` are an operator's."""
    known = standings or {}

    def pause_of(name: str, names: Sequence[str], standings: Sequence[AccountStanding] | None = None) -> GatewayPause:
        if pauses and name in pauses:
            return pauses[name]
        return gateway_pause(standings or known.get(name, [AccountStanding("default")]), 0, None)

    def standings_of(name: str, names: Sequence[str], now: int) -> Sequence[AccountStanding]:
        return known.get(name, [AccountStanding("default")])

    gateway = SimpleNamespace(
        open_names=("default",), accounts=("default",) * accounts, max_in_flight=2, submits_per_minute=60
    )
    return SimpleNamespace(
        ledger=SimpleNamespace(gateways=SimpleNamespace(standings=standings_of, pause_of=pause_of)),
        settings=SimpleNamespace(gateways=dict.fromkeys((A, B, C), gateway), policy=POLICY),
        now=lambda: NOW,
    )


def able(*names: str) -> Any:
    return [SimpleNamespace(provider=name) for name in names]


def deferred(cap: str, parts: Any, subject: Job | None = None, until: int = LATER) -> Event:
    return gateway_choice.defer_for_cap(subject or job(due_at=NOW - 1), CapReached(cap, until), able(A, B), parts)


@pytest.mark.parametrize(
    ("standing", "has_room"),
    [
        ({}, True),
        ({"in_flight": 1}, True),
        ({"in_flight": 2}, False),
        ({"submits": 60}, False),
        ({"strikes": 1}, False),
        ({"paused_until": NOW + 1}, False),
        ({"paused_until": NOW}, True),
    ],
)
def test_a_gateway_has_room_where_an_account_is_well_and_below_its_caps(
    standing: dict[str, int], has_room: bool
) -> None:
    assert gateway_choice.has_room(A, services({A: [AccountStanding("default", **standing)]})) == has_room


def test_a_gateway_that_an_operator_paused_has_no_room() -> None:
    assert not gateway_choice.has_room(A, services(pauses={A: GatewayPause(NOW + 1, "stopped")}))


def test_the_first_of_the_route_with_room_takes_it_but_none_behind_the_one_that_is_known_to_have_some() -> None:
    full = [AccountStanding("default", in_flight=2)]
    routes = [
        gateway_choice.reroute(job(), able(A, B, C), gateway, services(standings))
        for gateway, standings in [(C, {}), (C, {B: full}), (B, {B: full})]
    ]
    assert [each.route if isinstance(each, events.Rerouted) else each for each in routes] == [
        (B, A, C),
        (C, A, B),
        (B, A, C),
    ]


@pytest.mark.parametrize(
    ("caps", "decides"),
    [
        (("window", "pause"), "window"),
        (("pause", "inflight", "pause"), "inflight"),
        (("pause", "pause"), "pause"),
        (("window", "budget"), "budget"),
    ],
)
def test_a_gateway_is_taken_for_paused_only_where_each_of_its_accounts_is(caps: Sequence[str], decides: str) -> None:
    assert gateway_choice.deciding_cap([CapReached(cap, LATER) for cap in caps]).cap == decides


@pytest.mark.parametrize("cap", ["window", "inflight", "tenant"])
def test_a_cap_leaves_a_job_at_its_place_in_the_line(cap: str) -> None:
    event = deferred(cap, services())
    assert isinstance(event, events.Deferred)
    assert event.until == NOW - 1


def test_who_waits_for_a_whole_ledger_looks_again_when_it_is_told() -> None:
    event = deferred("whole", services())
    assert isinstance(event, events.Deferred)
    assert event.until == LATER


@pytest.mark.parametrize(("until", "waits_until"), [(LATER, LATER), (NOW, NOW + BOUND_RETRY_S * SECOND)])
def test_who_is_bound_to_one_of_several_accounts_waits_for_that_one(until: int, waits_until: int) -> None:
    """At its old place it would be handed out again and again, for another account has room."""
    bound = job_in(State.UNCONFIRMED, {"provider": A, "account": "default"}, due_at=NOW - 1)
    several, one = (deferred("window", services(accounts=count), bound, until) for count in (2, 1))
    assert [each.until for each in (several, one) if isinstance(each, events.Deferred)] == [waits_until, NOW - 1]


@pytest.mark.parametrize("cap", ["pause", "stop"])
def test_a_paused_gateway_is_avoided(cap: str) -> None:
    event = deferred(cap, services(pauses={A: GatewayPause(LATER, "stopped")}))
    assert isinstance(event, events.Rerouted)
    assert event.route == (B, A)


@pytest.mark.parametrize(
    ("until", "event"),
    [
        (NOW + WAIT, events.Parked((A, B))),
        (NOW + WAIT + 1, events.Rerouted((B, A), "apimart is over its rate")),
    ],
)
def test_a_gateway_over_its_rate_is_waited_for_within_the_wait(until: int, event: Event) -> None:
    paused = services(pauses={A: GatewayPause(until, Reason.RATE)})
    assert gateway_choice.avoid_pause(job(), (A, B), paused) == event


def test_the_only_gateway_of_a_route_is_waited_for_however_long() -> None:
    paused = services(pauses={A: GatewayPause(NOW + 10 * WAIT, Reason.RATE)})
    assert gateway_choice.avoid_pause(job(), (A,), paused) == events.Parked((A,))


def test_where_all_are_paused_the_one_that_is_well_first_is_waited_for() -> None:
    pauses = {A: GatewayPause(NOW + 9 * MINUTE, "down"), B: GatewayPause(LATER, "down"), C: GatewayPause(NOW + 1, "x")}
    assert gateway_choice.avoid_pause(job(), (A, B), services(pauses=pauses)) == events.Parked((B, A))
    assert gateway_choice.avoid_pause(job(), (A, B, C), services(pauses=pauses)) == events.Parked((C, A, B))


def test_of_those_that_are_well_the_first_of_the_route_takes_it_however_long_ago_they_were_paused() -> None:
    pauses = {A: GatewayPause(LATER, "down"), B: GatewayPause(NOW - 1, "down"), C: GatewayPause(NOW - 9, "down")}
    event = gateway_choice.avoid_pause(job(), (A, B, C), services(pauses=pauses))
    assert isinstance(event, events.Rerouted)
    assert event.route == (B, A, C)
