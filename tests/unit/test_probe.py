from __future__ import annotations

import json
import pickle
import socket
import struct
from ipaddress import ip_network

import pytest
from fault_server import FaultServer, flooding, http_response, keeping, redirecting
from file_server import FileServer
from makings import clip, picture, song

from rushes.shared.http import HttpClient
from rushes.shared.media.probe import MB, InputRejected, InputUnreachable, probe_inputs

LOOPBACK = (ip_network("127.0.0.1/32"),)
SHORT_S = 0.5  # a deadline that a test means to meet
SECRET = "token=hush"
PAGE = b"\xef\xbb\xbf\n<!doctype html><title>Log in</title>"
JPEG, CLIP = picture(), clip(8.334)


@pytest.fixture(scope="module")
def http_client():
    http_client = HttpClient(LOOPBACK)
    yield http_client
    http_client.close()


@pytest.fixture
def serve():
    """Put a file on a server of its own; the shelf's `url` is where it is."""
    servers = []

    def put(content, **options):
        servers.append(FileServer(content, **options))
        return servers[-1]

    yield put
    for file_server in servers:
        file_server.close()


@pytest.fixture
def probe_one(serve, http_client):
    """Probe one input, given as content or as an address; gives what was measured."""

    def probe_one(field, content, orientation="image", **options):
        url = content if isinstance(content, str) else serve(content).url
        request = {field: f"{url}/name.txt?{SECRET}", "character_orientation": orientation}
        return probe_inputs(request, http_client, str, **options)[field]

    return probe_one


@pytest.fixture
def refusal(probe_one):
    """Why an input is rejected; the text names its field and never its address."""

    def refusal(field, content, orientation="image"):
        with pytest.raises(InputRejected) as caught:
            probe_one(field, content, orientation)
        return check_text(caught.value, field)

    return refusal


@pytest.fixture
def silence(probe_one):
    """Why an input cannot be had now."""

    def silence(content, **options):
        with pytest.raises(InputUnreachable) as caught:
            probe_one("video_url", content, **options)
        return check_text(caught.value, "video_url")

    return silence


def check_text(error, field):
    assert error.field == field
    assert str(error) == f"{field}: {error.message}"
    assert SECRET not in str(error)
    return error.message


# Within the rules


def test_a_jpeg_is_measured(probe_one):
    expected = {"width": 600, "height": 800, "size_bytes": len(JPEG), "format": "jpeg"}
    assert probe_one("image_url", JPEG) == expected


def test_a_png_is_measured(probe_one):
    made = picture(kind="PNG")
    assert probe_one("last_image_url", made) == {"width": 600, "height": 800, "size_bytes": len(made), "format": "png"}


def test_a_picture_that_lies_on_its_side_is_measured_as_stored(probe_one):
    exif = picture_turned_by_exif()
    measured = probe_one("image_url", exif)
    assert (measured["width"], measured["height"]) == (800, 320)


@pytest.mark.parametrize("kind", ["mp4", "mov"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_clip_is_measured(kind, ranges, serve, probe_one):
    made = clip(8.334, kind=kind)
    expected = {"width": 352, "height": 640, "size_bytes": len(made), "format": kind}
    assert probe_one("video_url", serve(made, ranges=ranges).url) == {**expected, "duration_s": "8.33", "codec": "h264"}


def test_all_inputs_of_a_request_are_measured_as_json(serve, http_client):
    request = {
        "model": "kling-v3-motion-control",
        "image_url": serve(JPEG).url,
        "last_image_url": None,
        "video_url": serve(CLIP).url,
        "character_orientation": "image",
    }
    measured = probe_inputs(request, http_client, str)
    assert sorted(measured) == ["image_url", "video_url"]
    assert json.loads(json.dumps(measured)) == measured


def test_a_request_without_inputs_measures_nothing(http_client):
    assert probe_inputs({"prompt": "a pier at dawn"}, http_client, str) == {}


def test_an_object_in_s3_is_read_through_its_link(serve, http_client):
    links = {"s3://bucket/key.jpg": serve(JPEG).url}
    assert (
        probe_inputs({"image_url": "s3://bucket/key.jpg"}, http_client, links.__getitem__)["image_url"]["width"] == 600
    )


# The rules, each broken once


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (299, 600, "its width of 299 px is outside 300 to 65536 px"),
        (600, 299, "its height of 299 px is outside 300 to 65536 px"),
        (751, 300, "its aspect of 751:300 is outside 1:2.5 to 2.5:1"),
        (300, 751, "its aspect of 300:751 is outside 1:2.5 to 2.5:1"),
    ],
)
def test_a_picture_of_the_wrong_shape_is_rejected(width, height, message, refusal):
    assert refusal("image_url", picture(width, height)) == message


