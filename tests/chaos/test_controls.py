"""Without any one of its safeguards the product breaks its promises, and the suite says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from controls import SAFEGUARDS, doctored, missed

from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore


@pytest.mark.parametrize("name", SAFEGUARDS)
def test_without_this_safeguard_the_suite_goes_red(name: str, fresh_redis: Callable[[], RedisStore]) -> None:
    safeguard = SAFEGUARDS[name]

    caught = missed(safeguard, (lambda: doctored(fresh_redis(), safeguard)) if safeguard.lua else MemoryStore)

    assert caught, f"nobody misses the {name}"
    print(f"{name}: {caught}")
