"""The console by its keys: they move, search and lead on, and none acts while somebody types."""

from __future__ import annotations

from browser_steps import complaints, focused, grave_faults, sign_in
from factories import REQUEST
from playwright.sync_api import Page, expect
from receiver_steps import Web

from rushes.shared.domain.job import State


def test_keys_move_in_the_list_open_a_job_and_lead_to_pages(web: Web, url: str, page: Page) -> None:
    for prompt in ("the older", "the newer"):
        web.standing(State.COMPLETED, request={**REQUEST, "prompt": prompt})
    errors = complaints(page)
    sign_in(page, url)

    seen = []
    for key in ("j", "j", "j", "k", "k"):
        page.keyboard.press(key)
        seen.append(focused(page))
    assert seen == ["the newer", "the older", "the older", "the newer", "the newer"]
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")  # the whole page: its keys act once its script has run
    expect(page.get_by_role("heading", level=1)).to_have_text("the newer")

    page.keyboard.press("/")  # this page has no search of its own
    expect(page).to_have_url(f"{url}/")
    expect(page.get_by_label("Text")).to_be_focused()
    page.keyboard.type("gsj?")  # typed, and nothing else
    assert page.get_by_label("Text").input_value() == "gsj?"
    page.get_by_label("Text").blur()
    press_at_once(page, "gs")
    expect(page).to_have_url(f"{url}/spend")
    assert [error for error in errors if "net::ERR_" not in error] == []


def press_at_once(page: Page, keys: str) -> None:
    """Press these keys with nothing between them: the second of a pair counts only for 1.5 s, which a busy machine may
    take from one of Playwright's keys to the next."""
    page.evaluate(
        """keys => {
          for (const key of keys) document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        }""",
        keys,
    )


def test_help_lists_the_keys_and_can_switch_them_off(web: Web, url: str, page: Page) -> None:
    sign_in(page, url)

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert grave_faults(page) == []
    page.get_by_label("Keys act on their own").uncheck()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)

    page.goto(f"{url}/alerts")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Keys").click()
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
