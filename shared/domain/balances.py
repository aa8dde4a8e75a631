"""The balance of our account at a gateway: when it is asked for, how long it lasts, and whether it ends a pause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from rushes.shared.domain import schedule
from rushes.shared.domain.events import Reason

EVERY_S = 600
# While a gateway is paused for its balance, its owner may top it up at any moment.
EVERY_S_IN_PAUSE = 60
WEEK_DAYS, YEAR_DAYS = 7, 365
# An account that lasts for less than this is to be topped up.
LOW_DAYS = 2
UNLIMITED = "unlimited"
# What a unit of a package is valued at: Kling's list price (2026-11), by which jobs paid in units are estimated too.
UNIT_USD = Decimal("0.14")


@dataclass(frozen=True, slots=True)
class Balance:
    """What is left on an account: in US dollars, or in units of packages; both are None where it has no limit.

    Units are no dollars: what they were bought for is not told. An account without units may still pay in cash.
    """

    usd: Decimal | None
    units: Decimal | None = None

    @property
    def is_unlimited(self) -> bool:
        return self.usd is None and self.units is None

    @property
    def worth_usd(self) -> Decimal | None:
        """Its dollars, or its units at their list price; None where it has no limit."""
        return self.usd if self.units is None else self.units * UNIT_USD


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a balance: the last one that was read, `at` (ms), and the problem of the newest question."""

    balance: Balance | None = None
    at: int | None = None
    asked_at: int = 0
    problem: str | None = None
    tried: Balance | None = None
    """The balance with which the last pause was ended before its time."""


def is_paused(health: Mapping[str, str], now: int) -> bool:
    """Whether a gateway's own word that the account is empty pauses it; a pause by hand is another matter."""
    return health.get("why") == Reason.BALANCE.value and int(health.get("paused_until", 0)) > now


def is_due(reading: Reading, health: Mapping[str, str], now: int) -> bool:
    """Whether the balance is to be asked for now."""
    return now >= schedule.after(reading.asked_at, EVERY_S_IN_PAUSE if is_paused(health, now) else EVERY_S)


def is_enough(balance: Balance, tried: Balance | None) -> bool:
    """Whether there is money to try again: some, and more than there was when the last try was refused.

    Without the second condition a rest that is too small for the next clip would end every pause.
    """
    worth_usd = balance.worth_usd
    if tried is None:
        return worth_usd is None or worth_usd > 0
    return tried.worth_usd is not None and (worth_usd is None or worth_usd > tried.worth_usd)


def duration_text(days: float) -> str:
    """How long a balance lasts, for people: `1 day`, `2.5 days`, `more than a year`."""
    if days > YEAR_DAYS:
        return "more than a year"
    number = f"{days:.1f}".removesuffix(".0") if days < 10 else f"{days:.0f}"
    return f"{number} day" if number == "1" else f"{number} days"


def days_left(balance: Balance | None, week_usd: Decimal) -> float | None:
    """For how many days the balance lasts at the rate of the last seven; None where nothing says so.

    An account with no units left says nothing: it may pay in cash, of which nothing is told.
    """
    if balance is None or balance.worth_usd is None or balance.units == 0 or week_usd <= 0:
        return None
    return float(round(balance.worth_usd * WEEK_DAYS / week_usd, 2))
