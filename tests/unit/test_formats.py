from __future__ import annotations

import io
import random
import struct
import time
import tracemalloc
from decimal import Decimal

import av
import pytest
from makings import clip, picture
from PIL import Image

from shared import formats


class Bytes:
    """A file in memory, read forwards only."""

    def __init__(self, data):
        self._data, self._at = data, 0

    @property
    def at(self):
        return self._at

    @at.setter
    def at(self, at):
        assert at >= self._at
        self._at = at

    def take(self, count):
        taken = self._data[self.at : self.at + count]
        self.at += len(taken)
        return taken

    def size(self):
        return len(self._data)


def patched(made, kind, at, content):
    """With that content at that place of the first such box's body."""
    start = made.index(kind) + 4 + at
    return made[:start] + content + made[start + len(content) :]


def in_track(made, addition):
    """With that box added to the end of its only track, which stands last but for some notes."""
    moov, trak, udta = (made.index(kind) - 4 for kind in (b"moov", b"trak", b"udta"))
    grown = {at: int.from_bytes(made[at : at + 4]) + len(addition) for at in (moov, trak)}
    made = patched(made, b"moov", -8, struct.pack(">I", grown[moov]))
    made = patched(made, b"trak", -8, struct.pack(">I", grown[trak]))
    return made[:udta] + addition + made[udta:]


def widened(data):
    """With 64-bit times where there were 32-bit ones."""
    made, at = b"", 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + size]
        if kind in (b"moov", b"trak", b"mdia"):
            body = widened(body)
        elif kind in (b"mvhd", b"tkhd", b"mdhd"):
            count, rest = (3, body[24:]) if kind == b"tkhd" else (2, body[20:])
            made_at, changed_at, *between, length = struct.unpack_from(f">{count + 2}I", body, 4)
            body = b"\1" + body[1:4] + struct.pack(f">QQ{count - 1}IQ", made_at, changed_at, *between, length) + rest
        made, at = made + box(kind, body), at + size
    return made


def box(kind, *inner):
    body = b"".join(inner)
    return struct.pack(">I4s", 8 + len(body), kind) + body


# As others read them


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"codec": "libx265"},
        {"codec": "mpeg4"},
        {"codec": "libvpx-vp9"},
        {"kind": "mov", "codec": "prores_ks"},
        {"kind": "mov", "codec": "mjpeg"},
        {"sound_s": 4.2},
        {"sound_s": 6.2},
        {"movflags": "faststart"},
        {"movflags": "frag_every_frame"},
        {"movflags": "frag_every_frame+empty_moov"},
        {"movflags": "frag_every_frame+empty_moov+default_base_moof+negative_cts_offsets"},
        {"movflags": "frag_every_frame+delay_moov", "sound_s": 4.2},
        {"movflags": "dash+frag_keyframe"},
        {"write_tmcd": "1", "kind": "mov"},
    ],
    ids=str,
)
def test_a_clip_is_read_as_ffmpeg_reads_it(options):
    made = clip(5.68, 360, 642, **options)
    ours = formats.clip_header(Bytes(made))
    with av.open(io.BytesIO(made)) as theirs:
        video = theirs.streams.video[0]
        assert (ours.width, ours.height) == (video.width, video.height)
        assert ours.codec == video.codec_context.name
        assert abs(ours.duration_s - Decimal(theirs.duration) / 1_000_000) <= Decimal("0.01")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"icc_profile": bytes(200_000)})],
    ids=str,
)
def test_a_picture_is_read_as_pillow_reads_it(kind, options):
    made = picture(431, 577, kind, **options)
    sides = {"PNG": formats.png_sides, "JPEG": formats.jpeg_sides}[kind]
    assert sides(Bytes(made)) == Image.open(io.BytesIO(made)).size


def test_a_jpeg_may_have_fill_bytes_before_a_marker():
    made = picture(431, 577)
    assert formats.jpeg_sides(Bytes(made[:2] + b"\xff" * 9 + made[2:])) == (431, 577)


def test_a_jpeg_may_have_markers_that_stand_alone():
    made = picture(431, 577)
    assert formats.jpeg_sides(Bytes(made[:2] + b"\xff\x01\xff\xd0" + made[2:])) == (431, 577)


