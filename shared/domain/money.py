"""Estimate, hold, settle: Decimal US dollars only, unknown is None and never zero."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from rushes.shared.domain.job import Attempt, AttemptStatus

# Counters are whole numbers: 1 USD is 10^8 of them, so that a price of five decimals times milliseconds is exact.
UNITS_PER_USD = 10**8
ZERO = Decimal(0)


def units(usd: Decimal | None) -> int:
    """Dollars as whole counter units; unknown counts as none."""
    return 0 if usd is None else int((usd * UNITS_PER_USD).to_integral_value(ROUND_HALF_UP))


def from_units(count: int) -> Decimal:
    """Counter units as dollars."""
    return Decimal(count) / UNITS_PER_USD


def text(usd: Decimal | None) -> str | None:
    """Dollars as the contract writes them: a plain decimal string without an exponent."""
    if usd is None:
        return None
    plain = f"{usd:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def whole_seconds_up(seconds: Decimal) -> Decimal:
    """Seconds as a gateway bills them that rounds up."""
    return seconds.to_integral_value(ROUND_CEILING)


def held(attempt: Attempt) -> Decimal | None:
    """What an attempt costs as far as is known now: the estimate until it is settled, nothing once refused."""
    if attempt.status is AttemptStatus.REJECTED or attempt.adopted:
        return ZERO
    if attempt.cost_usd is not None:
        return attempt.cost_usd
    return ZERO if attempt.status is AttemptStatus.FAILED else attempt.estimated_usd


def spent(attempts: Iterable[Attempt]) -> Decimal | None:
    """What all attempts have cost; None while none of them is settled."""
    costs = [attempt.cost_usd for attempt in attempts if attempt.cost_usd is not None]
    return sum(costs, ZERO) if costs else None


def committed(attempts: Iterable[Attempt]) -> Decimal:
    """What all attempts hold together."""
    return sum((held(attempt) or ZERO for attempt in attempts), ZERO)
