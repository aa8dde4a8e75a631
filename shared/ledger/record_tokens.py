"""What no two records share, taken out of their text: as letters it packs badly, and tears apart what they have alike.

| in the text | stands for | taken out as |
|---|---|---|
| `\\x01` | the record's own id | nothing: its key has it |
| `\\x02` | a moment (ms) under a name that ends in `at` | its place among those before it, or the step from the last |
| `\\x03` | a digest of 64 hexadecimal digits | 32 bytes |
| `\\x04` | two of 32, with a space between | 32 bytes |

JSON writes these letters in another way, so they stand for nothing else. What was taken out follows in this order.
"""

from __future__ import annotations

import re

from rushes.shared.domain import ids

ID, MOMENT, DIGEST, TWO_DIGESTS = "\x01", "\x02", "\x03", "\x04"
# Patterns begin with plain letters: a look at each place of a record for anything else takes five times as long.
MOMENTS = re.compile(r'at":(1\d{12})(?=[,}])')
DIGESTS = {
    DIGEST: re.compile(r'":"([0-9a-f]{64})"'),
    TWO_DIGESTS: re.compile(r'":"([0-9a-f]{32} [0-9a-f]{32})"'),
}
# Numbers below this are places among the moments before, those from it on are steps.
PLACES = 64


def can_hold(text: str) -> bool:
    """Whether none of these letters stands in a text; in JSON none does."""
    return not any(token in text for token in (ID, MOMENT, DIGEST, TWO_DIGESTS))


def take_out(text: str, record_id: str) -> tuple[str, bytes]:
    """The text with these letters, and what they stand for."""
    pieces = MOMENTS.split(text.replace(record_id, ID))
    taken = _packed_moments([int(moment) for moment in pieces[1::2]], record_id)
    text = f'at":{MOMENT}'.join(pieces[::2])
    for token, digests in DIGESTS.items():
        pieces = digests.split(text)
        taken += bytes.fromhex("".join(pieces[1::2]))
        text = f'":"{token}"'.join(pieces[::2])
    return text, taken


def put_back(text: str, taken: bytes, record_id: str) -> str:
    """What `take_out` was given."""
    moments, at = _unpacked_moments(taken, text.count(MOMENT), record_id)
    text = _interleaved(text.split(MOMENT), [str(moment) for moment in moments])
    for token in DIGESTS:
        pieces = text.split(token)
        words = [taken[start : start + 32].hex() for start in range(at, at + 32 * (len(pieces) - 1), 32)]
        at += 32 * len(words)
        text = _interleaved(pieces, words if token == DIGEST else [f"{word[:32]} {word[32:]}" for word in words])
    return text.replace(ID, record_id)


def _interleaved(pieces: list[str], words: list[str]) -> str:
    joined = [""] * (2 * len(words) + 1)
    joined[::2], joined[1::2] = pieces, words
    return "".join(joined)


def _packed_moments(moments: list[int], record_id: str) -> bytes:
    packed, seen = bytearray(), _made_at(record_id)
    for moment in moments:
        if moment in seen[:PLACES]:
            number = seen.index(moment)
        else:
            step = moment - seen[-1]
            number = PLACES + (2 * step if step >= 0 else -2 * step - 1)
            seen.append(moment)
        while number > 127:  # seven bits a byte, the lowest first; the highest bit says that more follow
            packed.append(number & 127 | 128)
            number >>= 7
        packed.append(number)
    return bytes(packed)


def _unpacked_moments(packed: bytes, count: int, record_id: str) -> tuple[list[int], int]:
    """So many moments, and how many bytes they took."""
    moments, seen, at = list[int](), _made_at(record_id), 0
    for _ in range(count):
        number = packed[at]
        at += 1
        if number < PLACES:
            moments.append(seen[number])
            continue
        if number > 127:
            number, shift = number & 127, 7
            while (more := packed[at]) > 127:
                number |= (more & 127) << shift
                shift, at = shift + 7, at + 1
            number, at = number | more << shift, at + 1
        step = number - PLACES
        seen.append(seen[-1] + (-(step + 1) // 2 if step & 1 else step // 2))
        moments.append(seen[-1])
    return moments, at


def _made_at(record_id: str) -> list[int]:
    """The moment that an id begins with: most records have it."""
    try:
        return [ids.made_at(record_id)]
    except ValueError:
        return [0]
