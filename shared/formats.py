"""What a picture or a clip says of itself in its first bytes: its format, its sides, its length. Nothing is decoded.

Read by hand and forwards only. FFmpeg believes the counts it finds: a movie of 1,547 bytes made it take 2 GB and five
seconds (PyAV 18.1, 2026-11). And what only goes forwards costs as little from a server that gives no ranges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from math import inf
from typing import Protocol

HEAD_BYTES = 64  # enough to tell every format below
HEADER_BYTES = 8  # of a box: its size and its kind
VITAL = (b"mdat", b"moov", b"moof")  # without the whole of one of these, a clip is cut short
MAX_STEPS = 10_000  # boxes of a clip, segments of a JPEG: real ones have tens, one of a fragment per frame thousands
MAX_MOVIE_BYTES = 4 << 20  # of one moov or moof; the moov of an hour of video has half of that
MAX_FILL_BYTES = 16  # between two segments of a JPEG

# Where, what, which format; the first that fits.
MAGIC = (
    (0, b"\xff\xd8\xff", "jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"GIF8", "gif"),
    (8, b"WEBP", "webp"),
    (8, b"AVI ", "avi"),
    (0, b"\x1aE\xdf\xa3", "webm or mkv"),
    *((4, b"ftyp" + brand, "heic") for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")),
    *((4, b"ftyp" + brand, "avif") for brand in (b"avif", b"avis")),
    (4, b"ftypqt  ", "mov"),
    (4, b"ftyp", "mp4"),
    *((4, kind, "mov") for kind in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),  # QuickTime before ftyp
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"FLV", "flv"),
    (0, b"0&\xb2u", "wmv"),
    (0, b"\0\0\1\xba", "mpeg"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"%PDF", "pdf"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"PK\3\4", "zip"),
)
PAGES = ((b"<", "an html or xml page"), (b"{", "json"), (b"[", "json"))

JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG, DAC
JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length behind them

CODECS = {
    **dict.fromkeys(("avc1", "avc2", "avc3", "avc4"), "h264"),
    **dict.fromkeys(("hvc1", "hev1", "dvh1", "dvhe"), "hevc"),
    **dict.fromkeys(("apch", "apcn", "apcs", "apco", "ap4h", "ap4x"), "prores"),
    **dict.fromkeys(("jpeg", "mjpa", "mjpb"), "mjpeg"),
    "av01": "av1",
    "vp08": "vp8",
    "vp09": "vp9",
    "mp4v": "mpeg4",
    "s263": "h263",
}


class Unreadable(Exception):
    """These bytes are not what their beginning promised; the text says what is wrong with them."""


class File(Protocol):
    """A file that is read forwards; `at` may be set further on."""

    at: int

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""

    def size(self) -> int:
        """Its size in bytes."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a clip says of itself; sides in pixels as coded, before any rotation."""

    width: int
    height: int
    duration_s: Decimal
    codec: str


def name(head: bytes) -> str:
    """Which format a file is, by its first HEAD_BYTES; what its name or its server says does not count."""
    for at, magic, format_name in MAGIC:
        if head.startswith(magic, at):
            return format_name
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((page for start, page in PAGES if text.startswith(start)), "of an unknown format")


# Pictures. The sides are those stored, whatever the EXIF orientation: the rules for both sides are the same.


def png_sides(file: File) -> tuple[int, int]:
    """Width and height of a PNG in pixels; raises Unreadable."""
    head = file.take(24)
    if len(head) < 24 or head[8:16] != b"\0\0\0\x0dIHDR":
        raise Unreadable("it has no image header")
    return _number(head[16:20]), _number(head[20:24])


def jpeg_sides(file: File) -> tuple[int, int]:
    """Width and height of a JPEG in pixels; raises Unreadable."""
    file.at += 2  # the marker every JPEG begins with
    for _ in range(MAX_STEPS):
        marker = _jpeg_marker(file)
        if marker in JPEG_FRAMES:
            return _jpeg_frame(file.take(7))
        if marker not in JPEG_BARE:
            length = _number(file.take(2))  # its own two bytes included
            file.at += max(0, length - 2)
    raise Unreadable(f"it has no frame within {MAX_STEPS} segments")


def _jpeg_marker(file: File) -> int:
    lead, marker = file.take(1), file.take(1)
    for _ in range(MAX_FILL_BYTES):
        marker = file.take(1) if marker == b"\xff" else marker
    if lead != b"\xff" or marker in (b"", b"\0", b"\xff"):
        raise Unreadable("it breaks off or is damaged before its frame")
    return marker[0]


