"""Detects a file's format by its first bytes, and reads the size of a picture. Nothing is decoded.

Files are read forwards only, so a server without range requests costs no more.
"""

from __future__ import annotations

from typing import Protocol

HEAD_BYTES = 400  # enough to tell every format below; three packets of a transport stream are the longest
MAX_STEPS = 10_000  # segments of a JPEG: real ones have tens
MAX_FILL_BYTES = 16  # between two segments of a JPEG

# Offset, bytes, format; the first match counts.
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
    # Old QuickTime files have no ftyp, and other boxes may come before it.
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
BOX_FORMATS = frozenset({"mp4", "mov", "heic", "avif"})  # their boxes tell them apart, not their first bytes
OTHER_VIDEO_FORMATS = frozenset({"webm or mkv", "avi", "mpeg-ts", "mpeg", "flv", "wmv", "ogv"})  # not made of boxes
TRANSPORT_STREAM_PACKETS = ((0, 188), (4, 192))  # offset of the first packet, length of each
TEXT_FORMATS = ((b"<", "an html or xml page"), (b"{", "json"), (b"[", "json"))

JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 without DHT, JPG, DAC
JPEG_MARKERS_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # no length follows


class Unreadable(Exception):
    """The file cannot be read as the format that its first bytes announce; the text says why."""


class File(Protocol):
    """A file that is read forwards; `position` may be moved forwards."""

    position: int

    def take(self, count: int) -> bytes:
        """Read the next `count` bytes; fewer only at the end."""

    def size(self) -> int:
        """Return the size in bytes."""


def detect(head: bytes) -> str:
    """Return the format of a file by its first HEAD_BYTES; its name and its content type do not count."""
    for position, magic, format_name in MAGIC:
        if head.startswith(magic, position):
            return format_name
    if any(head[position : position + 2 * size + 1 : size] == b"GGG" for position, size in TRANSPORT_STREAM_PACKETS):
        return "mpeg-ts"
    if head[:1] == b"\0" and head[4:8].isalnum():  # an unknown box; no text begins with a zero byte
        return "mov"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return next((page for start, page in TEXT_FORMATS if text.startswith(start)), UNKNOWN)


# Pictures. Width and height are as stored, without the EXIF orientation: the rules for both are the same.


def png_dimensions(file: File) -> tuple[int, int]:
    """Return width and height of a PNG in pixels; raises Unreadable."""
    head = file.take(24)
    if len(head) < 24 or head[8:16] != b"\0\0\0\x0dIHDR":
        raise Unreadable("it has no image header")
    return _big_endian(head[16:20]), _big_endian(head[20:24])


def jpeg_dimensions(file: File) -> tuple[int, int]:
    """Return width and height of a JPEG in pixels; raises Unreadable."""
    file.position += 2  # the start-of-image marker
    for _ in range(MAX_STEPS):
        marker = _jpeg_marker(file)
        if marker in JPEG_FRAME_MARKERS:
            return _jpeg_frame(file.take(7))
        if marker not in JPEG_MARKERS_WITHOUT_LENGTH:
            length = _big_endian(file.take(2))  # its own two bytes included
            file.position += max(0, length - 2)
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
    return _big_endian(frame[5:7]), _big_endian(frame[3:5])


def _big_endian(digits: bytes) -> int:
    return int.from_bytes(digits)