@pytest.mark.parametrize("kind", ["wide", "free", "skip"])
def test_a_movie_from_before_there_was_ftyp_is_a_mov(kind):
    made = clip(kind="mov")
    old = box(kind.encode()) + made[made.index(b"ftyp") - 4 + 20 :]
    assert formats.name(old) == "mov"
    assert formats.clip_header(Bytes(old)).width == 352


def test_media_may_have_a_64_bit_size():
    made = clip()
    at = made.index(b"mdat") - 4
    size = int.from_bytes(made[at : at + 4])
    long = struct.pack(">I4sQ", 1, b"mdat", size + 8) + made[at + 8 :]
    assert formats.clip_header(Bytes(made[:at] + long)).duration_s == 5


def test_the_last_box_may_reach_to_the_end_without_saying_where():
    made = bytearray(clip(movflags="faststart"))
    at = made.index(b"mdat") - 4
    made[at : at + 4] = bytes(4)
    assert formats.clip_header(Bytes(bytes(made))).duration_s == 5


def test_what_stands_behind_the_last_box_is_let_be():
    assert formats.clip_header(Bytes(clip() + b"a camera's own notes")).duration_s == 5


def test_where_no_length_is_stated_the_samples_are_added_up():
    made = patched(clip(), b"mvhd", 16, b"\xff" * 4).replace(b"edts", b"free")
    assert formats.clip_header(Bytes(made)).duration_s == 5


def test_where_there_are_no_samples_the_movie_states_the_length():
    made = clip().replace(b"edts", b"free").replace(b"stts", b"free")
    assert formats.clip_header(Bytes(made)).duration_s == 5


@pytest.mark.parametrize("movflags", ["faststart", "frag_every_frame+empty_moov", "frag_every_frame"])
def test_times_may_have_64_bits(movflags):
    made = widened(clip(5, movflags=movflags).replace(b"elst", b"free"))
    assert b"mvhd\1" in made
    assert formats.clip_header(Bytes(made)).duration_s == 5


def test_what_is_edited_out_of_a_clip_does_not_count():
    made = patched(clip(5, frames=50), b"elst", 8, struct.pack(">I", 3000))
    assert formats.clip_header(Bytes(made)).duration_s == 3
    with av.open(io.BytesIO(made)) as theirs:
        assert theirs.duration == 3_000_000


def test_edits_may_have_64_bit_lengths():
    edits = struct.pack(">IIQqI", 1 << 24, 2, 1 << 32, 0, 1 << 16) + struct.pack(">QqI", 1004, 0, 1 << 16)
    made = in_track(clip().replace(b"edts", b"free"), box(b"edts", box(b"elst", edits)))
    assert formats.clip_header(Bytes(made)).duration_s == Decimal("4294968.30")


def test_an_edit_of_the_first_fragment_is_not_the_whole():
    made = patched(clip(movflags="frag_every_frame+delay_moov"), b"elst", 8, struct.pack(">I", 1000))
    assert formats.clip_header(Bytes(made)).duration_s == 5


def test_sound_that_is_set_before_zero_does_not_count():
    made = patched(clip(sound_s=4), b"mvhd", 16, struct.pack(">I", 5024))
    assert formats.clip_header(Bytes(made)).duration_s == 5


def test_what_a_fragment_leaves_out_the_movie_tells():
    made = clip(movflags="frag_every_frame+empty_moov", video_track_timescale="1000")
    made = patched(made[: made.index(b"moof") - 4], b"trex", 12, struct.pack(">I", 40))
    header = box(b"tfhd", struct.pack(">II", 0, 1))
    fragment = box(b"moof", box(b"traf", header, box(b"trun", struct.pack(">II", 0, 100))))
    assert formats.clip_header(Bytes(made + (fragment + box(b"mdat", b"media")) * 2)).duration_s == 8


def test_a_recording_of_something_live_lasts_from_its_first_fragment_on():
    made = bytearray(clip(movflags="frag_every_frame+empty_moov"))
    at = -1
    while (at := made.find(b"tfdt", at + 1)) > 0:
        made[at + 8 : at + 16] = struct.pack(">Q", int.from_bytes(made[at + 8 : at + 16]) + 1_000_000_000)
    assert formats.clip_header(Bytes(bytes(made))).duration_s == 5


