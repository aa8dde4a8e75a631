"""What each enabled gateway would do with a request, and for how much; cheapest able first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.prices import PriceTable

# Gateways are put in order before a reference clip was measured; prices are per second, so any length does.
SUPPOSED_S = Decimal(5)


@dataclass(frozen=True, slots=True)
class Quote:
    """One gateway's word on one request; `why_not` where it is not able."""

    provider: str
    estimated_usd: Decimal | None
    why_not: str | None

    @property
    def able(self) -> bool:
        return self.why_not is None


def quotes(
    request: Mapping[str, Any], enabled: Mapping[str, Any], prices: PriceTable, duration_s: Decimal | None
) -> list[Quote]:
    """A quote of every enabled gateway; the able ones first, in the order in which they would be tried."""
    given = [_quote(name, request, prices, duration_s) for name in enabled]
    ranked = sorted(given, key=lambda quote: _rank(quote, request, prices))
    return sorted(ranked, key=lambda quote: not quote.able)


def _quote(name: str, request: Mapping[str, Any], prices: PriceTable, duration_s: Decimal | None) -> Quote:
    provider = PROVIDERS[name]
    estimate = prices.estimate(provider, request, duration_s)
    supposed = estimate if duration_s else prices.estimate(provider, request, SUPPOSED_S)
    why_not = _not_wanted(name, request) or provider.unable(request) or _too_dear(request, estimate, supposed)
    return Quote(name, estimate, why_not)


def _not_wanted(name: str, request: Mapping[str, Any]) -> str | None:
    wanted = request.get("provider", "auto")
    if wanted == "auto" or name == wanted or (isinstance(wanted, list) and name in wanted):
        return None
    return "not among the gateways asked for"


def _too_dear(request: Mapping[str, Any], estimate: Decimal | None, supposed: Decimal | None) -> str | None:
    most = request.get("max_cost_usd")
    if most is None:
        return None
    if supposed is None:
        return "its price is unknown, so max_cost_usd cannot be kept"
    return f"estimated at {estimate:f} USD, over max_cost_usd" if estimate and estimate > Decimal(most) else None


def _rank(quote: Quote, request: Mapping[str, Any], prices: PriceTable) -> tuple[int, bool, Decimal, str]:
    """Order asked for, then known before unknown prices, then the price, then the name."""
    wanted = request.get("provider", "auto")
    place = wanted.index(quote.provider) if isinstance(wanted, list) and quote.provider in wanted else 0
    price = quote.estimated_usd or prices.estimate(PROVIDERS[quote.provider], request, SUPPOSED_S)
    return place, price is None, price or Decimal(0), quote.provider
