"""The console: what people look at before they read."""

from __future__ import annotations

from flask import Blueprint

console = Blueprint(
    "console", __name__, template_folder="templates", static_folder="static", static_url_path="/console/static"
)

# Every page puts its routes on the blueprint.
from webhook_receiver.console import (  # noqa: E402
    content_security_policy,
    error_pages,
    gateway_calls,  # noqa: F401
    gateways,  # noqa: F401
    job,  # noqa: F401
    jobs,  # noqa: F401
    new_job,  # noqa: F401
    quarantine,  # noqa: F401
    session,
    sign_in,  # noqa: F401
    spend,  # noqa: F401
    uploads,  # noqa: F401
)

console.before_request(session.checked_form)
console.after_request(content_security_policy.tell)
error_pages.register(console)
