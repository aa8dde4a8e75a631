"""What an MP4 or MOV says of itself, with FFmpeg as the oracle."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
from decimal import Decimal

import av
import pytest
from clip_samples import part, within
from makings import Bytes, box, clip, harm

from rushes.shared.media import formats, mp4_boxes

SAMPLE_TABLE = [b"moov", b"trak", b"mdia", b"minf", b"stbl"]


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
    header = mp4_boxes.read_header(Bytes(made))
    with av.open(io.BytesIO(made)) as theirs:
        video = theirs.streams.video[0]
        assert (header.width, header.height) == (video.width, video.height)
        assert header.codec == video.codec_context.name
        assert abs(header.duration_s - Decimal(theirs.duration) / 1_000_000) <= Decimal("0.01")


@pytest.mark.parametrize("kind", ["wide", "free", "skip"])
def test_a_movie_from_before_there_was_ftyp_is_a_mov(kind):
    made = clip(kind="mov")
    old = box(kind.encode()) + made[made.index(b"ftyp") - 4 + 20 :]
    assert formats.detect(old) == "mov"
    assert mp4_boxes.read_header(Bytes(old)).width == 352


def test_media_may_have_a_64_bit_size():
    made = clip()
    at = made.index(b"mdat") - 4
    size = int.from_bytes(made[at : at + 4])
    long = struct.pack(">I4sQ", 1, b"mdat", size + 8) + made[at + 8 :]
    assert mp4_boxes.read_header(Bytes(made[:at] + long)).duration_s == 5


def test_the_last_box_may_reach_to_the_end_without_saying_where():
    made = bytearray(clip(movflags="faststart"))
    at = made.index(b"mdat") - 4
    made[at : at + 4] = bytes(4)
    assert mp4_boxes.read_header(Bytes(bytes(made))).duration_s == 5


def test_what_stands_behind_the_last_box_is_let_be():
    assert mp4_boxes.read_header(Bytes(clip() + b"a camera's own notes")).duration_s == 5


def test_where_no_length_is_stated_the_samples_are_added_up():
    made = patched(clip(), b"mvhd", 16, b"\xff" * 4).replace(b"edts", b"free")
    assert mp4_boxes.read_header(Bytes(made)).duration_s == 5


def test_where_there_are_no_samples_the_movie_states_the_length():
    made = clip().replace(b"edts", b"free").replace(b"stts", b"free")
    assert mp4_boxes.read_header(Bytes(made)).duration_s == 5


@pytest.mark.parametrize("movflags", ["faststart", "frag_every_frame+empty_moov", "frag_every_frame"])
def test_times_may_have_64_bits(movflags):
    made = widened(clip(5, movflags=movflags).replace(b"elst", b"free"))
    assert b"mvhd\1" in made
    assert mp4_boxes.read_header(Bytes(made)).duration_s == 5


def test_what_is_edited_out_of_a_clip_does_not_count():
    made = patched(clip(5, frames=50), b"elst", 8, struct.pack(">I", 3000))
    assert mp4_boxes.read_header(Bytes(made)).duration_s == 3
    with av.open(io.BytesIO(made)) as theirs:
        assert theirs.duration == 3_000_000


def test_edits_may_have_64_bit_lengths():
    edits = struct.pack(">IIQqI", 1 << 24, 2, 1 << 32, 0, 1 << 16) + struct.pack(">QqI", 1004, 0, 1 << 16)
    made = in_track(clip().replace(b"edts", b"free"), box(b"edts", box(b"elst", edits)))
    assert mp4_boxes.read_header(Bytes(made)).duration_s == Decimal("4294968.30")


def test_an_edit_of_the_first_fragment_is_not_the_whole():
    made = patched(clip(movflags="frag_every_frame+delay_moov"), b"elst", 8, struct.pack(">I", 1000))
    assert mp4_boxes.read_header(Bytes(made)).duration_s == 5


def test_sound_that_is_set_before_zero_does_not_count():
    made = patched(clip(sound_s=4), b"mvhd", 16, struct.pack(">I", 5024))
    assert mp4_boxes.read_header(Bytes(made)).duration_s == 5


def test_what_a_fragment_leaves_out_the_movie_tells():
    made = clip(movflags="frag_every_frame+empty_moov", video_track_timescale="1000")
    made = patched(made[: made.index(b"moof") - 4], b"trex", 12, struct.pack(">I", 40))
    header = box(b"tfhd", struct.pack(">II", 0, 1))
    fragment = box(b"moof", box(b"traf", header, box(b"trun", struct.pack(">II", 0, 100))))
    assert mp4_boxes.read_header(Bytes(made + (fragment + box(b"mdat", b"media")) * 2)).duration_s == 8


def test_a_recording_of_something_live_lasts_from_its_first_fragment_on():
    made = bytearray(clip(movflags="frag_every_frame+empty_moov"))
    at = -1
    while (at := made.find(b"tfdt", at + 1)) > 0:
        made[at + 8 : at + 16] = struct.pack(">Q", int.from_bytes(made[at + 8 : at + 16]) + 1_000_000_000)
    assert mp4_boxes.read_header(Bytes(bytes(made))).duration_s == 5


def test_a_video_track_without_a_coding_is_no_clip():
    with pytest.raises(formats.Unreadable, match="does not state its codec"):
        mp4_boxes.read_header(Bytes(clip().replace(b"stsd", b"free")))


@pytest.mark.parametrize("length", [bytes(4), b"\xff" * 4])
def test_without_any_length_there_is_no_clip(length):
    made = patched(clip(), b"mvhd", 16, length).replace(b"stts", b"free").replace(b"edts", b"free")
    with pytest.raises(formats.Unreadable, match="does not state its duration"):
        mp4_boxes.read_header(Bytes(made))


# Hostile ones


def test_a_movie_that_claims_billions_of_samples_costs_nothing():
    made = bytearray(clip())
    for table in (b"stts", b"stsz", b"stsc", b"ctts"):
        if (at := made.find(table)) > 0:
            made[at + 8 : at + 16] = b"\xff" * 8
    tracemalloc.start()
    mp4_boxes.read_header(Bytes(bytes(made)))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


def test_tables_longer_than_any_real_ones_are_not_read():
    rows = 1 << 22
    table = box(b"stts", struct.pack(">II", 0, rows), bytes(8 * rows))
    file = Bytes(within(clip(movflags="faststart").replace(b"stts", b"free"), SAMPLE_TABLE, table))
    with pytest.raises(formats.Unreadable, match=f"longer than {mp4_boxes.MAX_TABLE_BYTES} bytes"):
        mp4_boxes.read_header(file)
    assert file.taken_bytes < mp4_boxes.MAX_TABLE_BYTES


def test_a_table_is_added_up_in_pieces():
    rows = 1 << 17
    table = box(b"stts", struct.pack(">II", 0, rows), struct.pack(">II", 1, 1) * rows)
    made = within(clip().replace(b"stts", b"free").replace(b"edts", b"free"), SAMPLE_TABLE, table)
    tracemalloc.start()
    header = mp4_boxes.read_header(Bytes(made))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    clock = int.from_bytes(made[made.index(b"mdhd") + 16 :][:4])
    assert header.duration_s == round(Decimal(rows) / clock, 2)
    assert peak_bytes < 1 << 20


def test_rows_behind_the_stated_count_are_no_samples():
    made = clip().replace(b"stts", b"free").replace(b"edts", b"free")
    clock = int.from_bytes(made[made.index(b"mdhd") + 16 :][:4])
    table = box(b"stts", struct.pack(">IIIIII", 0, 1, 7, clock, 1000, clock))
    assert mp4_boxes.read_header(Bytes(within(made, SAMPLE_TABLE, table))).duration_s == 7


@pytest.mark.parametrize("level", [b"moov", b"trak", b"moof"])
def test_millions_of_empty_boxes_are_not_walked(level):
    count = (4 << 20) // 8 - 1
    body = box(b"moov", box(b"trak") * count) if level == b"trak" else box(level, box(b"free") * count)
    file = Bytes(box(b"ftyp", b"isom") + body + box(b"mdat", b"media"))
    with pytest.raises(formats.Unreadable):
        mp4_boxes.read_header(file)
    assert file.takes <= mp4_boxes.MAX_BOXES + 10


@pytest.mark.parametrize("size", [struct.pack(">I4s", 5, b"free"), struct.pack(">I4sQ", 1, b"free", 9)])
def test_a_box_smaller_than_its_own_header_ends_the_walk(size):
    with pytest.raises(formats.Unreadable, match="no moov"):
        mp4_boxes.read_header(Bytes(box(b"ftyp", b"isom") + size + clip()))


def test_a_clip_of_more_boxes_than_any_real_one_is_given_up():
    with pytest.raises(formats.Unreadable, match="more than 100000 boxes"):
        mp4_boxes.read_header(Bytes(clip() + box(b"free") * 100_001))


def test_a_clip_of_more_tracks_than_any_real_one_is_measured_by_the_first():
    made = within(clip(), [b"moov"], box(b"trak", box(b"tkhd", bytes(92))) * 10_000)
    with pytest.raises(formats.Unreadable, match="no video track"):
        mp4_boxes.read_header(Bytes(made))
    walk = mp4_boxes.walk_file(Bytes(made))
    assert walk.movie
    assert len(walk.movie.tracks) == 64


def test_of_two_headers_the_first_counts():
    made = clip() + within(part(clip(7), b"moov"), [b"moov"], box(b"free", b"another"))
    assert mp4_boxes.read_header(Bytes(made)).duration_s == 5


def test_a_box_that_ends_beyond_any_file_is_no_place_to_go_to():
    beyond = struct.pack(">I4sQ", 1, b"free", (1 << 64) - 1) + b"notes"
    assert mp4_boxes.read_header(Bytes(clip() + beyond)).duration_s == 5


@pytest.mark.parametrize("movflags", ["faststart", "frag_every_frame+empty_moov"])
def test_damage_anywhere_in_a_clip_is_an_answer_or_unreadable(movflags):
    made, dice = clip(sound_s=1, movflags=movflags), random.Random(8)
    for _ in range(1500):
        harmed = harm(made, dice)
        try:
            header = mp4_boxes.read_header(Bytes(harmed))
        except formats.Unreadable:
            continue
        assert header.duration_s > 0
