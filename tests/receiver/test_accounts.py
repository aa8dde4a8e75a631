"""Accounts of a gateway as the receiver tells them: in documents, metrics, the console and the shell's table."""

from __future__ import annotations

import re
from typing import Any

import pytest
from factories import NOW, SECOND
from receiver_steps import Web, parts_over

from rushes.shared.cli.service_commands import _account_rows
from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.operations import alert_causes, gateway_checks

KEYS = "a:sk-aaaaaaaaaaaaaaaa,b:sk-bbbbbbbbbbbbbbbb,old:sk-cccccccccccccccc:drain"


@pytest.fixture
def web() -> Web:
    return Web(parts_over(MemoryStore(), EVOLINK_API_KEY=None, EVOLINK_API_KEYS=KEYS))


def running(web: Web, account: str, provider: str = "evolink") -> None:
    web.standing(State.RUNNING, {"provider": provider, "account": account, "task_id": "t"}, route=(provider,))


def gateway(web: Web, name: str = "evolink") -> dict[str, Any]:
    documents = web.acme.get("/v1/gateways").json["data"]
    return next(each for each in documents if each["name"] == name)


def account(web: Web, name: str) -> dict[str, Any]:
    return next(each for each in gateway(web)["accounts"] if each["name"] == name)


def test_each_account_stands_under_its_gateway(web: Web) -> None:
    for name in ("a", "a", "old"):
        running(web, name)
    found = gateway(web)

    assert [(each["name"], each["state"], each["in_flight"], each["jobs"]) for each in found["accounts"]] == [
        ("a", "open", 2, 2),
        ("b", "open", 0, 0),
        ("old", "drain", 1, 1),
    ]
    assert (found["in_flight"], found["max_in_flight"], found["submits_left_this_minute"]) == (3, 40, 120)


def test_a_single_key_is_the_account_default(web: Web) -> None:
    (only,) = gateway(web, "apimart")["accounts"]
    assert (only["name"], only["state"], only["max_in_flight"]) == ("default", "open", 20)


def test_a_pause_is_told_of_its_account_and_of_the_gateway_when_all_are_paused(web: Web) -> None:
    web.parts.ledger.gateways.strike("evolink", Reason.KEY, None, web.parts.now(), "a")
    assert (account(web, "a")["why"], account(web, "b")["why"], gateway(web)["paused_until"]) == (
        "key_rejected",
        None,
        None,
    )
    assert "EVOLINK_API_KEYS" in account(web, "a")["advice"]
    web.parts.ledger.gateways.strike("evolink", Reason.RATE, None, web.parts.now(), "b")
    assert (gateway(web)["why"], gateway(web)["paused_until"]) == ("rate_limited", account(web, "b")["paused_until"])

    resumed = web.admin.post("/v1/gateways/evolink/resume").json
    assert [each["paused_until"] for each in resumed["accounts"]] == [None] * 3


def test_a_missing_account_is_named_with_its_jobs_everywhere(web: Web) -> None:
    for _ in range(2):
        running(web, "gone")
    missing = account(web, "gone")
    assert (missing["state"], missing["jobs"], missing["in_flight"]) == ("missing", 2, 2)
    assert "gone:<its key> to EVOLINK_API_KEYS" in missing["advice"]

    scraped = web.acme.get("/metrics").text
    assert 'rushes_account_missing_jobs{account="gone",gateway="evolink"} 2.0' in scraped
    assert 'rushes_account_in_flight{account="a",gateway="evolink"} 0.0' in scraped
    (finding,) = gateway_checks.check_accounts(web.parts.settings, web.parts.ledger)
    assert (finding.name, finding.verdict) == ("gateway.evolink.accounts", "bad")
    assert finding.what == "account gone is in no setting: 2 jobs of it wait"
    assert _account_rows(gateway(web))[-1][:3] == ("evolink/gone", "missing in the settings: 2 of its jobs wait", 2)  # type: ignore[arg-type]


def test_operators_are_told_of_a_missing_account_and_of_a_gateway_whose_accounts_are_all_paused(web: Web) -> None:
    running(web, "gone")
    (missing,) = alert_causes.missing_accounts(web.parts, web.parts.now())
    assert (missing.code, missing.gateway, missing.detail, missing.value) == ("account_missing", "evolink", "gone", "1")
    paused = []
    for name in ("a", "b"):
        web.parts.ledger.gateways.strike("evolink", Reason.BALANCE, None, web.parts.now(), name)
        paused.append([alert.gateway for alert in alert_causes.pauses(web.parts, web.parts.now())])
    assert paused == [[], ["evolink"]]


def test_balances_are_of_each_account_and_the_gateway_shows_the_one_that_ends_first(web: Web) -> None:
    from decimal import Decimal

    for name, usd in (("a", "30"), ("b", "2")):
        web.parts.ledger.balances.keep(f"evolink/{name}", Balance(Decimal(usd)), NOW - SECOND)

    assert [account(web, name)["balance"]["usd"] for name in ("a", "b")] == ["30", "2"]
    assert (account(web, "old")["balance"], gateway(web)["balance"]["usd"]) == (None, "2")
    scraped = web.acme.get("/metrics").text
    assert 'rushes_account_balance_usd{account="a",gateway="evolink"} 30.0' in scraped
    assert 'rushes_gateway_balance_usd{gateway="evolink"} 2.0' in scraped


def test_a_job_document_names_the_account_and_nothing_shows_a_key(web: Web) -> None:
    running(web, "b")
    (job,) = web.acme.get("/v1/jobs").json["data"]
    assert job["attempts"][0]["account"] == "b"
    told = "".join(web.acme.get(path).text for path in ("/v1/jobs", "/v1/gateways", "/metrics"))
    assert re.findall(r"sk-[abc]+", told) == []
