"""The gateway's own word on a task."""

from __future__ import annotations

import structlog

from shared.domain import events, pace
from shared.domain.events import Event
from shared.domain.job import Attempt
from shared.http import AnswerLost, NotSent
from shared.providers import PROVIDERS
from shared.wiring import Services

log = structlog.get_logger()


def ask(attempt: Attempt, task_id: str, services: Services, deadline_s: float = pace.POLL_DEADLINE_S) -> Event:
    """Ask the gateway of an attempt how a task stands; an answer that is none is Lost or Unclear, never a verdict."""
    provider, access = PROVIDERS[attempt.provider], services.access(attempt.provider, attempt)
    try:
        response = services.outside.send(provider.query(task_id, access), deadline_s=deadline_s)
    except (NotSent, AnswerLost) as lost:
        return events.Lost(str(lost))
    event = provider.read_query(response, access)
    if isinstance(event, events.Progressed) and event.drift:
        log.warning("unknown status word", gateway=provider.name, word=event.drift[:80], task=task_id)
    if isinstance(event, events.Unclear):
        log.warning("unclear answer", gateway=provider.name, task=task_id, message=event.message)
    return event
