"""Finished clips play, their links expire, and references are looked at as the gateways say."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import pytest
from gateway_client import DOCUMENTED, MOTION, video_url

from rushes.deploy.sandbox.gateways import drawing, render
from rushes.deploy.sandbox.gateways.billing import Clip

SHORT = Clip(1.0, 320, 240)


def played(content):
    """Length in seconds, width and height of a video, every frame of it decoded."""
    with av.open(io.BytesIO(content)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        return frames / Fraction(stream.average_rate), stream.width, stream.height, stream.codec_context.name


def finished(client, gateway, body=None):
    return video_url(gateway, client.query(gateway, client.submitted(gateway, body)).json)


def test_a_clip_has_the_length_and_side_that_were_asked_for(client):
    seconds, width, height, codec = played(client.fetch(finished(client, "apimodels")).body)

    assert abs(seconds - 5) < 0.2
    assert (width, height, codec) == (1280, 720, "h264")


def test_a_clip_follows_its_reference_video_in_length_and_its_picture_in_shape(client):
    references = {
        "image_url": f"{client.url}/inputs/sample.jpg",
        "video_url": f"{client.url}/inputs/sample.mp4",
    }
    content = client.fetch(finished(client, "apimart", {**DOCUMENTED["apimart"], **references})).body
    seconds, width, height, _ = played(content)

    assert abs(seconds - 3.5) < 0.2
    assert (width, height) == (720, 810)


def test_the_picture_of_a_clip_moves(tmp_path):
    render.write_clip(tmp_path / "clip.mp4", SHORT, drawing.blank(320, 240))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        looks = {bytes(frame.planes[0]) for frame in container.decode(video=0)}

    assert len(looks) == render.FRAMES_PER_S


def test_the_first_frame_shows_the_reference_picture(tmp_path):
    (tmp_path / "pictures").mkdir()
    white = drawing.blank(320, 240)
    drawing.box(white, 0, 0, 320, 240, drawing.WHITE)
    render.write_picture(tmp_path / "pictures" / "white.jpg", white)
    renderer = render.ClipRenderer(tmp_path / "clips", tmp_path / "pictures")

    def middle(picture):
        with av.open(str(renderer.video(Clip(1.0, 320, 240, picture)))) as container:
            frame = next(container.decode(video=0))
            return bytes(frame.planes[0])[120 * frame.planes[0].line_size + 20]

    assert middle("white.jpg") > 220
    assert middle(None) < 220


def test_a_clip_is_rendered_once(tmp_path):
    renderer = render.ClipRenderer(tmp_path / "clips", tmp_path)
    made_at = renderer.video(SHORT).stat().st_mtime_ns

    assert renderer.video(SHORT).stat().st_mtime_ns == made_at
    assert renderer.video(Clip(1.0, 240, 320)) != renderer.video(SHORT)


def test_a_link_needs_no_key_but_its_signature(client):
    url = finished(client, "newapi")
    client.key = "nobody"

    assert client.fetch(url, "HEAD").status == 200
    assert client.fetch(url.replace("sig=", "sig=0"), "HEAD").status == 403
    assert client.fetch(url.replace("expires=1", "expires=2"), "HEAD").status == 403
    assert client.fetch(url.split("?")[0], "HEAD").status == 403


def test_a_link_is_dead_once_its_time_is_over(sandbox):
    links = sandbox.sandbox.context.links
    path, query = links.make("apimart", "t", "video.mp4", 100).removeprefix(links.origin).split("?")
    parameters = dict(part.split("=") for part in query.split("&"))

    assert links.are_good(path, parameters, now=99.9)
    assert not links.are_good(path, parameters, now=100)


def test_a_clip_is_not_there_before_its_task_ends(open_sandbox):
    running = open_sandbox(task_s=60)
    task = running.client.submitted("apimart")
    url = running.sandbox.context.links.make("apimart", task, "video.mp4", 1e11)

    assert running.client.fetch(url).status == 404


@pytest.mark.parametrize("gateway", ["apimaster", "newapi"])
def test_a_new_api_gives_its_content_to_the_key_that_had_it_made(client, gateway):
    url = f"{client.url}/{gateway}/v1/videos/{client.submitted(gateway)}/content"
    assert client.fetch(url, "HEAD").headers["Content-Type"] == "video/mp4"
    assert played(client.fetch(url).body)[0] == {"apimaster": 8, "newapi": 5}[gateway]

    client.key = "sandbox-other"
    assert client.fetch(url).status == 400
    client.key = "nobody"
    assert client.fetch(url).status == 401


def test_there_is_no_content_before_the_end(open_sandbox):
    client = open_sandbox(task_s=60).client
    task = client.submitted("apimaster")
    reply = client.call("GET", f"/apimaster/v1/videos/{task}/content")

    assert reply.status == 400
    assert "not completed yet" in reply.json["message"]


@pytest.fixture
def letters(open_sandbox, tmp_path):
    (tmp_path / "letters.bin").write_bytes(b"abcdefghij")
    return open_sandbox(inputs=tmp_path).client


PARTS = [
    (None, 200, b"abcdefghij", None),
    ("bytes=2-4", 206, b"cde", "bytes 2-4/10"),
    ("bytes=7-", 206, b"hij", "bytes 7-9/10"),
    ("bytes=-3", 206, b"hij", "bytes 7-9/10"),
    ("bytes=8-99", 206, b"ij", "bytes 8-9/10"),
    ("bytes=10-", 416, b"", "bytes */10"),
    ("lines=1-2", 200, b"abcdefghij", None),
]


@pytest.mark.parametrize(("wanted", "status", "content", "content_range"), PARTS)
def test_a_file_is_served_whole_or_in_part_with_its_length(letters, wanted, status, content, content_range):
    reply = letters.call("GET", "/inputs/letters.bin", **({"Range": wanted} if wanted else {}))

    assert (reply.status, reply.body) == (status, content)
    assert reply.headers["Content-Length"] == str(len(content))
    assert reply.headers.get("Content-Range") == content_range


def test_a_head_tells_the_length_and_sends_nothing(letters):
    reply = letters.call("HEAD", "/inputs/letters.bin")

    assert (reply.headers["Content-Length"], reply.body) == ("10", b"")


def test_a_part_of_a_file_that_changed_is_the_whole_file(letters):
    reply = letters.call("GET", "/inputs/letters.bin", Range="bytes=2-4", If_Range='"another"')

    assert (reply.status, reply.body) == (200, b"abcdefghij")


def test_inputs_are_only_what_lies_in_the_directory(letters):
    assert letters.call("GET", "/inputs/../books.sqlite3").status == 200  # by its name only, and it lies there
    assert letters.call("GET", "/inputs/%2e%2e%2f%2e%2e%2fetc%2fpasswd").status == 404
    assert letters.call("GET", "/inputs/").status == 404


def test_the_samples_are_what_they_are_said_to_be(client):
    picture, video = (client.call("GET", f"/inputs/sample.{kind}") for kind in ("jpg", "mp4"))
    with av.open(io.BytesIO(picture.body)) as container:
        frame = next(container.decode(video=0))

    assert (picture.headers["Content-Type"], frame.width, frame.height) == ("image/jpeg", 640, 720)
    assert (video.headers["Content-Type"], *played(video.body)[:3]) == ("video/mp4", 3.5, 480, 480)


@pytest.fixture
def of_length(open_sandbox, tmp_path):
    """of_length(seconds): a client, and the address of a reference video of that length."""
    client = open_sandbox(inputs=tmp_path).client

    def make(seconds):
        render.write_clip(tmp_path / f"{seconds}.mp4", Clip(seconds, 64, 64), drawing.blank(64, 64))
        return client, f"{client.url}/inputs/{seconds}.mp4"

    return make


LENGTHS = [
    ("image", 2.5, False),
    ("image", 3, True),
    ("image", 10, True),
    ("image", 11, False),
    ("video", 11, True),
    ("video", 31, False),
]


@pytest.mark.parametrize(("orientation", "seconds", "taken"), LENGTHS)
def test_a_reference_video_must_have_a_length_that_is_taken(of_length, orientation, seconds, taken):
    client, url = of_length(seconds)
    changes = {"video_url": url, "character_orientation": orientation}

    assert client.submit("apimart", {**DOCUMENTED["apimart"], **changes}).status == (200 if taken else 400)
    assert client.submit("apimaster", {**MOTION, **changes}).status == (200 if taken else 502)
    assert len(client.shown("bills")) == (2 if taken else 0)
    assert len(client.shown("violations")) == (0 if taken else 2)


def test_apimodels_takes_motion_up_to_half_a_minute(of_length):
    motion = {"model": "kling-motion-control", "image": "https://example.com/a.png"}
    answers = []
    for seconds in (30, 31):
        client, url = of_length(seconds)
        answers.append(client.submit("apimodels", {**motion, "motion_video": url}).status)

    assert answers == [200, 400]


def test_evolink_measures_its_references(of_length):
    client, url = of_length(3)
    reply = client.submit("evolink", {**DOCUMENTED["evolink"], "video_urls": [url]})

    assert (reply.status, reply.json["error"]["param"]) == (400, "video_urls")


@pytest.mark.parametrize("name", ["nobody.mp4", "sample.jpg", "books.sqlite3"])
def test_a_reference_video_that_cannot_be_read_is_refused(open_sandbox, tmp_path, name):
    client = open_sandbox(inputs=tmp_path).client
    reply = client.submit("apimart", {**DOCUMENTED["apimart"], "video_url": f"{client.url}/inputs/{name}"})

    assert reply.status == 400
    assert "reference video" in reply.json["error"]["message"]


def test_a_reference_video_over_100_mb_is_refused(open_sandbox, tmp_path):
    client = open_sandbox(inputs=tmp_path).client
    with (tmp_path / "big.mp4").open("wb") as big:
        big.truncate(100_000_001)
    reply = client.submit("apimart", {**DOCUMENTED["apimart"], "video_url": f"{client.url}/inputs/big.mp4"})

    assert "larger than 100 MB" in reply.json["error"]["message"]


def test_a_picture_that_cannot_be_read_is_no_hindrance(client):
    body = {**DOCUMENTED["apimart"], "image_url": f"{client.url}/inputs/nobody.jpg"}

    assert client.submit("apimart", body).status == 200
