"""The gateways and the spending as people look at them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from browser_steps import complaints, reading_faults, sign_in
from factories import DAY, NOW
from playwright.sync_api import Page, expect
from receiver_steps import GATEWAYS, KEYS, Web, parts_over

from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.operations import alerts


@pytest.fixture
def web() -> Web:
    """A month of work, with a gateway in each kind of trouble."""
    accounts = {"KLING_API_KEY": None, "KLING_API_KEYS": "main:key-1,second:key-2,old:key-3:drain"}
    web = Web(parts_over(MemoryStore(), RUSHES_DAILY_BUDGET_USD="3", **accounts))
    for at, provider in enumerate(GATEWAYS * 5):
        plan = {"provider": provider, "cost_usd": Decimal(at + 3) / 10, "submitted_at": NOW - at * DAY}
        asked = {"callback": True, "heard_by": "poll", "estimated_usd": Decimal("1.5")}
        web.standing(State.FAILED if at % 7 == 3 else State.COMPLETED, {**plan, **asked})
    web.parts.ledger.gateways.strike("apimart", Reason.BALANCE, None, web.parts.now())
    web.parts.ledger.gateways.pause("newapi", "operator", NOW + 999 * DAY)
    web.running("evolink")
    return web


@pytest.fixture
def admin(page: Page, url: str) -> Page:
    sign_in(page, url, KEYS["admin"], onward="/gateways")
    return page


def test_a_gateway_is_paused_and_resumed_by_its_button(admin: Page, web: Web) -> None:
    admin.get_by_role("button", name="Pause evolink").click()
    expect(admin.get_by_role("status").filter(has_text="It gets no new jobs")).to_be_visible()
    assert web.parts.ledger.gateways.health("evolink")["why"] == "operator"

    admin.get_by_role("button", name="Resume evolink").press("Enter")
    expect(admin.get_by_role("button", name="Pause evolink")).to_be_visible()
    assert web.parts.ledger.gateways.paused_until("evolink") == 0


def test_what_happens_meanwhile_shows_by_itself(admin: Page, web: Web) -> None:
    place = admin.locator('[data-key="evolink"]')
    expect(place).to_contain_text("1 of 20")
    web.running("evolink")
    admin.evaluate("rushes.refresh()")
    expect(place).to_contain_text("2 of 20")


def test_the_pages_can_be_read(admin: Page, web: Web) -> None:
    alerts.turn(web.parts)
    errors = complaints(admin)
    admin.reload()
    faults = reading_faults(admin)
    admin.get_by_role("link", name="Spend").click()
    admin.get_by_text("As a table").click()
    faults += reading_faults(admin)
    assert (faults, errors) == ([], [])
    admin.get_by_role("link", name="Alerts").click()
    expect(admin.get_by_text("apimart gets no new jobs: insufficient_balance.")).to_be_visible()


def test_the_days_are_chosen_by_the_keyboard(admin: Page) -> None:
    admin.goto(admin.url.replace("/gateways", "/spend"))
    admin.get_by_role("link", name="7 days").press("Enter")
    admin.wait_for_url("**/spend?from=2026-09-15&to=2026-09-21")
    assert admin.locator(".chart .day").count() == 7
    expect(admin.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
