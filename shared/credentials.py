"""Makes and checks secrets: the token in a callback address (gateways do not sign), API keys, webhook secrets."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256

DIGEST_CHARS = 32  # 192 bits
# An API key may be configured as its hash: `sha256$` and 64 hex digits.
HASHED = "sha256$"


def make_token(keys: Sequence[str], provider: str, job_id: str, attempt: int) -> str:
    """The callback token of an attempt, made with the newest key."""
    return f"{attempt}-{_digest(keys[0], provider, job_id, attempt)}"


def read_token(keys: Sequence[str], provider: str, job_id: str, token: str) -> int | None:
    """The attempt that a token is for; None if no key, new or old, made it. Takes the same time either way."""
    number, _, digest = token.partition("-")
    if not number.isascii() or not number.isdigit() or len(number) > 4:
        return None
    attempt = int(number)
    digests = [_digest(key, provider, job_id, attempt) for key in keys]
    matches = [hmac.compare_digest(expected.encode(), digest.encode()) for expected in digests]
    return attempt if any(matches) else None


def tenant_of(api_keys: Sequence[tuple[str, str]], key: str) -> str | None:
    """The tenant of an API key, None if no key matches. `api_keys` holds keys or their hashes.

    It compares every key, so that the time it takes says nothing about them.
    """
    plain = key.encode("utf-8", "surrogatepass")
    digest = (HASHED + sha256(plain).hexdigest()).encode()
    tenants = [
        tenant
        for tenant, configured in api_keys
        if hmac.compare_digest(configured.encode(), digest if configured.startswith(HASHED) else plain)
    ]
    return tenants[0] if tenants else None


def hashed(key: str) -> str:
    """The hash of an API key; a hash is returned unchanged."""
    return key if key.startswith(HASHED) else HASHED + sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def webhook_secret(secret: str) -> bytes:
    """The bytes of a `whsec_…` secret; raises ValueError if it is none."""
    try:
        return b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("not whsec_ and base64") from None


def _digest(key: str, provider: str, job_id: str, attempt: int) -> str:
    message = f"callback\n{provider}\n{job_id}\n{attempt}".encode()
    return urlsafe_b64encode(hmac.digest(key.encode(), message, "sha256")).decode()[:DIGEST_CHARS]