@pytest.mark.parametrize(("width", "height"), [(300, 750), (750, 300)])
def test_a_picture_at_the_edge_of_the_rules_passes(width, height, probe_one):
    assert probe_one("image_url", picture(width, height))["width"] == width


def test_a_picture_too_wide_for_its_rule_is_rejected(refusal):
    huge = bytearray(picture(kind="PNG"))
    huge[16:24] = struct.pack(">II", 65537, 65536)  # a bomb, were it decoded
    assert refusal("image_url", bytes(huge)) == "its width of 65537 px is outside 300 to 65536 px"


@pytest.mark.parametrize("options", [{}, {"ranges": False}, {"ranges": False, "length": False}])
def test_a_picture_over_10_mb_is_rejected(options, serve, refusal):
    over = JPEG + bytes(10 * MB + 1 - len(JPEG))
    assert "than 10 MB (10485760 bytes)" in refusal("image_url", serve(over, **options).url)


def test_a_picture_without_an_end_is_left_at_10_mb(refusal):
    with FaultServer(flooding(b"HTTP/1.1 200 OK\r\n\r\n" + JPEG, 200 * MB)) as server:
        assert "larger than 10 MB" in refusal("image_url", server.url)
        assert server.sent_bytes < 30 * MB  # with what the sockets between us hold


@pytest.mark.parametrize("options", [{}, {"ranges": False}, {"ranges": False, "length": False}])
def test_a_picture_of_10_mb_passes_with_its_size(options, serve, probe_one):
    padded = JPEG + bytes(10 * MB - len(JPEG))
    assert probe_one("image_url", serve(padded, **options).url)["size_bytes"] == 10 * MB


def test_a_clip_over_100_mb_is_rejected(tmp_path, refusal):
    assert refusal("video_url", padded_to(100 * MB + 1, tmp_path)) == (
        "104857601 bytes is larger than 100 MB (104857600 bytes)"
    )


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (338, 640, "its width of 338 px is outside 340 to 3850 px"),
        (640, 338, "its height of 338 px is outside 340 to 3850 px"),
        (3852, 640, "its width of 3852 px is outside 340 to 3850 px"),
    ],
)
def test_a_clip_of_the_wrong_shape_is_rejected(width, height, message, refusal):
    assert refusal("video_url", clip(width=width, height=height)) == message


@pytest.mark.parametrize(
    ("seconds", "orientation", "message"),
    [
        (2.97, "image", "2.97 s is shorter than 3 s"),
        (2.99, "video", "2.99 s is shorter than 3 s"),
        (10.02, "image", "10.02 s is longer than 10 s (character_orientation image)"),
        (33.62, "video", "33.62 s is longer than 30 s (character_orientation video)"),
    ],
)
def test_a_clip_of_the_wrong_length_is_rejected(seconds, orientation, message, refusal):
    assert refusal("video_url", clip(seconds), orientation) == message


@pytest.mark.parametrize(
    ("seconds", "orientation", "duration_s"),
    [(2.996, "image", "3.00"), (10.004, "image", "10.00"), (10.02, "video", "10.02"), (30.004, "video", "30.00")],
)
def test_a_clip_within_the_rounding_passes(seconds, orientation, duration_s, probe_one):
    assert probe_one("video_url", clip(seconds), orientation)["duration_s"] == duration_s


def test_sound_that_outlasts_the_picture_counts(refusal):
    assert "10.3" in refusal("video_url", clip(9.5, sound_s=10.3))


