"""The form of a new job as a person uses it: files dropped and chosen, prices as one types, sent once."""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from typing import Any

import pytest
from browser_steps import NARROW, complaints, focused, grave_faults, overflow_px, reading_faults, sign_in, tab_to
from factories import link
from media_samples import ONE_MB, clip, picture
from playwright.sync_api import Page, expect
from receiver_steps import BUCKET, Web, parts_over

from rushes.shared.domain import events
from rushes.shared.domain.job import State
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.storage.s3_clients import s3_client

IN_BUCKET = re.compile(rf"s3://{BUCKET}/inputs/.*")
OPERATIONS = ["Text to video", "Image to video", "First and last frame", "Multi-shot", "Motion control"]


@pytest.fixture
def web(s3_url: str) -> Web:
    """With a bucket that takes files, and gives them to whoever measures them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", s3_url)
        return Web(parts_over(MemoryStore(), s3_client(), RUSHES_PUBLIC_URL=None, RUSHES_EGRESS_ALLOW="127.0.0.0/8"))


@pytest.fixture
def form(page: Page, url: str) -> Page:
    sign_in(page, url, onward="/new")
    return page


def operation(page: Page, name: str) -> None:
    page.get_by_role("radio", name=name).check()


def a_file(name: str, kind: str, body: bytes) -> Any:
    return {"name": name, "mimeType": kind, "buffer": body}


JPG = a_file("me.jpg", "image/jpeg", picture())
PNG = a_file("you.png", "image/png", picture(600, 600, "PNG"))
MP4 = a_file("dance.mp4", "video/mp4", clip())


def drop(page: Page, target: str, *files: Any) -> None:
    """Let go of files over that place."""
    held = [[file["name"], file["mimeType"], base64.b64encode(file["buffer"]).decode()] for file in files]
    carried = page.evaluate_handle(
        """(held) => {
          const carried = new DataTransfer();
          for (const [name, type, text] of held) {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            carried.items.add(new File([bytes], name, { type }));
          }
          return carried;
        }""",
        held,
    )
    for kind in ("dragenter", "dragover", "drop"):
        page.dispatch_event(target, kind, {"dataTransfer": carried})


def in_bucket(page: Page, *fields: str) -> None:
    for field in fields:
        expect(page.locator(f"#f-{field}")).to_have_value(IN_BUCKET)


def jobs(web: Web) -> list[dict[str, Any]]:
    return [dict(job.request) for job in web.parts.ledger.overview.newest("acme", 9)]


def make(page: Page) -> None:
    page.get_by_role("button", name="Make the video").click()
    page.wait_for_url("**/jobs/job_*")


# --- files


def test_a_picture_and_a_clip_that_are_dropped_together_go_where_they_fit(form: Page) -> None:
    operation(form, "Motion control")
    drop(form, "#f-prompt", MP4, JPG)
    in_bucket(form, "image_url", "video_url")
    expect(form.locator('[data-upload="image_url"] img')).to_be_visible()
    expect(form.locator('[data-upload="video_url"] video')).to_be_visible()
    expect(form.locator('[data-upload="video_url"] .upload-status')).to_contain_text("480 × 360 px, 4 s")
    assert grave_faults(form) == []


def test_a_file_goes_to_the_field_that_it_was_dropped_on(form: Page) -> None:
    operation(form, "First and last frame")
    drop(form, '[data-upload="last_image_url"] .drop', JPG)
    in_bucket(form, "last_image_url")
    expect(form.locator("#f-image_url")).to_have_value("")
    drop(form, "#f-prompt", PNG)
    in_bucket(form, "image_url")


def test_a_file_is_chosen_by_the_keyboard_alone(form: Page) -> None:
    form.on("filechooser", lambda _: None)  # early: a chooser that opens before the browser was told shows nowhere
    operation(form, "Image to video")
    form.get_by_role("radio", name="Image to video").focus()
    tab_to(form, lambda page: page.evaluate("document.activeElement.id") == "file-image_url")
    with form.expect_file_chooser() as chosen:
        form.keyboard.press("Enter")
    chosen.value.set_files([JPG])
    in_bucket(form, "image_url")
    make_by_keys(form)


def make_by_keys(page: Page) -> None:
    tab_to(page, lambda at: focused(at) == "Make the video")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/job_*")


def test_the_preview_in_the_bucket_is_the_file(form: Page) -> None:
    operation(form, "Image to video")
    form.set_input_files("#file-image_url", [JPG])
    link = form.get_by_role("link", name="Open").get_attribute("href")
    assert link
    assert form.request.get(link).body() == JPG["buffer"]


SENT_NOTHING = [
    ("image_url", a_file("notes.txt", "text/plain", b"hello"), "not JPG or PNG"),
    ("image_url", a_file("me.gif", "image/gif", b"GIF89a"), "not JPG or PNG"),
    ("image_url", a_file("empty.png", "image/png", b""), "the file is empty"),
    ("image_url", a_file("small.jpg", "image/jpeg", picture(200, 300)), "each side must have 300"),
    ("image_url", a_file("long.jpg", "image/jpeg", picture(1000, 390)), "longer than 2.5:1"),
    ("video_url", a_file("small.mp4", "video/mp4", clip(width=320)), "each side must have 340"),
    ("video_url", a_file("short.mp4", "video/mp4", clip(seconds=2)), "shorter than 3 s"),
    ("video_url", a_file("long.mp4", "video/mp4", clip(seconds=31)), "longer than 30 s"),
]


def test_a_file_that_breaks_a_rule_is_not_even_sent(form: Page) -> None:
    asked: list[str] = []
    form.on("request", lambda request: asked.append(request.url))
    operation(form, "Motion control")
    for field, file, problem in SENT_NOTHING:
        form.set_input_files(f"#file-{field}", [file])
        expect(form.locator(f"#problem-{field}")).to_contain_text(f"{file['name']}: ")
        expect(form.locator(f"#problem-{field}")).to_contain_text(problem)
    choose_empty_bytes(form, "image_url", 10 * ONE_MB + 1)
    expect(form.locator("#problem-image_url")).to_contain_text("more than 10 MB")
    assert not [url for url in asked if "/console/uploads" in url]


def choose_empty_bytes(page: Page, field: str, size: int) -> None:
    """Choose a picture of that size; it is made in the page, because Playwright carries none of 10 MB in good time."""
    page.evaluate(
        """([field, size]) => {
          const carried = new DataTransfer();
          carried.items.add(new File([new Uint8Array(size)], "large.jpg", { type: "image/jpeg" }));
          const input = document.getElementById(`file-${field}`);
          input.files = carried.files;
          input.dispatchEvent(new Event("change"));
        }""",
        [field, size],
    )


def test_what_the_browser_cannot_read_the_server_judges(form: Page) -> None:
    operation(form, "Motion control")
    form.set_input_files("#file-video_url", [a_file("cut.mp4", "video/mp4", clip()[:600])])
    expect(form.locator("#problem-video_url")).to_contain_text("cut short")
    expect(form.locator("#f-video_url")).to_have_value("")


def test_a_clip_too_long_for_the_orientation_is_told_before_it_is_sent(form: Page) -> None:
    operation(form, "Motion control")
    form.set_input_files("#file-video_url", [a_file("dance.mp4", "video/mp4", clip(seconds=12))])
    expect(form.locator("#problem-character_orientation")).to_contain_text("up to 10 s")
    form.get_by_label("Orientation").select_option("video")
    expect(form.locator("#problem-character_orientation")).to_be_hidden()


# --- the fields and the prices


def test_a_choice_shows_the_fields_that_fit_it_and_keeps_the_rest(form: Page) -> None:
    form.get_by_label("Prompt", exact=True).fill("a red kite")
    form.get_by_label("With sound").check()
    form.get_by_label("Model").select_option("kling-v2-6")
    expect(form.get_by_label("With sound")).to_be_hidden()
    expect(form.locator("#why-not")).to_contain_text("mode pro")
    assert form.locator("#f-duration option").all_inner_texts() == ["5 s", "10 s"]
    form.get_by_label("Quality").select_option("pro")
    expect(form.get_by_label("With sound")).to_be_checked()
    operation(form, "Motion control")
    expect(form.get_by_label("Length")).to_be_hidden()
    expect(form.get_by_label("Model")).to_have_value("kling-v2-6-motion-control")
    expect(form.get_by_label("Prompt", exact=True)).to_have_value("a red kite")


def test_prices_follow_what_is_typed_and_one_over_the_limit_is_told_for_each(form: Page) -> None:
    said = form.locator("#estimate-text")
    expect(said).to_contain_text("fill in: prompt")
    form.get_by_label("Prompt", exact=True).fill("a red kite")
    first = form.locator("#quotes .first .price")
    expect(first).to_contain_text("$")
    cheap = first.inner_text()
    form.get_by_label("Length").select_option("15")
    expect(first).not_to_have_text(cheap)
    expect(form.locator("#quotes .unable .why").first).to_be_visible()
    expect(form.locator("#quotes .first")).to_contain_text("a second")
    expect(form.locator("#quotes .first")).to_contain_text("checked 2026-11-")
    form.get_by_text("More settings").click()
    form.get_by_label("Highest cost").fill("0.01")
    expect(said).to_contain_text("No enabled gateway can")
    expect(form.locator("#quotes")).to_contain_text("over max_cost_usd")


def test_what_bills_of_late_said_stands_at_the_estimate(form: Page, web: Web) -> None:
    request = {"model": "kling-v3", "mode": "std", "prompt": "a red kite"}
    attempt = {"provider": "apimart", "task_id": "task-1", "estimated_usd": Decimal("0.4")}
    for usd in ("0.5", "0.5", "0.4"):
        job = web.standing(State.RUNNING, attempt, route=("apimart",), request=request)
        web.parts.ledger.apply(job.id, events.Succeeded(link(), Decimal(usd), attempt=1), web.parts.now())
    form.get_by_label("Prompt", exact=True).fill("a red kite")

    bills = form.locator("#quotes li", has_text="apimart").locator(".bills")
    expect(bills).to_contain_text("Its last 3 bills: 1.17 times the estimate on average, so expect about $0.39")


def test_several_shots_go_without_a_picture(form: Page, web: Web) -> None:
    operation(form, "Multi-shot")
    form.get_by_label("Prompt of shot 1").fill("a door")
    form.get_by_label("Seconds of shot 1").fill("2")
    form.get_by_label("Prompt of shot 2").fill("a room")
    form.get_by_label("Seconds of shot 2").fill("3")
    expect(form.get_by_text("Picture, may be left out")).to_be_visible()
    expect(form.locator("#quotes .first .gateway-name")).to_have_text("apimart")
    make(form)

    (shots,) = jobs(web)
    assert [shot["duration"] for shot in shots["multi_prompt"]] == [2, 3]
    assert "image_url" not in shots


# --- the submit


def test_each_operation_is_sent_as_it_is_filled_in(form: Page, web: Web) -> None:
    fill = {
        "Text to video": lambda: form.get_by_label("Prompt", exact=True).fill("a red kite"),
        "Image to video": lambda: form.set_input_files("#file-image_url", [JPG]),
        "First and last frame": lambda: drop(form, "#f-prompt", JPG, PNG),
        "Multi-shot": lambda: (
            form.set_input_files("#file-image_url", [JPG]),
            form.get_by_label("Prompt of shot 1").fill("a door"),
            form.get_by_label("Seconds of shot 1").fill("3"),
            form.get_by_role("button", name="Add a shot").click(),
            form.keyboard.type("a room"),
        ),
        "Motion control": lambda: drop(form, "#f-prompt", JPG, MP4),
    }
    files = {"Image to video": 1, "First and last frame": 2, "Multi-shot": 1, "Motion control": 2}
    for name in OPERATIONS:
        form.goto(form.url.split("/jobs/")[0].removesuffix("/new") + "/new")
        operation(form, name)
        fill[name]()
        expect(form.locator(".upload-status a")).to_have_count(files.get(name, 0))
        expect(form.locator("#quotes .first")).to_be_visible()
        make(form)

    motion, shots, frames, image, words = jobs(web)
    assert words["prompt"] == "a red kite"
    assert IN_BUCKET.fullmatch(image["image_url"])
    assert frames["image_url"].endswith(".jpg")
    assert frames["last_image_url"].endswith(".png")
    assert shots["multi_prompt"] == [{"prompt": "a door", "duration": 3}, {"prompt": "a room"}]
    assert motion["video_url"].endswith(".mp4")
    assert (motion["character_orientation"], motion["keep_original_sound"]) == ("image", True)


def test_a_button_that_is_pressed_again_and_again_makes_one_job(form: Page, web: Web) -> None:
    form.get_by_label("Prompt", exact=True).fill("a red kite")
    form.evaluate("for (let press = 0; press < 5; press++) document.getElementById('new').requestSubmit()")
    # Each press ends the navigation that the one before had begun: only where it comes to rest is of interest.
    expect(form).to_have_url(re.compile(r"/jobs/job_"))
    assert len(jobs(web)) == 1


def test_what_is_wrong_is_told_at_its_field_and_has_the_focus(form: Page, web: Web) -> None:
    form.get_by_label("Prompt", exact=True).fill("a red kite")
    form.locator("#f-callback_url").evaluate("node => (node.value = 'ftp://example.com/')")
    form.get_by_role("button", name="Make the video").click()
    expect(form.locator("#problem-callback_url")).to_be_visible()  # its group was closed
    expect(form.locator("#f-callback_url")).to_be_focused()
    expect(form.locator("#alert")).to_contain_text("address for the notification")
    assert form.locator("#f-callback_url").get_attribute("aria-invalid") == "true"
    assert jobs(web) == []
    assert grave_faults(form) == []


def test_nothing_is_sent_while_a_file_is_on_its_way(form: Page, web: Web) -> None:
    operation(form, "Image to video")
    form.route("**/console/uploads", lambda _: None)  # never answered
    form.set_input_files("#file-image_url", [JPG])
    expect(form.get_by_role("progressbar")).to_be_visible()
    form.get_by_role("button", name="Make the video").click()
    expect(form.locator("#alert")).to_contain_text("still being uploaded")
    form.get_by_role("button", name="Cancel").click()
    expect(form.get_by_role("progressbar")).to_be_hidden()
    assert jobs(web) == []


# --- for everybody


def test_every_form_can_be_read(form: Page) -> None:
    errors, faults = complaints(form), list[str]()
    form.reload()
    form.get_by_text("More settings").click()
    for name in OPERATIONS:
        operation(form, name)
        if name in ("Multi-shot", "Motion control"):  # together these have every field
            faults += reading_faults(form)
    form.set_viewport_size(NARROW)
    for name in OPERATIONS:
        operation(form, name)
        assert overflow_px(form) <= 0, name
    assert (faults, errors) == ([], [])


def test_no_script_of_a_stranger_finds_a_way_in(form: Page) -> None:
    said = complaints(form)
    operation(form, "Image to video")
    name = '<img src=x onerror="document.title=1">.jpg'
    form.set_input_files("#file-image_url", [a_file(name, "image/jpeg", picture())])
    in_bucket(form, "image_url")
    expect(form.locator('[data-upload="image_url"] .upload-status')).to_contain_text(name)
    assert form.title() == "New · Rushes"
    assert said == []
