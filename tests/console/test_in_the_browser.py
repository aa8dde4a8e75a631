"""The console in a real browser: it moves by itself, keeps what people are at, and is there for everybody."""

from __future__ import annotations

import re

from browser_steps import (
    NARROW,
    complaints,
    focused,
    gallery,
    overflow_px,
    reading_faults,
    sign_in,
    tab_to,
    visit,
)
from console_steps import asking_for
from factories import attempt, failed
from playwright.sync_api import Browser, Page, expect
from receiver_steps import KEYS, TEXT, Web

from rushes.shared.domain import events
from rushes.shared.domain.alerts import CODES, CRITICAL, Alert, Episode
from rushes.shared.domain.job import Error, State

STAYED = "window.stayed = true"


def stayed(page: Page) -> bool:
    """Whether the page was not loaded anew since STAYED."""
    return bool(page.evaluate("window.stayed === true"))


def test_a_job_that_comes_in_appears_by_itself_and_moves_on(web: Web, url: str, page: Page) -> None:
    sign_in(page, url)
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
    page.evaluate(STAYED)

    job = web.standing(State.QUEUED, **asking_for("a red kite"))
    row = page.get_by_role("listitem").filter(has_text="a red kite")
    expect(row).to_contain_text("Queued")
    web.parts.ledger.apply(job.id, events.Barred(Error("provider_error", "no luck")), web.parts.now())

    expect(row).to_contain_text("Failed")
    expect(page.get_by_role("link", name="Failed 1")).to_be_visible()
    assert stayed(page)


def test_what_somebody_types_and_where_they_are_outlives_the_refreshes(web: Web, url: str, page: Page) -> None:
    web.standing(State.RUNNING, **asking_for("an old job"))
    sign_in(page, url)
    page.get_by_label("Text").fill("half a wo")
    page.get_by_role("link", name="an old job").focus()

    web.standing(State.QUEUED, **asking_for("a new job"))
    page.evaluate("rushes.refresh()")
    expect(page.get_by_role("link", name="a new job")).to_be_visible()

    assert focused(page) == "an old job"
    assert page.get_by_label("Text").input_value() == "half a wo"


def test_a_half_made_decision_outlives_the_refreshes(web: Web, url: str, page: Page) -> None:
    job = web.standing(State.UNCONFIRMED)
    sign_in(page, url, onward=f"/jobs/{job.id}")
    page.get_by_label("Fail it").check()
    page.get_by_label("The task's id").fill("task-half")

    page.evaluate("rushes.refresh()")
    page.evaluate("rushes.refresh()")

    assert page.get_by_label("Fail it").is_checked()
    assert page.get_by_label("The task's id").input_value() == "task-half"


def test_who_is_signed_out_meanwhile_is_told(web: Web, url: str, page: Page) -> None:
    sign_in(page, url)

    page.context.clear_cookies()

    expect(page.get_by_role("alert")).to_contain_text("You are signed out")


def test_a_receiver_that_is_away_is_said_so_and_the_page_goes_on_when_it_is_back(
    web: Web, url: str, page: Page
) -> None:
    sign_in(page, url)

    page.route(f"{url}/", lambda route: route.abort())
    expect(page.get_by_role("status").first).to_contain_text("Out of reach")
    page.unroute(f"{url}/")

    expect(page.get_by_role("status").first).to_contain_text("Live")


def test_cancel_retry_and_resolve_from_the_page(web: Web, url: str, page: Page) -> None:
    queued, unconfirmed = web.standing(State.QUEUED), web.standing(State.UNCONFIRMED)
    failed_id = web.submitted()["id"]
    web.parts.ledger.apply(failed_id, events.Barred(Error("provider_error", "no luck")), web.parts.now())
    sign_in(page, url)

    page.goto(f"{url}/jobs/{queued.id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("nothing was paid").first).to_be_visible()
    page.goto(f"{url}/jobs/{failed_id}")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("This is the new job.")).to_be_visible()
    page.goto(f"{url}/jobs/{unconfirmed.id}")
    page.get_by_label("The task's id").fill("task-9")
    page.get_by_label("I have looked it up").check()
    page.get_by_role("button", name="Resolve").click()
    expect(page.get_by_text("Decided.")).to_be_visible()

    assert web.now(queued.id).state is State.CANCELED
    assert web.now(unconfirmed.id).current.task_id == "task-9"
    expect(page).not_to_have_url(re.compile("done="))  # the script takes it away after the page is shown


def test_a_decision_is_not_sent_before_somebody_says_that_they_looked(web: Web, url: str, page: Page) -> None:
    job = web.standing(State.UNCONFIRMED)
    sign_in(page, url, onward=f"/jobs/{job.id}")

    page.get_by_label("Fail it").check()
    page.get_by_role("button", name="Resolve").click()

    expect(page.get_by_label("I have looked it up")).to_be_focused()
    assert page.get_by_label("I have looked it up").evaluate("box => !box.validity.valid")
    assert web.now(job.id) == job