def _jpeg_frame(frame: bytes) -> tuple[int, int]:
    if len(frame) < 7:
        raise Unreadable("it breaks off in its frame")
    return _number(frame[5:7]), _number(frame[3:5])


# Clips: boxes within boxes (ISO 14496-12), each with its size and its kind in front.


def clip_header(file: File) -> Header:
    """What an MP4 or MOV says of itself; raises Unreadable, also where a box reaches past the end of the file."""
    movie, has_media = None, False
    for kind, end in _top_boxes(file):
        if kind == b"moov":
            movie = _Movie(_body(file, kind, end))
        elif kind == b"moof" and movie:
            movie.add_fragment(_body(file, kind, end))
        has_media = has_media or (kind == b"mdat" and end > file.at)
    if movie is None or not has_media:
        raise Unreadable(f"it has no {'mdat' if movie else 'moov'}; it may be cut short")
    return movie.header()


def _top_boxes(file: File) -> Iterator[tuple[bytes, float]]:
    """Kind and end of each box, the file standing at its body; what is no box behind the last one is let be."""
    kind, end = b"", 0.0
    for _ in range(MAX_STEPS):
        box = _next_box(file)
        if box is None:
            break
        kind, end = box
        yield kind, end
        if end == inf:
            return
        file.at = int(end)
    else:
        raise Unreadable(f"it has more than {MAX_STEPS} boxes")
    if kind in VITAL and end > file.size():
        raise Unreadable(f"it is cut short: its {kind.decode()} ends at byte {end:.0f}, the file at {file.size()}")


def _next_box(file: File) -> tuple[bytes, float] | None:
    start, header = file.at, file.take(HEADER_BYTES)
    size = _number(header[:4])
    if size == 1:
        size = _number(file.take(8))
    end = start + size if size else inf  # 0: to the end of the file
    return (header[4:], end) if len(header) == HEADER_BYTES and end >= file.at else None


def _body(file: File, kind: bytes, end: float) -> memoryview:
    count = end - file.at
    if MAX_MOVIE_BYTES < count < inf:
        raise Unreadable(f"its {kind.decode()} box is {count} bytes long, and more than {MAX_MOVIE_BYTES} are not read")
    return memoryview(file.take(int(min(count, MAX_MOVIE_BYTES))))


class _Track:
    """One track of a movie: what it holds, and from when to when its samples are known to last, by its own clock."""

    def __init__(self, trak: memoryview) -> None:
        table = _find(trak, b"mdia", b"minf", b"stbl")
        times = _find(table, b"stts")[8:]
        self.track_id = _pick(_find(trak, b"tkhd"), (12, 16), (20, 24))
        self.kind = _find(trak, b"mdia", b"hdlr")[8:12].tobytes()
        self.code, self.entry = next(_boxes(_find(table, b"stsd")[8:]), (b"", memoryview(b"")))
        self.edited_ticks = _edited_ticks(_find(trak, b"edts", b"elst"))  # by the clock of the movie
        self.default_ticks = 0  # of a sample in a fragment that does not say it
        self._ticks_per_s, _ = _clock(_find(trak, b"mdia", b"mdhd"))
        self._end = sum(count * each for count, each in zip(_column(times, 8), _column(times[4:], 8), strict=False))
        self._start = 0 if self._end else None

    def add_fragment(self, traf: memoryview) -> None:
        # Where it begins counts too: a writer that is ahead of its source leaves gaps, and a recording of
        # something live does not begin at 0.
        stated, default = _find(traf, b"tfdt"), self._default_ticks(_find(traf, b"tfhd"))
        start = _pick(stated, (4, 8), (4, 12)) if stated else self._end
        ticks = sum(_run_ticks(run, default) for kind, run in _boxes(traf) if kind == b"trun")
        self._start = start if self._start is None else self._start
        self._end = max(self._end, start + ticks)

    def counted_s(self) -> Decimal:
        return _seconds(self._ticks_per_s, self._end - (self._start or 0))

    def _default_ticks(self, tfhd: memoryview) -> int:
        flags = _number(tfhd[1:4])
        at = 8 + 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2)
        return _number(tfhd[at : at + 4]) if flags & 0x8 else self.default_ticks


