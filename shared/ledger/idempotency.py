"""Idempotency keys: how long they are known, and what a key that was used before means."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256

from rushes.shared.domain import ids, schedule
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import IdempotencyEntry

IDEMPOTENCY_S = 7 * 86_400  # as lua/parts/known_keys.lua has it
# 96 bits tell all keys of all tenants apart, 66 two bodies under one key.
NAME_LETTERS, BODY_LETTERS = 16, 11


class Conflict(Exception):
    """The idempotency key was used before, with another body."""


class NotWhole(Exception):
    """What the ledger had may be lost with another server: `unmarked` where nobody ever said that it is whole."""


NOT_WHOLE = frozenset({"unmarked", "elsewhere"})


def entry(
    tenant: str, key_digest: str, now: int, used_by: str = "", body_digest: str = "", mark: int = 0
) -> IdempotencyEntry:
    """The key with this digest (keys.digest), used by the job, batch or bulk action with this id and body."""
    return IdempotencyEntry(
        name=_letters(f"{tenant}\0{key_digest}", NAME_LETTERS),
        earlier_key=keys.idempotency_of_digest(tenant, key_digest),
        value=f"{used_by} {_letters(body_digest, BODY_LETTERS)}",
        since=ids.moment_letters(schedule.after(now, -IDEMPOTENCY_S)),
        mark=mark,
    )


def first_id_of(first: str, digest: str) -> str:
    """The id of the job or batch that used the key first; raises Conflict where its body was another."""
    first_id, _, first_body = first.partition(" ")
    if first_body not in (digest, _letters(digest, BODY_LETTERS)):  # earlier versions kept the whole digest
        raise Conflict(first_id)
    return first_id


def _letters(text: str, count: int) -> str:
    return urlsafe_b64encode(sha256(text.encode("utf-8", "surrogatepass")).digest())[:count].decode()
