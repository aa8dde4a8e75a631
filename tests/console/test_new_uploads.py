"""Files on their way from a visitor's disk into the bucket."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import urllib.request
from typing import Any

import pytest
from form_steps import TOKEN_OF_A_FORM, Visitor
from media_samples import ONE_MB, clip, picture
from patience import PATIENCE_S
from receiver_steps import BUCKET, Web, refused
from werkzeug.test import TestResponse

from rushes.webhook_receiver.console import uploads

TODAY = "2026/09/21"  # the day of the tests' clock


@pytest.fixture
def visitor(web_with_bucket: Web) -> Visitor:
    return Visitor(web_with_bucket)


def sent(visitor: Visitor, field: str, body: bytes, name: str = "file.bin", **changes: Any) -> TestResponse:
    return visitor.script("/console/uploads", {field: (io.BytesIO(body), name), **changes})


@pytest.mark.parametrize(
    ("field", "body", "ending", "kind"),
    [
        ("image_url", picture(), ".jpg", "image/jpeg"),
        ("last_image_url", picture(kind="PNG"), ".png", "image/png"),
        ("video_url", clip(), ".mp4", "video/mp4"),
        ("video_url", clip(kind="mov"), ".mov", "video/quicktime"),
    ],
)
def test_a_file_comes_into_the_bucket_as_it_is(
    visitor: Visitor, field: str, body: bytes, ending: str, kind: str
) -> None:
    told = sent(visitor, field, body, "whatever it was called.txt").json

    assert told["url"].startswith(f"s3://{BUCKET}/inputs/{TODAY}/")
    assert told["url"].endswith(ending)
    assert (told["field"], told["size"]) == (field, len(body))
    with urllib.request.urlopen(told["preview"]) as there:
        assert there.read() == body
        assert there.headers["Content-Type"] == kind


def test_what_lies_in_the_bucket_says_its_sum(visitor: Visitor, web_with_bucket: Web) -> None:
    url = sent(visitor, "image_url", picture()).json["url"]
    there = web_with_bucket.parts.archive.head(url.removeprefix(f"s3://{BUCKET}/"))
    assert there
    assert (there.sha256, there.size) == (hashlib.sha256(picture()).hexdigest(), len(picture()))


def test_what_was_measured_is_told(visitor: Visitor) -> None:
    told = sent(visitor, "video_url", clip(seconds=5)).json
    assert (told["width"], told["height"], told["duration_s"]) == (480, 360, 5)

    assert "duration_s" not in sent(visitor, "image_url", picture()).json


def test_two_files_never_have_one_key(visitor: Visitor) -> None:
    addresses = {sent(visitor, "image_url", picture()).json["url"] for _ in range(3)}
    assert len(addresses) == 3


@pytest.mark.parametrize(
    ("field", "body", "says"),
    [
        ("image_url", b"", "empty"),
        ("image_url", b"GIF89a" + bytes(99), "gif"),
        ("image_url", clip(), "mp4"),
        ("video_url", picture(), "jpeg"),
        ("image_url", b"<!doctype html><script>alert(1)</script>", "html"),
        ("image_url", picture(200, 400), "200 px"),
        ("image_url", picture(1000, 390), "aspect"),
        ("image_url", picture()[:150], "annot be read as jpeg"),
        ("video_url", clip()[: len(clip()) // 2], "cut short"),
        ("video_url", clip(seconds=2), "shorter than 3 s"),
        ("video_url", clip(seconds=31), "longer than 30 s"),
        ("video_url", clip(width=320), "320 px"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_at_its_field(
    visitor: Visitor, field: str, body: bytes, says: str
) -> None:
    error = refused(sent(visitor, field, body), 422, "input_rejected")
    assert list(error["fields"]) == [field]
    assert says in error["fields"][field][0]


def test_a_picture_is_refused_as_soon_as_it_is_known_to_be_too_large(visitor: Visitor) -> None:
    error = refused(sent(visitor, "image_url", picture() + bytes(10 * ONE_MB)), 413, "too_large")
    assert "10 MB" in error["fields"]["image_url"][0]


def test_a_length_that_hides_behind_other_parts_is_counted_as_it_comes(visitor: Visitor) -> None:
    # Within what the wrapping may have, and still a byte too many.
    body = picture() + bytes(10 * ONE_MB - len(picture()) + 1)
    refused(sent(visitor, "image_url", body), 413, "too_large")


def test_the_largest_picture_that_may_be_is_taken(visitor: Visitor) -> None:
    body = picture() + bytes(10 * ONE_MB - len(picture()))
    assert sent(visitor, "image_url", body).status_code == 201


def test_a_file_for_no_field_is_refused(visitor: Visitor) -> None:
    refused(sent(visitor, "callback_url", picture()), 422, "invalid_request")
    refused(sent(visitor, "image_url", picture(), last_image_url=(io.BytesIO(picture()), "b.jpg")), 422)
    refused(visitor.script("/console/uploads", {"image_url": "no file"}), 400, "bad_request")


def test_other_fields_of_the_form_are_not_taken_for_the_file(visitor: Visitor) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    around = [part % (name, b"", b"x" * 99) for name in (b"before", b"after")]
    body = around[0] + part % (b"image_url", b'; filename="a.jpg"', picture()) + around[1] + b"--b--\r\n"
    answer = visitor.client.post(
        "/console/uploads",
        data=body,
        content_type="multipart/form-data; boundary=b",
        headers={"Accept": "application/json", "X-CSRF-Token": visitor.token},
    )
    assert answer.json["size"] == len(picture())


@pytest.mark.parametrize("keeps", [0.3, 0.99])
def test_a_body_that_breaks_off_leaves_nothing(visitor: Visitor, keeps: float) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="image_url"; filename="a.jpg"\r\n\r\n'
    whole = head + picture() + b"\r\n--b--\r\n"
    for length in (len(whole), int(len(whole) * keeps)):  # less than announced, or announced as it came
        answer = visitor.client.post(
            "/console/uploads",
            input_stream=io.BytesIO(whole[: int(len(whole) * keeps)]),
            content_length=length,
            content_type="multipart/form-data; boundary=b",
            headers={"Accept": "application/json", "X-CSRF-Token": visitor.token},
        )
        refused(answer, 400, "bad_request")


def test_what_comes_too_slowly_ends_there(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "DEADLINE_S", 0.5)
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_S)
    theirs.sendall(b"a little")
    context = web.app.test_request_context(environ_overrides={"gunicorn.socket": ours})
    with ours, theirs, context, uploads.upload_deadline():
        assert ours.recv(99) == b"a little"
        assert ours.recv(99) == b""  # although they go on


def test_what_came_in_time_is_not_hung_up_on(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    timers = []

    class Noted(threading.Timer):
        def start(self) -> None:
            timers.append(self)

    monkeypatch.setattr(uploads, "Timer", Noted)
    ours, theirs = socket.socketpair()
    with ours, theirs, web.app.test_request_context(environ_overrides={"gunicorn.socket": ours}):
        with uploads.upload_deadline():
            running = timers[0].finished.is_set()
        assert (running, timers[0].finished.is_set()) == (False, True)
        timers[0].run()  # as its thread does
        theirs.sendall(b"more")
        assert ours.recv(99) == b"more"


def test_a_body_of_another_kind_is_refused(visitor: Visitor) -> None:
    headers = {"Accept": "application/json", "X-CSRF-Token": visitor.token}
    for kind in ("image/jpeg", "multipart/form-data"):
        answer = visitor.client.post("/console/uploads", data=picture(), content_type=kind, headers=headers)
        refused(answer, 415, "unsupported_media_type")


def test_a_file_comes_only_from_a_page_of_ours(visitor: Visitor, web_with_bucket: Web) -> None:
    def data() -> dict[str, Any]:
        return {"image_url": (io.BytesIO(picture()), "a.jpg")}

    refused(visitor.script("/console/uploads", data(), token=""), 403, "forbidden")
    refused(visitor.script("/console/uploads", {"csrf_token": "guessed", **data()}, token="guessed"), 403, "forbidden")
    stranger = web_with_bucket.app.test_client()
    refused(stranger.post("/console/uploads", data=data(), headers={"Accept": "application/json"}), 403, "forbidden")


def test_who_is_not_signed_in_puts_nothing_into_the_bucket(web_with_bucket: Web) -> None:
    stranger = web_with_bucket.app.test_client()
    token = TOKEN_OF_A_FORM.search(stranger.get("/sign-in").text)
    assert token
    data = {"image_url": (io.BytesIO(picture()), "a.jpg")}
    headers = {"Accept": "application/json", "X-CSRF-Token": token[1]}
    refused(stranger.post("/console/uploads", data=data, headers=headers), 401, "unauthorized")


def test_no_more_files_than_threads_can_be_spared_are_taken_at_once(visitor: Visitor) -> None:
    for _ in range(uploads.UPLOADS_MAX):
        assert uploads.UPLOADS.acquire(blocking=False)
    try:
        refused(sent(visitor, "image_url", picture()), 429, "rate_limited")
    finally:
        for _ in range(uploads.UPLOADS_MAX):
            uploads.UPLOADS.release()
    assert sent(visitor, "image_url", picture()).status_code == 201


def test_a_refused_file_gives_its_place_back(visitor: Visitor) -> None:
    for _ in range(uploads.UPLOADS_MAX + 1):
        refused(sent(visitor, "image_url", b"GIF89a"), 422)


def test_with_the_bucket_away_nothing_is_lost_but_the_upload(web: Web) -> None:
    refused(sent(Visitor(web), "image_url", picture()), 503, "unavailable")
