"""Error pages: what happened, and what to do."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Blueprint, Response, make_response, render_template, request
from werkzeug.exceptions import HTTPException, NotFound

from rushes.shared.intake.intake import Unacceptable
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.webhook_receiver import errors
from rushes.webhook_receiver.console import content_security_policy

# What happened, and what to do; an error's own text is shown between them.
TEXTS: dict[int, tuple[str, str]] = {
    400: ("That could not be read", "Go back, load the page again and repeat what you did."),
    401: ("You are signed out", "Sign in again, then repeat what you did."),
    403: ("That was not allowed", "Go back, load the page again and repeat what you did."),
    404: (
        "There is nothing at this address",
        "It may be another tenant's, or have left the ledger. Look through the jobs.",
    ),
    405: ("This address takes no such request", "Go back to the page that you came from."),
    409: ("Its state does not allow that", "It has changed since the page was loaded. Load the page again."),
    413: ("That was too large", "Send something smaller."),
    422: ("That is not valid", "Go back and change what is named here."),
    429: ("Too many requests", "Wait for a minute, then load the page again."),
    500: ("Rushes failed on this page", "The error was logged. Try again; if it stays, read the logs of web."),
    503: ("Out of reach", "Nothing is lost. Try again in a moment; GET /readyz says what is missing."),
}


def register(console: Blueprint) -> None:
    """Make every error of the console a page for people, or the envelope for its script."""
    console.register_error_handler(HTTPException, _http)
    console.register_error_handler(Unacceptable, _unacceptable)
    console.register_error_handler(LedgerUnavailable, _ledger)
    console.register_error_handler(ArchiveUnavailable, _bucket)
    console.register_error_handler(Exception, _broken)


def page_not_found(error: NotFound) -> Response:
    """An unknown address: a page for people, the envelope for programs."""
    api = request.path.startswith(("/v1/", "/callbacks/"))
    wants_page = request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    if wants_page and request.url_rule is None and not api:
        return content_security_policy.add_headers(_page(404, None))
    return errors.error_response(error)


def _http(error: HTTPException) -> Any:
    if error.response is not None:
        return error.response
    status = error.code or 500
    if is_from_script():
        return errors.error_response(error)
    detail = error.description if error.description != type(error).description else None
    response = _page(status, detail)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _unacceptable(error: Unacceptable) -> Response:
    if is_from_script():
        return errors.envelope(error.status, error.code, error.message, error.fields)
    return _page(error.status, error.message)


def _ledger(_: LedgerUnavailable) -> Response:
    message = "The ledger (Redis) is out of reach."
    return errors.envelope(503, "unavailable", message) if is_from_script() else _page(503, message)


def _bucket(problem: ArchiveUnavailable) -> Response:
    message = f"The bucket cannot be read now: {problem}"
    return errors.envelope(503, "unavailable", message) if is_from_script() else _page(503, message)


def _broken(_: Exception) -> Response:
    route = request.url_rule.rule if request.url_rule else None
    structlog.get_logger().error("page broke", route=route, exc_info=True)
    return errors.envelope(500, "internal", TEXTS[500][0]) if is_from_script() else _page(500, None)


def is_from_script() -> bool:
    """Whether the console's own script sent the request, and not a person."""
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def _page(status: int, detail: str | None) -> Response:
    title, advice = TEXTS.get(status, TEXTS[500])
    page = render_template("error.html", title=title, detail=detail, advice=advice, status=status)
    response = make_response(page, status)
    if status in errors.RETRY_AFTER_S:
        response.headers["Retry-After"] = str(errors.RETRY_AFTER_S[status])
    return response