# What it is not


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (picture(kind="GIF"), "gif"),
        (picture(kind="WEBP"), "webp"),
        (picture(kind="AVIF"), "avif"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (PAGE, "an html or xml page"),
        (b'{"error": "expired"}', "json"),
        (b"hello", "of an unknown format"),
        (CLIP, "mp4"),
    ],
)
def test_what_is_no_picture_is_named(content, name, refusal):
    assert refusal("image_url", content) == f"the file is {name}, not JPG or PNG"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (clip(kind="webm", codec="libvpx-vp9"), "webm or mkv"),
        (clip(kind="avi", codec="mpeg4"), "avi"),
        (picture(kind="PNG"), "png"),
        (PAGE, "an html or xml page"),
    ],
)
def test_what_is_no_clip_is_named(content, name, refusal):
    assert refusal("video_url", content) == f"the file is {name}, not MP4 or MOV"


@pytest.mark.parametrize("ranges", [True, False])
def test_an_empty_file_is_rejected(ranges, serve, refusal):
    assert refusal("image_url", serve(b"", ranges=ranges).url) == "the file is empty"


def test_sound_alone_is_rejected(refusal):
    assert refusal("video_url", song()) == "cannot be read as mp4: it has no video track"


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("options", [{}, {"ranges": False}, {"ranges": False, "length": False}])
def test_a_clip_without_its_end_is_rejected(movflags, options, serve, refusal):
    made = clip(movflags=movflags)
    cut = made[: made.index(b"mdat") + 100]
    assert f"the file at {len(cut)}" in refusal("video_url", serve(cut, **options).url)


def test_a_clip_whose_index_was_to_come_last_is_rejected(refusal):
    assert "no moov" in refusal("video_url", CLIP[: CLIP.index(b"moov") - 4])


def test_a_clip_that_ends_with_its_index_is_rejected(refusal):
    made = clip(movflags="faststart")
    assert "no mdat" in refusal("video_url", made[: made.index(b"mdat") - 4])


def test_garbage_that_begins_like_a_clip_is_rejected(refusal):
    assert "cannot be read as mp4" in refusal("video_url", CLIP[:32] + bytes(range(256)) * 1000)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (JPEG[:30], "jpeg"),
        (JPEG[: JPEG.index(b"\xff\xc0") + 6], "jpeg"),
        (JPEG[:4] + bytes(range(256)) * 9, "jpeg"),
        (picture(kind="PNG")[:20], "png"),
        (picture(kind="PNG")[:8] + bytes(range(256)) * 9, "png"),
    ],
)
def test_a_picture_that_breaks_off_is_rejected(content, name, refusal):
    assert f"cannot be read as {name}" in refusal("image_url", content)


# Few bytes


def test_an_index_at_the_end_of_100_mb_costs_little(tmp_path, serve, probe_one):
    file_server = serve(padded_to(100 * MB, tmp_path))
    assert probe_one("video_url", file_server.url)["size_bytes"] == 100 * MB
    assert file_server.sent_bytes < 2 * 65536
    assert len(file_server.requested_ranges) == 2


def test_an_index_in_front_is_all_that_is_read(tmp_path, serve, probe_one):
    file_server = serve(padded_to(100 * MB, tmp_path, movflags="faststart"))
    assert probe_one("video_url", file_server.url)["size_bytes"] == 100 * MB
    assert file_server.requested_ranges == ["bytes=0-65535"]


def test_a_server_without_ranges_is_read_to_the_index_at_the_end(tmp_path, serve, probe_one):
    file_server = serve(padded_to(20 * MB, tmp_path), ranges=False)
    assert probe_one("video_url", file_server.url)["duration_s"] == "5.00"
    assert len(file_server.requested_ranges) == 1


def test_a_server_without_ranges_is_left_behind_the_index_in_front(tmp_path, serve, probe_one):
    file_server = serve(padded_to(100 * MB, tmp_path, movflags="faststart"), ranges=False)
    assert probe_one("video_url", file_server.url)["size_bytes"] == 100 * MB
    assert file_server.sent_bytes < 20 * MB  # what the sockets between us hold


