"""What a request would cost at each enabled gateway, or why a gateway cannot do it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from rushes.shared.gateway_settings import GatewaySettings
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.prices import Price, PriceTable, cost_usd
from rushes.shared.tenants import Tenant

# Gateways are ranked before a reference clip is measured; prices are per second, so any length gives the same order.
ASSUMED_S = Decimal(5)
# A tenant that may use every gateway.
ANYBODY = Tenant()


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one request costs at one gateway; `why_not` says why the gateway cannot do it.

    `price` is what a second or the clip costs.
    """

    provider: str
    estimated_usd: Decimal | None
    why_not: str | None
    price: Price | None = None

    @property
    def able(self) -> bool:
        return self.why_not is None


def gateway_estimates(
    request: Mapping[str, Any],
    enabled: Mapping[str, Any],
    prices: PriceTable,
    duration_s: Decimal | None,
    tenant: Tenant = ANYBODY,
) -> list[Estimate]:
    """An estimate of every enabled gateway. The able ones come first, in the order in which they would be tried."""
    estimates = [_estimate(name, request, prices, duration_s, tenant, gateway) for name, gateway in enabled.items()]
    return sorted(estimates, key=lambda estimate: (not estimate.able, *_rank(estimate, request)))


def with_known_price(estimates: Iterable[Estimate]) -> list[Estimate]:
    """The same, but a gateway whose price is unknown is not able: a budget could not be kept there."""
    why_not = "its price is unknown, so the max_cost_usd of the batch cannot be kept"
    return [replace(each, why_not=why_not) if each.able and each.price is None else each for each in estimates]


def _estimate(
    name: str, request: Mapping[str, Any], prices: PriceTable, duration_s: Decimal | None, tenant: Tenant, gateway: Any
) -> Estimate:
    provider = PROVIDERS[name]
    price = prices.price(provider, request)
    estimated_usd = cost_usd(price, provider, request, duration_s)
    assumed_usd = estimated_usd if duration_s else cost_usd(price, provider, request, ASSUMED_S)
    why_not = (
        tenant.why_not(name)
        or _why_not_requested(name, request)
        or _why_drained(gateway)
        or provider.why_not(request)
        or _why_too_expensive(request, estimated_usd, assumed_usd)
    )
    return Estimate(name, estimated_usd, why_not, price)


def notes(estimate: Estimate, request: Mapping[str, Any]) -> list[str]:
    """What a reader of an estimate must know of an able gateway: unknown or doubtful prices, guessed names."""
    if not estimate.able:
        return []
    sentences, name, price = [], estimate.provider, estimate.price
    if price is None:
        what = f"{request['model']} in mode {request.get('mode', 'std')}{' with sound' if request.get('sound') else ''}"
        sentences.append(
            f"What {name} takes for {what} is unknown, so it comes after the gateways with a price."
            " RUSHES_PRICES_FILE can say it."
        )
    elif price.note:
        sentences.append(f"Its price: {price.note}.")
    if guesses := PROVIDERS[name].guesses(request):
        sentences.append(f"A guess: no document of {name} gives the names under which it is told {', '.join(guesses)}.")
    return sentences


def _why_not_requested(name: str, request: Mapping[str, Any]) -> str | None:
    preference = request.get("provider", "auto")
    if preference == "auto" or name == preference or (isinstance(preference, list) and name in preference):
        return None
    return "not among the gateways asked for"


def _why_drained(gateway: Any) -> str | None:
    if isinstance(gateway, GatewaySettings) and not gateway.open_accounts:
        return "takes no new jobs: each of its accounts is to go (drain)"
    return None


def _why_too_expensive(
    request: Mapping[str, Any], estimated_usd: Decimal | None, assumed_usd: Decimal | None
) -> str | None:
    max_cost_usd = request.get("max_cost_usd")
    if max_cost_usd is None:
        return None
    if assumed_usd is None:
        return "its price is unknown, so max_cost_usd cannot be kept"
    is_over = estimated_usd and estimated_usd > Decimal(max_cost_usd)
    return f"estimated at {estimated_usd:f} USD, over max_cost_usd" if is_over else None


def _rank(estimate: Estimate, request: Mapping[str, Any]) -> tuple[int, bool, Decimal, tuple[bool, ...], str]:
    """The sort key: order of preference, known before unknown prices, the price, accountability, the name."""
    provider = PROVIDERS[estimate.provider]
    preference = request.get("provider", "auto")
    is_listed = isinstance(preference, list) and estimate.provider in preference
    place = preference.index(estimate.provider) if is_listed else 0
    price = estimate.estimated_usd or cost_usd(estimate.price, provider, request, ASSUMED_S)
    return place, price is None, price or Decimal(0), provider.accountability, estimate.provider
