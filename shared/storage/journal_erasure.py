"""The lines of an erased job in the journal: they go on telling which calls were paid for, and not what was asked."""

from __future__ import annotations

import json
from typing import Any

from rushes.shared.compact_json import compact
from rushes.shared.domain.erasure import scrubbed
from rushes.shared.domain.frozen import replace
from rushes.shared.ledger import record


def without_content(text: str, job_id: str, at: int) -> str:
    """The text of an object of the journal, the lines of this job without their content; `at` is now, in ms."""
    if job_id not in text:
        return text
    return "\n".join(_without_content(line, job_id, at) for line in text.split("\n"))


def _without_content(text: str, job_id: str, at: int) -> str:
    if f'"job":"{job_id}"' not in text:
        return text
    try:
        line = json.loads(text)
        return text if line["job"] != job_id else compact(EDITS[line["kind"]](line, at))
    except (ValueError, KeyError, TypeError, AttributeError):  # nobody can read it, so nobody misses it
        return ""


def _intent(line: dict[str, Any], at: int) -> dict[str, Any]:
    job = record.decode(line["record"])
    if job.erase_asked_at is not None:
        return line
    # The mark keeps a recovery from restoring it, should the manifest be gone too.
    return {**line, "sent": {}, "record": record.encode(replace(scrubbed(job), erase_asked_at=at), "journal")}


def _answer(line: dict[str, Any], _: int) -> dict[str, Any]:
    outcome = line["outcome"]
    return {**line, "answer": None, "outcome": {**outcome, "message": ""} if "message" in outcome else outcome}


EDITS = {"intent": _intent, "answer": _answer}
