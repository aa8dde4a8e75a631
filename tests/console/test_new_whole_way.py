"""From files that are dropped on the form to the clip in the bucket, through the whole stack."""

from __future__ import annotations

from browser_steps import sign_in
from media_samples import clip, picture
from playwright.sync_api import Page, expect
from whole_stack import Site


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
