"""One judge for what comes in and what comes out: every shape of a clip, as an input and as a paid result."""

from __future__ import annotations

import io
from decimal import Decimal
from ipaddress import ip_network

import pytest
from clip_samples import CUT, HEIGHT, ODD, OTHER, SECONDS, WHOLE, WIDTH, frames
from file_server import FileServer
from makings import Bytes

from rushes.shared.http import HttpClient
from rushes.shared.media import formats, mp4_boxes
from rushes.shared.media.probe import InputRejected, VideoInfo, probe_file, probe_inputs
from rushes.shared.storage.clip_check import ClipInfo, ClipValidator, InvalidClip

WITHOUT_AN_END = ["media to the end", "fragments without an index"]
LARGE = [name for name in WHOLE if "large" in name or "MiB" in name]


def result(data: bytes, *, chunk_bytes: int = 1 << 16, end_known: bool = True) -> ClipInfo:
    judge = ClipValidator()
    for start in range(0, len(data), chunk_bytes):
        judge.feed(data[start : start + chunk_bytes])
    return judge.finish(end_known=end_known)


def brand(data: bytes) -> str:
    """QuickTime's own brand, or none at all, makes a MOV."""
    return "mp4" if b"ftyp" in data and b"ftypqt  " not in data else "mov"


@pytest.mark.parametrize("name", WHOLE)
def test_what_players_take_is_measured_as_an_input_and_kept_as_a_result(name):
    data = WHOLE[name]()

    assert frames(data) == 3
    measured = probe_file("video_url", io.BytesIO(data))
    assert measured == VideoInfo(WIDTH, HEIGHT, len(data), Decimal(SECONDS), "h264", brand(data))
    assert result(data) == ClipInfo(Decimal("5.000"), WIDTH, HEIGHT)


@pytest.mark.parametrize("name", [name for name in WHOLE if name not in LARGE])
def test_a_clip_is_judged_alike_in_whatever_pieces_it_comes(name):
    data = WHOLE[name]()

    assert {result(data, chunk_bytes=size) for size in (1, 13, 401)} == {result(data)}


@pytest.mark.parametrize("name", [name for name in WHOLE if "behind it" not in name and name not in WITHOUT_AN_END])
def test_boxes_that_are_all_there_need_no_announced_length(name):
    assert result(WHOLE[name](), end_known=False) == ClipInfo(Decimal("5.000"), WIDTH, HEIGHT)


@pytest.mark.parametrize("name", [*WITHOUT_AN_END, *(name for name in ODD if "between" not in name)])
def test_what_cannot_prove_its_end_needs_an_announced_length(name):
    data = {**WHOLE, **ODD}[name]()

    result(data)
    with pytest.raises(InvalidClip, match="length was not announced"):
        result(data, end_known=False)


@pytest.mark.parametrize("name", ODD)
def test_a_clip_that_is_no_mp4_as_it_should_be_is_kept_as_a_result_and_refused_as_an_input(name):
    data = ODD[name]()

    assert frames(data) == 3
    assert isinstance(result(data), ClipInfo)
    assert result(data, chunk_bytes=7) == result(data)
    with pytest.raises(InputRejected, match=r"not MP4 or MOV|cannot be read as"):
        probe_file("video_url", io.BytesIO(data))


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("end_known", [True, False])
def test_a_clip_that_breaks_off_is_neither_an_input_nor_a_result(name, end_known):
    data = CUT[name]()

    with pytest.raises(formats.Unreadable, match="cut short"):
        mp4_boxes.read_header(Bytes(data))
    with pytest.raises(InvalidClip, match=r"breaks off|has no"):
        result(data, end_known=end_known)


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("chunk_bytes", [5, 1 << 16])
def test_what_is_no_clip_at_all_is_neither(name, chunk_bytes):
    data = OTHER[name]()

    with pytest.raises(InvalidClip, match=r"empty|not a clip|no 'moov'"):
        result(data, chunk_bytes=chunk_bytes)
    with pytest.raises(InputRejected, match=r"empty|not MP4 or MOV|no moov"):
        probe_file("video_url", io.BytesIO(data))


@pytest.mark.parametrize("name", ["noise", "zeros", "png", "a page", "json", "zip"])
def test_what_can_be_no_clip_any_more_is_not_read_to_its_end(name):
    judge = ClipValidator()

    with pytest.raises(InvalidClip):
        judge.feed(OTHER[name]()[:30] + b" " * formats.HEAD_BYTES)


# What it costs to look at an input


@pytest.fixture(scope="module")
def http_client():
    http_client = HttpClient((ip_network("127.0.0.1/32"),))
    yield http_client
    http_client.close()


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("name", LARGE)
def test_of_a_large_header_only_what_is_needed_is_read(name, ranges, http_client):
    data = WHOLE[name]()
    file_server = FileServer(data, ranges=ranges)
    try:
        measured = probe_inputs({"video_url": file_server.url, "character_orientation": "image"}, http_client, str)[
            "video_url"
        ]
    finally:
        file_server.close()

    assert (measured["width"], measured["height"], measured["duration_s"]) == (WIDTH, HEIGHT, "5.00")
    assert measured["size_bytes"] == len(data)
    assert len(file_server.requested_ranges) <= 4 if ranges else len(file_server.requested_ranges) == 1
    assert not ranges or file_server.sent_bytes <= 4 * 65536
