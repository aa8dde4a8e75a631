"""The balance of our account: what is asked of each gateway, and what its answer says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from provider_contract import KEY, answer

from rushes.shared.domain.balances import Balance
from rushes.shared.operations import balances
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.access import Access

APIMART = {"success": True, "message": "", "remain_balance": 12.5, "used_balance": 3, "unlimited_quota": False}
NEWAPI = {"code": True, "message": "ok", "data": {"total_available": 6_250_000, "unlimited_quota": False}}
NOW = 1_790_000_000_000
COSTS = f"/account/costs?start_time={NOW - 400 * 86_400_000}&end_time={NOW}"


def packages(*found: tuple[str, object], name: str = "Video Generation - 1000 units") -> dict[str, object]:
    infos = [{"resource_pack_name": name, "status": status, "remaining_quantity": left} for status, left in found]
    return {"code": 0, "message": "SUCCEED", "data": {"code": 0, "msg": "", "resource_pack_subscribe_infos": infos}}


def units(amount: str) -> Balance:
    return Balance(None, Decimal(amount))


def access(name: str, base_url: str = "") -> Access:
    return Access(base_url or PROVIDERS[name].address or "https://gateway.example", KEY)


ASKED = [
    ("apimart", "", ["https://api.apimart.ai/v1/balance"]),
    ("apimart", "https://api.apimart.ai/v1", ["https://api.apimart.ai/v1/balance"]),
    ("apimart", "http://127.0.0.1:9/apimart/", ["http://127.0.0.1:9/apimart/v1/balance"]),
    ("newapi", "", ["https://gateway.example/api/usage/token"]),
    ("newapi", "https://gateway.example/v1/", ["https://gateway.example/api/usage/token"]),
    ("apimodels", "", ["https://apimodels.app/v1/balance", "https://apimodels.app/api/v1/balance"]),
    (
        "apimodels",
        "https://apimodels.app/api/v1",
        ["https://apimodels.app/v1/balance", "https://apimodels.app/api/v1/balance"],
    ),
    ("apimodels", "https://api.apimodels.app/v1", ["https://api.apimodels.app/v1/balance"]),
    ("apimodels", "https://api.apimodels.app", ["https://api.apimodels.app/v1/balance"]),
    ("kling", "", [f"https://api-singapore.klingai.com{COSTS}"]),
    ("kling", "http://127.0.0.1:9/kling/", [f"http://127.0.0.1:9/kling{COSTS}"]),
    ("evolink", "", []),
    ("apimaster", "", []),
]


@pytest.mark.parametrize(("name", "base_url", "urls"), ASKED)
def test_it_is_asked_for_at_the_gateways_own_address_with_its_key(name, base_url, urls):
    requests = PROVIDERS[name].balance_requests(access(name, base_url), NOW)
    assert [(request.method, request.url) for request in requests] == [("GET", url) for url in urls]
    assert all(request.headers == {"Authorization": f"Bearer {KEY}"} for request in requests)
    assert all(access(name, base_url).owns(request.url) for request in requests)


READ = [
    ("apimart", APIMART, Balance(Decimal("12.5"))),
    ("apimart", {**APIMART, "remain_balance": "0"}, Balance(Decimal(0))),
    ("apimart", {**APIMART, "remain_balance": -0.2}, Balance(Decimal(0))),
    ("apimart", {**APIMART, "remain_balance": -1, "unlimited_quota": True}, Balance(None)),
    ("apimart", {"data": APIMART}, Balance(Decimal("12.5"))),
    ("newapi", NEWAPI, Balance(Decimal("12.5"))),
    ("newapi", {"data": {"total_available": 0, "unlimited_quota": True}}, Balance(None)),
    ("newapi", {"data": {"total_available": -5}}, Balance(Decimal(0))),
    ("apimodels", {"code": 200, "msg": "success", "data": {"balance": 12.5}}, Balance(Decimal("12.5"))),
    ("apimodels", {"balance": "12.5"}, Balance(Decimal("12.5"))),
    ("kling", packages(("online", 742.5), ("online", "7")), units("749.5")),
    (
        "kling",
        packages(("online", 10), ("runOut", 0), ("expired", 5), ("EXPIRED", 5), ("toBeOnline", 100)),
        units("10"),
    ),
    ("kling", packages(("runOut", 0)), units("0")),
    ("kling", packages(), units("0")),
    ("kling", packages(("online", 3), name="图像生成-100"), units("0")),
    ("kling", packages(("online", 3), name="Image & Video"), units("3")),
    ("kling", packages(("online", -2), ("online", None)), units("0")),
    ("kling", {"code": 0, "data": packages(("online", 3))}, units("3")),
]
UNREAD = [
    ("apimart", 200, {**APIMART, "success": False, "message": "no such user"}, "HTTP 200: no such user"),
    ("apimart", 200, {"success": True}, "the answer names no balance"),
    ("apimart", 200, {**APIMART, "remain_balance": True}, "the answer names no balance"),
    ("apimart", 200, {**APIMART, "remain_balance": "NaN"}, "the answer names no balance"),
    ("apimart", 200, [], "HTTP 200, not JSON"),
    ("newapi", 401, {"error": {"message": "no such token"}}, "HTTP 401: no such token"),
    ("newapi", 200, {"data": {}}, "the answer names no balance"),
    ("apimodels", 200, {"code": 401, "msg": "bad key"}, "HTTP 401: bad key"),
    ("apimodels", 200, {"data": {"credits": 900}}, "the answer names no balance"),
    ("apimodels", 502, b"<html>", "HTTP 502, not JSON"),
    ("kling", 200, {"code": 0, "data": {}}, "the answer names no balance"),
    ("kling", 200, {"code": 0, "data": [1]}, "the answer names no balance"),
    ("kling", 200, packages(("online", {"amount": 3})), "the answer names no balance"),
    ("kling", 200, {"code": 0, "data": {"resource_pack_subscribe_infos": ["odd"]}}, "the answer names no balance"),
    ("kling", 200, {**packages(("online", 3)), "code": 1002}, "the answer names no balance"),
    ("kling", 429, {"code": 1302, "message": "too many requests"}, "HTTP 429: too many requests"),
]


@pytest.mark.parametrize(("name", "body", "balance"), READ)
def test_each_form_of_an_answer_is_read(name, body, balance):
    assert balances.read(PROVIDERS[name], answer(200, body), access(name)) == balance


@pytest.mark.parametrize(("name", "status", "body", "problem"), UNREAD)
def test_what_cannot_be_read_is_told_and_is_no_balance(name, status, body, problem):
    assert balances.read(PROVIDERS[name], answer(status, body), access(name)) == problem
