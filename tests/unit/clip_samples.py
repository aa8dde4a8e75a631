"""Samples of clips as real writers, gateways and file servers produce them, all made from one clip."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from functools import cache

import av
from makings import box, clip, picture

MIB = 1 << 20
XMP = b"\xbe\x7a\xcf\xcb\x97\xa9\x42\xe8\x9c\x71\x99\x94\x91\xe3\xaf\xac"
WIDTH, HEIGHT, SECONDS = 352, 640, 5
Change = Callable[[bytes], bytes]


@cache
def plain() -> bytes:
    """ftyp, free, mdat, moov."""
    return clip(SECONDS, WIDTH, HEIGHT)


@cache
def faststart() -> bytes:
    """ftyp, moov, free, mdat."""
    return clip(SECONDS, WIDTH, HEIGHT, movflags="faststart")


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes of each box at the top level."""
    while data:
        size = int.from_bytes(data[:4])
        yield data[4:8], data[:size]
        data = data[size:]


def without(data: bytes, *kinds: bytes) -> bytes:
    """Without the boxes of these kinds at the top level."""
    return b"".join(each for kind, each in boxes(data) if kind not in kinds)


def part(data: bytes, kind: bytes) -> bytes:
    """The first box of this kind at the top level."""
    return next(each for first_kind, each in boxes(data) if first_kind == kind)


def moved(data: bytes, by: int) -> bytes:
    """With the sample offsets of its one table moved forwards by `by` bytes."""
    at = data.index(b"stco")
    count = int.from_bytes(data[at + 8 : at + 12])
    places = struct.unpack_from(f">{count}I", data, at + 12)
    shifted = struct.pack(f">{count}I", *(place + by for place in places))
    return data[: at + 12] + shifted + data[at + 12 + 4 * count :]


def behind(rest: bytes) -> bytes:
    return plain() + rest


def in_front(*first: bytes) -> bytes:
    """With these boxes in front of ftyp."""
    return b"".join(first) + moved(plain(), sum(map(len, first)))


def within(data: bytes, path: list[bytes], addition: bytes) -> bytes:
    """With a box inserted at the start of the first box at this path."""
    if not path:
        return addition + data
    made, is_done = [], False
    for kind, each in boxes(data):
        wanted = kind == path[0] and not is_done
        is_done = is_done or wanted
        made.append(box(kind, within(each[8:], path[1:], addition)) if wanted else each)
    return b"".join(made)


def stretched(data: bytes) -> bytes:
    """With a 64-bit size for its media, and the header after them."""
    first, media = without(data, b"mdat", b"moov"), part(data, b"mdat")
    long = struct.pack(">I4sQ", 1, b"mdat", len(media) + 8) + media[8:]
    return first + long + moved(part(data, b"moov"), 8)


def opened(data: bytes) -> bytes:
    """With media of size 0: they extend to the end of the file."""
    at = data.index(b"mdat") - 4
    return data[:at] + bytes(4) + data[at + 4 :]


def before_ftyp_was_known(*first: bytes) -> bytes:
    data = b"".join(first)
    return data + moved(without(plain(), b"ftyp", b"free"), len(data) - len(part(plain(), b"ftyp")) - 8)


def header_first() -> bytes:
    """moov, ftyp, free, mdat."""
    made = faststart()
    return part(made, b"moov") + without(made, b"moov")


def between(gap: bytes) -> bytes:
    """Something between the header and the media."""
    made = faststart()
    first, rest = part(made, b"ftyp"), without(made, b"ftyp", b"moov")
    return first + moved(part(made, b"moov"), len(gap)) + gap + rest


def fragmented(movflags: str = "frag_every_frame+empty_moov") -> bytes:
    return clip(SECONDS, WIDTH, HEIGHT, movflags=movflags)


def notes(kind: bytes, size_bytes: int = 6 * MIB) -> bytes:
    return box(kind, bytes(size_bytes - 8))


