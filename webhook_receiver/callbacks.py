"""What the gateways knock at. The address is the proof, the body a hint: one ledger call, and nothing else waits."""

from __future__ import annotations

from dataclasses import replace

from flask import Response, g, request
from werkzeug.exceptions import NotFound

from rushes.shared import credentials
from rushes.shared.domain import events
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.operations.task_query import result_of
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Heard
from rushes.shared.providers.reading import Malformed
from rushes.shared.services import Services
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.callback_counts import REFUSED, visits
from rushes.webhook_receiver.openapi import OPEN, answers, blueprint, notes, refuses, takes
from rushes.webhook_receiver.quarantine_api import set_aside
from rushes.webhook_receiver.request_body import parsed, raw

callbacks = blueprint("callbacks", "For the gateways; the address is the proof.")

# The same words for a wrong token, an unknown job and an unknown gateway: an answer must not tell which.
NOBODY = "Nobody here by that address."
TASK_ID_CHARS = 200
EXAMPLE = {"id": "task-1", "status": "completed", "results": ["https://files.example/clip.mp4"]}
PICTURE_CHARS = 1000


@callbacks.post("/callbacks/<provider>/<job_id>/<token>")
@answers(200, {"type": "object"}, "Noted, also where it was noted before or the job has ended.")
@takes({"type": "object", "description": "As the gateway documents it; any content type.", "examples": [EXAMPLE]})
@refuses(400, 404, 413, 503)
@notes(security=OPEN)
def receive(provider: str, job_id: str, token: str) -> Response:
    """Take a callback in; the work is done later."""
    parts = services()
    attempt = credentials.attempt_of(parts.settings.secret_keys, provider, job_id, token)
    if attempt is None or provider not in PROVIDERS:
        raise NotFound(NOBODY)
    body = raw()
    heard = read(provider, body, parts)
    verdict = take(provider, job_id, attempt, heard, parts)
    if verdict == "unknown":
        raise NotFound(NOBODY)
    g.verdict = verdict
    if verdict == "strange":
        set_aside(provider, job_id, attempt, named(heard), body, token)
    return Response("{}\n", 200, mimetype="application/json")


@callbacks.after_request
def counted(answer: Response) -> Response:
    """Count it; written down is that once it is answered."""
    verdict = REFUSED.get(answer.status_code, g.get("verdict"))
    if verdict:
        visits().count((request.view_args or {})["provider"], verdict)
        answer.call_on_close(visits().write_now_and_then)
    return answer


def read(provider: str, body: bytes, parts: Services) -> Heard:
    """What the body says; raises Unacceptable 400."""
    try:
        return PROVIDERS[provider].read_callback(parsed(body), parts.access(provider))
    except Malformed as malformed:
        raise Unacceptable("bad_request", f"The callback cannot be read: {malformed}.", 400) from None


def take(provider: str, job_id: str, attempt: int, heard: Heard, parts: Services) -> str:
    """Note the hint; where callbacks are believed, apply what it says at once. `strange`: it is to be set aside."""
    now, ledger = parts.now(), parts.ledger
    final = isinstance(heard.event, (events.Succeeded, events.Failed))
    if parts.settings.callback_confirm or not final or not fits(job_id, attempt, heard, ledger):
        return ledger.nudge(provider, job_id, attempt, named(heard), now, picture(heard))
    believed = replace(heard.event, attempt=attempt, heard_by="callback", asked_at=now)  # type: ignore[call-arg]
    return "noted" if ledger.apply(job_id, believed, now) else "unknown"


def fits(job_id: str, attempt: int, heard: Heard, ledger: Ledger) -> bool:
    """Whether a callback may be of its attempt's task, and its link to a clip; what does not fit is never believed."""
    job, task_id = ledger.get(job_id), named(heard)
    if job is None or result_of(job, heard.event) is not heard.event:
        return False
    known = {one.number: one.task_id for one in job.attempts}
    return attempt in known and known[attempt] in (None, task_id or known[attempt])


def named(heard: Heard) -> str | None:
    """The task that a callback names, if any gateway would name one so."""
    return heard.task_id if heard.task_id and len(heard.task_id) <= TASK_ID_CHARS else None


def picture(heard: Heard) -> str | None:
    """The thumbnail's address, which a poll does not bring; it is believed only beside the confirmed clip."""
    url = heard.event.link.thumbnail_url if isinstance(heard.event, events.Succeeded) else None
    return url if url and len(url) <= PICTURE_CHARS else None
