"""The call that costs money, and what its answer means."""

from __future__ import annotations

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.http import AnswerLost, Forbidden, NotSent
from rushes.shared.operations.task_query import redacted
from rushes.shared.providers import PROVIDERS
from rushes.shared.services import Services
from rushes.shared.storage.journal import MAX_ANSWER_CHARS


def post(request: Request, provider: str, services: Services) -> tuple[Event, str]:
    """Make the paid call on a new connection; its outcome, and the text of the response or of the error."""
    try:
        response = services.http_client.send(request, deadline_s=schedule.SUBMIT_DEADLINE_S, once=True)
    except Forbidden as forbidden:
        return events.Refused(Reason.PROVIDER, str(forbidden)), str(forbidden)
    except NotSent as unsent:
        return events.Refused(Reason.DOWN, str(unsent)), str(unsent)
    except AnswerLost as lost:
        return read_answer(request, provider, lost)
    return read_answer(request, provider, response)


def read_answer(request: Request, provider: str, answer: Response | AnswerLost) -> tuple[Event, str]:
    """The outcome of a paid call that was sent, and the text of the response or of the error."""
    if isinstance(answer, AnswerLost):
        return events.Lost(str(answer)), str(answer)
    text = f"HTTP {answer.status} {redacted(answer.body, MAX_ANSWER_CHARS)}"
    return PROVIDERS[provider].read_submission(answer, request), text
