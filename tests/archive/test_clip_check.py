"""The clip check on real films."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal

import pytest

from rushes.shared.media.formats import HEAD_BYTES
from rushes.shared.storage.clip_check import ClipInfo, ClipValidator, InvalidClip

KINDS = ["plain", "faststart", "quicktime"]


def validate(clip: bytes, *, chunk_bytes: int = 1000, length_known: bool = False) -> ClipInfo:
    validator = ClipValidator()
    for start in range(0, len(clip), chunk_bytes):
        validator.feed(clip[start : start + chunk_bytes])
    return validator.finish(end_known=length_known)


def box(kind: bytes, body: bytes = b"", size: int | None = None) -> bytes:
    return (8 + len(body) if size is None else size).to_bytes(4) + kind + body


def top_boxes(clip: bytes) -> dict[bytes, tuple[int, int]]:
    position, boxes = 0, {}
    while position < len(clip):
        size = int.from_bytes(clip[position : position + 4])
        boxes[clip[position + 4 : position + 8]] = (position, size)
        position += size
    return boxes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 4096, 10**6])
def test_a_clip_tells_how_long_and_how_large_it_is(clips, kind, chunk_bytes):
    info = validate(clips[kind], chunk_bytes=chunk_bytes)

    assert info == ClipInfo(Decimal("2.000"), 64, 48)


def test_a_fragmented_clip_is_as_long_as_its_fragments_together(clips):
    assert validate(clips["fragmented"]) == ClipInfo(Decimal("2.000"), 64, 48)


@pytest.mark.parametrize("kind", [*KINDS, "fragmented"])
def test_a_clip_cut_anywhere_is_refused_when_no_length_was_announced(clips, kind):
    clip = clips[kind]

    accepted = []
    for end in range(len(clip)):
        try:
            accepted.append((end, validate(clip[:end], chunk_bytes=len(clip))))
        except InvalidClip:
            continue

    assert accepted == []


@pytest.mark.parametrize("missing", [b"moov", b"mdat"])
def test_a_clip_without_header_or_pictures_is_refused(clips, missing):
    position, size = top_boxes(clips["plain"])[missing]
    clip = clips["plain"][:position] + clips["plain"][position + size :]

    with pytest.raises(InvalidClip, match=f"no '{missing.decode()}'"):
        validate(clip, length_known=True)


def test_an_empty_header_is_none(clips):
    position, size = top_boxes(clips["plain"])[b"moov"]
    clip = clips["plain"][:position] + box(b"moov") + clips["plain"][position + size :]

    with pytest.raises(InvalidClip, match="no 'moov'"):
        validate(clip, length_known=True)


def test_an_empty_mdat_holds_no_pictures(clips):
    position, size = top_boxes(clips["plain"])[b"mdat"]
    clip = clips["plain"][:position] + box(b"mdat") + clips["plain"][position + size :]

    with pytest.raises(InvalidClip, match="no 'mdat'"):
        validate(clip, length_known=True)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"<!DOCTYPE html><title>502</title>", "an html or xml page"),
        (b'{"error": {"message": "expired"}}', "json"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "png"),
    ],
)
def test_a_page_is_refused_at_its_first_bytes(body, name):
    with pytest.raises(InvalidClip, match=f"it is {name}, not a clip"):
        ClipValidator().feed(body + bytes(HEAD_BYTES))
    with pytest.raises(InvalidClip, match=f"it is {name}, not a clip"):
        validate(body, length_known=True)


def test_nothing_at_all_is_refused():
    with pytest.raises(InvalidClip, match="empty"):
        ClipValidator().finish(end_known=True)


def test_a_box_with_a_64_bit_size_is_walked_over(clips):
    position, size = top_boxes(clips["plain"])[b"mdat"]
    mdat = clips["plain"][position + 8 : position + size]
    long_mdat = (1).to_bytes(4) + b"mdat" + (16 + len(mdat)).to_bytes(8) + mdat
    clip = clips["plain"][:position] + long_mdat + clips["plain"][position + size :]

    assert validate(clip, chunk_bytes=5) == ClipInfo(Decimal("2.000"), 64, 48)
    with pytest.raises(InvalidClip, match="breaks off"):
        validate(clip[:-1], length_known=True)


def test_a_last_box_open_to_the_end_needs_an_announced_length(clips):
    position, _ = top_boxes(clips["faststart"])[b"mdat"]
    clip = clips["faststart"][:position] + (0).to_bytes(4) + clips["faststart"][position + 4 :]

    assert validate(clip, length_known=True).width == 64
    with pytest.raises(InvalidClip, match="not announced"):
        validate(clip, length_known=False)


def test_a_fragmented_clip_without_its_index_needs_an_announced_length(clips):
    position, _ = top_boxes(clips["fragmented"])[b"mfra"]

    assert validate(clips["fragmented"][:position], length_known=True).width == 64
    with pytest.raises(InvalidClip, match="not announced"):
        validate(clips["fragmented"][:position], length_known=False)


@pytest.mark.parametrize("size", [2, 7])
def test_a_box_smaller_than_its_header_ends_the_walk_and_costs_nothing(clips, size):
    assert validate(clips["plain"] + box(b"free", b"12345678", size=size)) == ClipInfo(Decimal("2.000"), 64, 48)


@pytest.mark.parametrize("size", [2, 7])
def test_where_no_box_stands_before_the_header_there_is_no_clip(clips, size):
    with pytest.raises(InvalidClip, match="no 'moov'"):
        validate(box(b"ftyp", b"isom") + box(b"free", b"12345678", size=size) + clips["plain"], length_known=True)


def test_sound_alone_is_no_clip():
    sound = box(b"trak", box(b"tkhd", bytes(84)) + handler(b"soun"))
    clip = box(b"ftyp", b"M4A ") + box(b"moov", sound) + box(b"mdat", b"a song")

    with pytest.raises(InvalidClip, match="sound and no pictures"):
        validate(clip, length_known=True)


def test_a_header_beyond_all_measure_costs_the_facts_and_not_the_clip():
    clip = box(b"ftyp", b"isom") + box(b"moov", box(b"free") * 110_000) + box(b"mdat", b"pictures")

    assert validate(clip, chunk_bytes=100_000, length_known=True) == ClipInfo()


def test_a_header_beyond_all_measure_that_breaks_off_is_still_noticed():
    clip = box(b"ftyp", b"isom") + box(b"moov", box(b"free") * 110_000)

    with pytest.raises(InvalidClip, match="breaks off"):
        validate(clip[:-8], chunk_bytes=100_000, length_known=True)


def test_64_bit_times_are_read_too():
    mvhd = b"\1\0\0\0" + bytes(16) + (600).to_bytes(4) + (750).to_bytes(8)
    tkhd = b"\1\0\0\7" + bytes(24) + (900).to_bytes(8) + bytes(52) + (1920 << 16).to_bytes(4) + (1080 << 16).to_bytes(4)
    hdlr = bytes(8) + b"vide" + bytes(13)
    trak = box(b"trak", box(b"tkhd", tkhd) + box(b"mdia", box(b"hdlr", hdlr)))
    moov = box(b"moov", box(b"mvhd", mvhd) + trak)

    info = validate(box(b"ftyp", b"isom") + moov + box(b"mdat", b"pictures"))

    assert info == ClipInfo(Decimal("1.500"), 1920, 1080)


def test_the_picture_counts_and_not_the_sound():
    mvhd = bytes(12) + (1000).to_bytes(4) + (5024).to_bytes(4)
    sound = box(b"trak", box(b"tkhd", bytes(20) + (5024).to_bytes(4) + bytes(60)) + handler(b"soun"))
    size = (720 << 16).to_bytes(4) + (1280 << 16).to_bytes(4)
    video = box(b"trak", box(b"tkhd", bytes(20) + (5000).to_bytes(4) + bytes(52) + size) + handler(b"vide"))
    moov = box(b"moov", box(b"mvhd", mvhd) + sound + video)

    info = validate(box(b"ftyp", b"isom") + moov + box(b"mdat", b"pictures"))

    assert info == ClipInfo(Decimal("5.000"), 720, 1280)


def test_where_the_track_does_not_say_its_sides_those_of_its_samples_count():
    entry = box(b"avc1", bytes(24) + (1280).to_bytes(2) + (720).to_bytes(2) + bytes(50))
    table = box(b"minf", box(b"stbl", box(b"stsd", bytes(8) + entry)))
    media = box(b"mdia", box(b"hdlr", bytes(8) + b"vide" + bytes(13)) + table)
    moov = box(b"moov", box(b"trak", box(b"tkhd", bytes(84)) + media))

    info = validate(box(b"ftyp", b"isom") + moov + box(b"mdat", b"pictures"))

    assert info == ClipInfo(None, 1280, 720)


def handler(kind: bytes) -> bytes:
    return box(b"mdia", box(b"hdlr", bytes(8) + kind + bytes(13)))


@pytest.mark.parametrize(
    "inside", [b"\0\0\0\2trak", b"\xff\xff\xff\xfftrak", b"\0\0\0\0trak", b"\0\0\0", b"\0\0\0\1mvhd"]
)
def test_nonsense_inside_moov_costs_the_facts_and_not_the_clip(inside):
    clip = box(b"ftyp", b"isom") + box(b"moov", inside) + box(b"mdat", b"pictures") + box(b"free", b"tail")

    assert validate(clip, chunk_bytes=3) == ClipInfo()
    with pytest.raises(InvalidClip, match=r"breaks off after .*, in 'mdat'"):
        validate(clip[: clip.index(b"pictures") + 4], length_known=True)


@pytest.mark.parametrize(
    "bomb",
    [
        box(b"moov", box(b"trak") * 20_000),
        b"".join(box(b"moov", size=8 * (20_000 - depth)) for depth in range(20_000)),
        b"".join(box(number.to_bytes(4), b"x") for number in range(20_000)),
    ],
    ids=["tracks", "boxes in boxes", "kinds"],
)
def test_a_file_made_to_fill_the_memory_does_not(bomb):
    clip = box(b"ftyp", b"isom") + bomb
    validator = ClipValidator()

    tracemalloc.start()
    validator.feed(clip)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak_bytes < 500_000  # of the whole process, whose other threads go on; 20,000 that are kept are some MB
