"""What stands is POSTed to those who want to know, once, and once more when it is over; the console lists it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from factories import DAY, NOW, SECOND, attempt, job_in, link
from form_steps import Visitor
from outsiders import Listener
from receiver_steps import TEXT, Web, parts_over

from rushes.shared.domain import events, gateway_pauses
from rushes.shared.domain.alerts import CODES
from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import Store
from rushes.shared.operations import alert_causes, alerts
from rushes.shared.services import Services

OVER_S = 330


class Died(BaseException):
    """A process that was killed."""


@pytest.fixture
def slack() -> Iterator[Listener]:
    with Listener.serving() as listener:
        yield listener


def opened(store: Store, *urls: str, **changes: str | None) -> Services:
    """Parts whose one gateway has known prices, so that nothing stands at first."""
    fewer = {f"{name}_API_KEY": None for name in ("APIMART", "NEWAPI", "APIMODELS", "KLING", "APIMASTER")}
    allow = {"RUSHES_EGRESS_ALLOW": "127.0.0.0/8"}
    return parts_over(store, RUSHES_ALERT_URLS=",".join(urls) or None, **{**allow, **fewer, **changes})


def advance(parts: Services, seconds: float) -> None:
    clock: Any = parts.now
    clock.at(parts.now() + round(seconds * SECOND))


def look(parts: Services, after_s: float = 31) -> bool:
    advance(parts, after_s)
    return alerts.turn(parts)


def pause(parts: Services, name: str = "evolink") -> None:
    parts.ledger.gateways.pause(name, gateway_pauses.OPERATOR, parts.now() + DAY)


def resume(parts: Services, name: str = "evolink") -> None:
    parts.ledger.gateways.resume(name, parts.settings.gateways)


def said(listener: Listener) -> list[tuple[str, str]]:
    bodies = [json.loads(letter.body) for letter in listener.letters]
    return [(body["alert"]["code"], body["alert"]["status"]) for body in bodies]


RAISED, OVER = ("gateway_paused", "standing"), ("gateway_paused", "over")


def test_a_cause_is_said_once_and_once_that_it_is_over(store: Store, slack: Listener) -> None:
    parts = opened(store, f"{slack.url}/services/T0/B0/secret")
    quiet = look(parts), said(slack)
    pause(parts)
    for _ in range(4):
        look(parts)
    stood = said(slack)
    resume(parts)
    for _ in range(4):
        look(parts, OVER_S / 2)

    assert quiet == (True, [])
    assert stood == [RAISED]
    assert said(slack) == [RAISED, OVER]
    assert parts.ledger.alert_episodes.all() == []


def test_it_is_said_in_slacks_form_with_the_alert_beside_it(store: Store, slack: Listener) -> None:
    parts = opened(store, slack.url)
    pause(parts)
    look(parts)
    resume(parts)
    look(parts, OVER_S)
    look(parts)
    first, last = (json.loads(letter.body) for letter in slack.letters)

    assert slack.letters[0].headers["content-type"] == "application/json"
    assert first["text"].startswith("Info: evolink gets no new jobs: operator.")
    assert first["text"].endswith("\nhttps://rushes.example/gateways")
    assert last["text"].startswith("Over: evolink gets no new jobs")
    assert first["alert"] == {
        "id": last["alert"]["id"],
        "code": "gateway_paused",
        "severity": "info",
        "status": "standing",
        "gateway": "evolink",
        "value": "operator",
        "limit": None,
        "since": first["alert"]["since"],
        "link": "https://rushes.example/gateways",
    }


def test_one_process_looks_at_a_time(store: Store, slack: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = opened(store, slack.url), opened(store, slack.url)
    pause(first)
    real, looks = alerts.send, []

    def send(*arguments: Any) -> str | None:
        looks.append(look(second))  # while the first one sends
        return real(*arguments)

    monkeypatch.setattr(alerts, "send", send)
    looks.append(look(first))

    assert (looks, said(slack)) == ([False, True], [RAISED])
    assert look(second, 1) is False  # not due again


def test_killed_between_sending_and_writing_it_is_sent_again_with_the_same_id(
    slack: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = opened(MemoryStore(), slack.url)
    pause(parts)
    with monkeypatch.context() as patch:
        patch.setattr(parts.ledger.alert_episodes, "keep_failure", _die)
        with pytest.raises(Died):
            look(parts)
    stuck = look(parts)  # the dead one's lease
    parts.ledger.store.strings.clear()  # type: ignore[attr-defined] # it runs out
    look(parts)
    look(parts)

    assert stuck is False
    assert said(slack) == [RAISED, RAISED]
    assert len({json.loads(letter.body)["alert"]["id"] for letter in slack.letters}) == 1


def _die(*_: Any) -> None:
    raise Died


def test_an_address_that_takes_nothing_is_tried_again_alone_and_ever_more_seldom(store: Store, slack: Listener) -> None:
    with Listener.serving() as broken:
        broken.answers = [500, 404]
        parts = opened(store, broken.url, slack.url)
        pause(parts)
        tries = []
        for _ in range(6):
            look(parts)
            tries.append(len(broken.letters))

        assert said(slack) == [RAISED]
        assert tries == [1, 2, 2, 3, 3, 3]
        assert parts.ledger.alert_episodes.failures() == {}


def test_a_tenant_is_told_what_is_its_own(store: Store, slack: Listener, tmp_path: Path) -> None:
    with Listener.serving() as acme:
        tenants = tmp_path / "tenants.toml"
        tenants.write_text(f'[tenant.acme]\nalert_urls = ["{acme.url}"]\n')
        parts = opened(store, slack.url, RUSHES_DAILY_BUDGET_USD="1", RUSHES_TENANTS_FILE=str(tenants))
        spend(parts, "0.85", "acme")
        spend(parts, "0.85", "other")
        pause(parts)
        look(parts)

        assert [json.loads(letter.body)["alert"]["tenant"] for letter in acme.letters] == ["acme"]
        assert sorted(said(slack)) == [("budget_80", "standing")] * 2 + [RAISED]


def test_an_address_of_ours_that_is_internal_is_not_called(slack: Listener) -> None:
    """The name is looked up at each call, so settings alone do not guard."""
    parts = opened(MemoryStore(), slack.url)
    guarded = replace(parts, http_client=parts_over(MemoryStore()).http_client)
    pause(guarded)
    look(guarded)

    assert slack.letters == []
    (failure,) = guarded.ledger.alert_episodes.failures().values()
    assert failure[0] == 1


# --- what stands


def spend(parts: Services, usd: str, tenant: str = "acme", provider: str = "evolink") -> None:
    now = parts.now()
    changes = {"provider": provider, "submitted_at": now, "estimated_usd": Decimal(usd)}
    parts.ledger.create(job_in(State.RUNNING, changes, tenant=tenant, created_at=now))


def billed(parts: Services, usd: str, estimated_usd: str = "0.4") -> None:
    changes = {"provider": "apimart", "task_id": "t", "estimated_usd": Decimal(estimated_usd)}
    job = job_in(State.RUNNING, changes, route=("apimart",), request={**TEXT, "mode": "std"})
    parts.ledger.create(job)
    parts.ledger.apply(job.id, events.Succeeded(link(), Decimal(usd), attempt=1), parts.now())


def archiving(parts: Services, left_s: int) -> None:
    done = attempt(1, provider="evolink", link=link(expires_at=NOW + left_s * SECOND))
    parts.ledger.create(replace(job_in(State.ARCHIVING), attempts=(done,), due_at=NOW + DAY))


def codes(parts: Services) -> list[tuple[str, str]]:
    found = [(alert.code, alert.value) for alert in alert_causes.standing(parts, parts.now())]
    return [each for each in found if each[0] != "price_unknown"]


def test_nothing_stands_where_all_is_well(store: Store) -> None:
    assert alert_causes.standing(opened(store), NOW) == []


@pytest.mark.parametrize(
    ("usd", "expected"),
    [
        ("0.79", []),
        ("0.8", [("budget_80", "0.80")]),
        ("1", [("budget_80", "1.00"), ("budget_100", "1.00")]),
    ],
)
def test_a_budget_that_is_nearly_and_wholly_used(store: Store, usd: str, expected: list[Any]) -> None:
    parts = opened(store, RUSHES_DAILY_BUDGET_USD="1")
    spend(parts, usd)
    assert codes(parts) == expected


def test_the_budget_of_a_month_is_another_cause(store: Store, tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.toml"
    tenants.write_text('[tenant.acme]\nmonthly_budget_usd = "10"\ndaily_budget_usd = "9"\n')
    parts = opened(store, RUSHES_TENANTS_FILE=str(tenants))
    spend(parts, "4.5")
    advance(parts, DAY / SECOND)
    spend(parts, "4.5")
    found = [alert for alert in alert_causes.standing(parts, parts.now()) if alert.tenant]
    assert [(alert.code, alert.detail, alert.value) for alert in found] == [("budget_80", "2026-09", "9.00")]


@pytest.mark.parametrize(
    ("reason", "severity", "after_s"),
    [(Reason.KEY, "critical", 0), (Reason.BALANCE, "critical", 0), (Reason.RATE, "warning", 600)],
)
def test_a_pause_is_said_at_once_where_somebody_has_to_act(
    store: Store, reason: Reason, severity: str, after_s: int
) -> None:
    parts = opened(store)
    parts.ledger.gateways.strike("evolink", reason, 100, parts.now())
    (alert,) = alert_causes.standing(parts, parts.now())
    assert (alert.code, alert.value, alert.severity, alert.after_s) == (
        "gateway_paused",
        reason.value,
        severity,
        after_s,
    )


def test_jobs_of_a_gateway_whose_key_is_gone(store: Store) -> None:
    parts = opened(store)
    spend(parts, "0.1", provider="newapi")
    assert codes(parts) == [("account_missing", "1")]


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        (Balance(Decimal("0.19")), [("balance_low", "1.9")]),
        (Balance(Decimal("0.2")), []),
        (Balance(Decimal(0)), [("balance_low", "0")]),
        (Balance(None), []),
        (Balance(None, Decimal(1)), [("balance_low", "1.4")]),
        (Balance(None, Decimal(0)), []),
    ],
)
def test_a_balance_that_lasts_for_less_than_two_days(store: Store, balance: Balance, expected: list[Any]) -> None:
    parts = opened(store, APIMART_API_KEY="k")
    billed(parts, "0.4")
    billed(parts, "0.3", "0.3")  # 0.7 in a week
    parts.ledger.balances.keep("apimart", balance, parts.now())
    assert codes(parts) == expected


@pytest.mark.parametrize(("usd", "expected"), [("0.42", []), ("0.43", [("cost_drift", "1.075")])])
def test_bills_that_differ_from_their_estimates(store: Store, usd: str, expected: list[Any]) -> None:
    parts = opened(store, APIMART_API_KEY="k")
    billed(parts, usd)
    assert codes(parts) == expected


def test_a_price_that_nobody_knows() -> None:
    parts = opened(MemoryStore(), NEWAPI_API_KEY="k")
    (alert,) = alert_causes.standing(parts, NOW)
    assert (alert.code, alert.gateway, alert.detail) == ("price_unknown", "newapi", "kling-v3")


def test_calls_whose_answer_never_came(store: Store) -> None:
    parts = opened(store)
    parts.ledger.create(job_in(State.UNCONFIRMED))
    assert codes(parts)[-1] == ("unconfirmed_waiting", "1")


@pytest.mark.parametrize(("left_s", "expected"), [(4 * 3600 - 10, True), (4 * 3600 + 10, False)])
def test_a_clip_whose_link_is_about_to_expire(store: Store, left_s: int, expected: bool) -> None:
    parts = opened(store)
    archiving(parts, left_s)
    assert ("links_at_risk" in [code for code, _ in codes(parts)]) is expected


def test_work_that_waits_for_us(store: Store) -> None:
    parts = opened(store)
    parts.ledger.create(job_in(State.ARCHIVING, due_at=NOW))
    assert "oldest_overdue" not in [code for code, _ in codes(parts)]
    advance(parts, 61)
    assert "oldest_overdue" in [code for code, _ in codes(parts)]


# --- where it is seen


def test_the_console_lists_what_stands_and_a_tenant_sees_its_own() -> None:
    parts = opened(MemoryStore(), RUSHES_DAILY_BUDGET_USD="1")
    web = Web(parts)
    empty = Visitor(web, "admin").page("/alerts")
    spend(parts, "0.9")
    pause(parts)
    look(parts)
    pages = {tenant: Visitor(web, tenant).page("/alerts") for tenant in ("admin", "acme", "other")}
    metrics = web.acme.get("/metrics").text

    assert "No alerts" in empty
    assert "RUSHES_ALERT_URLS" in empty
    assert {tenant: ("budget_80" in page, "gateway_paused" in page) for tenant, page in pages.items()} == {
        "admin": (True, True),
        "acme": (True, False),
        "other": (False, False),
    }
    assert 'rushes_alerts{code="budget_80"} 1.0\n' in metrics
    assert all(f'rushes_alerts{{code="{code}"}}' in metrics for code in CODES)