# What every player takes, and what is right for an input too.
WHOLE: dict[str, Callable[[], bytes]] = {
    "zero bytes behind it": lambda: behind(bytes(4)),
    "a newline behind it": lambda: behind(b"\n"),
    "carriage return and newline behind it": lambda: behind(b"\r\n"),
    "seven bytes behind it": lambda: behind(b"\0\0\0\x20fre"),
    "many zeros behind it": lambda: behind(bytes(5000)),
    "a text behind it": lambda: behind(b"made by a gateway, 2026-11-30\n"),
    "a page behind it": lambda: behind(b"<!-- served by cdn-7 -->"),
    "noise behind it": lambda: behind(bytes(range(255, 0, -1))),
    "no box behind it": lambda: behind(b"\0\0\0\3free"),
    "no long box behind it": lambda: behind(struct.pack(">I4sQ", 1, b"free", 9)),
    "half a long box header behind it": lambda: behind(b"\0\0\0\1free\0\0"),
    "a box to the end behind it": lambda: behind(b"\0\0\0\0free" + bytes(50)),
    "a box that breaks off behind it": lambda: behind(struct.pack(">I4s", 5000, b"free") + bytes(50)),
    "a box beyond any file behind it": lambda: behind(struct.pack(">I4sQ", 1, b"free", (1 << 64) - 1) + b"notes"),
    "notes behind it": lambda: behind(box(b"udta", b"notes")),
    "free in front": lambda: in_front(box(b"free", bytes(20))),
    "wide in front": lambda: in_front(box(b"wide")),
    "skip in front": lambda: in_front(box(b"skip", bytes(500))),
    "uuid in front": lambda: in_front(box(b"uuid", XMP, b"<x:xmpmeta/>" * 100)),
    "pdin in front": lambda: in_front(box(b"pdin", bytes(12))),
    "styp in front": lambda: in_front(box(b"styp", b"msdh\0\0\0\0msdhmsix")),
    "several in front": lambda: in_front(box(b"wide"), box(b"free", bytes(1000)), box(b"uuid", XMP)),
    "a maker's own box in front": lambda: in_front(box(b"abcd", bytes(1000))),
    "a long box in front": lambda: in_front(struct.pack(">I4sQ", 1, b"free", 116) + bytes(100)),
    "5 MiB of XMP in front": lambda: in_front(box(b"uuid", XMP, bytes(5 * MIB))),
    "no ftyp, mdat first": before_ftyp_was_known,
    "no ftyp, wide first": lambda: before_ftyp_was_known(box(b"wide")),
    "no ftyp, free first": lambda: before_ftyp_was_known(box(b"free", bytes(8)), box(b"skip")),
    "moov before ftyp": header_first,
    "a large meta before moov": lambda: between(notes(b"meta")),
    "a large udta in moov": lambda: within(plain(), [b"moov"], notes(b"udta")),
    "a large meta in the track": lambda: within(plain(), [b"moov", b"trak"], notes(b"meta")),
    "a large uuid in the media": lambda: within(plain(), [b"moov", b"trak", b"mdia"], notes(b"uuid")),
    "a large table of samples": lambda: within(plain(), [b"moov", b"trak", b"mdia", b"minf", b"stbl"], notes(b"sdtp")),
    "a header of 24 MiB": lambda: within(plain(), [b"moov"], notes(b"udta", 24 * MIB)),
    "header in front": faststart,
    "media of 64-bit size": lambda: stretched(plain()),
    "media to the end": lambda: opened(faststart()),
    "fragments": fragmented,
    "fragments without an index": lambda: without(fragmented(), b"mfra"),
    "fragments with sidx": lambda: fragmented("dash+frag_every_frame+empty_moov+global_sidx"),
    "fragments behind a first one": lambda: fragmented("frag_every_frame"),
    "quicktime": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="mov"),
    "quicktime, header in front": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="mov", movflags="faststart"),
}
# What players take too, but nobody could measure: as an input it is refused, as a paid result it is kept.
ODD: dict[str, Callable[[], bytes]] = {
    "zeros between header and media": lambda: between(bytes(16)),
    "noise between header and media": lambda: between(b"\0\0\0\3free"),
    "webm": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="webm", codec="libvpx-vp9"),
    "matroska": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="matroska"),
    "mpeg-ts": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="mpegts"),
    "m2ts": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="mpegts", mpegts_m2ts_mode="1"),
    "mpeg": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="vob"),
    "avi": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="avi", codec="mpeg4"),
    "flv": lambda: clip(SECONDS, WIDTH, HEIGHT, kind="flv"),
}
# What breaks off: another download may bring the rest.
CUT: dict[str, Callable[[], bytes]] = {
    "in its media": lambda: faststart()[:-100],
    "in its media, before its header": lambda: plain()[: plain().index(b"mdat") + 100],
    "in its header": lambda: plain()[:-100],
    "before its header": lambda: without(plain(), b"moov"),
    "in the header of its header": lambda: plain()[: plain().index(b"moov") + 2],
    "before its media": lambda: without(faststart(), b"mdat"),
    "in a fragment": lambda: without(fragmented(), b"mfra")[:-10],
    "in the header of a fragment": lambda: fragmented()[: fragmented().rindex(b"moof") + 20],
    "with boxes in front": lambda: in_front(box(b"uuid", XMP))[:-100],
    "with media of 64-bit size": lambda: without(stretched(plain()), b"moov")[:-5],
}
# What is no clip at all.
OTHER: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a page": lambda: b"\n<!DOCTYPE html><title>502</title>" + b"<p>Bad gateway</p>" * 500,
    "json": lambda: b'{"error": {"message": "expired"}}',
    "a text": lambda: b"Not found",
    "a long text": lambda: b"The link that you followed has expired. " * 500,
    "xml": lambda: b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "png": lambda: picture(kind="PNG"),
    "jpeg": picture,
    "gif": lambda: picture(kind="GIF"),
    "webp": lambda: picture(kind="WEBP"),
    "avif": lambda: picture(kind="AVIF"),
    "zeros": lambda: bytes(100_000),
    "noise": lambda: bytes(range(255, -1, -1)) * 400,
    "zip": lambda: b"PK\3\4" + bytes(1000),
    "ftyp alone": lambda: part(plain(), b"ftyp"),
}


def frames(data: bytes) -> int:
    """How many frames FFmpeg decodes."""
    with av.open(io.BytesIO(data)) as container:
        return sum(1 for _ in container.decode(video=0))
