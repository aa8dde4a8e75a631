"""Signing in and out."""

from __future__ import annotations

import time

from flask import Response, current_app, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from rushes.webhook_receiver.console import console, session

WRONG_KEY = (
    "This is no key of this service. Look for a blank or a missing character. The key may also have been removed."
)
TOO_MANY = "Too many wrong keys from this address. Wait for a minute."


@console.get("/sign-in")
def sign_in_page() -> AnyResponse:
    """The sign-in page."""
    next_path = local_path(request.args.get("next", ""))
    return redirect(request.script_root + next_path) if session.signed_in() else sign_in_response(next_path)


@console.post("/sign-in")
def sign_in() -> AnyResponse:
    """Begin a session for whoever has a key; only wrong keys are limited, or a guesser could lock everybody out."""
    next_path = local_path(request.form.get("next", ""))
    if session.sign_in(request.form.get("key", "").strip()) is not None:
        return redirect(request.script_root + next_path, 303)
    wrong_keys: session.WrongKeyLimit = current_app.extensions["wrong_keys"]
    if wrong_keys.is_exceeded(request.remote_addr or "", time.time()):
        return sign_in_response(next_path, TOO_MANY, 429)
    return sign_in_response(next_path, WRONG_KEY, 401)


@console.post("/sign-out")
def sign_out() -> AnyResponse:
    session.sign_out()
    return redirect(f"{request.script_root}/sign-in", 303)


def sign_in_response(next_path: str, problem: str | None = None, status: int = 200) -> Response:
    return make_response(render_template("sign_in.html", next=next_path, problem=problem), status)


def local_path(path: str) -> str:
    """The page to go to after signing in, without the site's prefix; only a path of this site, never another site."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\", "/sign-")) and path.isprintable()
    return path if is_local else "/"
