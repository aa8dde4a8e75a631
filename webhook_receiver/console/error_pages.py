"""Errors as people read them: what happened, and what to do."""

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

# What happened, and what to do, where the error does not say it better itself.
WORDS: dict[int, tuple[str, str]] = {
    400: ("That could not be read", "Go back, load the page again and repeat what you did."),
    401: ("You are signed out", "Sign in again, then repeat what you did."),
    403: ("That was not allowed", "Go back, load the page again and repeat what you did."),
    404: ("Nothing here by that address", "It may be another tenant's, or have left the ledger. Look in the jobs."),
    405: ("Nothing here can be sent to", "Go back to the page that you came from."),
    409: ("Not in the state that it is in", "It has moved on since the page was loaded. Look at it again."),
    413: ("That was too large", "Send something smaller."),
    422: ("That does not fit", "Go back and change what is named."),
    429: ("Too many requests", "Wait for a minute, then load the page again."),
    500: ("Something broke, and it is our fault", "It was logged. Try again; if it stays, look at the logs of web."),
    503: ("Out of reach", "Nothing is lost. Try again in a moment; GET /readyz says what is missing."),
}


def register(console: Blueprint) -> None:
    """Make every error of a page of the console a page, or the envelope for its script."""
    console.register_error_handler(HTTPException, _http)
    console.register_error_handler(Unacceptable, _unacceptable)
    console.register_error_handler(LedgerUnavailable, _ledger)
    console.register_error_handler(ArchiveUnavailable, _bucket)
    console.register_error_handler(Exception, _broken)


def nowhere(error: NotFound) -> Response:
    """An address that leads nowhere: a page for people, the envelope for programs."""
    api = request.path.startswith(("/v1/", "/callbacks/"))
    people = request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html"
    if people and request.url_rule is None and not api:
        return content_security_policy.tell(_page(404, None))
    return errors.answered(error)


def _http(error: HTTPException) -> Any:
    if error.response is not None:
        return error.response
    status = error.code or 500
    if for_script():
        return errors.answered(error)
    own = error.description if error.description != type(error).description else None
    answer = _page(status, own)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            answer.headers[name] = value
    return answer


def _unacceptable(error: Unacceptable) -> Response:
    if for_script():
        return errors.envelope(error.status, error.code, error.message, error.fields)
    return _page(error.status, error.message)


def _ledger(_: LedgerUnavailable) -> Response:
    told = "The ledger (Redis) is out of reach."
    return errors.envelope(503, "unavailable", told) if for_script() else _page(503, told)


def _bucket(problem: ArchiveUnavailable) -> Response:
    told = f"The bucket cannot be read now: {problem}"
    return errors.envelope(503, "unavailable", told) if for_script() else _page(503, told)


def _broken(_: Exception) -> Response:
    door = request.url_rule.rule if request.url_rule else None
    structlog.get_logger().error("page broke", door=door, exc_info=True)
    return errors.envelope(500, "internal", WORDS[500][0]) if for_script() else _page(500, None)


def for_script() -> bool:
    """Whether a script of ours asks, and not a person."""
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def _page(status: int, own: str | None) -> Response:
    what, do = WORDS.get(status, WORDS[500])
    answer = make_response(render_template("error.html", what=what, own=own, do=do, status=status), status)
    if status in errors.RETRY_AFTER_S:
        answer.headers["Retry-After"] = str(errors.RETRY_AFTER_S[status])
    return answer
