"""Thousands of histories, each from a seed. `CHAOS_SEEDS` says how many, `CHAOS_SEED` which is the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from run_length import number
from seeds import prepared, run_seed

from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import Store

FIRST, SEEDS, BLOCKS = number("CHAOS_SEED", 0), number("CHAOS_SEEDS", 100), 4
SHARE = -(-SEEDS // BLOCKS)
BLOCK_S = 900


@pytest.mark.timeout(BLOCK_S + SEEDS)
@pytest.mark.parametrize("block", range(BLOCKS))
def test_whatever_goes_wrong_every_job_ends_once_and_is_paid_for_once(fresh: Callable[[], Store], block: int) -> None:
    found: Counter[str] = Counter()

    for seed in range(FIRST + block * SHARE, FIRST + (block + 1) * SHARE):
        found.update(run_seed(seed, fresh()))

    print({what: count for what, count in sorted(found.items()) if not what.startswith("heard")})
    assert found["completed"] > SHARE // 2


@pytest.mark.parametrize("seed", [3, 11, 12])
def test_the_same_seed_is_the_same_history_on_either_store(fresh: Callable[[], Store], seed: int) -> None:
    stores: tuple[Callable[[], Store], ...] = (MemoryStore, fresh, fresh)

    first, *others = [prepared(seed, store())[0].run().trace for store in stores]

    assert len(first) > 20
    assert others == [first, first]


def test_the_seeds_go_everywhere() -> None:
    """A climate in which nothing happens would prove nothing."""
    found: Counter[str] = Counter()
    for seed in range(10_000, 10_040):
        found.update(run_seed(seed, MemoryStore()))

    wanted = ("lost", "refused", "die before", "die after", "freeze", "slow", "outage", "message x 0", "message x 2")
    assert [what for what in (*wanted, "completed", "failed", "canceled", "held") if not found[what]] == []
