"""A few plain lives of a job, to be broken off at each of their effects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from batch_orders import BatchOrder
from bulk_orders import BulkOrder
from judge import Judge
from model_gateways import SubmitCase
from seeds import CALLER
from simulation import FaultPlan, Order, Simulation, motion, text

BOTH = ["apimodels", "newapi"]
SOON = SubmitCase(lasts_s=2)


@dataclass(frozen=True)
class Scenario:
    """One job; `behaviours` apply to its submits in turn, `odd` is the first wrong answer at a stage."""

    order: Callable[[], Order]
    behaviours: tuple[SubmitCase, ...] = ()
    odd: tuple[str, str] = ("", "")
    calls_at_ms: tuple[int, ...] = (1, 500)
    """When callbacks arrive, counted from the end of the task."""
    messages_after_ms: tuple[int, ...] = (0,)
    """When the broker delivers each of its messages, counted from when it got it."""
    cancel_at_ms: int = 0
    forge_at_ms: int = 0
    state: str = "completed"
    batch_of: int = 0
    """So many of these jobs in one batch, instead of one alone."""
    terms: Mapping[str, Any] = field(default_factory=dict)
    """The fields of the batch."""
    jobs: int = 1
    """So many of these jobs of one tenant, each alone."""
    bulk: BulkOrder | None = None
    ends: Mapping[str, int] = field(default_factory=dict)
    """How many end in which state, where that is not one in `state`."""


def order(make: Callable[..., Order], **fields: Any) -> Callable[[], Order]:
    return lambda: make("order-0", **fields)


SCENARIOS: dict[str, Scenario] = {
    "polled": Scenario(order(text, provider="newapi")),
    "called back": Scenario(order(text, provider="apimodels")),
    "called back before the answer": Scenario(order(text, provider="apimodels"), calls_at_ms=(-2000, 1)),
    "refused, then the next": Scenario(order(text, provider=BOTH), (SubmitCase("odd"),)),
    "answer lost, called back": Scenario(order(text, provider="apimodels"), (SubmitCase("garbage", lasts_s=2),)),
    "answer lost, asked again": Scenario(order(motion, provider="apimart"), (SubmitCase("garbage", lasts_s=2),)),
    "answer lost, asked again in vain": Scenario(
        order(motion, provider=["apimart", "apimodels"]),
        (*[SubmitCase("garbage")] * 6, SubmitCase("broke")),
        state="held",
    ),
    "answer lost, found by our own id": Scenario(order(text, provider="kling"), (SubmitCase("garbage", lasts_s=2),)),
    "answer lost, not taken, sent again": Scenario(order(text, provider="kling"), (SubmitCase("proxy", takes=False),)),
    "answer lost, shown late": Scenario(
        order(text, provider=["kling", "apimodels"]), (SubmitCase("garbage", lasts_s=200, late_s=200),)
    ),
    "answer lost, held": Scenario(order(text, provider="newapi"), (SubmitCase("proxy", takes=False),), state="held"),
    "answer lost, forged, called back": Scenario(
        order(text, provider="apimodels"), (SubmitCase("garbage", lasts_s=8),), forge_at_ms=2000
    ),
    "every message twice": Scenario(order(text, provider="newapi"), messages_after_ms=(0, 11_000)),
    "failed there, then the next": Scenario(order(text, provider=BOTH), (SubmitCase(lasts_s=2, fails=True),)),
    "canceled": Scenario(
        order(text, provider="newapi"), (SubmitCase("rate"),) * 2, cancel_at_ms=1500, state="canceled"
    ),
    "archived at the second try": Scenario(order(text, provider="newapi"), odd=("download", "cut")),
    "link dead": Scenario(order(text, provider="newapi"), (SubmitCase(lasts_s=2, dead_links=1),)),
    "a batch over its budget": Scenario(
        order(text, provider="apimodels"),
        batch_of=2,
        terms={"max_cost_usd": "0.20", "callback_url": CALLER},
        ends={"completed": 1, "canceled": 1},
    ),
    "a bulk cancel": Scenario(
        order(text, provider="newapi", not_before="2026-09-21T18:00:00Z"),
        jobs=2,
        bulk=BulkOrder("cancel", {"status": "queued"}),
        state="canceled",
    ),
    "a bulk retry": Scenario(
        order(text, provider="newapi"),
        (SubmitCase(lasts_s=2, fails=True),),
        bulk=BulkOrder("retry", {"status": "failed"}, at_ms=30_000),
        ends={"failed": 1, "completed": 1},
    ),
    "caller told at the second try": Scenario(order(text, provider="newapi", callback_url=CALLER), odd=("tell", "500")),
}
# What is done to one effect.
MODES = ("die before", "die after", "lost", "refused", "freeze", "slow")


def prepared_scenario(scenario: Scenario, store: Any, fate: Callable[[str, str], str]) -> tuple[Simulation, Judge]:
    """The scenario, ready to run."""
    bulks = [replace(scenario.bulk)] if scenario.bulk else []
    simulation = Simulation(store, 7, FaultPlan(), *_wanted(scenario), bulks)
    behaviours, odd = list(scenario.behaviours), [scenario.odd]
    simulation.fate, simulation.how_long = fate, max
    simulation.gateways.behaviour = lambda gateway, job: behaviours.pop(0) if behaviours else SOON
    simulation.gateways.wrong_answer = lambda stage: odd.pop()[1] if odd and odd[0][0] == stage else ""
    simulation.callback_times = lambda task: [task.ends_at + ms for ms in scenario.calls_at_ms]
    simulation.broker = lambda: list(scenario.messages_after_ms)
    if any(behaviour.fails for behaviour in scenario.behaviours):
        for order in simulation.orders:
            simulation.excuses[order.marker].add("failed")
    first = simulation.orders[0]
    for at_ms, act in ((scenario.cancel_at_ms, simulation.cancel), (scenario.forge_at_ms, simulation.forge)):
        if at_ms:
            simulation.at(simulation.now + at_ms, partial(act, first))
    return simulation, Judge(simulation)


def _wanted(scenario: Scenario) -> tuple[list[Order], list[BatchOrder]]:
    first = scenario.order()
    if not scenario.batch_of:
        return [Order(marker, {**first.body, "prompt": marker}) for marker in _markers(2 * scenario.jobs)[::2]], []
    orders = [Order(marker, {**first.body, "prompt": marker}) for marker in _markers(scenario.batch_of)]
    return [], [BatchOrder("batch-0", orders, dict(scenario.terms))]


def _markers(count: int) -> list[str]:
    return [f"order-{number}" for number in range(count)]


def effects(scenario: Scenario, store: Any) -> list[str]:
    """Every effect of the scenario where nothing goes wrong."""
    simulation, judge = prepared_scenario(scenario, store, lambda part, name: "")
    simulation.run()
    assert judge.pass_judgement() == (dict(scenario.ends) or {scenario.state: scenario.jobs})
    return simulation.trace


def broken(scenario: Scenario, store: Any, at: int, mode: str) -> Simulation:
    """The scenario with this one fault at its effect number `at`; raises Violation."""
    seen = iter(range(1 << 30))
    simulation, judge = prepared_scenario(scenario, store, lambda part, name: mode if next(seen) == at else "")
    simulation.run()
    judge.pass_judgement()
    return simulation
