"""The notify step: sends the signed notification of a job's end to its `callback_url`."""

from __future__ import annotations

from collections.abc import Sequence

from rushes.shared import notifications
from rushes.shared.domain import batch, events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.http_messages import Request
from rushes.shared.domain.job import Job
from rushes.shared.http import AnswerLost, Forbidden, NotSent
from rushes.shared.providers.reading import retry_after_s
from rushes.shared.services import Services

# Nothing in the response is used but status and Retry-After.
RESPONSE_BYTES = 1 << 16


def notify(job: Job, services: Services) -> Event:
    """Send the notification once: Notified, or NoticeFailed, which the ledger schedules again unless it is final."""
    secrets = services.settings.webhook_secrets.get(job.tenant, ())
    if batch.is_batch(job.id):
        return notify_of_batch(services.ledger.batches.close(job), secrets, services)
    return send(notifications.notification(job, secrets, services.now()), services)


def notify_of_batch(closed: Job, secrets: Sequence[str], services: Services) -> Event:
    """Send the one notification of a batch, whose jobs have all ended; Notified where nobody wants it."""
    if closed.callback_url is None:
        return events.Notified()
    counts = services.ledger.batches.counts(closed.id)
    return send(notifications.batch_notification(closed, counts, secrets, services.now()), services)


def send(request: Request, services: Services) -> Event:
    """Send a notification; what came of it."""
    try:
        response = services.http_client.send(
            request, deadline_s=schedule.NOTICE_DEADLINE_S, max_bytes=RESPONSE_BYTES, once=True
        )
    except Forbidden as forbidden:
        return events.NoticeFailed(str(forbidden), final=True)
    except (NotSent, AnswerLost) as error:
        return events.NoticeFailed(str(error))
    if 200 <= response.status < 300:
        return events.Notified()
    # By Standard Webhooks 410 means that the endpoint is gone for good.
    return events.NoticeFailed(f"HTTP {response.status}", retry_after_s(response), final=response.status == 410)
