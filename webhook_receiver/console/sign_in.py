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
    return redirect(next_path) if session.signed_in() else sign_in_response(next_path)


@console.post("/sign-in")
def sign_in() -> AnyResponse:
    """Begin a session for whoever has a key."""
    wrong_keys: session.WrongKeyLimit = current_app.extensions["wrong_keys"]
    next_path, address = local_path(request.form.get("next", "")), request.remote_addr or ""
    if wrong_keys.is_reached(address, time.time()):
        return sign_in_response(next_path, TOO_MANY, 429)
    if session.sign_in(request.form.get("key", "").strip()) is None:
        wrong_keys.add(address)
        return sign_in_response(next_path, WRONG_KEY, 401)
    return redirect(next_path, 303)


@console.post("/sign-out")
def sign_out() -> AnyResponse:
    session.sign_out()
    return redirect("/sign-in", 303)


def sign_in_response(next_path: str, problem: str | None = None, status: int = 200) -> Response:
    return make_response(render_template("sign_in.html", next=next_path, problem=problem), status)


def local_path(path: str) -> str:
    """The page to go to after signing in; only a path of this site, never another site."""
    is_local = path.startswith("/") and not path.startswith(("//", "/\\", "/sign-")) and path.isprintable()
    return path if is_local else "/"
