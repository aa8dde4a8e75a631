"""The OpenAPI document of the calls, and Swagger UI as a page for people."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from flask import Blueprint, Response, abort, current_app, jsonify, send_from_directory

from rushes.webhook_receiver.openapi import OPEN, answers, blueprint, describes, document, documented_blueprints

docs = blueprint("documents", "This document.")
assets = Blueprint("docs_assets", __name__)

HERE = Path(__file__).parent
SWAGGER_UI = Path(str(files("flask_swagger_ui"))) / "dist"
# The files that the page loads; nothing else of those folders is served.
FOLDERS = {
    "page.js": HERE,
    "swagger-ui-bundle.js": SWAGGER_UI,
    "swagger-ui.css": SWAGGER_UI,
    "favicon-32x32.png": SWAGGER_UI,
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


@docs.get("/openapi.json")
@answers(200, {"type": "object"}, "The document.")
@describes(security=OPEN)
def openapi() -> Response:
    """The calls as OpenAPI 3."""
    return jsonify(document(documented_blueprints(current_app.blueprints.values())))


@docs.get("/docs")
@answers(200, {"type": "string"}, "The page.", kind="text/html")
@describes(security=OPEN)
def page() -> Response:
    """The calls as a page, from which each can be tried."""
    response = send_from_directory(HERE, "page.html")
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Frame-Options"] = "DENY"
    return response


@assets.get("/assets/docs/<name>")
def asset(name: str) -> Response:
    """A file of the page; a browser that has it gets it again only after a change."""
    return send_from_directory(FOLDERS[name], name) if name in FOLDERS else abort(404)
