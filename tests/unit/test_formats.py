from __future__ import annotations

import io
import random

import pytest
from makings import Bytes, harm, picture
from picture_samples import JPEGS, NEITHER, PNGS
from PIL import Image

from rushes.shared.media import formats, probe

# As others read them


@pytest.mark.parametrize(("made", "name"), [*((made, "jpeg") for made in JPEGS), *((made, "png") for made in PNGS)])
def test_a_picture_is_read_as_pillow_reads_it(made, name):
    data = {"jpeg": JPEGS, "png": PNGS}[name][made]()
    with Image.open(io.BytesIO(data)) as theirs:
        theirs.load()
        expected = probe.ImageInfo(*theirs.size, len(data), name)
    assert probe.probe_file("image_url", io.BytesIO(data)) == expected


@pytest.mark.parametrize("kind", NEITHER)
def test_what_is_neither_jpeg_nor_png_is_refused_with_its_field_and_what_it_is(kind):
    make, name = NEITHER[kind]
    with pytest.raises(probe.InputRejected) as caught:
        probe.probe_file("last_image_url", io.BytesIO(make()))
    assert str(caught.value) == f"last_image_url: the file is {name}, not JPG or PNG"


def test_a_jpeg_may_have_fill_bytes_before_a_marker():
    made = picture(431, 577)
    assert formats.jpeg_dimensions(Bytes(made[:2] + b"\xff" * 9 + made[2:])) == (431, 577)


def test_a_jpeg_may_have_markers_that_stand_alone():
    made = picture(431, 577)
    assert formats.jpeg_dimensions(Bytes(made[:2] + b"\xff\x01\xff\xd0" + made[2:])) == (431, 577)


# Hostile ones


@pytest.mark.parametrize("segment", [b"\xff\xd0", b"\xff\xe0\0\2", b"\xff\xe0\0\0"])
def test_a_jpeg_of_nothing_but_segments_is_given_up(segment):
    with pytest.raises(formats.Unreadable, match="within 10000 segments"):
        formats.jpeg_dimensions(Bytes(b"\xff\xd8" + segment * 100_000))


def test_damage_anywhere_in_a_picture_is_an_answer_or_unreadable():
    made, dice = picture(icc_profile=bytes(100)), random.Random(8)
    for _ in range(1500):
        try:
            width, height = formats.jpeg_dimensions(Bytes(harm(made, dice)))
        except formats.Unreadable:
            continue
        assert 0 <= min(width, height) <= max(width, height) < 65536
