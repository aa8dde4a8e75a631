"""Secrets and their checks: the token in a callback address (gateways do not sign), API keys, webhook secrets."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256

DIGEST_CHARS = 32  # 192 bits
# An API key that is held as its hash looks so: `sha256$` and 64 hex digits.
HASHED = "sha256$"


def make(keys: Sequence[str], provider: str, job_id: str, attempt: int) -> str:
    """The token of one attempt, made with the newest key."""
    return f"{attempt}-{_digest(keys[0], provider, job_id, attempt)}"


def attempt_of(keys: Sequence[str], provider: str, job_id: str, token: str) -> int | None:
    """Which attempt a token is for; None where no key, new or old, made it. Takes the same time either way."""
    number, _, digest = token.partition("-")
    if not number.isascii() or not number.isdigit() or len(number) > 4:
        return None
    attempt = int(number)
    made = [_digest(key, provider, job_id, attempt) for key in keys]
    right = [hmac.compare_digest(one.encode(), digest.encode()) for one in made]
    return attempt if any(right) else None


def tenant_of(api_keys: Sequence[tuple[str, str]], key: str) -> str | None:
    """The tenant of an API key, held as it is or as its hash; every key is compared, so that the time tells nothing."""
    given = key.encode("utf-8", "surrogatepass")
    of_given = (HASHED + sha256(given).hexdigest()).encode()
    found = [
        tenant
        for tenant, held in api_keys
        if hmac.compare_digest(held.encode(), of_given if held.startswith(HASHED) else given)
    ]
    return found[0] if found else None


def hashed(key: str) -> str:
    """The hash that may stand for a key; of a hash, itself."""
    return key if key.startswith(HASHED) else HASHED + sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def webhook_secret(secret: str) -> bytes:
    """The key of a `whsec_…`; raises ValueError where it is none."""
    try:
        return b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("not whsec_ and base64") from None


def _digest(key: str, provider: str, job_id: str, attempt: int) -> str:
    message = f"callback\n{provider}\n{job_id}\n{attempt}".encode()
    return urlsafe_b64encode(hmac.digest(key.encode(), message, "sha256")).decode()[:DIGEST_CHARS]