def test_the_keyboard_alone_signs_in_finds_a_job_and_cancels_it(web: Web, url: str, page: Page) -> None:
    job = web.standing(State.QUEUED, **asking_for("to be canceled"))
    page.goto(f"{url}/")
    expect(page.get_by_label("API key")).to_be_focused()  # before that nothing takes what is typed
    page.keyboard.type(KEYS["acme"])
    expect(page.get_by_label("API key")).to_have_value(KEYS["acme"])
    page.keyboard.press("Enter")
    page.wait_for_url(f"{url}/")

    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    tab_to(page, lambda at: focused(at) == "to be canceled")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*")
    tab_to(page, lambda at: focused(at) == "Cancel")
    page.keyboard.press("Enter")

    expect(page.get_by_text("nothing was paid").first).to_be_visible()
    assert web.now(job.id).state is State.CANCELED


def test_what_has_the_focus_is_seen(web: Web, url: str, page: Page) -> None:
    web.standing(State.QUEUED)
    sign_in(page, url)

    outlines = []
    for _ in range(12):
        page.keyboard.press("Tab")
        outlines.append(
            page.evaluate(
                "[getComputedStyle(document.activeElement), getComputedStyle(document.activeElement, '::after')]"
                ".some(style => style.outlineStyle !== 'none')"
            )
        )

    assert all(outlines)


def test_every_page_can_be_read_in_the_light_in_the_dark_and_on_a_phone_and_asks_for_nothing_forbidden(
    web: Web, url: str, page: Page
) -> None:
    paths = different_pages(web, url, page)
    errors, faults = complaints(page), list[str]()
    for path in paths:
        page.goto(url + path)
        faults += reading_faults(page)

    assert faults == []
    # The bucket of this test is nowhere, which is no fault of the page.
    assert [error for error in errors if "net::ERR_" not in error and "404" not in error] == []


def test_at_400_px_no_job_is_wider_than_the_window(web: Web, url: str, page: Page) -> None:
    sign_in(page, url, KEYS["admin"])
    page.set_viewport_size(NARROW)
    wide = {}
    for name, job_id in gallery(web).items():
        page.goto(f"{url}/jobs/{job_id}")
        if (over_px := overflow_px(page)) > 0:
            wide[name] = over_px

    assert wide == {}


def different_pages(web: Web, url: str, page: Page) -> list[str]:
    """Pages that look different from each other, for somebody who sees everything and is signed in."""
    shown = gallery(web)
    sign_in(page, url, KEYS["admin"])
    jobs = [f"/jobs/{shown[name]}" for name in ("failed", "unconfirmed", "completed", "link expires")]
    now = web.parts.now()
    alerts = [Alert(code, CRITICAL, f"{code}: " + "words " * 40, "1") for code in CODES]
    web.parts.ledger.alert_episodes.replace([], [Episode(alert, since=now, seen=now) for alert in alerts])
    twice = web.standing(State.RUNNING, attempts=(failed(1), attempt(2, task_id="task_" + "9" * 60)))
    batch = web.acme.post("/v1/batches", json={"jobs": [TEXT], "max_cost_usd": "1"}).json or {}
    web.parts.ledger.apply(batch["job_ids"][0], events.Barred(Error("no_provider", "none " * 40)), now)
    bulk = web.acme.post("/v1/bulk", json={"action": "retry", "filter": {"status": "failed"}}).json or {}
    joint = [
        "/batches",
        f"/batches/{batch['id']}",
        "/bulk",
        f"/bulk/{bulk['id']}",
        "/bulk/new?state=failed&action=retry",
    ]
    others = [
        *joint,
        "/?state=failed&error=no_provider",
        "/alerts",
        "/quarantine",
        f"/jobs/{twice.id}",
        f"/jobs/{twice.id}/compare",
    ]
    return ["/", "/?text=nothing+like+it", "/nowhere", *jobs, f"/jobs/{shown['failed']}/calls", *others]


def test_dark_mode_is_dark(web: Web, url: str, browser: Browser) -> None:
    with visit(browser, color_scheme="dark") as context:
        page = context.new_page()
        page.goto(f"{url}/sign-in")

        shade = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")

    assert max(shade) < 60


def test_without_scripts_every_page_still_works(web: Web, url: str, browser: Browser) -> None:
    job = web.standing(State.QUEUED, **asking_for("to be canceled"))
    with visit(browser, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(url)
        page.get_by_label("API key").fill(KEYS["acme"])
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name="to be canceled").click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("link", name="Read the calls").click()

        expect(page.get_by_role("heading", name="Sent and received")).to_be_visible()
    assert web.now(job.id).state is State.CANCELED
