"""How the gateways stand, what was spent at them, and who may wake one."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, cast

import pytest
from factories import NOW, SECOND, attempt, link
from receiver_steps import GATEWAYS, MOTION, TEXT, Away, Clock, Web, parts_over, refused

from rushes.shared.domain import events, timing
from rushes.shared.domain.balances import Balance
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import AttemptStatus, State
from rushes.shared.ledger import keys
from rushes.shared.ledger.learned_times import FRESH_MS
from rushes.shared.ledger.memory_store import MemoryStore

TODAY = "2026-09-21"  # the day of NOW


def gateway(web: Web, name: str) -> dict[str, Any]:
    answer = web.acme.get("/v1/gateways")
    assert answer.status_code == 200
    return next(held for held in answer.json["data"] if held["name"] == name)


def test_each_enabled_gateway_is_shown(web: Web) -> None:
    assert {held["name"] for held in web.acme.get("/v1/gateways").json["data"]} == set(GATEWAYS)

    fewer = Web(parts_over(MemoryStore(), EVOLINK_API_KEY=None, NEWAPI_API_KEY=None))
    assert {held["name"] for held in fewer.acme.get("/v1/gateways").json["data"]} == {
        "apimart",
        "apimaster",
        "apimodels",
        "kling",
    }


def test_a_gateway_that_is_well_says_so(web_on_each: Web) -> None:
    held = gateway(web_on_each, "evolink")

    assert (held["paused_until"], held["why"], held["in_flight"]) == (None, None, 0)
    assert (held["max_in_flight"], held["submits_left_this_minute"]) == (20, 60)
    assert held["price_table_version"]
    assert held["callbacks"] == {"asked": 0, "heard": 0, "last_heard_at": None, "silent": False}


def test_jobs_in_flight_are_counted(web_on_each: Web) -> None:
    web = web_on_each
    web.running("evolink")
    web.running("evolink")
    web.running("newapi")

    assert [gateway(web, name)["in_flight"] for name in ("evolink", "newapi", "apimart")] == [2, 1, 0]


def test_a_pause_shows_its_end_and_its_reason(web_on_each: Web) -> None:
    web = web_on_each
    web.parts.ledger.gateways.strike("evolink", Reason.KEY, None, web.parts.now())

    held = gateway(web, "evolink")
    assert held["paused_until"].startswith(f"{TODAY}T14:1")
    assert held["why"] == "key_rejected"


def test_a_pause_that_is_over_is_none(web: Web) -> None:
    web.parts.ledger.gateways.strike("evolink", Reason.KEY, None, NOW - 4000 * SECOND)

    held = gateway(web, "evolink")
    assert (held["paused_until"], held["why"]) == (None, None)


def test_only_the_admin_ends_a_pause(web_on_each: Web) -> None:
    web = web_on_each
    web.parts.ledger.gateways.strike("evolink", Reason.KEY, None, web.parts.now())

    refused(web.acme.post("/v1/gateways/evolink/resume"), 403, "forbidden")
    refused(web.nobody.post("/v1/gateways/evolink/resume"), 401, "unauthorized")
    assert gateway(web, "evolink")["paused_until"]

    answer = web.admin.post("/v1/gateways/evolink/resume")
    assert (answer.status_code, answer.json["name"], answer.json["paused_until"]) == (200, "evolink", None)
    assert gateway(web, "evolink")["paused_until"] is None


def test_the_end_of_a_pause_wakes_the_scheduler() -> None:
    store = MemoryStore()

    Web(parts_over(store)).admin.post("/v1/gateways/evolink/resume")

    assert store.bell.is_set()


def test_a_gateway_that_is_none_has_no_pause_to_end(door: Web) -> None:
    for name in ("runway", "EVOLINK", "auto", "%00"):
        refused(door.admin.post(f"/v1/gateways/{name}/resume"), 404, "not_found")


def test_only_the_admin_pauses_a_gateway(web_on_each: Web) -> None:
    web = web_on_each

    refused(web.acme.post("/v1/gateways/evolink/pause"), 403, "forbidden")
    refused(web.nobody.post("/v1/gateways/evolink/pause"), 401, "unauthorized")
    assert gateway(web, "evolink")["paused_until"] is None

    answer = web.admin.post("/v1/gateways/evolink/pause")
    assert (answer.status_code, answer.json["name"], answer.json["why"]) == (200, "evolink", "operator")
    assert gateway(web, "evolink")["paused_until"] > "2036"


def test_a_pause_by_hand_lasts_until_it_is_ended_by_hand(web_on_each: Web) -> None:
    web = web_on_each
    job = web.standing(State.SUBMITTING, {"provider": "evolink"}, route=("evolink",))
    web.admin.post("/v1/gateways/evolink/pause")

    web.parts.ledger.apply(job.id, events.Accepted("task-1", attempt=1), web.parts.now())
    assert web.now(job.id).state is State.RUNNING
    assert gateway(web, "evolink")["why"] == "operator"
    web.admin.post("/v1/gateways/evolink/resume")
    assert (gateway(web, "evolink")["paused_until"], gateway(web, "evolink")["why"]) == (None, None)


def test_a_gateway_that_is_none_is_not_paused(door: Web) -> None:
    for name in ("runway", "EVOLINK", "auto", "%00"):
        refused(door.admin.post(f"/v1/gateways/{name}/pause"), 404, "not_found")


def succeeded(web: Web, provider: str, heard_by: str, cost: str | None = "0.5") -> str:
    job = web.running(provider)
    event = events.Succeeded(link(), Decimal(cost) if cost else None, Decimal(5), heard_by=heard_by, attempt=1)
    web.parts.ledger.apply(job.id, event, web.parts.now())
    return job.id


def test_a_gateway_shows_how_its_callbacks_have_been_arriving(web_on_each: Web) -> None:
    web = web_on_each
    for heard_by in ("poll", "callback", "callback"):
        last = succeeded(web, "evolink", heard_by)
    web.running("evolink")  # nothing to be heard of yet
    web.standing(State.FAILED, {"provider": "evolink", "heard_by": "poll", "callback": False})  # none was asked for
    succeeded(web, "newapi", "poll")

    ended_at = web.acme.get(f"/v1/jobs/{last}").json["attempts"][0]["ended_at"]
    assert gateway(web, "evolink")["callbacks"] == {"asked": 3, "heard": 2, "last_heard_at": ended_at, "silent": False}
    assert gateway(web, "newapi")["callbacks"] == {"asked": 1, "heard": 0, "last_heard_at": None, "silent": False}


def test_a_gateway_whose_callbacks_stay_away_is_called_silent_until_one_comes(web_on_each: Web) -> None:
    web, told = web_on_each, []
    clock = cast(Clock, web.parts.now)
    for heard_by in ("poll", "poll", "poll", "callback"):
        succeeded(web, "evolink", heard_by)
        clock.at(clock() + FRESH_MS)
        told.append(gateway(web, "evolink")["callbacks"]["silent"])

    assert told == [False, False, True, False]
    assert gateway(web, "newapi")["callbacks"]["silent"] is False


def test_a_gateway_shows_how_long_its_jobs_take_by_what_takes_equally_long(web_on_each: Web) -> None:
    web = web_on_each
    assert gateway(web, "evolink")["finish_s"] == []
    store, took = web.parts.ledger.store, timing.bucket
    store.increase(keys.times("evolink"), {f"kling-v3|std|5|{took(60)}": 8, f"kling-v3|std|5|{took(100)}": 2})
    store.increase(keys.times("evolink"), {f"kling-v3-motion-control|pro|0|{took(300)}": 1})
    clock = cast(Clock, web.parts.now)
    clock.at(clock() + FRESH_MS)

    motion, text = gateway(web, "evolink")["finish_s"]
    assert (text["model"], text["mode"], text["duration"], text["jobs"]) == ("kling-v3", "std", 5, 10)
    assert 60 <= text["p50_s"] <= 63
    assert 100 <= text["p90_s"] <= 105
    assert (motion["model"], motion["mode"], motion["duration"]) == ("kling-v3-motion-control", "pro", None)
    assert gateway(web, "newapi")["finish_s"] == []


def test_a_callback_counts_for_the_gateway_that_called(web: Web) -> None:
    calling = {"callback": True, "heard_by": "callback", "ended_at": NOW, "status": AttemptStatus.FAILED}
    attempts = (attempt(1, provider="evolink", **calling), attempt(2, provider="apimodels", **calling))
    web.standing(State.FAILED, attempts=attempts)

    assert gateway(web, "apimodels")["callbacks"]["heard"] == 1


# --- usage


def used(web: Web, client: Any, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"/v1/usage{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json["data"])


def test_usage_is_by_day_and_gateway(web_on_each: Web) -> None:
    web = web_on_each
    succeeded(web, "evolink", "poll", "0.5")
    succeeded(web, "evolink", "poll", "0.25")
    web.running("apimodels")

    lines = used(web, web.acme)

    assert [(line["day"], line["provider"], line["jobs"]) for line in lines] == [
        (TODAY, "apimodels", 1),
        (TODAY, "evolink", 2),
    ]
    spent = lines[1]
    assert (spent["estimated_cost_usd"], spent["cost_usd"]) == ("0.84", "0.75")
    assert (spent["completed"], spent["failed"], spent["seconds"], spent["tenant"]) == (2, 0, 10, "acme")


def test_usage_tells_what_was_paid_for_nothing(web_on_each: Web) -> None:
    web = web_on_each
    succeeded(web, "evolink", "poll", "0.5")
    lost = web.running("evolink")
    web.parts.ledger.apply(lost.id, events.Failed(Reason.PROVIDER, "no", Decimal("0.125")), web.parts.now())

    (line,) = used(web, web.acme)

    assert (line["cost_usd"], line["wasted_cost_usd"], line["failed"]) == ("0.625", "0.125", 1)


def test_a_tenant_sees_only_what_it_spent(web: Web) -> None:
    succeeded(web, "evolink", "poll")
    web.standing(State.RUNNING, {"provider": "newapi"}, tenant="other")

    assert [line["provider"] for line in used(web, web.acme)] == ["evolink"]
    assert [line["provider"] for line in used(web, web.other)] == ["newapi"]
    assert {line["tenant"] for line in used(web, web.admin)} == {"acme", "other"}


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", True),
        (f"?from={TODAY}&to={TODAY}", True),
        (f"?from={TODAY}T00:00:00Z", True),
        ("?to=2026-09-20", False),
        (f"?to={TODAY}", True),
        ("?from=&to=", True),
        ("?to=0001-01-01", False),
        ("?from=2026-01-01&to=2026-09-20", False),
        ("?from=2026-01-01&to=2026-12-31", True),
    ],
)
def test_usage_of_a_stretch_of_days(query: str, shown: bool) -> None:
    web = Web(parts_over(MemoryStore()))
    succeeded(web, "evolink", "poll")

    assert bool(used(web, web.acme, query)) is shown


def test_the_last_week_is_shown_unless_asked_otherwise() -> None:
    web = Web(parts_over(MemoryStore()))
    succeeded(web, "evolink", "poll")
    clock = web.parts.now
    assert isinstance(clock, Clock)

    clock.at(NOW + 6 * 86_400 * SECOND)
    assert used(web, web.acme)
    clock.at(NOW + 7 * 86_400 * SECOND)
    assert used(web, web.acme) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("to=2026-02-30", "to"),
        ("from=20260921", "from"),
        ("from=2026-W38-1", "from"),
        ("from=2026-09-21garbage", "from"),
        ("from=٢٠٢٦-09-21", "from"),
        ("from=%00", "from"),
        ("from=2026-09-22&to=2026-09-21", "from"),
        ("from=2025-01-01&to=2026-09-21", "from"),
        ("from=0001-01-01", "from"),
        ("from=9999-12-31", "from"),
    ],
)
def test_days_that_are_none_or_too_many_are_refused(door: Web, query: str, field: str) -> None:
    assert list(refused(door.acme.get(f"/v1/usage?{query}"), 422)["fields"]) == [field]


def test_with_the_ledger_away_nothing_is_told() -> None:
    web = Web(parts_over(Away()))

    for path in ("/v1/gateways", "/v1/usage"):
        refused(web.acme.get(path), 503, "unavailable")
    for act in ("pause", "resume"):
        refused(web.admin.post(f"/v1/gateways/evolink/{act}"), 503, "unavailable")


def test_what_was_not_paid_for_is_no_usage(web: Web) -> None:
    job = web.now(web.submitted(MOTION)["id"])
    plan = attempt(1, provider="evolink", submitted_at=web.parts.now())

    web.parts.ledger.apply(job.id, events.Begun(plan), web.parts.now())
    assert [line["jobs"] for line in used(web, web.acme)] == [1]  # until it is known better
    web.parts.ledger.apply(job.id, events.Refused(Reason.INPUT, "no"), web.parts.now())

    assert used(web, web.acme) == []


# --- what was billed, and what is left


def billed(web: Web, provider: str, usd: str, **changes: Any) -> None:
    job = web.standing(State.RUNNING, {"provider": provider, "task_id": "task-1"}, route=(provider,), **changes)
    web.parts.ledger.apply(job.id, events.Succeeded(link(), Decimal(usd), attempt=1), web.parts.now())


def test_usage_says_how_much_was_reported_and_where_it_differs(web_on_each: Web) -> None:
    web = web_on_each
    sounding = {"request": {**TEXT, "mode": "std", "sound": True}}
    for usd in ("0.43", "0.63", "0.21"):
        billed(web, "apimart", usd)
    billed(web, "apimart", "0.84", **sounding)
    web.standing(State.COMPLETED, {"provider": "newapi", "cost_usd": Decimal("0.5")})  # as older code wrote it

    mine, older = used(web, web.acme)

    assert (mine["cost_usd"], mine["reported_cost_usd"]) == ("2.11", "2.11")
    assert mine["differences"] == [
        {"model": "kling-v3", "mode": "std", "sound": "silent", "jobs": 2, "estimated_cost_usd": "0.84",
         "billed_cost_usd": "0.84"},
        {"model": "kling-v3", "mode": "std", "sound": "sound", "jobs": 1, "estimated_cost_usd": "0.42",
         "billed_cost_usd": "0.84"},
    ]  # fmt: skip
    assert (older["cost_usd"], older["reported_cost_usd"], older["differences"]) == ("0.5", "0", [])


def test_the_source_of_a_cost_is_in_the_job(web_on_each: Web) -> None:
    web = web_on_each
    running = web.running("apimart")
    before = web.acme.get(f"/v1/jobs/{running.id}").json["attempts"][0]
    succeeded_id = succeeded(web, "apimart", "poll")
    after = web.acme.get(f"/v1/jobs/{succeeded_id}").json["attempts"][0]

    assert (before["cost_usd"], before["cost_source"]) == (None, None)
    assert (after["cost_usd"], after["cost_source"]) == ("0.5", "reported")


def test_a_gateway_shows_its_balance_and_how_long_it_lasts(web_on_each: Web) -> None:
    web, store = web_on_each, web_on_each.parts.ledger.balances
    assert gateway(web, "apimart")["balance"] is None
    store.keep("apimart", Balance(Decimal("1.00")), NOW)
    store.keep("newapi", Balance(None), NOW)
    store.keep_problem("apimodels", "HTTP 500, not JSON", NOW)
    succeeded(web, "apimart", "poll", "0.7")

    shown = {name: gateway(web, name)["balance"] for name in ("apimart", "newapi", "apimodels", "evolink")}
    at = "2026-09-21T14:13:20.000Z"
    assert shown == {
        "apimart": {"usd": "1", "units": None, "unlimited": False, "at": at, "days_left": 10.0, "problem": None},
        "newapi": {"usd": None, "units": None, "unlimited": True, "at": at, "days_left": None, "problem": None},
        "apimodels": {
            "usd": None,
            "units": None,
            "unlimited": False,
            "at": None,
            "days_left": None,
            "problem": "HTTP 500, not JSON",
        },
        "evolink": None,
    }


def test_a_pause_and_its_end_show_the_balance_too(web_on_each: Web) -> None:
    web_on_each.parts.ledger.balances.keep("apimart", Balance(Decimal(1)), NOW)
    for action in ("pause", "resume"):
        assert web_on_each.admin.post(f"/v1/gateways/apimart/{action}").json["balance"]["usd"] == "1"


def test_balances_are_in_the_metrics(web_on_each: Web) -> None:
    web, store = web_on_each, web_on_each.parts.ledger.balances
    web.parts.now.at(NOW + 60 * SECOND)  # type: ignore[attr-defined]
    store.keep("apimart", Balance(Decimal("1.5")), NOW)
    store.keep_problem("newapi", "HTTP 500", NOW)
    text = web.nobody.get("/metrics").text

    assert 'rushes_gateway_balance_usd{gateway="apimart"} 1.5\n' in text
    assert re.search(r'rushes_gateway_balance_age_seconds\{gateway="apimart"\} 60\.\d+\n', text)
    assert 'rushes_gateway_balance_unread{gateway="newapi"} 1.0\n' in text
    assert 'rushes_gateway_balance_usd{gateway="newapi"}' not in text
