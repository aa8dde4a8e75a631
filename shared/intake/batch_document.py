"""The batch document as consumers see it: in the API and in the notification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rushes.shared.domain import batch as batch_module
from rushes.shared.domain import money
from rushes.shared.domain.job import Job, State
from rushes.shared.intake.job_document import moment


def batch_document(batch: Job, counts: Mapping[str, int], whole: bool = True) -> dict[str, Any]:
    """A batch from its record and its counters. Unless it is `whole`, ids and receipt of its jobs are left out."""
    terms = dict(batch.request)
    job_ids, receipt = terms.pop("job_ids"), terms.pop("receipt", None)
    has_ended = not counts.get(batch_module.OPEN, 0)
    return {
        "id": batch.id,
        "object": "batch",
        "status": "completed" if has_ended else "running",
        "tenant": batch.tenant,
        "jobs": len(job_ids),
        "counts": {state.value: counts.get(state.value, 0) for state in State},
        "errors": errors(counts),
        "max_cost_usd": terms.pop("max_cost_usd", None),
        "estimated_cost_usd": _usd(counts.get("estimated", 0)),
        "unpriced_jobs": counts.get("unpriced", 0),
        "reserved_cost_usd": _usd(counts.get(batch_module.HELD, 0) - counts.get("actual", 0)),
        "cost_usd": _usd(counts.get("actual", 0)),
        "wasted_cost_usd": _usd(counts.get("wasted", 0)),
        "seconds": counts.get("made_ms", 0) / 1000,
        "canceled": bool(counts.get(batch_module.STOPPED, 0)),
        "created_at": moment(batch.created_at),
        "ended_at": moment(counts.get(batch_module.ENDED_AT)) if has_ended else None,
        "metadata": terms.pop("metadata", {}),
        **terms,
        **({"job_ids": job_ids, "receipt": receipt} if whole else {}),
    }


def errors(counts: Mapping[str, int]) -> dict[str, int]:
    """How many jobs ended with each error."""
    prefix = batch_module.ERROR
    return {what.removeprefix(prefix): n for what, n in sorted(counts.items()) if what.startswith(prefix) and n}


def _usd(units: int) -> str | None:
    return money.text(money.from_units(units))
