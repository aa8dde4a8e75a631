"""What can be made, where, and for how much."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from good_requests import ACCEPTED
from receiver_steps import GATEWAYS, Web, parts_over, refused

from rushes.shared.intake import catalog
from rushes.shared.intake.schema import MODELS
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import operation_of
from rushes.shared.providers.prices import PriceTable

PRICES = PriceTable.load()


def models(web: Web) -> dict[str, dict[str, Any]]:
    answer = web.acme.get("/v1/models")
    assert (answer.status_code, list(answer.json)) == (200, ["data"])
    return {model["id"]: model for model in answer.json["data"]}


def at(model: dict[str, Any], provider: str) -> dict[str, Any]:
    (found,) = [gateway for gateway in model["gateways"] if gateway["provider"] == provider]
    return dict(found)


def test_every_model_is_told_with_its_operations_and_fields(web: Web) -> None:
    models_by_id = models(web)

    assert list(models_by_id) == list(MODELS)
    assert models_by_id["kling-v3"]["operations"] == ["text", "image", "first_last"]
    assert models_by_id["kling-v2-6-motion-control"]["operations"] == ["motion"]
    assert "voice_ids" in models_by_id["kling-v2-6"]["fields"]
    assert "voice_ids" not in models_by_id["kling-v3"]["fields"]
    assert models_by_id["kling-v3"]["limits"]["duration"] == {"values": list(range(3, 16))}
    assert models_by_id["kling-v2-6"]["limits"]["duration"] == {"values": [5, 10]}
    assert models_by_id["kling-v3"]["limits"]["prompt"] == {"max_chars": 2500}
    assert models_by_id["kling-v3"]["limits"]["mode"] == {"values": ["std", "pro", "4k"]}
    assert models_by_id["kling-v3"]["limits"]["multi_prompt"]["shot"]["duration"] == {"min": 1, "max": 15}
    assert models_by_id["kling-v3-motion-control"]["limits"]["video_url"]["max_s_video"] == 30


@pytest.mark.parametrize("name", ACCEPTED)
def test_every_field_of_an_accepted_request_is_a_field_of_its_model(web: Web, name: str) -> None:
    body = ACCEPTED[name]

    assert set(body) <= set(models(web)[body["model"]]["fields"])


def test_each_gateway_says_what_it_does_with_a_model_and_for_how_much(web: Web) -> None:
    models_by_id = models(web)
    apimart = at(models_by_id["kling-v3"], "apimart")

    assert apimart["modes"] == ["std", "pro", "4k"]
    assert apimart["operations"] == ["text", "image", "first_last"]
    assert "multi_prompt" in apimart["fields"]
    assert apimart["prices"][0] == {
        "mode": "std",
        "sound": False,
        "voices": None,
        "duration": None,
        "usd_per_second": "0.0672",
        "usd_per_clip": None,
        "source": "apimart.ai, price page, by three transcripts of 2026-08 to 2026-10",
        "checked": "2026-11-30",
        "confidence": "third_party",
        "note": None,
    }
    assert at(models_by_id["kling-v2-6"], "apimodels")["guessed"] == ["sound", "voice_ids"]
    assert at(models_by_id["kling-v3"], "evolink")["model"] == "kling-v3-{text,image}-to-video"
    assert [row["duration"] for row in at(models_by_id["kling-v2-6"], "apimodels")["prices"]] == [5, 10] * 4


def test_an_unknown_price_is_told_as_one(web: Web) -> None:
    unknown = [row for row in at(models(web)["kling-v3"], "apimart")["prices"] if row["source"] is None]

    assert [(row["mode"], row["sound"]) for row in unknown] == [("pro", True), ("4k", False), ("4k", True)]
    assert {row["usd_per_second"] for row in unknown} == {None}


def test_only_enabled_gateways_are_told() -> None:
    keyless: dict[str, str | None] = {f"{name.upper()}_API_KEY": None for name in GATEWAYS if name != "evolink"}
    models_by_id = models(Web(parts_over(MemoryStore(), **keyless)))

    assert {gateway["provider"] for model in models_by_id.values() for gateway in model["gateways"]} == {"evolink"}


def test_a_key_is_needed(web: Web) -> None:
    refused(web.nobody.get("/v1/models"), 401)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_price_of_the_table_is_in_the_list_and_nothing_else(name: str) -> None:
    for model in PROVIDERS[name].models:
        offers = catalog.offers(PROVIDERS[name], model, PRICES)
        listed = {id(offer.price) for offer in offers if offer.price}
        usable = {
            id(price)
            for request in catalog.able_requests(PROVIDERS[name], model)
            if (price := PRICES.price(PROVIDERS[name], request))
        }
        assert listed == usable
        assert {operation_of(request) for request in catalog.able_requests(PROVIDERS[name], model)} == set(
            PROVIDERS[name].models[model].operations
        )


def test_what_an_operator_lays_over_is_in_the_list() -> None:
    overlay = PriceTable.load(
        'version = "ours"\n[[price]]\ngateway = "newapi"\nmodel = "kling-v3"\nduration = 10\n'
        'usd_per_clip = "0.5"\nsource = "our bill"\nchecked = 2026-12-01\nconfidence = "inferred"\n'
    )
    offers = catalog.offers(PROVIDERS["newapi"], "kling-v3", overlay)
    (silent,) = [o for o in offers if (o.mode, o.sound, o.duration_s) == ("std", False, 10)]

    assert silent.price
    assert (silent.price.usd, silent.price.per_clip) == (Decimal("0.5"), True)
    assert (silent.price.source, silent.price.checked) == ("our bill", date(2026, 12, 1))
    assert [o.price for o in offers if o.duration_s is None] == [None] * 4
    assert catalog.unknown_prices(["newapi"], overlay) == {("newapi", "kling-v3"): 4}


def test_unknown_prices_are_counted_by_gateway_and_model() -> None:
    unknown = catalog.unknown_prices(["apimart", "evolink", "newapi"], PRICES)

    assert {key: count for key, count in unknown.items() if count} == {
        ("apimart", "kling-v3"): 3,
        ("newapi", "kling-v3"): 4,
    }
    assert unknown["evolink", "kling-v3"] == 0
