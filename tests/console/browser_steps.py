"""A real browser before the console: over a gallery of jobs that stand there, or over the whole stack."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from factories import HOUR, REQUEST, link
from patience import PATIENCE_S
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect
from receiver_steps import KEYS, Web
from werkzeug.serving import make_server

from rushes.shared.domain.job import Note, State

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 1000 * PATIENCE_S
expect.set_options(timeout=PATIENCE_MS)
NARROW = {"width": 400, "height": 860}


def launched(playwright: Playwright, path: str) -> Browser:
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


@contextmanager
def visit(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A browser of one person; `options` as Playwright takes them (viewport, color_scheme …)."""
    with browser.new_context(**options) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@contextmanager
def served(web: Web) -> Iterator[str]:
    """The receiver's app on a port of 127.0.0.1; gives its address."""
    server = make_server("127.0.0.1", 0, web.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sign_in(page: Page, url: str, key: str = KEYS["acme"], onward: str = "/") -> None:
    """Sign in by the form, and be on the page."""
    page.goto(f"{url}/sign-in?next={onward}")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda at: "/sign-in" not in at)


def grave_faults(page: Page, *rules: str) -> list[str]:
    """What axe-core finds serious or critical on the page as it stands, by all of its rules or by these."""
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{fault['id']}: {fault['help']} at {[node['target'] for node in fault['nodes']][:4]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def overflow_px(page: Page) -> int:
    """How far the page can be scrolled sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def complaints(page: Page) -> list[str]:
    """What the page's console will say from now on: broken scripts, and what the policy forbade."""
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    return said


def tab_to(page: Page, wanted: Callable[[Page], bool], limit: int = 60) -> None:
    """Press Tab until it is there."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        if wanted(page):
            return
    raise AssertionError("the keyboard does not get there")


def focused(page: Page) -> str:
    """The text of what has the focus."""
    return str(page.evaluate("(document.activeElement.innerText || document.activeElement.value || '').trim()"))


def gallery(web: Web) -> dict[str, str]:
    """A job in each state, and the failures that look different; name → id. Long words, as people write them."""
    now = web.parts.now()
    long = "Ein Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichen_" + "x" * 120
    asks = {"request": {**REQUEST, "prompt": long, "metadata": {"user": "mia", "a" * 60: "b" * 200}}}
    history = (Note(now, "queued"), Note(now, "submitting", "apimart"), Note(now, "unconfirmed", "https://" + "y" * 90))
    plan = {"link": link(expires_at=now + HOUR), "asked_at": now, "polls": 7, "task_id": "task_" + "9" * 60}
    shown = {state.value: web.standing(state, history=history, **asks).id for state in State}
    shown["link expires"] = web.standing(State.ARCHIVING, plan, history=history, progress=100).id
    shown["plain"] = web.standing(State.RUNNING, progress=40).id
    return shown
