"""What a task costs, how the gateways tell it, and what is left on an account."""

from __future__ import annotations

from decimal import Decimal

import pytest
from gateway_client import DOCUMENTED, GATEWAYS

BALANCES = {
    "apimart": ("/apimart/v1/balance", lambda body: body["remain_balance"]),
    "apimodels": ("/apimodels/v1/balance", lambda body: body["data"]["balance"]),
    "newapi": ("/newapi/api/usage/token", lambda body: body["data"]["total_available"] / 500_000),
}


def billed(client):
    return [Decimal(bill["usd"]) for bill in client.shown("bills")]


def left(client, gateway):
    path, read = BALANCES[gateway]
    return read(client.call("GET", path).json)


def leave(client, gateway, usd):
    fields = {"gateway": gateway, "api_key": client.key, "usd": usd}
    assert client.call("POST", "/_sandbox/balances", fields).status == 201


def told_usd(client, gateway, task):
    data = client.query(gateway, task).json["data"]
    return Decimal(str(data["cost"])) if gateway == "apimart" else Decimal(data["quota"]) / 500_000


@pytest.mark.parametrize("gateway", ["apimart", "newapi"])
def test_a_finished_task_tells_what_was_billed(client, gateway):
    task = client.submitted(gateway)
    assert [told_usd(client, gateway, task)] == billed(client)


@pytest.mark.parametrize("factor", [0.5, 3])
@pytest.mark.parametrize("gateway", ["apimart", "newapi"])
def test_a_cost_that_is_off_is_what_was_billed(client, gateway, factor):
    client.submitted(gateway)
    client.fault(gateway, "cost_off", factor=factor)
    task = client.submitted(gateway)

    first, second = billed(client)
    assert second == first * Decimal(str(factor))
    assert told_usd(client, gateway, task) == second


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_cost_may_be_off_at_every_gateway(client, gateway):
    client.fault(gateway, "cost_off", factor=2)
    client.submitted(gateway)
    client.submitted(gateway)

    first, second = billed(client)
    assert first == second * 2


def test_evolink_tells_what_it_reserves(client):
    client.fault("evolink", "cost_off", factor=2)
    usage = client.submit("evolink").json["usage"]
    assert [Decimal(usage["credits_reserved"]) / 720_000] == billed(client)


def test_a_cost_may_stay_untold(client):
    for gateway in ("apimart", "newapi"):
        task = client.submitted(gateway)
        client.fault(gateway, "cost_untold")
        data = client.query(gateway, task).json["data"]
        assert (data.get("cost"), data.get("quota", 0)) == (None, 0)
        assert told_usd(client, gateway, task) == billed(client)[-1]


@pytest.mark.parametrize(("gateway", "refunds"), [("apimart", True), ("newapi", True), ("apimodels", False)])
def test_a_failed_task_is_refunded_where_the_documents_say_so(client, gateway, refunds):
    client.fault(gateway, "fail_task")
    client.submitted(gateway)
    assert (billed(client) == [0]) is refunds


def test_a_refund_may_fail_to_come(client):
    client.fault("newapi", "fail_task", refund=False)
    task = client.submitted("newapi")
    assert [told_usd(client, "newapi", task)] == billed(client) != [0]


@pytest.mark.parametrize("gateway", BALANCES)
def test_a_balance_goes_down_by_what_is_billed(client, gateway):
    before = left(client, gateway)
    client.submitted(gateway)
    assert left(client, gateway) == pytest.approx(before - float(billed(client)[0]))


@pytest.mark.parametrize("gateway", BALANCES)
def test_without_money_a_submit_is_a_402_and_nothing_is_billed(client, gateway):
    client.submitted(gateway)
    leave(client, gateway, "0")
    refusal = client.submit(gateway)
    empty = left(client, gateway)
    leave(client, gateway, "5")

    assert (refusal.status, empty, len(billed(client))) == (402, 0, 1)
    assert client.submit(gateway).status == 200
    assert left(client, gateway) == pytest.approx(5 - float(billed(client)[-1]))
    assert client.shown("violations") == []


def test_a_repeated_submit_needs_no_money(client):
    task = client.submitted("apimart", Idempotency_Key="attempt-1")
    leave(client, "apimart", "0")
    assert client.submitted("apimart", Idempotency_Key="attempt-1") == task


def test_an_account_belongs_to_its_key(client):
    leave(client, "apimart", "0")
    client.key = "sandbox-other"
    assert left(client, "apimart") > 0
    assert client.submit("apimart", DOCUMENTED["apimart"]).status == 200


@pytest.mark.parametrize("fields", [{}, {"gateway": "apimart", "api_key": "k", "usd": "much"}, []])
def test_a_balance_that_makes_no_sense_is_not_set(client, fields):
    assert client.call("POST", "/_sandbox/balances", fields).status == 400


@pytest.mark.parametrize("fault", ["http_500", "rate_limited", "unauthorized", "refuse_503"])
def test_a_question_for_the_balance_may_fail(client, fault):
    client.fault("apimart", fault, stage="balance")
    assert client.call("GET", BALANCES["apimart"][0]).status >= 401
    assert client.call("GET", BALANCES["apimart"][0]).status == 200


def test_only_who_has_a_key_is_told_a_balance(client):
    client.key = "nobody"
    assert client.call("GET", BALANCES["apimart"][0]).status == 401
