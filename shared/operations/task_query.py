"""The gateway's own word on a task."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit

import structlog

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Attempt, Job
from rushes.shared.http import AnswerLost, NotSent
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import NO_LINK
from rushes.shared.services import Services

log = structlog.get_logger()


def ask(attempt: Attempt, task_id: str, services: Services, deadline_s: float = schedule.POLL_DEADLINE_S) -> Event:
    """Ask the gateway of an attempt how a task stands; an answer that is none is Lost or Unclear, never a verdict."""
    try:
        response = services.http_client.send(question(attempt, task_id, services), deadline_s=deadline_s)
    except (NotSent, AnswerLost) as lost:
        return events.Lost(str(lost))
    return understood(attempt, task_id, response, services)


def question(attempt: Attempt, task_id: str, services: Services) -> Request:
    """The call that asks; it may be made twice."""
    return PROVIDERS[attempt.provider].query(task_id, services.access(attempt.provider, attempt))


def understood(attempt: Attempt, task_id: str, response: Response, services: Services) -> Event:
    """What the gateway's answer says of a task."""
    provider, access = PROVIDERS[attempt.provider], services.access(attempt.provider, attempt)
    event = provider.read_query(response, access)
    if isinstance(event, events.Progressed) and event.drift:
        drifted(provider.name, event.drift[:80], response, services)
    if isinstance(event, events.Unclear):
        log.warning("unclear answer", gateway=provider.name, task=task_id, message=event.message)
        if event.reason in (Reason.KEY, Reason.BALANCE):  # of the gateway it says much, of the task nothing
            with suppress(LedgerUnavailable):
                services.ledger.gateways.strike(provider.name, event.reason, event.retry_after_s, services.now())
    return event


INPUTS = ("image_url", "last_image_url", "video_url")


def result_of(job: Job, answer: Event) -> Event:
    """The answer, unless its link is to an input: gateways repeat the request now and then, and that is no clip."""
    if isinstance(answer, events.Succeeded) and _is_input(urlsplit(answer.link.video_url), job):
        return events.Unclear(NO_LINK, finished=True)
    return answer


def _is_input(link: SplitResult, job: Job) -> bool:
    inputs = [urlsplit(job.request[name]) for name in INPUTS if job.request.get(name)]
    if any((link.hostname, link.path) == (each.hostname, each.path) for each in inputs):
        return True
    return any(each.scheme == "s3" and unquote(link.path).endswith(each.path) for each in inputs)


SAMPLE_CHARS = 400
SECRET = re.compile(r"(https?://[^\s\"?#]+)[?#][^\s\"]*|\b(sk-[\w-]+|Bearer\s+\S+)", re.IGNORECASE)


def drifted(gateway: str, word: str, response: Response, services: Services) -> None:
    """A status word or form that no document knows still means running; it is counted, and a sample is logged."""
    log.warning("contract drift", gateway=gateway, word=word, sample=redacted(response.body))
    with suppress(LedgerUnavailable):
        services.ledger.gateways.count_unknown_word(gateway, word)


def redacted(body: bytes, chars: int = SAMPLE_CHARS) -> str:
    """The beginning of an answer, without keys and without the signed part of links."""
    return SECRET.sub(lambda found: f"{found[1]}?…" if found[1] else "…", body.decode(errors="replace"))[:chars]
