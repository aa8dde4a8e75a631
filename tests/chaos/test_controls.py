"""Without any one of its safeguards the product breaks its promises, and the suite says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from controls import SAFEGUARDS, doctored, hunted
from effort import number

from shared.ledger.redis_store import RedisStore

MOST = number("CHAOS_CONTROL_SEEDS", 400)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SAFEGUARDS)
def test_without_this_safeguard_the_suite_goes_red(name: str, fresh_redis: Callable[[], RedisStore]) -> None:
    safeguard = SAFEGUARDS[name]

    caught = hunted(safeguard, lambda: doctored(fresh_redis(), safeguard), MOST)

    assert caught, f"nobody misses the {name}"
    print(f"{name}: {caught}")
