"""The callbacks of the gateways. The address is the proof, the body only a hint: one ledger call, then the response."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

from flask import Response, g, request
from standardwebhooks import Webhook, WebhookVerificationError
from werkzeug.exceptions import NotFound

from rushes.shared import credentials
from rushes.shared.domain import events
from rushes.shared.domain.events import Event
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations.task_query import check_link
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.callback_reports import CallbackHint
from rushes.shared.providers.reading import Malformed
from rushes.shared.services import Services
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.callback_counts import REFUSALS, callback_counts
from rushes.webhook_receiver.openapi import OPEN, answers, blueprint, describes, refuses, takes
from rushes.webhook_receiver.quarantine_api import quarantine_callback
from rushes.webhook_receiver.request_body import parse_json, raw_body

callbacks = blueprint("callbacks", "For the gateways; the address is the proof.")

# One text for a wrong token, an unknown job and an unknown gateway: a response must not tell which it was.
NOT_FOUND = "There is no such callback address."
TASK_ID_CHARS = 200
EXAMPLE = {"id": "task-1", "status": "completed", "results": ["https://files.example/clip.mp4"]}
THUMBNAIL_URL_CHARS = 1000


# apimart adds `/callback` to the address that it was given (PROVIDERS.md 11.1).
@callbacks.post("/callbacks/<provider>/<job_id>/<token>/callback", endpoint="receive_at_callback")
@callbacks.post("/callbacks/<provider>/<job_id>/<token>")
@answers(200, {"type": "object"}, "Noted. The same for a callback that came before, and for a job that has ended.")
@takes({"type": "object", "description": "As the gateway documents it; any content type.", "examples": [EXAMPLE]})
@refuses(400, 404, 413, 503)
@describes(security=OPEN)
def receive(provider: str, job_id: str, token: str) -> Response:
    """Accept a callback; the work is done later."""
    parts = services()
    attempt = credentials.read_token(parts.settings.secret_keys, provider, job_id, token)
    if attempt is None or provider not in PROVIDERS:
        raise NotFound(NOT_FOUND)
    body = raw_body()
    if not is_signed(provider, body, parts):
        raise NotFound(NOT_FOUND)
    payload = parse_json(body)
    hint = read_hint(provider, payload, parts)
    verdict = note_or_apply(provider, job_id, attempt, payload, hint, parts)
    if verdict == "unknown":
        raise_unknown(parts)
    g.verdict = verdict
    if verdict == "strange":
        quarantine_callback(provider, job_id, attempt, hint.task_id, body, token)
    return Response("{}\n", 200, mimetype="application/json")


def is_signed(provider: str, body: bytes, parts: Services) -> bool:
    """Whether a callback is signed as it has to be: by a gateway whose secret is known to us, within five minutes."""
    gateway = parts.settings.gateways.get(provider)
    if gateway is None or gateway.webhook_secret is None:
        return True
    try:
        Webhook(gateway.webhook_secret).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # not UTF-8, or a signature that is no base64
        return False
    return True


def raise_unknown(parts: Services) -> NoReturn:
    """Raise 404 for a job that the ledger does not have; 503 while the ledger may have lost it, and will get it back.

    The address is one of ours, so the job was once there. apimart never sends again what was answered with a 4xx.
    """
    continuity = parts.ledger.continuity
    if parts.settings.journal and not (continuity.mark() or parts.intake.fresh()):
        raise LedgerUnavailable("not compared with the journal yet")
    if not continuity.is_whole():
        raise LedgerUnavailable("not compared with the journal yet")
    raise NotFound(NOT_FOUND)


@callbacks.after_request
def count_verdict(response: Response) -> Response:
    """Count the callback; the counts are written after the response is sent."""
    verdict = REFUSALS.get(response.status_code, g.get("verdict"))
    if verdict:
        callback_counts().count((request.view_args or {})["provider"], verdict)
        response.call_on_close(callback_counts().write_if_due)
    return response


def read_hint(provider: str, payload: Any, parts: Services) -> CallbackHint:
    """Return the hint in a callback, without what is longer than any gateway's; raises Unacceptable 400."""
    try:
        hint = PROVIDERS[provider].read_hint(payload, parts.access(provider))
    except Malformed as malformed:
        raise Unacceptable("bad_request", f"The callback cannot be read: {malformed}.", 400) from None
    return CallbackHint(_limited(hint.task_id, TASK_ID_CHARS), _limited(hint.thumbnail_url, THUMBNAIL_URL_CHARS))


def _limited(text: str | None, max_chars: int) -> str | None:
    return text if text and len(text) <= max_chars else None


def note_or_apply(provider: str, job_id: str, attempt: int, payload: Any, hint: CallbackHint, parts: Services) -> str:
    """Note the hint; where callbacks are believed, apply the event at once.

    Returns the verdict; `strange` means that the callback belongs into the quarantine.
    """
    now, ledger = parts.now(), parts.ledger
    if not parts.settings.callback_confirm:
        event = PROVIDERS[provider].read_callback(payload, parts.access(provider)).event
        if may_be_believed(job_id, attempt, event, hint.task_id, ledger):
            move = replace(event, attempt=attempt, heard_by="callback", asked_at=now)  # type: ignore[call-arg]
            return "noted" if ledger.apply(job_id, move, now) else "unknown"
    return ledger.nudge(provider, job_id, attempt, hint.task_id, now, hint.thumbnail_url)


def may_be_believed(job_id: str, attempt: int, event: Event, task_id: str | None, ledger: Ledger) -> bool:
    """Whether an event may be the end of the task of its attempt, with a link that may be a clip."""
    if not isinstance(event, (events.Succeeded, events.Failed)):
        return False
    job = ledger.get(job_id)
    if job is None or check_link(job, event) is not event:
        return False
    task_ids = {each.number: each.task_id for each in job.attempts}
    # A callback that names another task is never believed: whoever knows the address could end the job with it.
    return attempt in task_ids and task_ids[attempt] in (None, task_id or task_ids[attempt])
