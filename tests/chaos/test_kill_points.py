"""A worker, the scheduler or the receiver dies before and after every single effect of a job's life."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from effort import AT_LENGTH
from scenarios import MODES, SCENARIOS, broken, effects

from shared.ledger.store import Store

DEATHS = MODES[:3]
# The stores are held against each other in test_simulation.py; all of it over Redis takes minutes.
STORES = ["memory", "redis"] if AT_LENGTH else ["memory"]


def modes(at: int) -> tuple[str, ...]:
    """What is done to an effect: everything; in the short run two of the three deaths, which go round."""
    return MODES if AT_LENGTH else (DEATHS[at % 3], DEATHS[(at + 1) % 3])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("fresh", STORES, indirect=True)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_fault_at_any_effect_loses_nothing_and_pays_nothing_twice(fresh: Callable[[], Store], name: str) -> None:
    scenario = SCENARIOS[name]
    runs = [(at, mode) for at in range(len(effects(scenario, fresh()))) for mode in modes(at)]

    for at, mode in runs:
        broken(scenario, fresh(), at, mode)

    print(f"{name}: {len(runs)} runs")
    assert len(runs) > 30
