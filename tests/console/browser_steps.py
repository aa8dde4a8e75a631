"""A real browser before the console: over a gallery of jobs that stand there, or over the whole stack."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from axe_playwright_python.base import AXE_SCRIPT
from console_steps import TOKEN
from factories import HOUR, REQUEST, link
from patience import PATIENCE_S
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, ViewportSize, expect
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
WIDE: ViewportSize = {"width": 1280, "height": 720}
NARROW: ViewportSize = {"width": 400, "height": 860}
# Only what is serious leaves the page: axe's whole report is longer than the page. `preload` is for a rule that is not.
GRAVE_FAULTS_JS = """async options => {
  const report = await axe.run(document, { resultTypes: ["violations"], preload: false, ...options });
  const grave = report.violations.filter((fault) => ["serious", "critical"].includes(fault.impact));
  const places = (fault) => JSON.stringify(fault.nodes.slice(0, 4).map((node) => node.target));
  return grave.map((fault) => `${fault.id}: ${fault.help} at ${places(fault)}`);
}"""


def launched(playwright: Playwright, path: str) -> Browser:
    return playwright.chromium.launch(executable_path=path, args=FLAGS)


@contextmanager
def visit(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """A browser of one person; `options` as Playwright takes them (viewport, color_scheme …). Nothing pulses in it:
    each frame would be drawn, for as long as the page is open."""
    with browser.new_context(reduced_motion="reduce", **options) as context:
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
    """Sign in with what the form would send, and be on the page."""
    form = TOKEN.search(page.request.get(f"{url}/sign-in", timeout=PATIENCE_MS).text())
    assert form
    fields: dict[str, str | float | bool] = {"key": key, "csrf_token": form[1]}
    answer = page.request.post(f"{url}/sign-in", form=fields, max_redirects=0, timeout=PATIENCE_MS)
    assert answer.status == 303, answer.text()
    page.goto(url + onward)


def grave_faults(page: Page, *rules: str) -> list[str]:
    """What axe-core finds serious or critical on the page as it stands, by all of its rules or by these."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    return list(page.evaluate(GRAVE_FAULTS_JS, {"runOnly": list(rules)} if rules else {}))


def reading_faults(page: Page) -> list[str]:
    """What keeps people from reading the page as it stands, on a desk in the light and on a phone in the dark."""
    faults = faults_at(page, "light", WIDE) + faults_at(page, "dark", NARROW)
    resize(page, "light", WIDE)
    return faults


def faults_at(page: Page, colors: Literal["light", "dark"], size: ViewportSize) -> list[str]:
    resize(page, colors, size)
    wide = [f"{over_px} px wider than the window"] if (over_px := overflow_px(page)) > 0 else []
    return [f"{page.url}, {colors}, {size['width']} px: {fault}" for fault in grave_faults(page) + wide]


def resize(page: Page, colors: Literal["light", "dark"], size: ViewportSize) -> None:
    page.emulate_media(color_scheme=colors)
    page.set_viewport_size(size)
    page.wait_for_function("width => innerWidth === width", arg=size["width"])


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