def test_a_long_profile_in_front_of_a_picture_is_passed_over(serve, probe_one):
    file_server = serve(picture(icc_profile=bytes(4 * MB)))
    assert probe_one("image_url", file_server.url)["width"] == 600
    assert file_server.sent_bytes <= 3 * MB + 64 * 65536


def test_a_clip_of_many_fragments_takes_ever_larger_ranges(serve, probe_one):
    file_server = serve(spread(100, 100_000))
    assert probe_one("video_url", file_server.url)["duration_s"] == "5.00"
    assert len(file_server.requested_ranges) < 40


def test_a_clip_spread_too_thin_is_given_up(serve, refusal):
    file_server = serve(CLIP, max_range_bytes=10)
    assert refusal("video_url", file_server.url) == "its header is spread over more than 64 places"
    assert len(file_server.requested_ranges) == 64


def test_a_server_that_gives_less_than_asked_is_asked_on(serve, probe_one):
    file_server = serve(CLIP, max_range_bytes=500)
    assert probe_one("video_url", file_server.url)["size_bytes"] == len(CLIP)


def test_a_part_without_the_size_of_the_whole_is_asked_for_whole(serve, probe_one):
    file_server = serve(CLIP, stated_size="*")
    assert probe_one("video_url", file_server.url)["size_bytes"] == len(CLIP)
    assert file_server.requested_ranges == ["bytes=0-65535", None]


# What the address answers


@pytest.mark.parametrize("status", [401, 403, 404, 410, 204, 304])
def test_a_definite_no_is_rejected(status, refusal):
    with FaultServer(keeping(http_response(b"", status=f"{status} No"))) as server:
        assert refusal("video_url", server.url) == f"its address answered {status}"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_no_for_now_may_be_asked_again(status, silence):
    with FaultServer(keeping(http_response(b"no", status=f"{status} No"))) as server:
        assert silence(server.url) == f"its address answered {status}"


def test_an_address_that_hangs_may_be_asked_again(silence):
    with FaultServer(lambda peer: peer.read_request() and peer.wait()) as server:
        assert "timed out" in silence(server.url, deadline_s=SHORT_S)


def test_an_address_that_trickles_is_left_at_the_deadline(silence):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"
    with FaultServer(lambda peer: peer.read_request() and peer.trickle(head + bytes(1000))) as server:
        assert "timed out" in silence(server.url, deadline_s=SHORT_S)


def test_an_answer_that_is_cut_may_be_asked_again(silence):
    head = b"HTTP/1.1 206 Partial\r\nContent-Length: 9999\r\nContent-Range: bytes 0-9998/9999\r\n\r\n"
    with FaultServer(keeping_then_closing(head + CLIP[:500])) as server:
        assert silence(server.url)


def test_a_file_that_changes_under_our_hands_may_be_asked_again(silence):
    at = CLIP.index(b"moov") - 4
    answers = part(CLIP[:at], 0, len(CLIP)), part(CLIP[at:], at, len(CLIP) + 1)
    with FaultServer(keeping_each(*answers)) as server:
        assert silence(server.url) == "the file changed while it was read"


@pytest.mark.parametrize("status", [400, 403, 405, 416, 501])
def test_a_server_that_refuses_any_range_is_asked_without_one(status, serve, probe_one, refusal):
    file_server = serve(CLIP, range_status=status)
    assert probe_one("video_url", file_server.url)["size_bytes"] == len(CLIP)
    assert [bool(requested_ranges) for requested_ranges in file_server.requested_ranges] == [True, False]
    assert refusal("video_url", serve(b"", range_status=status).url) == "the file is empty"


def test_a_server_that_gives_no_range_past_the_end_is_read_to_the_end(serve, probe_one, tmp_path):
    for content in (CLIP, padded_to(20 * MB, tmp_path)):  # the first ends within the first range
        file_server = serve(content, refuses_long_ranges=True)
        assert probe_one("video_url", file_server.url)["size_bytes"] == file_server.size
        assert file_server.sent_bytes < file_server.size + 300_000


