"""Records as Redis keeps them: the header as it is, for the programs read it; the JSON behind it packed small.

A million jobs wait in a gigabyte so, and in two without. What is packed begins with a byte that JSON never begins with;
it names the dictionary. A dictionary is never changed, for records that were packed with it may stand in any Redis: a
better one gets a number of its own.
"""

from __future__ import annotations

import zlib
from pathlib import Path

RAW = -15  # no zlib header, no checksum: Redis checks its own
LEVEL = 6
# A window of 8 KiB holds the dictionary and nearly every record. zlib's default of 32 KiB asks for 256 KiB of fresh
# memory each time and clears half of it, which takes five times as long as the packing (measured 2026-11).
WINDOW, MEMORY = -13, 6

DICTIONARIES = {bytes([number]): Path(__file__).with_name(f"dictionary-{number}.txt").read_bytes() for number in (1, 2)}
CURRENT = b"\x02"
# Copied for each record: reading the dictionary takes a third of the time of the packing.
PACKERS = {
    number: zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW, MEMORY, zdict=text) for number, text in DICTIONARIES.items()
}


def pack(record: str) -> bytes:
    """The record as it is stored."""
    header, _, body = record.encode().partition(b"\n")
    packer = PACKERS[CURRENT].copy()
    packed = packer.compress(body) + packer.flush()
    return header + b"\n" + CURRENT + packed


def unpack(stored: bytes) -> str:
    """The record that was stored; one that was never packed too."""
    header, _, body = stored.partition(b"\n")
    if dictionary := DICTIONARIES.get(body[:1]):
        body = zlib.decompressobj(RAW, zdict=dictionary).decompress(body[1:])
    return f"{header.decode()}\n{body.decode()}"
