"""Queries the gateway for the state of a task."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import SplitResult, unquote, urlsplit

import structlog

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.http_messages import Request, Response
from rushes.shared.domain.job import Attempt, Job
from rushes.shared.http import AnswerLost, NotSent, next_hop, origin
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import NO_LINK
from rushes.shared.services import Services

log = structlog.get_logger()

QUERY_REDIRECTS = 4


def query_task(
    attempt: Attempt, task_id: str, services: Services, deadline_s: float = schedule.POLL_DEADLINE_S
) -> Event:
    """Query a task at its attempt's gateway. A response that cannot be read is Lost or Unclear, never Failed."""
    try:
        response = send_query(query_request(attempt, task_id, services), services, deadline_s)
    except (NotSent, AnswerLost) as lost:
        return events.Lost(str(lost))
    return read_response(attempt, task_id, response, services)


def send_query(request: Request, services: Services, deadline_s: float) -> Response:
    """Send a query. Redirects are followed at the gateway's own origin: no other one gets its key."""
    for _ in range(QUERY_REDIRECTS):
        response = services.http_client.send(request, deadline_s=deadline_s)
        target = next_hop(request, response.status, response.headers.get("location"))
        if target is None or origin(target.url) != origin(request.url):
            return response
        request = target
    return response


def query_request(attempt: Attempt, task_id: str, services: Services) -> Request:
    """The query of a task; it may safely be sent twice."""
    return PROVIDERS[attempt.provider].query_request(task_id, services.access(attempt.provider, attempt))


def query_by_key(attempt: Attempt, key: str, services: Services, deadline_s: float = schedule.POLL_DEADLINE_S) -> Event:
    """Query the gateway by our own id of an attempt: Accepted, NotFound, or Lost or Unclear if it gives no answer."""
    provider, access = PROVIDERS[attempt.provider], services.access(attempt.provider, attempt)
    request = provider.key_query_request(key, access)
    if request is None:
        return events.Unclear(f"{provider.name} has no query by an id of ours")
    try:
        response = send_query(request, services, deadline_s)
    except (NotSent, AnswerLost) as lost:
        return events.Lost(str(lost))
    event = provider.read_key_query(response, key)
    if isinstance(event, events.Unclear):
        report_unclear(attempt, key, event, services)
    return event


def read_response(attempt: Attempt, task_id: str, response: Response, services: Services) -> Event:
    """The event in a gateway's response to a query. Counts unknown status words, and pauses the gateway if need be."""
    provider, access = PROVIDERS[attempt.provider], services.access(attempt.provider, attempt)
    event = provider.read_query(provider.part_of(task_id, response), access)
    if isinstance(event, events.Progressed) and event.drift:
        report_drift(provider.name, event.drift[:80], response, services)
    if isinstance(event, events.Unclear):
        report_unclear(attempt, task_id, event, services)
    return event


def report_unclear(attempt: Attempt, task: str, event: events.Unclear, services: Services) -> None:
    """Log a response that says nothing of the task. It may concern the account or the address, and then pauses it."""
    gateway, account = attempt.provider, attempt.account
    log.warning("unclear answer", gateway=gateway, account=account, task=task, message=event.message)
    if event.reason in (Reason.KEY, Reason.BALANCE, Reason.MOVED):
        with suppress(LedgerUnavailable):
            services.ledger.gateways.strike(gateway, event.reason, event.retry_after_s, services.now(), account)


INPUTS = ("image_url", "last_image_url", "video_url")


def check_link(job: Job, event: Event) -> Event:
    """The event, or Unclear if its link is to an input: some gateways repeat the request, and an input is no clip."""
    if isinstance(event, events.Succeeded) and _is_input(urlsplit(event.link.video_url), job):
        return events.Unclear(NO_LINK, finished=True)
    return event


def _is_input(link: SplitResult, job: Job) -> bool:
    inputs = [urlsplit(job.request[name]) for name in INPUTS if job.request.get(name)]
    if any((link.hostname, link.path) == (url.hostname, url.path) for url in inputs):
        return True
    return any(url.scheme == "s3" and unquote(link.path).endswith(url.path) for url in inputs)


SAMPLE_CHARS = 400
SECRET = re.compile(r"(https?://[^\s\"?#]+)[?#][^\s\"]*|\b(sk-[\w-]+|Bearer\s+\S+)", re.IGNORECASE)


def report_drift(gateway: str, word: str, response: Response, services: Services) -> None:
    """Count a status word that no document has, and log a sample of the response. The task counts as running."""
    log.warning("contract drift", gateway=gateway, word=word, sample=redacted(response.body))
    with suppress(LedgerUnavailable):
        services.ledger.gateways.count_unknown_word(gateway, word)


def redacted(body: bytes, chars: int = SAMPLE_CHARS) -> str:
    """The beginning of a response body, without keys and without the signed part of links."""
    return SECRET.sub(lambda match: f"{match[1]}?…" if match[1] else "…", body.decode(errors="replace"))[:chars]
