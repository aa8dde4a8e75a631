"""A browser, a console over jobs that stand there, and the whole stack."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from threading import BoundedSemaphore

import pytest
from browser_steps import PATIENCE_MS, launched, served, visit
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from playwright.sync_api import Browser, Page, expect, sync_playwright
from receiver_steps import AWS, BUCKET, Web, parts_over
from whole_stack import Site

from rushes.deploy.sandbox import s3
from rushes.deploy.sandbox.screenshots import BROWSERS
from rushes.deploy.sandbox.stack import Stack
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.storage.s3_clients import s3_client
from rushes.webhook_receiver import jobs_api

NONE_HERE = "no Chromium on PATH: the console's browser tests cannot run"


@pytest.fixture(scope="session", autouse=True)
def aws() -> Iterator[None]:
    """No credentials of the machine's own; most pages only ever sign for S3."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**AWS, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session", autouse=True)
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled once, and not for each app anew."""
    with pytest.MonkeyPatch.context() as patch:
        cache = FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))
        patch.setattr(Flask, "jinja_options", {"bytecode_cache": cache})
        yield


@pytest.fixture(autouse=True)
def no_streams_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_api, "STREAMS", BoundedSemaphore(jobs_api.STREAMS_MAX))


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Where Chromium is; its absence fails in CI and skips on a laptop."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(NONE_HERE)
    return str(found)


@pytest.fixture(scope="session")
def browser(browser_path: str) -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        opened = launched(playwright, browser_path)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a person of its own."""
    with visit(browser) as context:
        yield context.new_page()


@pytest.fixture
def web() -> Web:
    """The app over a ledger in memory; the bucket is only signed for."""
    return Web(parts_over(MemoryStore(), RUSHES_PUBLIC_URL=None))


@pytest.fixture
def url(web: Web) -> Iterator[str]:
    """The same app at an address."""
    with served(web) as address:
        yield address


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A real S3 API with the bucket in it."""
    with s3.running(BUCKET) as address:
        yield address


@pytest.fixture
def web_with_bucket(s3_url: str) -> Web:
    """The app over a ledger in memory and a real bucket."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
        return Web(parts_over(MemoryStore(), s3_client(), RUSHES_PUBLIC_URL=None))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The whole stack, with gateways that take two seconds for a clip."""
    with Stack(tmp_path_factory.mktemp("stack"), extra_env={"SANDBOX_TASK_SECONDS": "2"}) as stack:
        yield Site(stack)


@pytest.fixture
def web_on_public() -> Web:
    """The app at an address where gateways can call it."""
    return Web(parts_over(MemoryStore()))
