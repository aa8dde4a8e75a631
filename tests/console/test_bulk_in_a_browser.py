"""All that match the list's filter, acted on from a browser."""

from __future__ import annotations

from browser_steps import reading_faults, sign_in
from playwright.sync_api import Page, expect
from receiver_steps import TEXT, Web


def test_all_that_match_are_canceled_and_the_progress_moves_by_itself(web: Web, url: str, page: Page) -> None:
    ids = [web.submitted({**TEXT, "batch": "autumn"})["id"] for _ in range(3)]
    sign_in(page, url)
    page.get_by_text("More filters").click()
    page.get_by_label("Batch").fill("autumn")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**batch=autumn**")
    page.get_by_role("link", name="Cancel…").click()
    expect(page.get_by_role("heading", name="Cancel 3 jobs")).to_be_visible()
    page.get_by_role("button", name="Cancel them").click()
    expect(page.get_by_label("Progress", exact=True)).to_contain_text("0 of 3")

    actions = web.parts.ledger.bulk_actions
    (begun,) = actions.newest("acme", 9)
    planned = actions.plan(begun, ids, begun.bound)
    assert planned
    actions.advance(planned, ids[0], "canceled")
    expect(page.get_by_label("Progress", exact=True)).to_contain_text("1 of 3")
    page.get_by_role("button", name="Abort").click()
    expect(page.get_by_label("Progress", exact=True)).to_contain_text("Aborted")
    assert reading_faults(page) == []
