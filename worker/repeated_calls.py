"""A submit whose answer was lost is sent again, where the gateway takes an id once: under the same id and account."""

from __future__ import annotations

from dataclasses import replace

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Submission
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.worker.paid_call import post
from rushes.worker.submit import JOURNAL_RETRY_S


def repeat_call(job: Job, services: Services) -> Event:
    """Send a submit whose response was lost again, under the same idempotency key, so that it is not paid for twice."""
    attempt = job.current
    if attempt.body is None or job.setbacks >= schedule.ASK_AGAIN_TRIES:
        return wait_or_resubmit(job, services)
    return post_again(job, services)


def post_again(job: Job, services: Services) -> Event:
    """Make the paid call of the newest attempt again, exactly as it was sent: under the same id it is paid for once."""
    attempt = job.current
    submission = Submission(job.request, job.idempotency_key(attempt))
    # With its own account's key: an id is known to one account only, and by another the call would be paid for anew.
    request = PROVIDERS[attempt.provider].submit_request(submission, services.access(attempt.provider, attempt))
    repeated, now = replace(request, json=attempt.body), services.now()
    try:  # the first worker may have died before it wrote the journal: this may be the call that is paid for
        services.journal.record_intents([(job, repeated)], now)
    except ArchiveUnavailable as unavailable:
        return events.Deferred(schedule.after(now, JOURNAL_RETRY_S), str(unavailable))
    outcome, text = post(repeated, attempt.provider, services)
    if isinstance(outcome, events.Accepted):  # a refusal of this call says nothing of the first
        services.journal.record_outcome(job, outcome, text, services.now())
    return outcome


def wait_or_resubmit(job: Job, services: Services) -> Event:
    """The event of an unconfirmed submit that cannot be repeated: a callback, an operator or the policy decides."""
    is_grace_over = services.now() >= schedule.after(
        job.current.submitted_at, services.settings.policy.callback_grace_s
    )
    if services.settings.policy.resubmit_unconfirmed and is_grace_over:
        return events.Resolved("resubmit", by="policy")
    return events.Unclear("no answer and no callback yet")
