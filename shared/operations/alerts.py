"""Alerts of operators and tenants: what stands now, and the messages to those who want to know (CONTRACT.md, Alerts).

A message is sent at least once: it is sent first and recorded then. One process at a time sends, so twice only where it
is killed between the two, or is stopped for longer than its lease; then it is the same message with the same `id`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from hashlib import sha256
from urllib.parse import urlsplit

import structlog

from rushes.shared.domain import alerts
from rushes.shared.domain.alerts import Episode, Message
from rushes.shared.domain.http_messages import Request
from rushes.shared.http import AnswerLost, Forbidden, NotSent
from rushes.shared.intake.job_document import moment
from rushes.shared.operations import alert_causes
from rushes.shared.services import Services
from rushes.shared.settings import Settings

log = structlog.get_logger()

DEADLINE_S = 5
# Far below the lease of a turn (ledger/alert_episodes.py): what is left is sent in the next.
TURN_S = 30
RESPONSE_BYTES = 1 << 16


def turn(services: Services) -> bool:
    """Look what stands and say what is to be said, if that is due and nobody else does. Raises LedgerUnavailable."""
    store, now = services.ledger.alert_episodes, services.now()
    looked_at = store.looked_at()
    if now - looked_at < alerts.EVERY_S * 1000 or not store.take_lease(looked_at):
        return False
    known = store.all()
    episodes = alerts.follow(known, alert_causes.standing(services, now), now)
    # Written before anything is sent, so that a message that is sent again has the same id.
    store.replace(known, episodes)
    _send_all(episodes, services)
    store.finish(services.now())
    return True


def alert_urls(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Where alerts go: under "" those of operators, who hear of everything, under a tenant's name its own."""
    return {"": settings.alert_urls, **{name: settings.tenants.alert_urls(name) for name in settings.tenants}}


def receiver(url: str) -> str:
    """The name of an address in the ledger: an address may hold a secret, as Slack's do."""
    return sha256(url.encode()).hexdigest()[:16]


def _send_all(episodes: Iterable[Episode], services: Services) -> None:
    store, urls = services.ledger.alert_episodes, alert_urls(services.settings)
    by_name = {receiver(url): url for found in urls.values() for url in found}
    names = {tenant: [receiver(url) for url in found] for tenant, found in urls.items()}
    current, failures = {episode.id: episode for episode in episodes}, dict(store.failures())
    ends_at = time.monotonic() + TURN_S
    for message in alerts.messages(current.values(), names, services.now()):
        now, (count, retry_at) = services.now(), failures.get(message.receiver, (0, 0))
        if message.receiver not in by_name or retry_at > now:
            continue
        if time.monotonic() > ends_at:
            return
        problem = send(by_name[message.receiver], document(message, services.settings), services)
        count = count + 1 if problem else 0
        failures[message.receiver] = (count, alerts.retry_at(count, now) if count else 0)
        store.keep_failure(message.receiver, *failures[message.receiver])
        if problem:
            host = urlsplit(by_name[message.receiver]).hostname
            log.warning("alert not taken", host=host, code=message.episode.alert.code, problem=problem)
            continue
        episode_id = message.episode.id
        current[episode_id] = message.delivered(current[episode_id])
        store.replace([], [current[episode_id]])


def send(url: str, body: dict[str, object], services: Services) -> str | None:
    """Send an alert to an address once; the problem as text if it was not taken."""
    request = Request("POST", url, {"Content-Type": "application/json"}, body)
    try:
        response = services.http_client.send(request, deadline_s=DEADLINE_S, max_bytes=RESPONSE_BYTES, once=True)
    except (Forbidden, NotSent, AnswerLost) as lost:
        return type(lost).__name__
    return None if 200 <= response.status < 300 else f"HTTP {response.status}"


def document(message: Message, settings: Settings) -> dict[str, object]:
    """The body: Slack's `text`, and the alert for programs."""
    episode, alert = message.episode, message.episode.alert
    link = f"{settings.public_url or ''}{alert.path}"
    text = f"Over: {alert.text}" if message.is_over else f"{alert.severity.capitalize()}: {alert.text}"
    named = {"gateway": alert.gateway, "tenant": alert.tenant}
    return {
        "text": f"{_escaped(text)}\n{_escaped(link)}" if settings.public_url else _escaped(text),
        "alert": {
            "id": sha256(episode.id.encode()).hexdigest()[:16],
            "code": alert.code,
            "severity": alert.severity,
            "status": "over" if message.is_over else "standing",
            **{name: value for name, value in named.items() if value},
            "value": alert.value,
            "limit": alert.limit,
            "since": moment(episode.since),
            "link": link,
        },
    }


def _escaped(text: str) -> str:
    """Text in which Slack finds no markup (https://docs.slack.dev/messaging/formatting-message-text, 2026-11)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
