"""The body of a request: whole, not too large, JSON in UTF-8."""

from __future__ import annotations

import json
from typing import Any

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from rushes.shared.intake.intake import Unacceptable

BODY_BYTES = 1 << 20
# For each piece of it: a caller who is gone holds no thread.
STALL_S = 10.0


def json_body() -> Any:
    """The body as JSON; raises Unacceptable for another media type, or where it is no JSON."""
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise Unacceptable("unsupported_media_type", "The body is not application/json.", 415)
    return parsed(raw(), EACH_ONCE)


def raw() -> bytes:
    """The body as it came; raises RequestEntityTooLarge, and Unacceptable where it did not come whole.

    Werkzeug's own limit takes a body without a length that is over it for one that ends there (seen with 3.1.9).
    """
    length = request.content_length
    if length is not None and length > BODY_BYTES:
        raise RequestEntityTooLarge
    body = read(BODY_BYTES + 1 if length is None else length)
    if len(body) > BODY_BYTES:
        raise RequestEntityTooLarge
    if len(body) < (length or 0):
        raise cut_short()
    return body


def read(size_bytes: int) -> bytes:
    """So many bytes of the body, fewer only at its end; raises Unacceptable where they stop coming."""
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(STALL_S)
    try:
        return bytes(request.environ["wsgi.input"].read(size_bytes))
    except Exception:  # whatever the server's own reader raises: a stall, a reset, a chunk that is none
        raise cut_short() from None


def cut_short() -> Unacceptable:
    """What to raise for a body that ended too soon."""
    return Unacceptable("bad_request", "The body did not come whole.", 400)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What a key that is said twice means, our caller's reader and ours may not agree on."""
    held = dict(pairs)
    if len(held) < len(pairs):
        raise ValueError("a key is said twice")
    return held


# Made once: json.loads makes one for each text that it is given options with.
STANDARD = json.JSONDecoder(parse_constant=_no_constant)
EACH_ONCE = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_each_once)


def parsed(body: bytes, decoder: json.JSONDecoder = STANDARD) -> Any:
    """JSON as the standard has it; raises Unacceptable 400."""
    try:
        return decoder.decode(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Unacceptable("bad_request", "The body is not JSON in UTF-8.", 400) from None