class _Movie:
    """The moov box, and what its fragments add to it."""

    def __init__(self, moov: memoryview) -> None:
        self._ticks_per_s, self._ticks = _clock(_find(moov, b"mvhd"))
        self._tracks = [_Track(body) for kind, body in _boxes(moov) if kind == b"trak"]
        self._by_id = {track.track_id: track for track in self._tracks}
        extends = _find(moov, b"mvex")
        self._is_fragmented = bool(extends)
        for kind, trex in _boxes(extends):
            if kind == b"trex" and (track := self._by_id.get(_number(trex[4:8]))):
                track.default_ticks = _number(trex[12:16])

    def add_fragment(self, moof: memoryview) -> None:
        for kind, traf in _boxes(moof):
            if kind == b"traf" and (track := self._by_id.get(_number(_find(traf, b"tfhd")[4:8]))):
                track.add_fragment(traf)

    def header(self) -> Header:
        video = next((track for track in self._tracks if track.kind == b"vide"), None)
        if video is None:
            raise Unreadable("it has no video track")
        if not video.code:
            raise Unreadable("its video track does not say how it is coded")
        width, height = _number(video.entry[24:26]), _number(video.entry[26:28])
        return Header(width, height, self._duration_s(), _codec_name(video.code))

    def _duration_s(self) -> Decimal:
        """The longest of its tracks as they are played: what ffprobe says, and so most gateways.

        The movie's own figure comes last: many writers count sound in it that is set before zero and never heard,
        some 20 ms of AAC, and in a fragmented movie it is not the whole.
        """
        played_s = max(self._played_s(track) for track in self._tracks)
        duration_s = played_s or _seconds(self._ticks_per_s, self._ticks)
        if not duration_s:
            raise Unreadable("it does not say how long it is")
        return duration_s

    def _played_s(self, track: _Track) -> Decimal:
        edited_s = _seconds(self._ticks_per_s, 0 if self._is_fragmented else track.edited_ticks)
        return edited_s or track.counted_s()


def _edited_ticks(elst: memoryview) -> int:
    """How long the edits of a track last together; 0 where there are none."""
    if elst[:1].tobytes() == b"\1":
        return sum(high << 32 | low for high, low in zip(_column(elst[8:], 20), _column(elst[12:], 20), strict=False))
    return sum(_column(elst[8:], 12))


def _run_ticks(trun: memoryview, default: int) -> int:
    flags, count = _number(trun[1:4]), _number(trun[4:8])
    if not flags & 0x100:
        return count * default
    start = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
    width = 4 * sum(bool(flags & column) for column in (0x100, 0x200, 0x400, 0x800))
    return sum(_column(trun[start:], width))


def _seconds(ticks_per_s: int, ticks: int) -> Decimal:
    """Rounded half up to two decimals, in whole numbers: no length in a file is too long for that."""
    hundredths = (200 * ticks + ticks_per_s) // (2 * ticks_per_s) if ticks_per_s else 0
    return Decimal(hundredths).scaleb(-2)


def _clock(box: memoryview) -> tuple[int, int]:
    """Ticks per second, and length in ticks, of mvhd or mdhd."""
    return _pick(box, (12, 16), (20, 24)), _pick(box, (16, 20), (24, 32))


def _pick(box: memoryview, version_0: tuple[int, int], version_1: tuple[int, int]) -> int:
    """The number between these offsets; version 1 of a box has 64-bit times. All ones mean that it is not known."""
    digits = box[slice(*(version_1 if box[:1].tobytes() == b"\1" else version_0))]
    return 0 if set(digits) == {0xFF} else _number(digits)


def _find(body: memoryview, *path: bytes) -> memoryview:
    """The first box down this path; empty where there is none."""
    for wanted in path:
        body = next((inner for kind, inner in _boxes(body) if kind == wanted), body[:0])
    return body


def _boxes(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of each box; ends where something stands that can be none."""
    for _ in range(MAX_STEPS):
        size, at = _number(body[:4]) or len(body), HEADER_BYTES
        if size == 1:
            size, at = _number(body[8:16]), 16
        if not at <= size <= len(body):
            return
        yield bytes(body[4:8]), body[at:size]
        body = body[size:]


def _column(rows: memoryview, width: int) -> tuple[int, ...]:
    """The 32-bit number at the start of each row."""
    count = len(rows) // 4
    return struct.unpack(f">{count}I", rows[: 4 * count])[:: width // 4]


def _codec_name(code: bytes) -> str:
    text = code.decode("ascii", "replace").strip()
    return CODECS.get(text, text)


def _number(digits: bytes | memoryview) -> int:
    return int.from_bytes(digits)
