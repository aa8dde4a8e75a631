"""The Celery tasks: hints that jobs came due. What happens is in steps.py; a hint that comes twice does nothing."""

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
def hands() -> WorkerThreads:
    """The threads of this worker; when all that was given to them together is done, the scheduler hears of it."""
    return WorkerThreads({**{kind: share.threads for kind, share in SHARES.items()}, **CALLS}, _ring)


def _ring() -> None:
    with suppress(LedgerUnavailable):
        services().ledger.wake()


@app.task(name="rushes.work", base=Hint)  # type: ignore[untyped-decorator]
def work(tickets: Tickets) -> None:
    """Begin the steps of all that came due; nobody waits here for their ends."""
    leases.heard()
    steps.run([Ticket(*ticket) for ticket in tickets], services(), hands())


@app.task(name=ENQUEUE, base=Enqueue, ignore_result=False, bind=True)  # type: ignore[untyped-decorator]
def enqueue(task: Task, *arguments: Any, **named: Any) -> dict[str, Any]:
    """The Jobs API's POST for other Celery services: the job document, or the error envelope; raises nothing."""
    try:
        return taken(task, call(arguments, named))
    except Unacceptable as refused:
        return refused.envelope()
    except LedgerUnavailable:
        return Unacceptable("unavailable", "The ledger is out of reach; nothing was accepted.", 503).envelope()
    except ArchiveUnavailable as problem:
        return Unacceptable("unavailable", f"The bucket cannot be read now: {problem}", 503).envelope()
    except Exception:
        log.exception("enqueue broke")
        return Unacceptable("internal", "This is our fault; it was logged.", 500).envelope()


ARGUMENTS = ("job", "idempotency_key", "api_key")


def call(arguments: Sequence[Any], named: Mapping[str, Any]) -> Mapping[str, Any]:
    """The arguments of a call by their names; raises Unacceptable, before all where the key is none."""
    given = {**dict(zip(ARGUMENTS, arguments, strict=False)), **named}
    key = argument("api_key", given.get("api_key"))
    tenant = credentials.tenant_of(services().settings.api_keys, key) if isinstance(key, str) else None
    if tenant is None:
        raise Unacceptable("unauthorized", "api_key is not a key of this service.", 401)
    problems = {name: ["Unknown field."] for name in named if name not in ARGUMENTS}
    problems.update({name: ["Given twice."] for name in ARGUMENTS[: len(arguments)] if name in named})
    problems.update({f"argument {place + 1}": ["Unknown argument."] for place in range(len(ARGUMENTS), len(arguments))})
    if problems:
        raise Unacceptable("invalid_request", f"The call does not fit: {', '.join(problems)}.", 422, problems)
    return {**given, "tenant": tenant}


def taken(task: Task, given: Mapping[str, Any]) -> dict[str, Any]:
    """The document of the job; raises Unacceptable, LedgerUnavailable, ArchiveUnavailable."""
    headers = task.request.headers if isinstance(task.request.headers, Mapping) else {}
    job, key = job_body(given.get("job")), argument("Idempotency-Key", given.get("idempotency_key"))
    receipt = services().intake.accept(job, given["tenant"], key, services().now(), headers.get("traceparent"))
    return document(receipt.job, services().archive.presign)
