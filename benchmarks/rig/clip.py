"""A valid MP4 of any size: the boxes a player needs, and one large mdat."""

from __future__ import annotations

import random
import struct
from pathlib import Path


def box(kind: bytes, *parts: bytes) -> bytes:
    """One box with its size in front."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def header() -> bytes:
    """ftyp and moov of five seconds of 1280 by 720 pixels."""
    mvhd = box(b"mvhd", bytes(12), struct.pack(">II", 1000, 5000), bytes(80))
    tkhd = box(b"tkhd", bytes(20), struct.pack(">I", 5000), bytes(52), struct.pack(">II", 1280 << 16, 720 << 16))
    hdlr = box(b"hdlr", bytes(8), b"vide", bytes(13))
    return box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"moov", mvhd, box(b"trak", tkhd, box(b"mdia", hdlr)))


def clip(size_bytes: int, seed: int = 1) -> bytes:
    """A clip of exactly this size (16 KiB at least), the same for the same seed."""
    head = header()
    return head + box(b"mdat", random.Random(seed).randbytes(size_bytes - len(head) - 8))


def sparse_clip(path: Path, size_bytes: int) -> Path:
    """A clip of up to 4 GiB on disk, its pictures all zeros: it takes no room and no time."""
    head = header()
    with path.open("wb") as file:
        file.write(head + struct.pack(">I4s", size_bytes - len(head), b"mdat"))
        file.truncate(size_bytes)
    return path
