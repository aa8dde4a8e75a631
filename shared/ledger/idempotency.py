"""Idempotency keys: how long they are known, and what a key that was used before means."""

from __future__ import annotations

IDEMPOTENCY_S = 7 * 86_400


class Conflict(Exception):
    """The idempotency key was used before, with another body."""


class NotWhole(Exception):
    """What the ledger had may be lost with another server: `unmarked` where nobody ever said that it is whole."""


NOT_WHOLE = frozenset({"unmarked", "elsewhere"})


def first_id_of(first: str, digest: str) -> str:
    """The id of the job or batch that used the key first; raises Conflict where its body was another."""
    first_id, _, first_digest = first.partition(" ")
    if first_digest != digest:
        raise Conflict(first_id)
    return first_id
