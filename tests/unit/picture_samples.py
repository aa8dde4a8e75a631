"""Samples of the pictures that users upload, made by Pillow, and of files that only look like pictures."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

from makings import clip, picture
from PIL import Image

WIDTH, HEIGHT = 640, 480
KIB, MIB = 1 << 10, 1 << 20


def made(kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (WIDTH, HEIGHT)).save(file, kind, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return made(exif=exif)


def segments(marker: int, count: int, size_bytes: int) -> bytes:
    """A JPEG with `count` application segments after its first marker."""
    segment = struct.pack(">BBH", 0xFF, marker, size_bytes + 2) + bytes(size_bytes)
    return made()[:2] + segment * count + made()[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG with a chunk after its header."""
    png = made("PNG")
    return png[:33] + chunk(kind, body) + png[33:]


def animated() -> bytes:
    file = io.BytesIO()
    first, *rest = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "green", "blue")]
    first.save(file, "PNG", save_all=True, append_images=rest, duration=100)
    return file.getvalue()


JPEGS: dict[str, Callable[[], bytes]] = {
    "plain": made,
    "progressive": lambda: made(progressive=True),
    "cmyk": lambda: made(mode="CMYK"),
    "progressive cmyk": lambda: made(mode="CMYK", progressive=True),
    "grey": lambda: made(mode="L"),
    "4:4:4": lambda: made(subsampling=0),
    "restart markers": lambda: made(restart_marker_rows=1),
    **{f"orientation {number}": lambda number=number: turned(number) for number in range(1, 9)},  # type: ignore[misc]
    "large profile": lambda: made(icc_profile=bytes(3 * MIB)),
    "large exif": lambda: made(exif=b"Exif\0\0" + bytes(60 * KIB)),
    "comment": lambda: made(comment=b"made by a camera" * 1000),
    "many segments": lambda: segments(0xE1, 120, 65_000),
    "many small segments": lambda: segments(0xED, 2000, 20),
    "bytes behind it": lambda: made() + b"\0\0\r\na camera's own notes" + bytes(10_000),
    "a clip behind it": lambda: made() + clip(),
    "another behind it": lambda: made() + made(),
}
PNGS: dict[str, Callable[[], bytes]] = {
    "plain": lambda: made("PNG"),
    "transparent": lambda: made("PNG", "RGBA"),
    "palette": lambda: made("PNG", "P"),
    "one bit": lambda: made("PNG", "1"),
    "16 bits": lambda: made("PNG", "I;16"),
    "animated": animated,
    "large profile": lambda: with_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(range(256)) * 2000, 0)),
    "large exif": lambda: with_chunk(b"eXIf", b"MM\0*" + bytes(2 * MIB)),
    "large text": lambda: with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<x/>" * MIB),
    "bytes behind it": lambda: made("PNG") + b"notes" * 1000,
}
# What is neither, and what it is called.
NEITHER: dict[str, tuple[Callable[[], bytes], str]] = {
    "webp": (lambda: picture(kind="WEBP"), "webp"),
    "gif": (lambda: picture(kind="GIF"), "gif"),
    "avif": (lambda: picture(kind="AVIF"), "avif"),
    "bmp": (lambda: picture(kind="BMP"), "bmp"),
    "tiff": (lambda: picture(kind="TIFF"), "tiff"),
    "jpeg 2000": (lambda: picture(kind="JPEG2000"), "jpeg 2000"),
    "jpeg xl": (lambda: b"\xff\x0a" + bytes(30), "jpeg xl"),
    "psd": (lambda: b"8BPS\0\1" + bytes(30), "psd"),
    "icon": (lambda: picture(256, 256, kind="ICO"), "icon"),
    "heic": (lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an html or xml page"),
    "page": (lambda: b"\xef\xbb\xbf\n<!doctype html>", "an html or xml page"),
    "json": (lambda: b'{"error": "expired"}', "json"),
    "text": (lambda: b"hello", "of an unknown format"),
    "clip": (clip, "mp4"),
}
