"""Signing in and out."""

from __future__ import annotations

import time

from flask import Response, current_app, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from rushes.webhook_receiver.console import console, session

WRONG = "No key of this service. Look for a blank or a missing character, and whether it was taken out of use."
TOO_MANY = "Too many wrong keys from this address. Wait for a minute."


@console.get("/sign-in")
def sign_in_page() -> AnyResponse:
    """The door."""
    onward = local(request.args.get("next", ""))
    return redirect(onward) if session.signed_in() else asked(onward)


@console.post("/sign-in")
def sign_in() -> AnyResponse:
    """Let in who has a key."""
    knocks: session.Knocks = current_app.extensions["knocks"]
    onward, address = local(request.form.get("next", "")), request.remote_addr or ""
    if knocks.too_many(address, time.time()):
        return asked(onward, TOO_MANY, 429)
    if session.sign_in(request.form.get("key", "").strip()) is None:
        knocks.wrong(address)
        return asked(onward, WRONG, 401)
    return redirect(onward, 303)


@console.post("/sign-out")
def sign_out() -> AnyResponse:
    session.sign_out()
    return redirect("/sign-in", 303)


def asked(onward: str, problem: str | None = None, status: int = 200) -> Response:
    return make_response(render_template("sign_in.html", next=onward, problem=problem), status)


def local(path: str) -> str:
    """Where to go on to: a page of ours, never another site's."""
    fits = path.startswith("/") and not path.startswith(("//", "/\\", "/sign-")) and path.isprintable()
    return path if fits else "/"
