"""A real browser before a proxy that serves the console under a path, with other sites beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from browser_steps import complaints, served, sign_in
from factories import REQUEST
from media_samples import picture
from patience import PATIENCE_S
from playwright.sync_api import Page, expect
from receiver_steps import BUCKET, KEYS, TEXT, Web, parts_over
from reverse_proxy import ReverseProxy, proxying

from rushes.shared.client import Client
from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.storage.s3_clients import s3_client

PREFIX = "/films/rushes"


@pytest.fixture(params=[True, False], ids=["strips the prefix", "passes it on"])
def proxy(request: pytest.FixtureRequest) -> Iterator[ReverseProxy]:
    with proxying(PREFIX, request.param) as proxy:
        yield proxy
        assert proxy.strays == []


@pytest.fixture
def web(s3_url: str, proxy: ReverseProxy) -> Iterator[Web]:
    """The app with a bucket, behind the proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
        public = {"RUSHES_PUBLIC_URL": proxy.url, "RUSHES_TRUSTED_PROXIES": "127.0.0.0/8"}
        web = Web(parts_over(MemoryStore(), s3_client(), **public, RUSHES_EGRESS_ALLOW="127.0.0.0/8"))
    with served(web) as url:
        proxy.upstream_port = urlsplit(url).port or 0
        yield web


def test_a_person_goes_through_every_page(web: Web, proxy: ReverseProxy, page: Page) -> None:
    job = web.standing(State.QUEUED, request={**REQUEST, "prompt": "a red kite"})
    unlike = web.standing(State.RUNNING, request={**REQUEST, "prompt": "a blue boat"})
    errors = complaints(page)

    page.goto(f"{proxy.url}/jobs/{job.id}")  # a link from a message, before signing in
    page.get_by_label("API key").fill(KEYS["admin"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{proxy.url}/jobs/{job.id}")
    assert {cookie["path"] for cookie in page.context.cookies()} == {PREFIX}
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("main")).to_contain_text("Canceled")

    page.get_by_role("navigation").get_by_role("link", name="Jobs").click()
    page.wait_for_url(f"{proxy.url}/")
    page.get_by_label("Text").fill("blue boat")
    page.get_by_label("Text").press("Enter")
    expect(page.get_by_role("link", name="a red kite")).to_have_count(0)
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url(f"{proxy.url}/")
    page.get_by_role("link", name="Running 1").click()
    page.wait_for_url(f"{proxy.url}/?state=open")
    page.goto(f"{proxy.url}/?text={unlike.id}")
    page.wait_for_url(f"{proxy.url}/jobs/{unlike.id}")

    page.get_by_role("navigation").get_by_role("link", name="Gateways").click()
    page.get_by_role("button", name="Pause").first.click()
    page.wait_for_url(f"{proxy.url}/gateways**")
    expect(page.get_by_role("button", name="Resume")).to_have_count(1)
    page.get_by_role("link", name="Quarantined callbacks").click()
    page.wait_for_url(f"{proxy.url}/quarantine")
    page.get_by_role("navigation").get_by_role("link", name="Spend").click()
    page.wait_for_url(f"{proxy.url}/spend")

    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{proxy.url}/sign-in")
    assert errors == []


def test_a_job_is_made_with_a_file_and_followed_until_somebody_is_signed_out(
    web: Web, proxy: ReverseProxy, page: Page
) -> None:
    errors = complaints(page)
    sign_in(page, proxy.url, onward="/new")

    page.get_by_role("radio", name="Image to video").check()
    field = page.locator("[data-upload=image_url] input[type=file]")
    field.set_input_files({"name": "me.jpg", "mimeType": "image/jpeg", "buffer": picture()})
    expect(page.locator("#f-image_url")).to_have_value(re.compile(rf"s3://{BUCKET}/inputs/.*"))
    page.get_by_label("Prompt", exact=True).fill("she turns")
    expect(page.locator("#quotes li").first).to_be_visible()
    page.get_by_role("button", name="Make the video").click()
    page.wait_for_url(f"{proxy.url}/jobs/job_*")

    (job,) = web.parts.ledger.overview.newest("acme", 9)
    page.evaluate("window.stayed = true")
    Client(proxy.url, KEYS["acme"]).cancel(job.id)
    expect(page.get_by_role("main")).to_contain_text("Canceled")  # by itself
    assert page.evaluate("window.stayed")
    assert errors == []

    page.context.clear_cookies()
    page.evaluate("rushes.refresh()")
    expect(page.get_by_role("alert")).to_contain_text("You are signed out")


def test_a_program_follows_what_it_is_told(web: Web, proxy: ReverseProxy) -> None:
    acme = {"Authorization": f"Bearer {KEYS['acme']}"}
    site = f"http://{urlsplit(proxy.url).netloc}"

    created = requests.post(f"{proxy.url}/v1/jobs", json=TEXT, headers=acme, timeout=PATIENCE_S)
    job = requests.get(site + created.headers["Location"], headers=acme, timeout=PATIENCE_S).json()
    with Client(proxy.url, KEYS["acme"]) as client:
        client.cancel(job["id"])
        followed = [event.job["status"] for event in client.events(job["id"])]

    assert followed == ["canceled"]
    running = web.standing(State.RUNNING)
    address = web.parts.callback_url(running, "apimart", running.current.number)
    assert requests.post(str(address), data="{", timeout=PATIENCE_S).status_code == 400  # a wrong token would be 404
