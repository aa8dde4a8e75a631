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
    """An error in the form of the contract."""
    response = jsonify(Unacceptable(code, message, status, fields).envelope())
    response.status_code = status
    if status in RETRY_AFTER_S:
        response.headers["Retry-After"] = str(RETRY_AFTER_S[status])
    return response


def register(app: Flask) -> None:
    """Make every error of the app an envelope."""
    app.register_error_handler(HTTPException, error_response)
    app.register_error_handler(Unacceptable, _unacceptable)
    app.register_error_handler(LedgerUnavailable, _unavailable)
    app.register_error_handler(ArchiveUnavailable, _bucket_unavailable)
    app.register_error_handler(InternalServerError, _broken)


def error_response(error: HTTPException) -> Response:
    """An error of Flask or of this app, in the envelope."""
    status = error.code or 500
    response = envelope(status, CODES.get(status, "error"), error.description or error.name)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequests) and error.retry_after:
        response.headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


def _unacceptable(error: Unacceptable) -> Response:
    return envelope(error.status, error.code, error.message, error.fields)


def _unavailable(_: LedgerUnavailable) -> Response:
    return envelope(503, "unavailable", "The ledger is out of reach; nothing was accepted.")


def _bucket_unavailable(problem: ArchiveUnavailable) -> Response:
    return envelope(503, "unavailable", f"The bucket cannot be read now: {problem}")


def _broken(_: InternalServerError) -> Response:
    return envelope(500, "internal", "Rushes failed on this request; the error was logged.")
