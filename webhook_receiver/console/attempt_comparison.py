"""Two attempts of a job side by side: what was sent, what was answered, cost and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from flask import render_template, request

from rushes.shared.domain.accounts import DEFAULT
from rushes.shared.domain.job import Attempt, Job
from rushes.webhook_receiver.console import console, labels
from rushes.webhook_receiver.console.formatting import span, usd
from rushes.webhook_receiver.console.gateway_calls import Call, read_journal
from rushes.webhook_receiver.console.session import require_sign_in
from rushes.webhook_receiver.console.status_sentences import utc_second
from rushes.webhook_receiver.jobs_api import visible_job


@dataclass(frozen=True, slots=True)
class Row:
    """A fact of both attempts."""

    name: str
    left: str
    right: str


Lines = list[tuple[str, bool]]
"""Lines of a text, each with whether the other text does not have it."""


@console.get("/jobs/<job_id>/compare")
def compare(job_id: str) -> str:
    """Two attempts side by side; the newest two unless the query names others."""
    job = visible_job(job_id, require_sign_in())
    left, right = chosen_attempts(job)
    calls, problem = read_journal(job) if left and right else ([], None)
    return render_template(
        "compare.html",
        job=job,
        left=left,
        right=right,
        rows=rows(job, left, right) if left and right else [],
        texts=texts(job, calls, left, right) if left and right else [],
        problem=problem,
    )


def chosen_attempts(job: Job) -> tuple[Attempt | None, Attempt | None]:
    """The attempts that the query names by number, else the newest two; None where there are not two."""
    if len(job.attempts) < 2:
        return None, None
    by_number = {str(attempt.number): attempt for attempt in job.attempts}
    older, newest = job.attempts[-2:]
    return by_number.get(request.args.get("left", ""), older), by_number.get(request.args.get("right", ""), newest)


def rows(job: Job, left: Attempt, right: Attempt) -> list[Row]:
    """The facts of both, in one order."""
    return [
        Row(name, one, other)
        for (name, one), (_, other) in zip(facts(job, left), facts(job, right), strict=True)
        if (one, other) != ("", "")
    ]


def facts(job: Job, attempt: Attempt) -> list[tuple[str, str]]:
    """Name and value of each; an empty value where there is nothing to say."""
    error, ended_at = attempt.error, attempt.ended_at
    source = f" ({attempt.cost_source.value})" if attempt.cost_source else ""
    return [
        ("Gateway", attempt.provider),
        ("Account", "" if attempt.account == DEFAULT else attempt.account),
        ("State", labels.ATTEMPTS[attempt.status][0]),
        ("Task", attempt.task_id or "none"),
        ("Submitted", utc_second(attempt.submitted_at)),
        ("Took", span((ended_at - attempt.submitted_at) / 1000) if ended_at else "not ended"),
        ("Reported by", attempt.heard_by or "nothing"),
        ("Polls", str(attempt.polls)),
        ("Estimated", usd(attempt.estimated_usd, "no price")),
        ("Actual", usd(attempt.cost_usd, "not settled" if attempt.paid else "nothing") + source),
        ("Error", f"{error.code}: {error.message}" if error else ""),
    ]


def texts(job: Job, calls: Sequence[Call], left: Attempt, right: Attempt) -> list[tuple[str, Lines, Lines]]:
    """What was sent and what was answered: of each, the lines of both attempts."""
    ours, theirs = call_of(calls, left), call_of(calls, right)
    return [
        ("Request as sent", *marked(ours.sent if ours else "", theirs.sent if theirs else "")),
        ("Answer as received", *marked((ours and ours.answer) or "", (theirs and theirs.answer) or "")),
    ]


def call_of(calls: Sequence[Call], attempt: Attempt) -> Call | None:
    """The call of an attempt, where the journal has it."""
    return next((call for call in calls if call.attempt == attempt.number), None)


def marked(left: str, right: str) -> tuple[Lines, Lines]:
    """The lines of two texts, those marked that only one of them has."""
    ours, theirs = left.splitlines(), right.splitlines()
    matcher = SequenceMatcher(a=ours, b=theirs, autojunk=False)
    same_left, same_right = set[int](), set[int]()
    for block in matcher.get_matching_blocks():
        same_left.update(range(block.a, block.a + block.size))
        same_right.update(range(block.b, block.b + block.size))
    return (
        [(line, at not in same_left) for at, line in enumerate(ours)],
        [(line, at not in same_right) for at, line in enumerate(theirs)],
    )
