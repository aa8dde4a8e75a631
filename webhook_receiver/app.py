"""The receiver's app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from flask import Flask, Response, request
from flask.json.provider import DefaultJSONProvider
from werkzeug.exceptions import NotFound

from rushes.shared.services import Services
from rushes.webhook_receiver import errors
from rushes.webhook_receiver.callback_counts import Visits
from rushes.webhook_receiver.callbacks import callbacks
from rushes.webhook_receiver.console import console, error_pages, session
from rushes.webhook_receiver.docs import assets, docs
from rushes.webhook_receiver.gateways_api import gateways_api
from rushes.webhook_receiver.health import health
from rushes.webhook_receiver.history_api import history_api
from rushes.webhook_receiver.jobs_api import jobs_api
from rushes.webhook_receiver.metrics import metrics
from rushes.webhook_receiver.quarantine_api import strays_api
from rushes.webhook_receiver.rate_limits import Rates

DOORS = (callbacks, jobs_api, gateways_api, health, metrics, docs, assets, console, strays_api, history_api)

UNLESS_SAID = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)


class Receiver(Flask):
    """Flask, save that it logs which door broke and not the path: a callback's holds a secret."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func  # none of our views is a coroutine; to ask each one took a fortieth of a callback

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
    app.extensions["visits"] = Visits(parts.ledger)
    app.extensions["rates"] = Rates(parts.settings.requests_per_minute)
    session.prepare(app, parts.settings.secret_keys)
    for door in DOORS:
        app.register_blueprint(door)
    errors.register(app)
    app.register_error_handler(NotFound, error_pages.nowhere)
    app.after_request(_headers)
    return app


def _headers(answer: Response) -> Response:
    said = {name.lower() for name, _ in answer.headers}
    answer.headers.extend([(name, value) for name, value in UNLESS_SAID if name.lower() not in said])
    return answer
