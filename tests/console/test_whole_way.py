"""The console over the whole stack: from a job's arrival to its clip playing in the page."""

from __future__ import annotations

import json
import re
from typing import Any

from browser_steps import complaints, sign_in
from media_samples import clip, picture
from playwright.sync_api import Page, expect
from whole_stack import Site


def break_next(site: Site, gateway: str, fault: str) -> None:
    """Let this gateway fail its next call so."""
    site.control("POST", "faults", {"gateway": gateway, "fault": fault, "times": 1})


def moving(site: Site, gateway: str, prompt: str) -> dict[str, Any]:
    """A request with a picture, for one gateway."""
    picture = f"{site.stack.inputs_url}/sample.jpg"
    return {"model": "kling-v3", "image_url": picture, "duration": 5, "prompt": prompt, "provider": gateway}


def test_a_job_is_followed_from_its_arrival_until_its_clip_plays_beside_its_reference(site: Site, page: Page) -> None:
    said = complaints(page)
    sign_in(page, site.stack.url, site.stack.secrets.demo_key)
    job_id = site.submit("console-whole", moving(site, "newapi", "a lighthouse at dusk"))

    page.get_by_role("link", name="a lighthouse at dusk").click()
    page.wait_for_url(re.compile(job_id))
    video = page.get_by_label("The clip", exact=True)
    expect(video).to_be_visible()
    video.evaluate(
        "async video => { video.muted = true; video.loop = true; window.first = video; await video.play(); }"
    )
    page.wait_for_function("() => window.first.readyState >= 2 && window.first.currentTime > 0.05")
    page.evaluate("rushes.refresh()")
    page.evaluate("rushes.refresh()")

    assert video.evaluate("video => video === window.first && !video.paused && video.readyState >= 2")
    reference = page.get_by_role("img", name="Reference picture")
    page.wait_for_function("picture => picture.complete && picture.naturalWidth > 0", arg=reference.element_handle())
    timeline = page.get_by_role("list").filter(has_text="Accepted")
    for line in ("Submitted to newapi", "The gateway took it", "heard by", "Archived"):
        expect(timeline).to_contain_text(line)
    expect(page.locator("#calls")).to_contain_text("Request as sent")
    expect(page.locator("#calls")).to_contain_text('"a lighthouse at dusk"')
    assert said == []


def test_a_lost_answer_is_explained_and_resolved_with_the_task_that_the_gateway_has(site: Site, page: Page) -> None:
    break_next(site, "newapi", "answer_lost")
    job_id = site.submit("console-lost", moving(site, "newapi", "the answer is lost"))
    site.wait_for(job_id, "unconfirmed")
    sign_in(page, site.stack.url, site.stack.secrets.demo_key, onward=f"/jobs/{job_id}")

    expect(page.get_by_text("its answer never came").first).to_be_visible()
    task_id = next(task["id"] for task in site.books("tasks") if "the answer is lost" in json.dumps(task))
    page.get_by_role("link", name="Resolve").click()
    page.get_by_label("The task's id").fill(task_id)
    page.get_by_label("I have looked it up").check()
    page.get_by_role("button", name="Resolve").click()

    expect(page.get_by_label("The clip", exact=True)).to_be_visible()
    expect(page.locator("#timeline")).to_contain_text("An operator decided: adopt")


def test_a_failed_job_is_explained_and_its_retry_brings_the_clip(site: Site, page: Page) -> None:
    break_next(site, "newapi", "fail_task")
    job_id = site.submit("console-failed", moving(site, "newapi", "fails once"))
    assert site.wait(job_id)["status"] == "failed"
    sign_in(page, site.stack.url, site.stack.secrets.demo_key, onward=f"/jobs/{job_id}")

    expect(page.get_by_text("newapi could not make the clip")).to_be_visible()
    expect(page.get_by_text("nothing was charged")).to_be_visible()
    page.get_by_role("button", name="Retry").click()

    expect(page.get_by_text("a retry of")).to_be_visible()
    expect(page.get_by_label("The clip", exact=True)).to_be_visible()


def test_jobs_without_a_thumbnail_show_the_first_frame_of_their_clip(site: Site, page: Page) -> None:
    site.wait(site.submit("console-frame", moving(site, "newapi", "a first frame")))
    sign_in(page, site.stack.url, site.stack.secrets.demo_key)

    frame = page.get_by_role("listitem").filter(has_text="a first frame").locator("video")
    frame.scroll_into_view_if_needed()

    page.wait_for_function("video => video.readyState >= 2 && video.videoWidth > 0", arg=frame.element_handle())


def test_a_picture_and_a_clip_from_a_persons_disk_become_a_video(site: Site, page: Page) -> None:
    sign_in(page, site.stack.url, site.stack.secrets.demo_key, onward="/new")
    page.get_by_role("radio", name="Motion control").check()
    page.set_input_files("#file-image_url", [{"name": "me.jpg", "mimeType": "image/jpeg", "buffer": picture()}])
    page.set_input_files("#file-video_url", [{"name": "dance.mp4", "mimeType": "video/mp4", "buffer": clip()}])
    expect(page.locator(".upload-status a")).to_have_count(2)
    expect(page.locator("#quotes .first .price")).to_contain_text("$")

    page.get_by_role("button", name="Make the video").click()
    page.wait_for_url("**/jobs/job_*")

    job = site.wait(page.url.rsplit("/", 1)[1])
    assert (job["status"], job["result"]["duration_s"]) == ("completed", 4)
