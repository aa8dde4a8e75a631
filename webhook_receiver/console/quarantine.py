"""The page of the quarantine: callbacks that named another task, replayed or deleted by hand."""

from __future__ import annotations

from flask import redirect, render_template, url_for
from werkzeug.wrappers import Response

from rushes.webhook_receiver import quarantine_api
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.session import require_sign_in


@console.get("/quarantine")
def quarantine() -> str:
    """The callbacks in the quarantine, newest first."""
    return render_template("quarantine.html", callbacks=quarantine_api.quarantined_callbacks(require_sign_in()))


@console.post("/quarantine/<callback_id>/replay")
def replay_callback(callback_id: str) -> Response:
    """Replay a callback and show its job."""
    job = quarantine_api.replay_callback(callback_id, require_sign_in())
    return redirect(url_for("console.job_page", job_id=job.id, done="callback_replayed"), 303)


@console.post("/quarantine/<callback_id>/forget")
def forget_callback(callback_id: str) -> Response:
    """Delete a callback."""
    quarantine_api.forget_callback(callback_id, require_sign_in())
    return redirect(url_for("console.quarantine", done="callback_deleted"), 303)
