"""The body of a request: whole, not too large, JSON in UTF-8."""

from __future__ import annotations

import json
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from rushes.shared.intake.intake import Unacceptable

BODY_BYTES = 1 << 20
# A batch holds up to a thousand requests.
BATCH_BODY_BYTES = 8 << 20
# For each piece of a body: a caller who is gone must not hold a thread.
STALL_S = 10.0


def json_body(limit_bytes: int = BODY_BYTES) -> Any:
    """The body as JSON; raises Unacceptable 415 for another media type, 400 where it is not JSON.

    Raises RequestEntityTooLarge over `limit_bytes`.
    """
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise Unacceptable("unsupported_media_type", "The body is not application/json.", 415)
    return parse_json(raw_body(limit_bytes), UNIQUE_KEYS)


def raw_body(limit_bytes: int = BODY_BYTES) -> bytes:
    """The body as bytes; raises RequestEntityTooLarge, and Unacceptable where it did not come whole.

    Werkzeug's own limit cuts a body that gives no length, and takes it for a whole one (seen with 3.1.9).
    """
    length = request.content_length
    if length is not None and length > limit_bytes:
        raise RequestEntityTooLarge
    body = read_body(limit_bytes + 1 if length is None else length)
    if len(body) > limit_bytes:
        raise RequestEntityTooLarge
    if len(body) < (length or 0):
        raise incomplete_body()
    return body


def read_body(size_bytes: int) -> bytes:
    """Read `size_bytes` of the body, fewer only at its end; raises Unacceptable where they stop coming."""
    environ = request.environ
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(STALL_S)
    try:
        return bytes(environ["wsgi.input"].read(size_bytes))
    except Exception:  # whatever the reader of the server raises: a stall, a reset, a malformed chunk
        raise incomplete_body() from None


def incomplete_body() -> Unacceptable:
    """The error for a body that ended too soon."""
    return Unacceptable("bad_request", "The body did not come whole.", 400)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: two JSON readers may not agree on what it means."""
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key stands twice")
    return document


# Made once: json.loads with options makes a decoder for each text.
STANDARD = json.JSONDecoder(parse_constant=_no_constant)
UNIQUE_KEYS = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_unique_keys)


def parse_json(body: bytes, decoder: json.JSONDecoder = STANDARD) -> Any:
    """Parse JSON as the standard has it, without NaN; raises Unacceptable 400."""
    try:
        return decoder.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Unacceptable("bad_request", "The body is not JSON in UTF-8.", 400) from None
