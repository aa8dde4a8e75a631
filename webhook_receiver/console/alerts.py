"""The page of the alerts: what stands now."""

from __future__ import annotations

from flask import render_template

from rushes.shared.domain.alerts import CRITICAL, WARNING
from rushes.webhook_receiver.auth import Caller, services
from rushes.webhook_receiver.console import console, labels
from rushes.webhook_receiver.console.session import require_sign_in

TONES = {CRITICAL: "bad", WARNING: "warn"}


@console.get("/alerts")
def alerts() -> str:
    """What stands, the newest last; a tenant sees what concerns it alone, the administrator everything."""
    visitor, now = require_sign_in(), services().now()
    episodes = [
        episode
        for episode in services().ledger.alert_episodes.all()
        if episode.stands(now) and visitor.scope in (None, episode.alert.tenant)
    ]
    return render_template(
        "alerts.html",
        episodes=episodes,
        tones=TONES,
        titles=labels.ALERTS,
        unset=unset_addresses(visitor),
    )


def unset_addresses(visitor: Caller) -> str | None:
    """The setting of the addresses that are told of these alerts, where it is unset."""
    settings = services().settings
    if visitor.scope is None:
        return None if settings.alert_urls else "RUSHES_ALERT_URLS"
    return None if settings.tenants[visitor.scope].alert_urls else "alert_urls"
