"""The one error envelope, and the door's way of reading JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from shared.intake import Unacceptable
from shared.ledger.store import LedgerUnavailable

CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limited",
    503: "unavailable",
}


def envelope(status: int, code: str, message: str, fields: Mapping[str, Any] | None = None) -> Response:
    """An error as the contract writes it."""
    answer = jsonify(Unacceptable(code, message, status, fields).envelope())
    answer.status_code = status
    return answer


def register(app: Flask) -> None:
    """Make every error of the app come out in the envelope."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Unacceptable, _unacceptable)
    app.register_error_handler(LedgerUnavailable, _unavailable)
    app.register_error_handler(Exception, _broken)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    answer = envelope(status, CODES.get(status, "error"), error.description or error.name)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _unacceptable(error: Unacceptable) -> Response:
    return envelope(error.status, error.code, error.message, error.fields)


def _unavailable(_: LedgerUnavailable) -> Response:
    answer = envelope(503, "unavailable", "The ledger is out of reach; nothing was accepted.")
    answer.headers["Retry-After"] = "2"
    return answer


def _broken(error: Exception) -> Response:
    from structlog import get_logger

    get_logger().exception("request broke", path=request.url_rule.rule if request.url_rule else None)
    return envelope(500, "internal", "This is our fault; it was logged.")


def json_body() -> Any:
    """The body as JSON; raises Unacceptable for another media type, or where it is no JSON."""
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise Unacceptable(CODES[415], "The body is not application/json.", 415)
    return parsed(request.get_data(cache=False))


def parsed(body: bytes) -> Any:
    """JSON as the standard has it; raises Unacceptable 400."""
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unacceptable(CODES[400], "The body is not JSON.", 400) from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
