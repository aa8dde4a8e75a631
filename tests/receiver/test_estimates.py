"""An estimate spends nothing and promises nothing that is not kept: what it shows is what is sent."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from factories import link
from good_requests import ACCEPTED
from receiver_steps import (
    GATEWAYS,
    KEYS,
    MOTION,
    MOTION_26,
    SECRET,
    TEXT,
    TEXT_26,
    Away,
    Counting,
    Web,
    environment,
    parts_over,
)

from rushes.shared.domain import events, money
from rushes.shared.domain.http_messages import Request
from rushes.shared.intake.estimates import Estimate, gateway_estimates
from rushes.shared.intake.schema import validated
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Provider
from rushes.shared.providers.prices import PriceTable
from rushes.worker.submit import build_attempt

SECRETS = (SECRET, *KEYS.values(), *(f"key-of-{name}" for name in GATEWAYS), "X-Amz-")


def estimated(web: Web, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = web.acme.post("/v1/estimates", json=body)
    assert answer.status_code == 200, answer.text
    assert list(answer.json) == ["data"]
    return list(answer.json["data"])


def sent(web: Web, body: dict[str, Any], provider: str, **changes: Any) -> Request:
    """The call that a worker would make for this request."""
    job = replace(web.now(web.submitted({**body, "provider": "auto"})["id"]), **changes)
    gateway = web.parts.settings.gateways[provider]
    return build_attempt(job, Estimate(provider, None, None), gateway, gateway.accounts[0], web.parts)[1]


# The fields that ask for a callback.
ASKING = {"callback_url", "webhook"}


def addressed_alike(body: Any) -> Any:
    """A body without what differs by right: the secret end of a callback's address, the attempt's own id."""
    told = dict(body)
    for name in ASKING & told.keys():
        told[name] = "/".join(told[name].split("/")[:5])
    if "external_task_id" in told:
        told["external_task_id"] = "…"
    return {**told, "options": addressed_alike(told["options"])} if "options" in told else told


@pytest.mark.parametrize(
    "body", [body for body in ACCEPTED.values() if "s3://" not in str(body)], ids=lambda body: body["model"]
)
def test_what_an_estimate_shows_is_exactly_what_is_sent(door: Web, body: dict[str, Any]) -> None:
    able = [quote for quote in estimated(door, {**body, "provider": "auto"}) if quote["able"]]

    assert able
    for quote in able:
        request = sent(door, body, quote["provider"])
        assert addressed_alike(quote["would_send"]) == addressed_alike(request.json)
        assert list(quote["would_send"]) == list(request.json or {})


def test_every_gateway_is_shown_for_some_request(web: Web) -> None:
    shown = {q["provider"] for body in (MOTION, TEXT) for q in estimated(web, body) if q["able"]}

    assert shown == set(GATEWAYS)


def test_the_measured_length_is_all_that_a_gateway_is_told_beyond_the_estimate(web: Web) -> None:
    """No reference is fetched for an estimate, so what is only known from it is not in it."""
    (quote,) = [quote for quote in estimated(web, MOTION) if quote["provider"] == "apimaster"]

    request = sent(web, MOTION, "apimaster", inputs={"video_url": {"duration_s": "8.2"}})

    assert request.json == {**quote["would_send"], "duration": 9}


def test_an_input_in_a_bucket_is_shown_unsigned(web: Web) -> None:
    body = {**MOTION, "video_url": "s3://inputs/ref.mp4"}
    (quote,) = [quote for quote in estimated(web, body) if quote["provider"] == "evolink"]

    request = sent(web, body, "evolink")

    assert quote["would_send"]["video_urls"] == ["s3://inputs/ref.mp4"]
    assert "X-Amz-Signature" in str(request.json)
    assert {**quote["would_send"], "video_urls": 0} | {"callback_url": 0} == {
        **(request.json or {}),
        "video_urls": 0,
        "callback_url": 0,
    }


def test_no_secret_is_in_an_estimate(web: Web) -> None:
    bodies = [{**body, "provider": "auto"} for body in ACCEPTED.values()]

    told = json.dumps([estimated(web, body) for body in bodies])

    assert told.count("would_send") == len(bodies) * len(GATEWAYS)
    assert [secret for secret in SECRETS if secret in told] == []


def test_an_estimate_shows_that_a_callback_is_asked_for(web: Web) -> None:
    bodies = {quote["provider"]: quote["would_send"] for quote in estimated(web, MOTION)}
    asking = {name for name, body in bodies.items() if any(f'"{field}"' in json.dumps(body) for field in ASKING)}

    assert asking == {"apimart", "evolink", "apimodels", "kling"}
    assert bodies["evolink"]["callback_url"] == "https://rushes.example/callbacks/evolink/…"


def test_without_a_public_address_no_callback_is_asked_for() -> None:
    web = Web(parts_over(MemoryStore(), RUSHES_PUBLIC_URL=None))

    assert "callbacks/" not in json.dumps([quote["would_send"] for quote in estimated(web, MOTION)])


def test_able_gateways_come_first_and_cheap_ones_before_dear_ones(web: Web) -> None:
    quotes = estimated(web, MOTION)

    assert [quote["able"] for quote in quotes] == sorted((quote["able"] for quote in quotes), reverse=True)
    assert {quote["provider"] for quote in quotes} == set(GATEWAYS)


PRO, SOUND = {"mode": "pro"}, {"sound": True}
# PROVIDERS.md 11.6, with its ties: at 0.10288 apimart has an idempotency key, and APIMaster has nothing.
ORDERS = {
    "motion": (MOTION, ["apimart", "apimaster", "evolink", "apimodels"]),
    "motion pro": ({**MOTION, **PRO}, ["apimart", "apimaster", "apimodels", "evolink"]),
    "motion 2.6": (MOTION_26, ["apimart", "apimodels"]),
    "motion 2.6 pro": ({**MOTION_26, **PRO}, ["apimart", "apimodels"]),
    "v3": (TEXT, ["apimodels", "apimart", "evolink", "newapi"]),
    "v3 pro": ({**TEXT, **PRO}, ["apimodels", "apimart", "evolink", "newapi"]),
    "v3 sound": ({**TEXT, **SOUND}, ["apimodels", "apimart", "evolink", "newapi"]),
    "v3 pro sound": ({**TEXT, **PRO, **SOUND}, ["apimodels", "evolink", "apimart", "newapi"]),
    "v2.6": (TEXT_26, ["apimodels", "apimart"]),
}


@pytest.mark.parametrize(("body", "order"), ORDERS.values(), ids=ORDERS)
def test_the_order_is_that_of_the_prices_with_its_ties(body: dict[str, Any], order: list[str]) -> None:
    prices = PriceTable.load()
    enabled = dict.fromkeys(("newapi", "evolink", "apimodels", "apimaster", "apimart"))  # the order of settings is none
    request = validated(body)

    estimates = gateway_estimates(request, enabled, prices, None)

    assert [estimate.provider for estimate in estimates if estimate.able] == order


@pytest.mark.parametrize(
    ("traits", "rank"),
    [
        ({"idempotent": True, "calls_back": True, "tells_cost": True}, 0),
        ({"askable": True, "calls_back": True}, 1),
        ({"idempotent": True, "tells_cost": True}, 2),
        ({"askable": True}, 3),
        ({"calls_back": True, "tells_cost": True}, 4),
        ({"calls_back": True}, 5),
        ({"tells_cost": True}, 6),
        ({}, 7),
    ],
)
def test_at_an_equal_price_the_one_that_can_be_held_to_account_goes_first(
    traits: dict[str, bool], rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = []
    for key, back, cost in itertools.product((True, False), repeat=3):
        provider = type("Other", (Provider,), {"idempotent": key, "calls_back": back, "tells_cost": cost})()
        ranks.append(provider.accountability)

    assert ranks == sorted(ranks)
    assert ranks.index(type("One", (Provider,), traits)().accountability) == rank


def test_accountability_goes_before_the_name_and_after_the_price(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(PROVIDERS["apimart"]), "idempotent", False)
    monkeypatch.setattr(type(PROVIDERS["apimart"]), "calls_back", False)
    monkeypatch.setattr(type(PROVIDERS["apimaster"]), "calls_back", True)

    estimates = gateway_estimates(validated(MOTION), dict.fromkeys(GATEWAYS), PriceTable.load(), None)

    assert [estimate.provider for estimate in estimates[:3]] == ["apimaster", "apimart", "evolink"]


def test_an_estimate_tells_where_its_price_is_from(web: Web) -> None:
    quotes = {quote["provider"]: quote for quote in estimated(web, TEXT)}

    assert quotes["apimart"]["price"] == {
        "usd_per_second": "0.0672",
        "usd_per_clip": None,
        "source": "apimart.ai, price page, by three transcripts of 2026-08 to 2026-10",
        "checked": "2026-11-30",
        "confidence": "third_party",
        "note": None,
    }
    assert quotes["apimart"]["notes"] == []
    (note,) = quotes["apimodels"]["notes"]
    assert note == "Its price: in doubt: its material of 2026-09 and 2026-10 says 0.12 a second."


def test_an_unknown_price_is_told_beside_the_estimate(web: Web) -> None:
    by_name = {quote["provider"]: quote for quote in estimated(web, {**TEXT, **PRO, **SOUND})}

    for name in ("apimart", "newapi"):
        quote = by_name[name]
        assert (quote["able"], quote["estimated_cost_usd"], quote["price"]) == (True, None, None)
        (note,) = quote["notes"]
        assert note.startswith(f"What {name} takes for kling-v3 in mode pro with sound is unknown")
    assert by_name["evolink"]["notes"] == []


def test_a_name_that_no_document_gives_is_called_a_guess(web: Web) -> None:
    quotes = {quote["provider"]: quote for quote in estimated(web, MOTION)}
    guesses = [note for quote in quotes.values() for note in quote["notes"] if "guess" in note]

    assert guesses == [
        "A guess: no document of apimodels gives the names under which it is told"
        " character_orientation, keep_original_sound, mode, model."
    ]


def test_who_cannot_do_it_has_no_notes(web: Web) -> None:
    assert [quote["provider"] for quote in estimated(web, MOTION_26) if quote["notes"]] == ["apimodels"]


def test_the_order_asked_for_goes_before_the_price(web: Web) -> None:
    quotes = estimated(web, {**MOTION, "provider": ["apimart", "apimodels", "evolink"]})

    assert [quote["provider"] for quote in quotes if quote["able"]] == ["apimart", "apimodels", "evolink"]
    (left,) = [quote for quote in quotes if quote["provider"] == "apimaster"]
    assert left["why_not"] == "not among the gateways asked for"


def test_a_gateway_that_is_not_able_comes_last_wherever_it_was_named(web: Web) -> None:
    quotes = estimated(web, {**TEXT_26, "provider": ["evolink", "apimart", "apimodels"]})

    assert [quote["provider"] for quote in quotes[:2]] == ["apimart", "apimodels"]


def test_each_gateway_says_what_it_costs_or_why_not(web: Web) -> None:
    for body in (MOTION, TEXT, TEXT_26):
        given = estimated(web, body)
        assert len(given) == len(GATEWAYS)
        for quote in given:
            contract = {"provider", "able", "estimated_cost_usd", "would_send", "why_not"}
            assert set(quote) == contract | {"price", "notes", "recent_bills"}
            assert (quote["why_not"] is None, quote["would_send"] is not None) == (quote["able"], quote["able"])
            if quote["estimated_cost_usd"] is not None:
                assert Decimal(quote["estimated_cost_usd"]) > 0


def test_prices_of_the_operators_own_count(tmp_path: Any) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'version = "ours"\n[[price]]\ngateway = "newapi"\nmodel = "kling-v3"\nusd_per_second = "0.001"\n', "utf-8"
    )
    web = Web(parts_over(MemoryStore(), RUSHES_PRICES_FILE=str(prices)))

    first = estimated(web, {**TEXT, "duration": 10})[0]

    assert (first["provider"], first["estimated_cost_usd"]) == ("newapi", "0.01")


def test_the_job_goes_where_the_estimate_says(web: Web) -> None:
    for body in (MOTION, TEXT, TEXT_26):
        able = [quote["provider"] for quote in estimated(web, body) if quote["able"]]
        assert able
        assert list(web.now(web.submitted(body)["id"]).route) == able


def test_where_nobody_is_able_the_estimate_says_why_for_each(web: Web) -> None:
    quotes = estimated(web, {**TEXT_26, "max_cost_usd": "0.000001"})

    assert [quote["able"] for quote in quotes] == [False] * len(GATEWAYS)
    assert all(quote["why_not"] for quote in quotes)


def test_without_any_gateway_the_estimate_is_empty() -> None:
    keyless: dict[str, str | None] = {name: None for name in environment() if name.endswith("_API_KEY")}

    assert estimated(Web(parts_over(MemoryStore(), **keyless)), TEXT) == []


def test_an_estimate_changes_nothing_in_the_ledger_and_does_not_need_it() -> None:
    counting = Counting(MemoryStore())
    web = Web(parts_over(counting))

    estimated(web, TEXT)

    assert set(counting.calls) == {"counters"}
    assert estimated(Web(parts_over(Away())), TEXT)


def test_an_estimate_says_what_the_last_bills_for_this_kind_of_work_were(web_on_each: Web) -> None:
    web = web_on_each
    for usd in ("0.42", "0.84"):
        job = web.running("apimodels")
        web.parts.ledger.apply(job.id, events.Succeeded(link(), Decimal(usd), attempt=1), web.parts.now())

    quotes = {quote["provider"]: quote for quote in estimated(web, {**TEXT, "mode": "std"})}
    other = {quote["provider"]: quote for quote in estimated(web, {**TEXT, "mode": "std", "sound": True})}

    estimated_usd = Decimal(quotes["apimodels"]["estimated_cost_usd"])
    assert quotes["apimodels"]["recent_bills"] == {
        "count": 2,
        "mean_ratio": "1.5",
        "expected_cost_usd": money.text(estimated_usd * Decimal("1.5")),
    }
    assert quotes["newapi"]["recent_bills"] is None
    assert other["apimodels"]["recent_bills"] is None
