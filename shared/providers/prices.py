"""What a request costs at a gateway: the built-in price table, and the user's file that overrides it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Provider

BUILT_IN = Path(__file__).with_name("prices.toml")
USD = re.compile(r"\d{1,9}(\.\d{1,12})?")

PER_SECOND, PER_CLIP = "usd_per_second", "usd_per_clip"
UNITS = (PER_SECOND, PER_CLIP)
# The conditions of an entry, each with the value that a request has for it.
CONDITIONS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "mode": lambda request: request.get("mode", "std"),
    "sound": lambda request: bool(request.get("sound")),
    "voices": lambda request: bool(request.get("voice_ids")),
    "duration": lambda request: request.get("duration"),
}
# Where a price is from. The built-in table says it of each entry; a user's file need not.
ORIGIN = ("source", "checked", "confidence", "note")
CONFIDENCES = ("documented", "third_party", "inferred")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_day(value: Any) -> bool:
    return _day(value) is not None


def _day(value: Any) -> date | None:
    """The day of TOML's own date, or of a text such as 2026-11-30; None if it is neither."""
    if isinstance(value, date):
        return None if isinstance(value, datetime) else value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None


# Each field of an entry: the check of its value, and what the error text says that it has to be.
RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "gateway": (lambda value: isinstance(value, str) and value in PROVIDERS, f"one of {', '.join(PROVIDERS)}"),
    "model": (lambda value: isinstance(value, str), "a model's name"),
    "mode": (lambda value: value in ("std", "pro", "4k"), "std, pro or 4k"),
    "sound": (lambda value: isinstance(value, bool), "true or false"),
    "voices": (lambda value: isinstance(value, bool), "true or false"),
    "duration": (lambda value: type(value) is int and value > 0, "a whole number of seconds"),
    "source": (_is_text, "a text"),
    "checked": (_is_day, "a day, as in 2026-11-30"),
    "confidence": (lambda value: value in CONFIDENCES, f"one of {', '.join(CONFIDENCES)}"),
    "note": (_is_text, "a text"),
    **dict.fromkeys(UNITS, (lambda value: isinstance(value, str) and bool(USD.fullmatch(value)), 'USD, as in "0.12"')),
}


@dataclass(frozen=True, slots=True)
class Price:
    """One entry: its conditions, what a second or a clip costs, and where that is from."""

    gateway: str
    model: str
    conditions: Mapping[str, Any]
    usd: Decimal
    per_clip: bool
    source: str | None = None
    checked: date | None = None
    confidence: str | None = None
    """One of CONFIDENCES."""
    note: str | None = None
    """What speaks against it."""

    def applies_to(self, request: Mapping[str, Any]) -> bool:
        """Whether a request for its model meets its conditions."""
        return all(CONDITIONS[name](request) == value for name, value in self.conditions.items())


# Gateway and model → their entries, the most exact first, and of equals the later one.
Layer = Mapping[tuple[str, str], list[Price]]


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by gateway and request. The most exact entry wins, a later one among equals; none means unknown."""

    version: str
    layers: tuple[Layer, ...]

    @classmethod
    def load(cls, overlay_text: str | None = None) -> PriceTable:
        """The built-in table, and the overlay that overrides it. Raises ValueError, which names entry and field."""
        version, built_in = _built_in()
        if overlay_text is None:
            return cls(version, (built_in,))
        overlay_version, overlay = _read(overlay_text)
        return cls(f"{overlay_version} over {version}", (overlay, built_in))

    def estimate(self, provider: Provider, request: Mapping[str, Any], seconds: Decimal | None) -> Decimal | None:
        """What the clip costs in USD, None if the price or the length is unknown.

        `seconds` is the measured length of a motion reference, or of the clip made; None means the requested duration.
        """
        return cost_usd(self.price(provider, request), provider, request, seconds)

    def settle(self, provider: Provider, request: Mapping[str, Any], seconds: Decimal | None) -> Decimal | None:
        """What a clip of this length costs in USD, None if its price is unknown, or is a second's and no length is."""
        price = self.price(provider, request)
        if price is None or (not price.per_clip and not seconds):
            return None
        return cost_usd(price, provider, request, seconds)

    def price(self, provider: Provider, request: Mapping[str, Any]) -> Price | None:
        """The price of a second or of a clip, None if it is unknown."""
        for layer in self.layers:
            for price in layer.get((provider.name, request["model"]), ()):
                if price.applies_to(request):
                    return price
        return None


def cost_usd(
    price: Price | None, provider: Provider, request: Mapping[str, Any], seconds: Decimal | None
) -> Decimal | None:
    """What the clip costs in USD at this price; for `seconds` see PriceTable.estimate."""
    if price is None:
        return None
    if price.per_clip:
        return price.usd
    length_s = _requested_s(request) if seconds is None else seconds
    return None if length_s is None else price.usd * provider.billed_s(length_s)


def _requested_s(request: Mapping[str, Any]) -> Decimal | None:
    duration = request.get("duration")
    return None if duration is None else Decimal(duration)


@cache
def _built_in() -> tuple[str, Layer]:
    return _read(BUILT_IN.read_text(encoding="utf-8"))


def _read(text: str) -> tuple[str, Layer]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"prices: not TOML: {error}") from None
    version, entries = table.pop("version", "unnamed"), table.pop("price", [])
    if not isinstance(version, str) or not version:
        raise ValueError("prices: version: not a text")
    if table or not isinstance(entries, list):
        raise ValueError(f"prices: {next(iter(table), 'price')}: not a field; give version and [[price]] tables")
    return version, _layer([_price(entry, number) for number, entry in enumerate(entries, 1)])


def _layer(prices: list[Price]) -> Layer:
    layer: dict[tuple[str, str], list[Price]] = {}
    for price in prices:
        layer.setdefault((price.gateway, price.model), []).insert(0, price)
    for entries in layer.values():
        entries.sort(key=lambda price: -len(price.conditions))
    return layer


def _price(entry: Any, number: int) -> Price:
    problem = _problem(entry)
    if problem:
        raise ValueError(f"prices: entry {number}{_named(entry)}: {problem}")
    unit = PER_CLIP if PER_CLIP in entry else PER_SECOND
    conditions = {name: entry[name] for name in CONDITIONS if name in entry}
    origin = {**{name: entry.get(name) for name in ORIGIN}, "checked": _day(entry.get("checked"))}
    return Price(entry["gateway"], entry["model"], conditions, Decimal(entry[unit]), unit == PER_CLIP, **origin)


def _problem(entry: Any) -> str | None:
    """The first problem of an entry, beginning with its field; None if there is none."""
    if not isinstance(entry, Mapping):
        return "not a table"
    for name, value in entry.items():
        if name not in RULES:
            return f"{name}: no field of a price"
        is_valid, expected = RULES[name]
        if not is_valid(value):
            return f"{name}: {value!r} is not {expected}"
    missing = [name for name in ("gateway", "model") if name not in entry]
    if missing:
        return f"{missing[0]}: missing"
    if entry["model"] not in PROVIDERS[entry["gateway"]].models:
        return f"model: {entry['gateway']} does not offer {entry['model']!r}"
    return None if len(set(UNITS) & entry.keys()) == 1 else f"{PER_SECOND}, {PER_CLIP}: give one of the two"


def _named(entry: Any) -> str:
    names = [str(entry[name]) for name in ("gateway", "model") if name in entry] if isinstance(entry, Mapping) else []
    return f" ({' '.join(names)})" if names else ""
