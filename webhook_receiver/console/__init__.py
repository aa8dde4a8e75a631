"""The console: the pages of Rushes for people."""

from __future__ import annotations

from flask import Blueprint

console = Blueprint(
    "console", __name__, template_folder="templates", static_folder="static", static_url_path="/console/static"
)

# ruff: noqa: E402, F401 — each page adds its routes to the blueprint when it is imported
from rushes.webhook_receiver.console import (
    alerts,
    attempt_comparison,
    batches,
    bulk,
    content_security_policy,
    error_pages,
    gateway_calls,
    gateways,
    job,
    jobs,
    new_job,
    quarantine,
    session,
    sign_in,
    spend,
    uploads,
)

console.before_request(session.check_csrf_token)
console.after_request(content_security_policy.add_headers)
error_pages.register(console)
