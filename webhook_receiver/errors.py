"""The one error envelope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, TooManyRequests

from rushes.shared.intake.intake import Unacceptable
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.storage.archive import ArchiveUnavailable

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
RETRY_AFTER_S = {429: 15, 503: 2}


def envelope(status: int, code: str, message: str, fields: Mapping[str, Any] | None = None) -> Response:
    """An error as the contract writes it."""
    answer = jsonify(Unacceptable(code, message, status, fields).envelope())
    answer.status_code = status
    if status in RETRY_AFTER_S:
        answer.headers["Retry-After"] = str(RETRY_AFTER_S[status])
    return answer


def register(app: Flask) -> None:
    """Make every error of the app come out in the envelope."""
    app.register_error_handler(HTTPException, answered)
    app.register_error_handler(Unacceptable, _unacceptable)
    app.register_error_handler(LedgerUnavailable, _unavailable)
    app.register_error_handler(ArchiveUnavailable, _unsigned)
    app.register_error_handler(InternalServerError, _broken)


def answered(error: HTTPException) -> Response:
    """An error of Flask's or of ours, in the envelope."""
    status = error.code or 500
    answer = envelope(status, CODES.get(status, "error"), error.description or error.name)
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests) and error.retry_after:
        answer.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        answer.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return answer


def _unacceptable(error: Unacceptable) -> Response:
    return envelope(error.status, error.code, error.message, error.fields)


def _unavailable(_: LedgerUnavailable) -> Response:
    return envelope(503, "unavailable", "The ledger is out of reach; nothing was accepted.")


def _unsigned(problem: ArchiveUnavailable) -> Response:
    return envelope(503, "unavailable", f"The bucket cannot be read now: {problem}")


def _broken(_: InternalServerError) -> Response:
    return envelope(500, "internal", "This is our fault; it was logged.")
