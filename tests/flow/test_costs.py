"""What it cost: the gateways' books and ours agree to the cent, and what differs from the estimate is told."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from world import World

from rushes.deploy.sandbox.gateways import apimart, newapi
from rushes.shared.domain import counters
from rushes.shared.domain.job import Job, State
from rushes.shared.operations.auditor import whole_round

TELLING = ("apimart", "newapi")


def entry(gateway: str, model: str, usd_per_s: Decimal) -> str:
    return f'[[price]]\ngateway = "{gateway}"\nmodel = "{model}"\nusd_per_second = "{usd_per_s}"\n'


@pytest.fixture
def world(open_world: Callable[..., World], tmp_path: Path) -> World:
    """A price table that agrees with the gateways' own."""
    prices = tmp_path / "prices.toml"
    prices.write_text(
        'version = "flow"\n'
        + entry("apimart", "kling-v3-motion-control", apimart.MOTION_USD_PER_S["kling-v3-motion-control", "std"])
        + entry("newapi", "kling-v3", newapi.USD_PER_S["std"])
    )
    return open_world(RUSHES_PRICES_FILE=str(prices)).begin_a_day()


def finished(world: World, gateway: str) -> Job:
    return world.finish(world.submit(world.request_for(gateway)))


def usage(world: World) -> list[dict[str, Any]]:
    return list(world.api("GET", "/v1/usage", key="admin-key").json["data"])


def billed_usd(world: World) -> Decimal:
    return sum((Decimal(bill["usd"]) for bill in world.bills()), Decimal(0))


@pytest.mark.parametrize("factor", [0.5, 1.5, 1.013])
@pytest.mark.parametrize("gateway", [*TELLING, "kling"])
def test_usage_is_what_the_gateway_billed_whatever_was_estimated(world: World, gateway: str, factor: float) -> None:
    world.fault(gateway, "cost_off", factor=factor)
    job, second = finished(world, gateway), finished(world, gateway)

    document = world.api("GET", f"/v1/jobs/{job.id}").json
    (line,) = usage(world)
    assert document["attempts"][0]["cost_source"] == "reported"
    assert Decimal(document["cost_usd"]) == Decimal(world.bills()[0]["usd"])
    assert Decimal(line["cost_usd"]) == Decimal(line["reported_cost_usd"]) == billed_usd(world)
    assert Decimal(line["estimated_cost_usd"]) == Decimal(second.current.estimated_usd or 0) * 2
    (held,) = world.ledger.totals.committed(line["day"]).values()
    assert Decimal(int(held)).scaleb(-8) == billed_usd(world)


@pytest.mark.parametrize("gateway", TELLING)
def test_a_bill_that_differs_is_told_by_its_kind_of_work(world: World, gateway: str) -> None:
    finished(world, gateway)
    world.fault(gateway, "cost_off", factor=1.5)
    job = finished(world, gateway)

    request = world.request_for(gateway)
    (line,) = usage(world)
    (difference,) = line["differences"]
    assert (difference["model"], difference["mode"], difference["sound"]) == (request["model"], "std", "silent")
    assert (line["jobs"], difference["jobs"]) == (2, 1)
    assert Decimal(difference["estimated_cost_usd"]) * Decimal("1.5") == Decimal(difference["billed_cost_usd"])
    assert Decimal(difference["billed_cost_usd"]) == job.current.cost_usd
    labels = f'gateway="{gateway}",mode="std",model="{request["model"]}",sound="silent"'
    metrics = world.api("GET", "/metrics").text
    for verdict in ("agrees", "differs"):
        assert f'rushes_bills_total{{{labels},verdict="{verdict}"}} 1.0\n' in metrics
    assert f"rushes_bill_ratio{{{labels}}} 1.25\n" in metrics
    estimates = world.api("POST", "/v1/estimates", request).json["data"]
    told = next(estimate for estimate in estimates if estimate["provider"] == gateway)
    assert (told["recent_bills"]["count"], told["recent_bills"]["mean_ratio"]) == (2, "1.25")
    expected = Decimal(told["recent_bills"]["expected_cost_usd"])
    assert expected == Decimal(told["estimated_cost_usd"]) * Decimal("1.25")
    assert all(each["recent_bills"] is None for each in estimates if each["provider"] != gateway)


@pytest.mark.parametrize("gateway", [*TELLING, "evolink"])
def test_a_clip_whose_gateway_tells_no_cost_is_settled_by_what_was_made(world: World, gateway: str) -> None:
    world.fault(gateway, "cost_untold")
    job = finished(world, gateway)

    (line,) = usage(world)
    assert job.current.cost_source == "settled"
    assert job.current.cost_usd
    assert (line["reported_cost_usd"], Decimal(line["cost_usd"])) == ("0", job.current.cost_usd)


@pytest.mark.parametrize(("refund", "source"), [(True, "reported"), (False, "reported")])
def test_a_failed_task_costs_what_the_gateway_kept(world: World, refund: bool, source: str) -> None:
    world.fault("newapi", "fail_task", refund=refund)
    job = finished(world, "newapi")

    (line,) = usage(world)
    assert (job.state, job.current.cost_source) == (State.FAILED, source)
    assert Decimal(line["cost_usd"]) == Decimal(line["wasted_cost_usd"]) == billed_usd(world)
    assert (billed_usd(world) == 0) is refund


def test_what_evolink_reserves_is_compared_and_is_no_cost(world: World) -> None:
    world.fault("evolink", "cost_off", factor=2)
    job = finished(world, "evolink")

    (line,) = usage(world)
    (difference,) = line["differences"]
    assert job.current.cost_source == "settled"
    assert job.current.reserved_usd == billed_usd(world)
    assert Decimal(difference["billed_cost_usd"]) == billed_usd(world)
    assert Decimal(line["cost_usd"]) * 2 == billed_usd(world)


def test_the_audit_of_the_counters_holds_over_reported_costs(world: World) -> None:
    for gateway in (*TELLING, "evolink"):
        world.fault(gateway, "cost_off", factor=1.7)
        finished(world, gateway)
    day = counters.day_of(world.clock())
    world.advance(86_400)
    clean = whole_round(world.services, repair=False)
    field = next(field for field in world.ledger.totals.usage(day) if field.endswith("reported"))
    world.ledger.store.increase(f"{{rushes}}:usage:{day}", {field: 1})

    assert clean == []
    assert [finding.what for finding in whole_round(world.services, repair=False)] == ["money"]


def test_a_step_that_a_worker_did_twice_counts_its_bill_once(world: World) -> None:
    world.fault("apimart", "cost_off", factor=1.5)
    job_id = world.submit(world.request_for("apimart"))
    world.until(job_id, State.RUNNING)
    with world.after(world.ledger, "apply_all", world.die):
        world.run_until(lambda: world.job(job_id).state is State.ARCHIVING)
    world.finish(job_id)

    assert [line["differences"][0]["jobs"] for line in usage(world)] == [1]
    assert Decimal(usage(world)[0]["cost_usd"]) == billed_usd(world)
