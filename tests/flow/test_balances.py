"""The balances of our accounts at the gateways: asked for, shown, and what they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from world import World

from rushes.shared.domain.job import AttemptStatus, State
from rushes.shared.operations import balances

TELLING = ("apimart", "apimodels", "newapi")  # in dollars
ASKED_FOR = (*TELLING[:2], "kling", "newapi")
ASKING = {"apimart": "/v1/balance", "apimodels": "/v1/balance", "newapi": "/api/usage/token", "kling": "/account/costs"}


def leave(world: World, gateway: str, usd: str) -> None:
    """So much is left on our account there."""
    world.control("POST", "/balances", {"gateway": gateway, "api_key": world.key, "usd": usd})


def shown(world: World, gateway: str) -> dict[str, Any]:
    documents = world.api("GET", "/v1/gateways").json["data"]
    balance: dict[str, Any] = next(each["balance"] for each in documents if each["name"] == gateway)
    return balance


@pytest.mark.parametrize("gateway", TELLING)
def test_a_balance_is_read_and_shown(world: World, gateway: str) -> None:
    leave(world, gateway, "12.5")
    gateways = balances.ask_due(world.services)

    assert tuple(gateways) == ASKED_FOR
    balance = shown(world, gateway)
    assert (balance["usd"], balance["unlimited"], balance["problem"], balance["days_left"]) == (
        "12.5",
        False,
        None,
        None,
    )
    assert f'rushes_gateway_balance_usd{{gateway="{gateway}"}} 12.5\n' in world.api("GET", "/metrics").text


def test_the_key_goes_to_the_gateways_own_address_only(world: World) -> None:
    balances.ask_due(world.services)

    sent = {request.url.partition("?")[0]: request for request in world.http_client.sent}
    assert sorted(sent) == sorted(f"{world.gateways_url}/{name}{path}" for name, path in ASKING.items())
    assert {request.method for request in sent.values()} == {"GET"}
    assert {request.headers["Authorization"] for request in sent.values()} == {f"Bearer {world.key}"}


def test_kling_counts_units_which_are_no_dollars(world: World) -> None:
    leave(world, "kling", "14")
    balances.ask_due(world.services)

    balance = shown(world, "kling")
    assert (balance["usd"], balance["units"], balance["unlimited"], balance["problem"]) == (None, "100", False, None)
    metrics = world.api("GET", "/metrics").text
    assert 'rushes_gateway_balance_units{gateway="kling"} 100.0\n' in metrics
    assert 'rushes_gateway_balance_usd{gateway="kling"}' not in metrics


def test_gateways_that_tell_no_balance_show_none(world: World) -> None:
    balances.ask_due(world.services)
    assert (shown(world, "evolink"), shown(world, "apimaster")) == (None, None)


def test_it_is_asked_for_every_ten_minutes_by_one_process(open_world: Callable[..., World]) -> None:
    first, second = open_world(), open_world()
    gateways = [balances.ask_due(first.services), balances.ask_due(second.services)]
    for world in (first, second):
        world.advance(599)
    gateways.append(balances.ask_due(second.services))
    for world in (first, second):
        world.advance(2)
    gateways += [balances.ask_due(second.services), balances.ask_due(first.services)]

    assert [len(names) for names in gateways] == [4, 0, 0, 4, 0]


def test_while_one_process_asks_no_other_does(open_world: Callable[..., World]) -> None:
    first, second = open_world(), open_world()
    gateways: list[list[str]] = []
    with first.before(first.http_client, "send", lambda: gateways.append(balances.ask_due(second.services))):
        gateways.append(balances.ask_due(first.services))

    assert gateways == [["apimodels", "kling", "newapi"], ["apimart"]]


def test_how_long_it_lasts_follows_from_the_week(world: World) -> None:
    world.begin_a_day()
    job = world.finish(world.submit(world.request_for("apimart")))
    world.advance(3 * 86_400)
    leave(world, "apimart", str(job.current.cost_usd))
    balances.ask_due(world.services)
    within = shown(world, "apimart")["days_left"]
    metrics = world.api("GET", "/metrics").text
    world.advance(4 * 86_400)

    assert within == 7
    assert 'rushes_gateway_balance_days_left{gateway="apimart"} 7.0\n' in metrics
    assert shown(world, "apimart")["days_left"] is None


BROKEN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("http_500", {}),
    ("html_502", {}),
    ("bad_json", {}),
    ("answer_lost", {"times": 2}),  # a question is put again on a new connection
    ("unauthorized", {}),
    ("rate_limited", {}),
    ("redirect", {}),
)


@pytest.mark.parametrize(("fault", "options"), BROKEN)
def test_a_balance_that_cannot_be_read_changes_nothing_and_is_told(
    world: World, fault: str, options: dict[str, Any]
) -> None:
    leave(world, "apimart", "3")
    balances.ask_due(world.services)
    known = shown(world, "apimart")
    world.fault("apimart", fault, stage="balance", **options)
    world.advance(600)
    gateways = balances.ask_due(world.services)
    broken = shown(world, "apimart")
    world.advance(600)
    balances.ask_due(world.services)

    assert "apimart" in gateways
    assert broken["problem"]
    assert {**broken, "problem": None} == known
    assert world.ledger.gateways.paused_until("apimart") == 0
    assert shown(world, "apimart")["problem"] is None
    assert 'rushes_gateway_balance_unread{gateway="apimart"} 0.0\n' in world.api("GET", "/metrics").text


@pytest.mark.parametrize("gateway", ASKED_FOR)
def test_an_empty_account_pauses_and_money_ends_the_pause(world: World, gateway: str) -> None:
    leave(world, gateway, "0")
    balances.ask_due(world.services)
    job_id = world.submit(world.request_for(gateway))
    world.step()
    refused = world.job(job_id)
    for _ in range(6):  # tried again and again, until it is left alone for long
        world.advance((world.ledger.gateways.paused_until(gateway) - world.clock()) / 1000 + 1)
        world.exhaust()
    paused_until = world.ledger.gateways.paused_until(gateway)
    world.advance(61)
    balances.ask_due(world.services)
    still_until = world.ledger.gateways.paused_until(gateway)
    leave(world, gateway, "50")
    world.advance(61)
    balances.ask_due(world.services)
    ended_at = world.clock()
    job = world.finish(job_id)

    assert refused.current.status is AttemptStatus.REJECTED
    assert refused.current.error
    assert refused.current.error.code == "insufficient_balance"
    assert paused_until == still_until > ended_at
    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)
    assert job.current.submitted_at < paused_until


def test_a_rest_that_is_too_small_does_not_end_every_pause(world: World) -> None:
    leave(world, "apimart", "0.01")
    world.submit(world.request_for("apimart"))
    world.step()
    balances.ask_due(world.services)  # there is money: tried again
    asked_at = world.ledger.balances.read("apimart").asked_at
    tried_at_once = not world.ledger.gateways.paused_until("apimart")
    world.run_until(lambda: world.ledger.gateways.paused_until("apimart") > world.clock())
    paused_until = world.ledger.gateways.paused_until("apimart")
    world.advance((asked_at + 60_001 - world.clock()) / 1000)
    gateways = balances.ask_due(world.services)

    assert tried_at_once
    assert gateways == ["apimart"]
    assert world.ledger.gateways.paused_until("apimart") == paused_until > world.clock()


def test_money_does_not_end_a_pause_by_hand_or_for_another_reason(world: World) -> None:
    world.api("POST", "/v1/gateways/apimart/pause", key="admin-key")
    world.fault("newapi", "unauthorized", stage="submit")
    world.submit(world.request_for("newapi"))
    world.step()
    pauses = [world.ledger.gateways.paused_until(name) for name in ("apimart", "newapi")]
    balances.ask_due(world.services)

    assert all(pauses)
    assert [world.ledger.gateways.paused_until(name) for name in ("apimart", "newapi")] == pauses
