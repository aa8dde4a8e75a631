"""Callbacks that named another task, and the hand that follows or forgets one."""

from __future__ import annotations

from flask import redirect, render_template
from werkzeug.wrappers import Response

from rushes.webhook_receiver import quarantine_api
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.session import visitor


@console.get("/quarantine")
def quarantine() -> str:
    """What was set aside, newest first."""
    return render_template("quarantine.html", strays=quarantine_api.strays(visitor()))


@console.post("/quarantine/<stray_id>/replay")
def replay_stray(stray_id: str) -> Response:
    """Follow one after all; its job is shown, which is looked at now."""
    job = quarantine_api.replayed(stray_id, visitor())
    return redirect(f"/jobs/{job.id}?said=followed", 303)


@console.post("/quarantine/<stray_id>/forget")
def forget_stray(stray_id: str) -> Response:
    """Forget one."""
    quarantine_api.forgotten(stray_id, visitor())
    return redirect("/quarantine?said=forgotten", 303)
