"""Which format a file is, by its first bytes, and how large a picture is. Nothing is decoded.

Read by hand and forwards only: what only goes forwards costs as little from a server that gives no ranges.
"""

from __future__ import annotations

from typing import Protocol

HEAD_BYTES = 400  # enough to tell every format below; three packets of a transport stream are the longest
MAX_STEPS = 10_000  # segments of a JPEG: real ones have tens
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
    # QuickTime knew no ftyp, and other boxes may stand in front of it.
    *((4, kind, "mov") for kind in (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"PICT", b"junk")),
    *((4, kind, "mov") for kind in (b"uuid", b"pdin", b"styp", b"sidx", b"moof", b"meta", b"udta", b"emsg", b"prft")),
    *((0, magic, "jpeg 2000") for magic in (b"\0\0\0\x0cjP  ", b"\xffO\xffQ")),
    *((0, magic, "jpeg xl") for magic in (b"\0\0\0\x0cJXL ", b"\xff\x0a")),
    (0, b"\0\0\1\0", "icon"),
    (0, b"8BPS", "psd"),
    (0, b"BM", "bmp"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"FLV", "flv"),
    (0, b"0&\xb2u", "wmv"),
    (0, b"\0\0\1\xba", "mpeg"),
    (28, b"\x80theora", "ogv"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b"%PDF", "pdf"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"PK\3\4", "zip"),
)
UNKNOWN = "of an unknown format"
BOXES = frozenset({"mp4", "mov", "heic", "avif"})  # told apart for sure only by what stands in their boxes
VIDEOS = frozenset({"webm or mkv", "avi", "mpeg-ts", "mpeg", "flv", "wmv", "ogv"})  # in containers of another kind
PACKETS = ((0, 188), (4, 192))  # of a transport stream: where the first begins, and how long each is
PAGES = ((b"<", "an html or xml page"), (b"{", "json"), (b"[", "json"))

JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG, DAC
JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length behind them


class Unreadable(Exception):
    """These bytes are not what their beginning promised; the text says what is wrong with them."""


class File(Protocol):
    """A file that is read forwards; `at` may be set further on."""

    at: int

    def take(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end."""

    def size(self) -> int:
        """Its size in bytes."""


def name(head: bytes) -> str:
    """Which format a file is, by its first HEAD_BYTES; what its name or its server says does not count."""
    for at, magic, format_name in MAGIC:
        if head.startswith(magic, at):
            return format_name
    if any(head[at : at + 2 * size + 1 : size] == b"GGG" for at, size in PACKETS):
        return "mpeg-ts"
    if head[:1] == b"\0" and head[4:8].isalnum():  # a box that we do not know, of a size that no text begins with
        return "mov"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((page for start, page in PAGES if text.startswith(start)), UNKNOWN)


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


def _number(digits: bytes) -> int:
    return int.from_bytes(digits)
