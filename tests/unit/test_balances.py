"""When a balance is asked for, how long it lasts, and when it ends a pause."""

from __future__ import annotations

from decimal import Decimal

import pytest
from factories import NOW, SECOND

from rushes.shared.domain.balances import Balance, Reading, days_left, duration_text, is_due, is_enough

UNLIMITED = Balance(None)
EMPTY_PAUSE = {"why": "insufficient_balance", "paused_until": str(NOW + 1)}


def usd(amount: str) -> Balance:
    return Balance(Decimal(amount))


def units(amount: str) -> Balance:
    return Balance(None, Decimal(amount))


@pytest.mark.parametrize(
    ("asked_s_ago", "health", "due"),
    [
        (599, {}, False),
        (600, {}, True),
        (59, EMPTY_PAUSE, False),
        (60, EMPTY_PAUSE, True),
        (60, {**EMPTY_PAUSE, "paused_until": str(NOW)}, False),
        (60, {**EMPTY_PAUSE, "why": "key_rejected"}, False),
        (60, {**EMPTY_PAUSE, "why": "operator"}, False),
    ],
)
def test_it_is_asked_for_every_ten_minutes_and_in_a_pause_for_it_every_minute(
    asked_s_ago: int, health: dict[str, str], due: bool
) -> None:
    assert is_due(Reading(asked_at=NOW - asked_s_ago * SECOND), health, NOW) is due


def test_a_balance_that_was_never_asked_for_is_due() -> None:
    assert is_due(Reading(), {}, NOW)


@pytest.mark.parametrize(
    ("balance", "tried", "enough"),
    [
        (usd("0"), None, False),
        (usd("0.01"), None, True),
        (UNLIMITED, None, True),
        (usd("0.01"), usd("0.01"), False),
        (usd("0.02"), usd("0.01"), True),
        (UNLIMITED, usd("0.01"), True),
        (UNLIMITED, UNLIMITED, False),
        (usd("9"), UNLIMITED, False),
        (units("0"), None, False),
        (units("0.5"), None, True),
        (units("0.5"), units("0.5"), False),
        (units("0.6"), units("0.5"), True),
    ],
)
def test_a_rest_that_was_refused_once_does_not_end_the_next_pause(
    balance: Balance, tried: Balance | None, enough: bool
) -> None:
    assert is_enough(balance, tried) is enough


@pytest.mark.parametrize(
    ("balance", "week_usd", "days"),
    [(usd("10"), "7", 10), (usd("1"), "70", 0.1), (usd("0"), "7", 0), (usd("10"), "0", None), (UNLIMITED, "7", None),
     (None, "7", None), (units("100"), "14", 7), (units("0"), "7", None)],
)  # fmt: skip
def test_it_lasts_as_long_as_the_week_says(balance: Balance | None, week_usd: str, days: float | None) -> None:
    assert days_left(balance, Decimal(week_usd)) == days


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (0, "0 days"),
        (0.04, "0 days"),
        (1, "1 day"),
        (2.49, "2.5 days"),
        (9.99, "10 days"),
        (41.6, "42 days"),
        (365, "365 days"),
        (17_500_000, "more than a year"),
    ],
)
def test_how_long_a_balance_lasts_is_said_in_days_that_people_use(days: float, text: str) -> None:
    assert duration_text(days) == text
