"""The job document as consumers see it: in the API, in manifests and in notifications."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rushes.shared.domain import money
from rushes.shared.domain.job import Attempt, Error, Job, Result


def document(job: Job, presign: Callable[[str], str] | None = None) -> dict[str, Any]:
    """The job document of the contract. With `presign`, which signs the URL of a key, its result has a `url`."""
    return {
        "id": job.id,
        "object": "job",
        "status": job.state.value,
        "tenant": job.tenant,
        "request": dict(job.request),
        "provider": job.provider,
        "progress": job.progress,
        "attempts": [_attempt(attempt) for attempt in job.attempts],
        "estimated_cost_usd": money.text(job.estimated_usd),
        "cost_usd": money.text(money.spent(job.attempts)),
        "result": _result(job.result, presign) if job.erase_asked_at is None else None,
        "error": _error(job.error),
        "result_expires_at": _expiry(job),
        "created_at": moment(job.created_at),
        "updated_at": moment(job.updated_at),
        "ended_at": moment(job.ended_at),
        "metadata": dict(job.request.get("metadata", {})),
        **({"retry_of": job.retry_of} if job.retry_of else {}),
        **({"erased_at": moment(job.erased_at)} if job.erase_asked_at is not None else {}),
    }


def moment(at: int | None) -> str | None:
    """A moment as ISO 8601 in UTC, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "provider": attempt.provider,
        "task_id": attempt.task_id,
        "status": attempt.status.value,
        "submitted_at": moment(attempt.submitted_at),
        "ended_at": moment(attempt.ended_at),
        "heard_by": attempt.heard_by,
        "account": attempt.account,
        "estimated_cost_usd": money.text(attempt.estimated_usd),
        "cost_usd": money.text(attempt.cost_usd),
        "cost_source": attempt.cost_source.value if attempt.cost_source else None,
        "error": _error(attempt.error),
    }


def _error(error: Error | None) -> dict[str, Any] | None:
    if error is None:
        return None
    document = {"code": error.code, "message": error.message}
    return {**document, "provider": error.provider} if error.provider else document


def _result(result: Result | None, presign: Callable[[str], str] | None) -> dict[str, Any] | None:
    if result is None:
        return None
    return {
        "bucket": result.bucket,
        "key": result.key,
        "manifest_key": result.manifest_key,
        "thumbnail_key": result.thumbnail_key,
        **({"url": presign(result.key)} if presign else {}),
        "size": result.size,
        "sha256": result.sha256,
        "content_type": result.content_type,
        "duration_s": _number(result.duration_s),
        "width": result.width,
        "height": result.height,
    }


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def _expiry(job: Job) -> str | None:
    """When the gateway's own link expires."""
    return moment(job.attempt.link.expires_at) if job.attempt and job.attempt.link else None
