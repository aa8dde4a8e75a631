"""What a seed stands for: a climate, a few jobs, and the whims of the gateways. `play(seed, store)` is one history."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from batch_orders import BatchOrder
from judge import Judge
from model_gateways import DOUBTFUL, REFUSALS, TAKEN_BEFORE, SubmitCase
from simulation import FATES, FaultPlan, Order, Simulation, motion, text

BOTH = ["newapi", "apimodels"]
CALLER = "https://caller.example/heard"


def fault_plan(rng: random.Random) -> FaultPlan:
    parts = tuple(FATES) if rng.random() < 0.6 else tuple(rng.sample(list(FATES), 2))
    return FaultPlan(
        faults=rng.choice((0, 2, 4, 8, 14)),
        rate=rng.choice((0.02, 0.05, 0.1, 0.25)),
        restless=rng.choice((0.1, 0.5, 1.0)),
        parts=parts,
        workers=rng.choice((2, 3)),
        resubmit=rng.random() < 0.1,
    )


def orders(rng: random.Random) -> list[Order]:
    return [_order(rng, f"order-{number}") for number in range(rng.choice((1, 1, 2, 2, 3, 4)))]


def _order(rng: random.Random, marker: str) -> Order:
    told = {"callback_url": CALLER} if rng.random() < 0.3 else {}
    if rng.random() < 0.35:
        return motion(marker, provider=rng.choice(["apimart", ["apimart", "apimodels"]]), **told)
    routes: list[Any] = ["newapi", "apimodels", ["newapi", "apimodels"], ["apimodels", "newapi"]]
    routes += ["kling", ["kling", "apimodels"], ["newapi", "kling"]]
    return text(marker, provider=rng.choice(routes), **told)


def batches(rng: random.Random, plan: FaultPlan) -> list[BatchOrder]:
    """A batch in every fourth seed, with money for some of its jobs or for all."""
    if rng.random() > 0.25 or plan.resubmit:  # a submit in doubt that is sent again may be canceled like any that waits
        return []
    wanted = [text(f"part-{number}", provider="apimodels") for number in range(rng.choice((2, 3, 4)))]
    budget = {"max_cost_usd": rng.choice(("0.19", "0.40", "0.60"))} if rng.random() < 0.7 else {}
    return [BatchOrder("batch-0", wanted, {**budget, **({"callback_url": CALLER} if rng.random() < 0.5 else {})})]


class RandomBehaviour:
    """The gateways' own faults, a few a seed."""

    def __init__(self, simulation: Simulation, rng: random.Random) -> None:
        self.simulation, self.rng = simulation, rng
        self.left = rng.choice((0, 0, 2, 5))

    def _odd(self, likely: float) -> bool:
        strikes = self.left > 0 and self.rng.random() < likely
        self.left -= strikes
        return strikes

    def behaviour(self, gateway: str, job: str) -> SubmitCase:
        word, takes = "", True
        if self._odd(0.4):
            word = self.rng.choice([*REFUSALS, *DOUBTFUL, *DOUBTFUL])
            takes = word in ("garbage", "nameless") or self.rng.random() < 0.5
        fails = self._odd(0.2)
        if fails:
            self.simulation.excuses[job].add("failed")
        lasts_s = self.rng.choice((0, 0.05, 2, 10, 60, 200))
        dead_links = self.rng.choice((1, 2)) if self._odd(0.1) else 0
        return SubmitCase(word, takes, lasts_s, fails, dead_links, self.rng.choice((0, 0, 5, 60, 130, 200)))

    def refuses_again(self) -> str:
        return self.rng.choice([*TAKEN_BEFORE])

    def wrong_answer(self, stage: str) -> str:
        words = {"query": ("404", "500", "garbage", "401", "429", "word"), "download": ("cut", "page", "busy")}
        return self.rng.choice(words.get(stage, ("500",))) if self._odd(0.2) else ""


def prepared(seed: int, store: Any) -> tuple[Simulation, Judge]:
    rng = random.Random(f"seed {seed}")
    plan = fault_plan(rng)
    simulation = Simulation(store, seed, plan, orders(rng), batches(random.Random(f"batches of seed {seed}"), plan))
    random_behaviour = RandomBehaviour(simulation, rng)
    simulation.gateways.behaviour = random_behaviour.behaviour
    simulation.gateways.wrong_answer = random_behaviour.wrong_answer
    simulation.gateways.refuses_again = random_behaviour.refuses_again
    _disturb(simulation, rng)
    return simulation, Judge(simulation)


def _disturb(simulation: Simulation, rng: random.Random) -> None:
    """A caller who changes his mind, a forger who knows a task's name."""
    for order in simulation.orders:
        if rng.random() < 0.15:
            moment = simulation.now + rng.choice((1, 50, 1000, 20_000))
            simulation.at(moment, lambda order=order: simulation.cancel(order))  # type: ignore[misc]
        for _ in range(rng.choice((0, 0, 0, 2))):
            moment = simulation.now + rng.choice((100, 300, 1000, 3000, 16_000, 40_000))
            simulation.at(moment, lambda order=order: simulation.forge(order))  # type: ignore[misc]


def run_seed(seed: int, store: Any) -> Counter[str]:
    """One history from its beginning to its end; raises Violation."""
    simulation, judge = prepared(seed, store)
    simulation.run()
    found = judge.pass_judgement()
    bills = sum(task.job in {order.marker for order in simulation.orders} for task in simulation.gateways.tasks)
    found.update({"effects": len(simulation.trace), "bills": bills, **simulation.happened})
    return found