def test_a_no_to_the_range_and_to_the_file_is_a_no(refusal):
    with FaultServer(keeping(http_response(b"no", status="403 Forbidden"))) as server:
        assert refusal("video_url", server.url) == "its address answered 403"
        assert len(server.requests) == 2


def test_a_whole_file_that_is_called_a_part_is_taken(probe_one):
    with FaultServer(keeping_each(http_response(b"no", status="416 No"), part(CLIP, 0, len(CLIP)))) as server:
        assert probe_one("video_url", server.url)["size_bytes"] == len(CLIP)


@pytest.mark.parametrize("words", ["aws-chunked", "identity", "x-odd"])
def test_a_coding_that_changes_no_byte_is_no_trouble(probe_one, words):
    with FaultServer(keeping(http_response(CLIP, f"Content-Encoding: {words}"))) as server:
        assert probe_one("video_url", server.url)["size_bytes"] == len(CLIP)


def test_parts_that_nobody_asked_for_are_rejected(refusal):
    with FaultServer(keeping(part(CLIP, 5, len(CLIP)))) as server:
        assert "other parts of the file" in refusal("video_url", server.url)


def test_a_refused_connection_and_an_unknown_name_may_be_asked_again(silence):
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        assert "connection refused" in silence(f"http://127.0.0.1:{door.getsockname()[1]}")
    assert "nobody.invalid" in silence("https://nobody.invalid")


def test_a_redirect_is_followed(serve, probe_one):
    file_server = serve(CLIP)
    with FaultServer(redirecting(file_server.url)) as server:
        assert probe_one("video_url", server.url)["size_bytes"] == len(CLIP)
    assert file_server.requested_ranges == ["bytes=0-65535"]


@pytest.mark.parametrize("url", ["https://127.0.0.2", "http://127.0.0.2", "https://user:hush@example.com"])
def test_an_address_we_may_not_reach_is_rejected(url, refusal):
    refusal("video_url", url)


def test_a_redirect_to_where_we_may_not_go_is_rejected(refusal):
    with FaultServer(redirecting("https://127.0.0.2/")) as server:
        assert "not a public address" in refusal("image_url", server.url)


def test_a_trouble_survives_a_pickle():
    error = pickle.loads(pickle.dumps(InputRejected("video_url", "the file is empty")))
    assert (str(error), error.field) == ("video_url: the file is empty", "video_url")


# Makings of this file's own


def picture_turned_by_exif():
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return picture(800, 320, exif=exif)


def padded_to(size_bytes, folder, **options):
    """A clip made that large by zeros at the end of its media, in a file that takes no room."""
    made = clip(**options)
    at = made.index(b"mdat")
    media_bytes = int.from_bytes(made[at - 4 : at])
    end, more = at - 4 + media_bytes, size_bytes - len(made)
    path = folder / "clip"
    with path.open("wb") as file:
        file.write(made[: at - 4] + struct.pack(">I", media_bytes + more) + made[at:end])
        file.seek(more, 1)
        file.write(made[end:])
        file.truncate(size_bytes)
    return path


def larger(box, content):
    """A box with that much more at its end."""
    return struct.pack(">I", len(box) + len(content)) + box[4:] + content


def spread(count, apart_bytes):
    """A fragmented clip of 5 s with that much of nothing behind each fragment."""
    made = clip(5, frames=count, movflags="frag_every_frame+empty_moov")
    first = made.index(b"moof") - 4
    gap = struct.pack(">I4s", apart_bytes, b"free") + bytes(apart_bytes - 8)
    return made[:first] + made[first:].replace(made[first : first + 8], gap + made[first : first + 8])


def part(content, start, stated_size):
    content_range = f"Content-Range: bytes {start}-{start + len(content) - 1}/{stated_size}"
    return http_response(content, content_range, status="206 Partial Content")


def keeping_each(*answers):
    def script(peer):
        for data in answers:
            peer.read_request()
            peer.send_bytes(data)
        peer.wait()

    return script


def keeping_then_closing(data):
    return lambda peer: peer.read_request() and peer.send_bytes(data)
