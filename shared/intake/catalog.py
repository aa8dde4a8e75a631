"""What Rushes can make: each model with its fields and limits, and what each gateway does with it and for how much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

from marshmallow import ValidationError, fields, validate

from rushes.shared.domain import money
from rushes.shared.intake.schema import (
    CLIP_FIELDS,
    DURATIONS_S,
    MODELS,
    MOTION_FIELDS,
    MOTION_MODELS,
    CallbackUrl,
    JobRequest,
    Share,
    Shot,
    validated,
)
from rushes.shared.media.probe import INPUT_RULES, MAX_ASPECT, MAX_DURATION_S, MIN_DURATION_S
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import FIRST_LAST, IMAGE, MOTION, SHOT_DURATION, TEXT, Provider, operation_of
from rushes.shared.providers.prices import Price, PriceTable

PICTURE = "s3://bucket/picture.jpg"
# The fields that make a request one of an operation. A prompt may be given with each.
NEEDS: Mapping[str, Mapping[str, Any]] = {
    TEXT: {},
    IMAGE: {"image_url": PICTURE},
    FIRST_LAST: {"image_url": PICTURE, "last_image_url": PICTURE},
    MOTION: {"image_url": PICTURE, "video_url": "s3://bucket/clip.mp4", "character_orientation": "image"},
}
MODES = ("std", "pro", "4k")


@dataclass(frozen=True, slots=True)
class Offer:
    """One kind of work at one gateway, and its price there; a condition that makes no difference is None."""

    mode: str
    sound: bool | None
    voices: bool | None
    duration_s: int | None
    price: Price | None


@cache
def sample_requests(model: str) -> tuple[Mapping[str, Any], ...]:
    """A valid request for each operation, mode, sound, use of voices and length of a model."""
    if model in MOTION_MODELS:
        candidates = [{**NEEDS[MOTION], "mode": mode} for mode in MODES]
    else:
        candidates = [
            {
                **NEEDS[operation],
                "mode": mode,
                "duration": duration_s,
                "sound": sound,
                **({"voice_ids": ["a"]} if voices else {}),
            }
            for operation, mode, sound, voices, duration_s in product(
                (TEXT, IMAGE, FIRST_LAST), MODES, (False, True), (False, True), DURATIONS_S[model]
            )
        ]
    return tuple(_valid({"model": model, "prompt": "a", **candidate} for candidate in candidates))


def _valid(candidates: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for candidate in candidates:
        try:
            yield validated(candidate)
        except ValidationError:
            continue


@cache
def able_requests(provider: Provider, model: str) -> tuple[Mapping[str, Any], ...]:
    """The sample requests of a model that a gateway can do."""
    return tuple(request for request in sample_requests(model) if provider.why_not(request) is None)


def offers(provider: Provider, model: str, prices: PriceTable) -> list[Offer]:
    """Every kind of work that a gateway does with a model, each with its price there, None where it is unknown."""
    found: dict[tuple[Any, ...], Offer] = {}
    for request in able_requests(provider, model):
        price = prices.price(provider, request)
        is_motion, sound = model in MOTION_MODELS, bool(request.get("sound"))
        has_voices = "voice_ids" in provider.models[model].fields and sound
        offer = Offer(
            mode=request["mode"],
            sound=None if is_motion else sound,
            voices=bool(request.get("voice_ids")) if has_voices else None,
            duration_s=request["duration"] if price and "duration" in price.conditions else None,
            price=price,
        )
        found.setdefault((offer.mode, offer.sound, offer.voices, offer.duration_s), offer)
    return list(found.values())


def unknown_prices(enabled: Iterable[str], prices: PriceTable) -> dict[tuple[str, str], int]:
    """By enabled gateway and model that it offers: how many kinds of work have no known price."""
    return {
        (name, model): sum(offer.price is None for offer in offers(PROVIDERS[name], model, prices))
        for name in enabled
        for model in PROVIDERS[name].models
    }


def documents(enabled: Iterable[str], prices: PriceTable) -> list[dict[str, Any]]:
    """The documents of GET /v1/models, for the enabled gateways."""
    return [_model(model, list(enabled), prices) for model in MODELS]


def _model(model: str, enabled: list[str], prices: PriceTable) -> dict[str, Any]:
    names = _fields(model)
    operations = dict.fromkeys(operation_of(request) for request in sample_requests(model))
    return {
        "id": model,
        "object": "model",
        "operations": list(operations),
        "fields": names,
        "limits": {name: limits for name in names if (limits := _limits(model, name))},
        "gateways": [_gateway(name, model, prices) for name in enabled if model in PROVIDERS[name].models],
    }


def _fields(model: str) -> list[str]:
    allowed = MOTION_FIELDS if model in MOTION_MODELS else CLIP_FIELDS
    return [name for name in JobRequest().fields if name in allowed and _is_of_model(model, name)]


def _is_of_model(model: str, name: str) -> bool:
    return name != "voice_ids" or model == "kling-v2-6"


def _gateway(name: str, model: str, prices: PriceTable) -> dict[str, Any]:
    provider = PROVIDERS[name]
    support = provider.models[model]
    operations = dict.fromkeys(operation_of(request) for request in able_requests(provider, model))
    return {
        "provider": name,
        "model": support.model,
        "operations": list(operations),
        "modes": [mode for mode in MODES if mode in support.modes],
        "fields": [field for field in _fields(model) if field in support.fields],
        "guessed": [field for field in (*_fields(model), SHOT_DURATION) if field in support.guessed],
        "prices": [price_row(offer) for offer in offers(provider, model, prices)],
    }


def price_row(offer: Offer) -> dict[str, Any]:
    """One kind of work as a row of a price list."""
    return {
        "mode": offer.mode,
        "sound": offer.sound,
        "voices": offer.voices,
        "duration": offer.duration_s,
        **price_document(offer.price),
    }


def price_document(price: Price | None) -> dict[str, Any]:
    """What a second or a clip costs and where that is from; every value is None for an unknown price."""
    return {
        "usd_per_second": money.text(price.usd) if price and not price.per_clip else None,
        "usd_per_clip": money.text(price.usd) if price and price.per_clip else None,
        "source": price.source if price else None,
        "checked": price.checked.isoformat() if price and price.checked else None,
        "confidence": price.confidence if price else None,
        "note": price.note if price else None,
    }


# --- limits


def _limits(model: str, name: str) -> dict[str, Any]:
    """What a value of a field has to keep to, as far as it can be said without the other fields."""
    if name == "model":
        return {}
    if name == "duration":
        return {"values": list(DURATIONS_S[model])}
    if name == "multi_prompt":
        return {**_validator_limits(JobRequest().fields[name]), "shot": _shot_limits()}
    return {**_validator_limits(JobRequest().fields[name]), **_input_limits(name)}


def _shot_limits() -> dict[str, Any]:
    return {name: _validator_limits(field) for name, field in Shot().fields.items()}


def _validator_limits(field: fields.Field[Any]) -> dict[str, Any]:
    limits: dict[str, Any] = {"min": 0, "max": 1} if isinstance(field, Share) else {}
    is_list = isinstance(field, fields.List)
    for rule in field.validators:
        if isinstance(rule, validate.OneOf):
            limits["values"] = list(rule.choices)
        elif isinstance(rule, validate.Length):
            limits["max_items" if is_list else "max_chars"] = rule.max
        elif isinstance(rule, validate.Range):
            limits.update({"min": rule.min, "max": rule.max})
    if isinstance(field, CallbackUrl):
        limits["max_chars"] = field.max_chars
    return limits


def _input_limits(name: str) -> dict[str, Any]:
    rules = INPUT_RULES.get(name)
    if rules is None:
        return {}
    limits = {"formats": sorted(rules.formats), "max_bytes": rules.max_bytes, "sides_px": list(rules.sides_px)}
    if name == "video_url":
        longest = {f"max_s_{orientation}": seconds for orientation, seconds in MAX_DURATION_S.items()}
        return {**limits, "min_s": MIN_DURATION_S, **longest}
    return {**limits, "max_aspect": f"{MAX_ASPECT[0] / MAX_ASPECT[1]:g}:1"}
