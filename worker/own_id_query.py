"""A submit whose answer was lost, at a gateway that can be asked by our own id of the attempt: it settles by itself.

The gateway takes an id once. It is asked first; only what it surely has not is sent again, under the same id
(transitions.py has the theory).
"""

from __future__ import annotations

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job
from rushes.shared.domain.moves.submitting import is_not_taken
from rushes.shared.operations.task_query import query_by_key
from rushes.shared.services import Services
from rushes.worker.repeated_calls import post_again

# While the account is paused nothing is sent there; somebody may end the pause at any time.
PAUSED_S = 60


def query_by_own_id(job: Job, services: Services) -> Event | None:
    """Ask the gateway whether it has the attempt; where it surely has not, send it again. None: another worker does."""
    attempt, asked_at = job.current, services.now()
    answer = query_by_key(attempt, job.idempotency_key(attempt), services)
    if isinstance(answer, events.Accepted):  # asked about at once: it may have ended long ago
        services.journal.record_outcome(job, answer, "found by our own id", services.now())
        return events.Resolved("adopt", answer.task_id, by=attempt.provider)
    is_last = isinstance(answer, events.NotFound) and is_not_taken(attempt, asked_at, services.settings.policy)
    return send_again(job, services) if is_last and attempt.body and not attempt.error else answer


def send_again(job: Job, services: Services) -> Event | None:
    """Make the paid call again, once, under its own id; None where another worker does."""
    attempt, now = job.current, services.now()
    if services.ledger.gateways.paused_until(attempt.provider, attempt.account) > now:
        return events.Deferred(schedule.after(now, PAUSED_S), f"{attempt.account_label} is paused")
    resent = events.Resent(attempt.last_sent_at, attempt=attempt.number)
    # Written down before the first byte: whoever asks from now on waits for this call too before a third is made.
    after = services.ledger.apply(job.id, resent, now, known=job)
    if after is None or after.ended or after.current.resent_at != now:
        return None
    return post_again(after, services)
