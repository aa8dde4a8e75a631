"""What the simulation has found, each with the one fault that shows it."""

from __future__ import annotations

from scenarios import SCENARIOS, broken, effects

from rushes.shared.ledger.memory_store import MemoryStore


def test_a_submit_whose_worker_died_before_the_journal_is_journalled_before_it_is_asked_again() -> None:
    """Under an idempotency key the second call may be the first that arrives, and then it is the one that is paid."""
    scenario = SCENARIOS["answer lost, asked again"]
    lived = effects(scenario, MemoryStore())
    (journalled, *_) = [at for at, effect in enumerate(lived) if effect.endswith(".jsonl")]

    simulation = broken(scenario, MemoryStore(), journalled, "die before")

    assert [task.job for task in simulation.gateways.tasks] == ["order-0"]
