"""A worker, the scheduler or the receiver dies before and after every single effect of a job's life."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from controls import SAFEGUARDS
from run_length import LONG_RUN
from scenarios import MODES, SCENARIOS, broken, effects

from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Store

DEATHS = MODES[:3]
# The stores are held against each other in test_simulation.py; all of it over Redis takes minutes.
STORES = ["memory", "redis"] if LONG_RUN else ["memory"]


# The ground of each safeguard (controls.py): where the suite goes red without it, at length or in short.
GROUNDS = {safeguard.ground for safeguard in SAFEGUARDS.values() if not safeguard.lua}
GROUNDS_IN_REDIS = {safeguard.ground for safeguard in SAFEGUARDS.values() if safeguard.lua}


def modes(name: str, at: int) -> tuple[str, ...]:
    """What is done to an effect: everything; in the short run two of the three deaths, which go round.

    And what would show that a safeguard is gone.
    """
    if LONG_RUN:
        return MODES
    telling = (mode for life, mode in sorted(GROUNDS) if life == name)
    return tuple(dict.fromkeys((DEATHS[at % 3], DEATHS[(at + 1) % 3], *telling)))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fresh", STORES, indirect=True)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_at_any_effect_loses_nothing_and_pays_nothing_twice(fresh: Callable[[], Store], name: str) -> None:
    scenario = SCENARIOS[name]
    runs = [(at, mode) for at in range(len(effects(scenario, fresh()))) for mode in modes(name, at)]

    for at, mode in runs:
        broken(scenario, fresh(), at, mode)

    print(f"{name}: {len(runs)} runs")
    assert len(runs) > 30


@pytest.mark.parametrize(("name", "mode"), sorted(GROUNDS_IN_REDIS))
def test_the_programs_in_redis_hold_where_a_missing_line_would_show(
    fresh_redis: Callable[[], RedisStore], name: str, mode: str
) -> None:
    lived = effects(SCENARIOS[name], fresh_redis())

    for at in range(len(lived)):
        broken(SCENARIOS[name], fresh_redis(), at, mode)

    assert len(lived) > 20
