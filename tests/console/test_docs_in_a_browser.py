"""The page of the API in a real browser: it shows each call, tries them with a key, and asks nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser_steps import complaints, served
from playwright.sync_api import Page, expect
from receiver_steps import KEYS, Web
from reverse_proxy import proxying

from rushes.shared.domain.job import State


@pytest.fixture
def address(web: Web) -> Iterator[str]:
    """Where the app is behind a proxy that serves it under a path and strips the path."""
    with served(web) as origin, proxying("/films/rushes", strips=True) as proxy:
        proxy.upstream_port = urlsplit(origin).port or 0
        yield proxy.url


def authorize(page: Page, key: str) -> None:
    page.get_by_role("button", name="Authorize", exact=True).click()
    dialog = page.locator(".modal-ux")
    dialog.get_by_role("textbox").fill(key)
    dialog.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close", exact=True).last.click()
    expect(dialog).to_have_count(0)


def tried(page: Page, method: str, call: str) -> Any:
    """What is shown after a call was tried as the page offers it."""
    block = page.locator(f".opblock-{method}").filter(has=page.locator(f"[data-path='{call}']"))
    block.locator(".opblock-summary").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    return block.locator(".live-responses-table .response").first


def test_under_a_path_each_call_is_shown_and_tried_and_nobody_else_is_asked_for_anything(
    web: Web, address: str, page: Page
) -> None:
    job = web.standing(State.RUNNING)
    errors, asked = complaints(page), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/docs")

    paths = web.nobody.get("/openapi.json").json["paths"]  # type: ignore[index]
    assert {"/v1/jobs", "/metrics"} < set(paths)
    for path in paths:
        expect(page.locator(f".opblock [data-path='{path}']").first).to_be_visible()

    response = tried(page, "get", "/v1/jobs")
    expect(response.locator(".response-col_status")).to_contain_text("401")

    authorize(page, KEYS["acme"])
    page.get_by_role("button", name="Execute").click()
    expect(response.locator(".response-col_status")).to_contain_text("200")
    expect(response).to_contain_text(job.id)
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(address).netloc}
    assert [error for error in errors if "401" not in error] == []  # the browser says of a 401 that it was one


def test_the_body_that_is_offered_is_taken_and_the_key_is_forgotten_with_the_page(url: str, page: Page) -> None:
    errors = complaints(page)
    page.goto(f"{url}/docs")
    authorize(page, KEYS["acme"])
    response = tried(page, "post", "/v1/estimates")
    expect(response.locator(".response-col_status")).to_contain_text("200")
    expect(response).to_contain_text("would_send")

    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert KEYS["acme"] not in stored
    assert errors == []
