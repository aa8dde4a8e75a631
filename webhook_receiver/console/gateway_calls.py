"""The paid calls of a job and their answers, read from the journal."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from flask import render_template

from rushes.shared.domain.job import Job
from rushes.shared.intake.intake import length_s
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.formatting import redacted
from rushes.webhook_receiver.console.session import require_sign_in
from rushes.webhook_receiver.jobs_api import body_to_send, visible_job


@dataclass(frozen=True, slots=True)
class Call:
    """A paid call; `answer` is None where none came or none was stored."""

    title: str
    at: int | None
    sent: str
    answer: str | None
    outcome: str | None = None
    attempt: int = 0


@console.get("/jobs/<job_id>/calls")
def calls(job_id: str) -> str:
    """The calls and answers, without keys and the signed part of links."""
    job = visible_job(job_id, require_sign_in())
    journal_calls, problem = read_journal(job)
    calls = journal_calls or planned_calls(job)
    return render_template(
        "gateway_calls.html", job=job, calls=calls, from_journal=bool(journal_calls), problem=problem
    )


def read_journal(job: Job) -> tuple[list[Call], str | None]:
    """The calls in the journal, and the reason where it cannot be read."""
    try:
        entries = services().journal.entries(job)
    except ArchiveUnavailable as problem:
        return [], f"The journal cannot be read now: {problem}"
    return [
        Call(
            f"Attempt {entry.attempt}, {entry.provider}",
            entry.at,
            redacted(entry.sent),
            format_answer(entry.answer),
            entry.outcome,
            entry.attempt,
        )
        for entry in entries
    ], None


def format_answer(answer: str | None) -> str | None:
    """An answer, indented where it is a status and whole JSON."""
    if not answer:
        return None
    status, brace, rest = answer.partition("{")
    with suppress(ValueError):
        return f"{status.strip()}\n{redacted(json.loads(brace + rest))}".lstrip()
    return redacted(answer)


def planned_calls(job: Job) -> list[Call]:
    """The call that the request leads to, for a job without calls in the journal."""
    measured = job.inputs.get("video_url", {}).get("duration_s")
    seconds = length_s(job.request) or (Decimal(measured) if measured else None)
    offered = services().intake.estimates(job.request, job.tenant, seconds)
    name = job.provider or next(iter(job.route), "")
    if not any(estimate.provider == name and estimate.able for estimate in offered):
        return []
    body = body_to_send(name, dict(job.request), seconds)
    return [Call(f"For {name}, made from the request", None, redacted(body), None)]
