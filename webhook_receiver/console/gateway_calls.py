"""The paid calls of a job as they were sent, and the answers as they came: from the journal, only when asked for."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from flask import render_template

from rushes.shared.domain.job import Job
from rushes.shared.intake.estimates import quotes
from rushes.shared.intake.intake import length_s
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.formatting import redacted
from rushes.webhook_receiver.console.session import visitor
from rushes.webhook_receiver.jobs_api import mine, would_send


@dataclass(frozen=True, slots=True)
class Call:
    """A paid call; `answer` is None where none came, or none was kept."""

    title: str
    at: int | None
    sent: str
    answer: str | None
    outcome: str | None = None


@console.get("/jobs/<job_id>/calls")
def calls(job_id: str) -> str:
    """What was sent and answered, without keys and the signed part of links."""
    found = mine(job_id, visitor())
    kept, problem = journaled(found)
    calls = kept or planned(found)
    return render_template("gateway_calls.html", job=found, calls=calls, kept=bool(kept), problem=problem)


def journaled(found: Job) -> tuple[list[Call], str | None]:
    """What the journal holds of it, and what stands in the way of reading it."""
    try:
        entries = services().journal.entries(found)
    except ArchiveUnavailable as problem:
        return [], f"The journal cannot be read now: {problem}"
    return [
        Call(f"Attempt {one.attempt}, {one.provider}", one.at, redacted(one.sent), read(one.answer), one.outcome)
        for one in entries
    ], None


def read(answer: str | None) -> str | None:
    """An answer, laid out where it is whole JSON after its status."""
    if not answer:
        return None
    status, brace, rest = answer.partition("{")
    with suppress(ValueError):
        return f"{status.strip()}\n{redacted(json.loads(brace + rest))}".lstrip()
    return redacted(answer)


def planned(found: Job) -> list[Call]:
    """What is, or would be, sent: made anew from the request, where the journal holds nothing."""
    measured = found.inputs.get("video_url", {}).get("duration_s")
    seconds = length_s(found.request) or (Decimal(measured) if measured else None)
    offered = quotes(found.request, services().settings.gateways, services().prices, seconds)
    name = found.provider or next(iter(found.route), "")
    if not any(quote.provider == name and quote.able for quote in offered):
        return []
    body = would_send(name, dict(found.request), seconds)
    return [Call(f"For {name}, made anew from the request", None, redacted(body), None)]