def test_a_video_track_without_a_coding_is_no_clip():
    with pytest.raises(formats.Unreadable, match="how it is coded"):
        formats.clip_header(Bytes(clip().replace(b"stsd", b"free")))


@pytest.mark.parametrize("length", [bytes(4), b"\xff" * 4])
def test_without_any_length_there_is_no_clip(length):
    made = patched(clip(), b"mvhd", 16, length).replace(b"stts", b"free").replace(b"edts", b"free")
    with pytest.raises(formats.Unreadable, match="how long"):
        formats.clip_header(Bytes(made))


# Hostile ones


def test_a_movie_that_claims_billions_of_samples_costs_nothing():
    made = bytearray(clip())
    for table in (b"stts", b"stsz", b"stsc", b"ctts"):
        if (at := made.find(table)) > 0:
            made[at + 8 : at + 16] = b"\xff" * 8
    tracemalloc.start()
    formats.clip_header(Bytes(bytes(made)))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


def test_a_movie_larger_than_any_real_one_is_not_read():
    made = box(b"ftyp", b"isom") + struct.pack(">I4s", 1 << 25, b"moov") + bytes(1 << 25)
    with pytest.raises(formats.Unreadable, match="33554424 bytes long"):
        formats.clip_header(Bytes(made))


@pytest.mark.parametrize("level", [b"moov", b"trak", b"moof"])
def test_millions_of_empty_boxes_are_not_walked(level):
    count = (4 << 20) // 8 - 1
    body = box(b"moov", box(b"trak") * count) if level == b"trak" else box(level, box(b"free") * count)
    started = time.thread_time()
    with pytest.raises(formats.Unreadable):
        formats.clip_header(Bytes(box(b"ftyp", b"isom") + body + box(b"mdat", b"media")))
    assert time.thread_time() - started < 5


@pytest.mark.parametrize("size", [struct.pack(">I4s", 5, b"free"), struct.pack(">I4sQ", 1, b"free", 9)])
def test_a_box_smaller_than_its_own_header_ends_the_walk(size):
    with pytest.raises(formats.Unreadable, match="no moov"):
        formats.clip_header(Bytes(box(b"ftyp", b"isom") + size + clip()))


def test_a_clip_of_more_boxes_than_any_real_one_is_given_up():
    with pytest.raises(formats.Unreadable, match="more than 10000 boxes"):
        formats.clip_header(Bytes(clip() + box(b"free") * 10_001))


@pytest.mark.parametrize("segment", [b"\xff\xd0", b"\xff\xe0\0\2", b"\xff\xe0\0\0"])
def test_a_jpeg_of_nothing_but_segments_is_given_up(segment):
    with pytest.raises(formats.Unreadable, match="within 10000 segments"):
        formats.jpeg_sides(Bytes(b"\xff\xd8" + segment * 100_000))


@pytest.mark.parametrize("movflags", ["faststart", "frag_every_frame+empty_moov"])
def test_damage_anywhere_in_a_clip_is_an_answer_or_unreadable(movflags):
    made, dice = clip(sound_s=1, movflags=movflags), random.Random(8)
    for _ in range(1500):
        harmed = harm(made, dice)
        try:
            header = formats.clip_header(Bytes(harmed))
        except formats.Unreadable:
            continue
        assert header.duration_s > 0


def test_damage_anywhere_in_a_picture_is_an_answer_or_unreadable():
    made, dice = picture(icc_profile=bytes(100)), random.Random(8)
    for _ in range(1500):
        try:
            width, height = formats.jpeg_sides(Bytes(harm(made, dice)))
        except formats.Unreadable:
            continue
        assert 0 <= min(width, height) <= max(width, height) < 65536


def harm(data, dice):
    """Overwrite a few bytes, most of them with extremes, and now and then cut the end off."""
    harmed = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        at = dice.randrange(min(len(harmed), 3000))
        harmed[at : at + dice.choice((1, 2, 4))] = bytes([dice.choice((0, 1, 0x7F, 0xFF, dice.randrange(256)))] * 4)
    return bytes(harmed[: dice.choice((len(harmed), len(harmed), dice.randrange(len(harmed))))])
