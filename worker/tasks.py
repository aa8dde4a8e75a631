"""The Celery tasks: hints that jobs came due. What happens is in steps.py; a hint that comes twice does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from celery import Task

from shared import tokens
from shared.archive import ArchiveUnavailable
from shared.document import document
from shared.intake import Unacceptable
from shared.ledger.ledger import Ticket
from shared.ledger.store import LedgerUnavailable
from worker import heartbeat, steps
from worker.app import app, services
from worker.hands import Threads
from worker.hints import Hint
from worker.lanes import CALLS, SHARES

Tickets = Sequence[tuple[str, str, int]]


@cache
def hands() -> Threads:
    """The threads of this worker; when all that was given to them together is done, the scheduler hears of it."""
    return Threads({**{kind: share.threads for kind, share in SHARES.items()}, **CALLS}, _ring)


def _ring() -> None:
    with suppress(LedgerUnavailable):
        services().ledger.ring()


@app.task(name="rushes.work", base=Hint)  # type: ignore[untyped-decorator]
def work(tickets: Tickets) -> None:
    """Begin the steps of all that came due; nobody waits here for their ends."""
    heartbeat.heard()
    steps.run([Ticket(*ticket) for ticket in tickets], services(), hands())


@app.task(name="rushes.enqueue", ignore_result=False, bind=True)  # type: ignore[untyped-decorator]
def enqueue(
    task: Task, job: Any = None, idempotency_key: str | None = None, api_key: str = "", **unknown: Any
) -> dict[str, Any]:
    """The Jobs API's POST for other Celery services: the job document, or the error envelope."""
    tenant = tokens.tenant_of(services().settings.api_keys, str(api_key))
    try:
        if tenant is None:
            raise Unacceptable("unauthorized", "api_key is not a key of this service.", 401)
        if unknown:
            problems = {name: ["Unknown field."] for name in unknown}
            raise Unacceptable("invalid_request", f"The call does not fit: {', '.join(unknown)}.", 422, problems)
        traceparent = (task.request.headers or {}).get("traceparent")
        receipt = services().intake.accept(job, tenant, idempotency_key, services().now(), traceparent)
        return document(receipt.job, services().archive.presign)
    except Unacceptable as refused:
        return refused.envelope()
    except LedgerUnavailable:
        return Unacceptable("unavailable", "The ledger is out of reach; nothing was accepted.", 503).envelope()
    except ArchiveUnavailable as problem:
        return Unacceptable("unavailable", f"The bucket cannot be read now: {problem}", 503).envelope()
