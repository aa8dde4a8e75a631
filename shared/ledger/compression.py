"""Records as Redis keeps them: the header as it is, for the programs read it; the JSON behind it packed small.

The text, which all records have nearly alike, is deflated with a dictionary of it. Out of that of an ended job, which
stays for days, what no two records share is taken before (record_tokens.py), and follows as bytes: a third less, for
half as much time again. What is packed begins with a byte that JSON never begins with;
it names the dictionary. A dictionary is never changed, for records that were packed with it may stand in any Redis: a
better one gets a number of its own.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from rushes.shared.ledger import record_tokens

RAW = -15  # no zlib header, no checksum: Redis checks its own
LEVEL = 6
# A window of 8 KiB holds the dictionary and nearly every record. zlib's default of 32 KiB asks for 256 KiB of fresh
# memory each time and clears half of it, which takes five times as long as the packing (measured 2026-11).
WINDOW, MEMORY = -13, 6

DICTIONARIES = {
    bytes([number]): Path(__file__).with_name(f"dictionary-{number}.txt").read_bytes() for number in (1, 2, 3)
}
CURRENT, WITHOUT_TOKENS = b"\x03", b"\x02"
WITH_TOKENS = {b"\x03"}
# Copied for each record: reading the dictionary takes a third of the time of the packing.
PACKERS = {
    number: zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW, MEMORY, zdict=text) for number, text in DICTIONARIES.items()
}


def pack(record: str, record_id: str) -> bytes:
    """The record as it is stored."""
    header, _, body = record.partition("\n")
    if _has_ended(header) and record_tokens.can_hold(body):
        text, taken_out = record_tokens.take_out(body, record_id)
        return b"%b\n%b%b%b" % (header.encode(), CURRENT, _deflated(text, CURRENT), taken_out)
    return b"%b\n%b%b" % (header.encode(), WITHOUT_TOKENS, _deflated(body, WITHOUT_TOKENS))


def _has_ended(header: str) -> bool:
    """Whether it is of an ended job (record.py)."""
    return header.split(" ")[3:4] == ["0"]


def _deflated(text: str, dictionary: bytes) -> bytes:
    packer = PACKERS[dictionary].copy()
    return packer.compress(text.encode()) + packer.flush()


def unpack(stored: bytes, record_id: str) -> str:
    """The record that was stored; one that was never packed too."""
    header, _, body = stored.partition(b"\n")
    number = body[:1]
    if dictionary := DICTIONARIES.get(number):
        unpacker = zlib.decompressobj(RAW, zdict=dictionary)
        body = unpacker.decompress(body[1:])
        if number in WITH_TOKENS:
            return f"{header.decode()}\n{record_tokens.put_back(body.decode(), unpacker.unused_data, record_id)}"
    return f"{header.decode()}\n{body.decode()}"
