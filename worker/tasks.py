"""The Celery tasks: `rushes.work` runs the steps of due jobs (steps.py), `rushes.enqueue` accepts a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import structlog
from celery import Task

from rushes.shared import credentials
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.job_document import document
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.worker import leases, steps
from rushes.worker.app import app, services
from rushes.worker.lane_capacity import CALLS, SHARES
from rushes.worker.message_checks import ENQUEUE
from rushes.worker.task_arguments import argument, job_body
from rushes.worker.task_classes import Enqueue, Hint
from rushes.worker.thread_pools import WorkerThreads

log = structlog.get_logger()

Tickets = Sequence[tuple[str, str, int]]


@cache
def thread_pools() -> WorkerThreads:
    """The threads of this worker. When all steps of one start are done, the scheduler is woken."""
    return WorkerThreads({**{kind: share.threads for kind, share in SHARES.items()}, **CALLS}, _wake_scheduler)


def _wake_scheduler() -> None:
    with suppress(LedgerUnavailable):
        services().ledger.wake()


@app.task(name="rushes.work", base=Hint)  # type: ignore[untyped-decorator]
def work(tickets: Tickets) -> None:
    """Start the steps of due jobs and return. A ticket that comes twice does nothing."""
    leases.record_work()
    steps.run([Ticket(*ticket) for ticket in tickets], services(), thread_pools())


@app.task(name=ENQUEUE, base=Enqueue, ignore_result=False, bind=True)  # type: ignore[untyped-decorator]
def enqueue(task: Task, *positional: Any, **named: Any) -> dict[str, Any]:
    """POST /v1/jobs for other Celery services: returns the job document or the error envelope; raises nothing."""
    try:
        return accept(task, call_arguments(positional, named))
    except Unacceptable as refusal:
        return refusal.envelope()
    except LedgerUnavailable:
        return Unacceptable("unavailable", "The ledger is out of reach; nothing was accepted.", 503).envelope()
    except ArchiveUnavailable as problem:
        return Unacceptable("unavailable", f"The bucket cannot be read now: {problem}", 503).envelope()
    except Exception:
        log.exception("enqueue broke")
        return Unacceptable("internal", "This is our fault; it was logged.", 500).envelope()


ARGUMENTS = ("job", "idempotency_key", "api_key")


def call_arguments(positional: Sequence[Any], named: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call by name. Raises Unacceptable; a wrong key is reported before any other problem."""
    arguments = {**dict(zip(ARGUMENTS, positional, strict=False)), **named}
    key = argument("api_key", arguments.get("api_key"))
    tenant = credentials.tenant_of(services().settings.api_keys, key) if isinstance(key, str) else None
    if tenant is None:
        raise Unacceptable("unauthorized", "api_key is not a key of this service.", 401)
    problems = {name: ["Unknown field."] for name in named if name not in ARGUMENTS}
    problems.update({name: ["Given twice."] for name in ARGUMENTS[: len(positional)] if name in named})
    problems.update(
        {f"argument {place + 1}": ["Unknown argument."] for place in range(len(ARGUMENTS), len(positional))}
    )
    if problems:
        raise Unacceptable("invalid_request", f"The call does not fit: {', '.join(problems)}.", 422, problems)
    return {**arguments, "tenant": tenant}


def accept(task: Task, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Create the job and return its document. Raises Unacceptable, LedgerUnavailable, ArchiveUnavailable."""
    headers = task.request.headers if isinstance(task.request.headers, Mapping) else {}
    job, key = job_body(arguments.get("job")), argument("Idempotency-Key", arguments.get("idempotency_key"))
    receipt = services().intake.accept(job, arguments["tenant"], key, services().now(), headers.get("traceparent"))
    return document(receipt.job, services().archive.presign)
