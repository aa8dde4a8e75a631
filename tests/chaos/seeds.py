"""What a seed stands for: a climate, a few jobs, and the whims of the gateways. `play(seed, store)` is one history."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from judge import Judge
from model_gateways import DOUBTFUL, REFUSALS, Whim
from simulation import FATES, Climate, Order, Simulation, motion, text

BOTH = ["newapi", "apimodels"]
CALLER = "https://caller.example/heard"


def climate(luck: random.Random) -> Climate:
    parts = tuple(FATES) if luck.random() < 0.6 else tuple(luck.sample(list(FATES), 2))
    return Climate(
        faults=luck.choice((0, 2, 4, 8, 14)),
        rate=luck.choice((0.02, 0.05, 0.1, 0.25)),
        restless=luck.choice((0.1, 0.5, 1.0)),
        parts=parts,
        workers=luck.choice((2, 3)),
        resubmit=luck.random() < 0.1,
    )


def orders(luck: random.Random) -> list[Order]:
    return [_order(luck, f"order-{number}") for number in range(luck.choice((1, 1, 2, 2, 3, 4)))]


def _order(luck: random.Random, marker: str) -> Order:
    told = {"callback_url": CALLER} if luck.random() < 0.3 else {}
    if luck.random() < 0.35:
        return motion(marker, provider=luck.choice(["apimart", ["apimart", "apimodels"]]), **told)
    return text(
        marker, provider=luck.choice(["newapi", "apimodels", ["newapi", "apimodels"], ["apimodels", "newapi"]]), **told
    )


class Moods:
    """The gateways' own faults, a few a seed."""

    def __init__(self, simulation: Simulation, luck: random.Random) -> None:
        self.simulation, self.luck = simulation, luck
        self.left = luck.choice((0, 0, 2, 5))

    def _odd(self, likely: float) -> bool:
        strikes = self.left > 0 and self.luck.random() < likely
        self.left -= strikes
        return strikes

    def whim(self, gateway: str, job: str) -> Whim:
        word, takes = "", True
        if self._odd(0.4):
            word = self.luck.choice([*REFUSALS, *DOUBTFUL, *DOUBTFUL])
            takes = word in ("garbage", "nameless") or self.luck.random() < 0.5
        fails = self._odd(0.2)
        if fails:
            self.simulation.excuses[job].add("failed")
        lasts_s = self.luck.choice((0, 0.05, 2, 10, 60, 200))
        return Whim(word, takes, lasts_s, fails, self.luck.choice((1, 2)) if self._odd(0.1) else 0)

    def oddity(self, stage: str) -> str:
        words = {"query": ("404", "500", "garbage", "401", "429", "word"), "download": ("cut", "page", "busy")}
        return self.luck.choice(words.get(stage, ("500",))) if self._odd(0.2) else ""


def prepared(seed: int, store: Any) -> tuple[Simulation, Judge]:
    luck = random.Random(f"seed {seed}")
    simulation = Simulation(store, seed, climate(luck), orders(luck))
    moods = Moods(simulation, luck)
    simulation.gateways.whim, simulation.gateways.oddity = moods.whim, moods.oddity
    _disturb(simulation, luck)
    return simulation, Judge(simulation)


def _disturb(simulation: Simulation, luck: random.Random) -> None:
    """A caller who changes his mind, a forger who knows a task's name."""
    for order in simulation.orders:
        if luck.random() < 0.15:
            moment = simulation.now + luck.choice((1, 50, 1000, 20_000))
            simulation.at(moment, lambda order=order: simulation.cancel(order))  # type: ignore[misc]
        for _ in range(luck.choice((0, 0, 0, 2))):
            moment = simulation.now + luck.choice((100, 300, 1000, 3000, 16_000, 40_000))
            simulation.at(moment, lambda order=order: simulation.forge(order))  # type: ignore[misc]


def play(seed: int, store: Any) -> Counter[str]:
    """One history from its beginning to its end; raises Violation."""
    simulation, judge = prepared(seed, store)
    simulation.run()
    found = judge.pass_judgement()
    bills = sum(task.job in {order.marker for order in simulation.orders} for task in simulation.gateways.tasks)
    found.update({"effects": len(simulation.trace), "bills": bills, **simulation.happened})
    return found
