"""The page of the spending: its figures, and where its bars stand."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from factories import DAY, NOW
from form_steps import Visitor
from receiver_steps import Web

from rushes.shared.domain.job import CostSource, State
from rushes.webhook_receiver.console import spend

TODAY = "2026-09-21"


def made(
    web: Web, provider: str, cost: str | None, days_ago: int = 0, failed: bool = False, tenant: str = "acme"
) -> None:
    plan = {
        "provider": provider,
        "estimated_usd": Decimal("0.5"),
        "cost_usd": Decimal(cost) if cost else None,
        "made_s": Decimal(5),
        "submitted_at": NOW - days_ago * DAY,
    }
    web.standing(State.FAILED if failed else State.COMPLETED, plan, tenant=tenant)


@pytest.fixture
def spent(web: Web) -> Web:
    made(web, "evolink", "0.40")
    made(web, "evolink", "0.333", days_ago=1)
    made(web, "newapi", "0.25", days_ago=1)
    made(web, "newapi", "0.10", days_ago=1, failed=True)
    made(web, "apimart", None, days_ago=29)
    made(web, "apimart", "9", days_ago=30)
    made(web, "evolink", "7", tenant="other")
    return web


def exact(page: str) -> list[Decimal]:
    """Every amount that the page rounds, as it is."""
    return [Decimal(amount) for amount in re.findall(r'title="\$([\d.]+)"', page)]


def rows(page: str, label: str) -> dict[str, list[Decimal]]:
    """A table's rows: name → estimated, actual and, where there is some, wasted."""
    body = page.split(f'aria-label="{label}"')[1].split("</table>")[0]
    return {
        re.sub("<[^>]*>", "", row.split("</th>")[0]).strip(): exact(row)
        for row in re.findall(r'<tr><th scope="row">(.*?)</tr>', body, re.DOTALL)
    }


def test_the_last_thirty_days_are_summed_up(spent: Web) -> None:
    page = Visitor(spent).page("/spend")
    actual, estimated, wasted = exact(page)[:3]
    assert (actual, estimated, wasted) == (Decimal("1.083"), Decimal("2.5"), Decimal("0.1"))


@pytest.mark.parametrize("label", ["Spending by gateway", "Spending by day"])
def test_every_table_adds_up_to_the_same(spent: Web, label: str) -> None:
    found = rows(Visitor(spent).page("/spend"), label)
    together = found.pop("Total")
    assert sum(row[0] for row in found.values()) == together[0] == Decimal("2.5")
    assert sum(row[1] for row in found.values()) == together[1] == Decimal("1.083")
    assert sum(row[2] for row in found.values() if len(row) > 2) == together[2] == Decimal("0.1")


def test_the_plot_shows_what_the_table_says(spent: Web) -> None:
    with spent.app.app_context():
        lines = [line for day in ("2026-09-20", TODAY) for line in spend.gateways_api.usage_entries(day, "acme")]
    drawn = spend.chart(["2026-09-20", TODAY], lines, ["evolink", "newapi"])
    first, second = drawn.days
    unit = first.bars[0].height / first.bars[0].usd
    assert [bar.gateway for bar in first.bars] == ["evolink", "newapi"]
    assert round(sum(bar.height for bar in first.bars), 9) == round(first.total.actual_usd * unit, 9)
    assert round(first.bars[1].top + first.bars[1].height, 9) == round(first.bars[0].top, 9)
    assert round(first.waste_height, 9) == round(Decimal("0.1") * unit, 9)
    assert second.waste_height == 0
    assert all(bar.top >= 0 for day in drawn.days for bar in day.bars)
    assert all(day.estimate_at >= spend.ABOVE for day in drawn.days)


@pytest.mark.parametrize("most", ["0.00000001", "0.07", "1", "3.3", "99", "12345.67"])
def test_the_axis_has_round_amounts_and_reaches_over_the_highest_bar(most: str) -> None:
    line = {
        **dict.fromkeys(("jobs", "completed", "failed", "unpriced_jobs", "seconds"), 0),
        "estimated_cost_usd": "0",
        "cost_usd": most,
        "reported_cost_usd": "0",
        "wasted_cost_usd": "0",
        "day": TODAY,
        "provider": "evolink",
    }
    ticks = spend.chart([TODAY], [line], ["evolink"]).ticks
    assert 3 <= len(ticks) <= 6
    assert ticks[-1][0] >= Decimal(most) > ticks[-2][0]


def test_a_plot_of_nothing_still_stands() -> None:
    drawn = spend.chart([TODAY], [], [])
    assert drawn.days[0].bars == []
    assert drawn.ticks


def test_days_are_chosen_by_the_address(spent: Web) -> None:
    visitor = Visitor(spent)
    assert exact(visitor.page(f"/spend?from={TODAY}&to={TODAY}"))[0] == Decimal("0.4")
    assert "Nothing was sent" in visitor.page("/spend?from=2026-01-01&to=2026-01-02")
    for query in ("from=yesterday", "from=2026-09-22&to=2026-09-21", "from=0001-01-01"):
        assert visitor.client.get(f"/spend?{query}").status_code == 422


def test_a_tenant_sees_what_it_spent_and_the_admin_what_each_did(spent: Web) -> None:
    acme, admin = Visitor(spent).page("/spend"), Visitor(spent, "admin").page("/spend")
    assert "By tenant" not in acme
    assert exact(admin)[0] == Decimal("8.083")
    assert rows(admin, "Spending by tenant")["other"][1] == 7


def test_a_job_without_a_price_is_told_of(web: Web) -> None:
    web.standing(State.RUNNING, {"provider": "evolink", "estimated_usd": None, "submitted_at": NOW})
    assert "1 of the jobs have no price" in Visitor(web).page("/spend")


def billed(web: Web, provider: str, cost: str, **request: object) -> None:
    plan = {
        "provider": provider,
        "estimated_usd": Decimal("0.5"),
        "cost_usd": Decimal(cost),
        "cost_source": CostSource.REPORTED,
        "submitted_at": NOW,
    }
    web.standing(State.COMPLETED, plan, request={"model": "kling-v3", "mode": "std", **request})


def test_bills_that_differ_from_their_estimates_are_shown_by_kind_of_work(web: Web) -> None:
    for cost in ("0.51", "0.75", "0.85"):
        billed(web, "newapi", cost)
    billed(web, "apimart", "0.25", mode="pro", sound=True)
    page = Visitor(web).page("/spend")
    table = page.split('aria-label="Bills that differ from estimates"')[1].split("</table>")[0]
    found = [re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", row)).strip() for row in table.split("<tr>")[2:]]

    assert found == [
        "apimart kling-v3, pro, with sound $0.50 $0.25 -50 % 1",
        "newapi kling-v3, std $1.00 $1.60 +60 % 2",
    ]
    assert "$2.36</span> reported" in page


def test_where_bills_agree_nothing_is_said_of_them(web: Web) -> None:
    billed(web, "newapi", "0.51")
    made(web, "evolink", "0.9")
    assert "Bills that differ" not in Visitor(web).page("/spend")
