"""The receiver's app."""

from __future__ import annotations

from typing import Any

import structlog
from flask import Flask, Response, jsonify, request
from flask.json.provider import DefaultJSONProvider

from shared.archive import ArchiveUnavailable
from shared.ledger.store import LedgerUnavailable
from shared.wiring import Services
from webhook_receiver import errors
from webhook_receiver.auth import services
from webhook_receiver.callbacks import callbacks
from webhook_receiver.gateways_api import gateways_api
from webhook_receiver.jobs_api import jobs_api


class Receiver(Flask):
    """Flask, save that it logs which door broke and not the path: a callback's holds a secret."""

    def log_exception(self, exc_info: Any) -> None:
        door = request.url_rule.rule if request.url_rule else None
        structlog.get_logger().error("request broke", door=door, exc_info=exc_info)


class Json(DefaultJSONProvider):
    """As people read it; half a surrogate pair, which UTF-8 cannot say, as JSON's own escape."""

    ensure_ascii = sort_keys = False

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return super().dumps(obj, **kwargs).encode(errors="backslashreplace").decode()


def create_app(parts: Services) -> Flask:
    """The app over these parts."""
    app = Receiver("webhook_receiver", static_folder=None)
    app.json = Json(app)
    app.url_map.merge_slashes = False  # nothing is redirected: a callback's address holds a secret
    app.extensions["rushes"] = parts
    app.register_blueprint(callbacks)
    app.register_blueprint(jobs_api)
    app.register_blueprint(gateways_api)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    errors.register(app)
    app.after_request(_headers)
    return app


def healthz() -> Response:
    """The process answers."""
    return jsonify({"status": "ok"})


def readyz() -> Response:
    """Redis and S3 are reached."""
    problems = {"ledger": _ledger_problem(), "archive": _archive_problem()}
    found = {name: problem for name, problem in problems.items() if problem}
    answer = jsonify({"status": "unready" if found else "ready", **found})
    answer.status_code = 503 if found else 200
    return answer


def _ledger_problem() -> str | None:
    try:
        services().ledger.ping()
    except LedgerUnavailable as lost:
        return f"out of reach: {lost}"
    return None


def _archive_problem() -> str | None:
    try:
        services().archive.check()
    except ArchiveUnavailable as unavailable:
        return str(unavailable)
    return None


def _headers(answer: Response) -> Response:
    answer.headers.setdefault("X-Content-Type-Options", "nosniff")
    answer.headers.setdefault("Referrer-Policy", "no-referrer")
    answer.headers.setdefault("Cache-Control", "no-store")
    return answer
