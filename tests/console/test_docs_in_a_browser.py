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


@pytest.fixture(params=["", "/films/rushes"], ids=["at the root", "under a path"])
def address(request: pytest.FixtureRequest, web: Web) -> Iterator[str]:
    """Where the app is; under a path as behind a proxy that serves it there and strips the path."""
    with served(web) as origin, proxying(request.param, strips=True) as proxy:
        proxy.upstream_port = urlsplit(origin).port or 0
        yield proxy.url


def opened(page: Page, address: str) -> tuple[list[str], list[str]]:
    """The page, with what its console says and what it asks for from now on."""
    errors, asked = complaints(page), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{address}/docs")
    expect(page.get_by_role("heading", name="Rushes")).to_be_visible()
    return errors, asked


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


def test_each_call_is_shown_and_nothing_is_asked_of_anybody_else(web: Web, address: str, page: Page) -> None:
    errors, asked = opened(page, address)
    paths = web.nobody.get("/openapi.json").json["paths"]  # type: ignore[index]
    assert {"/v1/jobs", "/metrics"} < set(paths)
    for path in paths:
        expect(page.locator(f".opblock [data-path='{path}']").first).to_be_visible()
    page.locator(".opblock-summary").first.click()
    expect(page.locator(".opblock.is-open").first).to_be_visible()
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(address).netloc}
    assert errors == []


def test_a_call_is_tried_with_a_key_and_is_refused_without(web: Web, address: str, page: Page) -> None:
    job = web.standing(State.RUNNING)
    errors, _ = opened(page, address)
    response = tried(page, "get", "/v1/jobs")
    expect(response.locator(".response-col_status")).to_contain_text("401")
    errors.clear()  # the browser says of a 401 that it was one

    authorize(page, KEYS["acme"])
    page.get_by_role("button", name="Execute").click()
    expect(response.locator(".response-col_status")).to_contain_text("200")
    expect(response).to_contain_text(job.id)
    assert errors == []


def test_the_body_that_is_offered_is_one_that_is_taken(url: str, page: Page) -> None:
    opened(page, url)
    authorize(page, KEYS["acme"])
    response = tried(page, "post", "/v1/estimates")
    expect(response.locator(".response-col_status")).to_contain_text("200")
    expect(response).to_contain_text("would_send")


def test_the_key_is_forgotten_with_the_page(url: str, page: Page) -> None:
    opened(page, url)
    authorize(page, "a secret key")
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "a secret key" not in stored
