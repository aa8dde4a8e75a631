"""The Celery tasks: hints that jobs came due. What happens is in steps.py; a hint that comes twice does nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import Any, TypeVar

from celery import Task

from shared import tokens
from shared.archive import ArchiveUnavailable
from shared.document import document
from shared.intake import Unacceptable
from shared.ledger.ledger import Ticket
from shared.ledger.store import LedgerUnavailable
from worker import heartbeat, steps
from worker.app import app, services
from worker.hints import Hint
from worker.lanes import SHARES

T = TypeVar("T")
Tickets = Sequence[tuple[str, str, int]]


@cache
def hands(kind: str) -> ThreadPoolExecutor:
    """The threads that do one kind of work; slow archives never hold up polls."""
    return ThreadPoolExecutor(SHARES[kind].threads, thread_name_prefix=kind)


@app.task(name="rushes.work", base=Hint)  # type: ignore[untyped-decorator]
def work(tickets: Tickets) -> None:
    """Begin the steps of all that came due; nobody waits here for their ends."""
    heartbeat.heard()
    steps.run([Ticket(*ticket) for ticket in tickets], services(), spread)


def spread(kind: str, do: Callable[[T], None], items: Sequence[T]) -> None:
    """Give each to the threads of its kind; when the last is done, the scheduler hears of the room."""
    left = [*items]
    for item in items:
        hands(kind).submit(do, item).add_done_callback(partial(_done, left))


def _done(left: list[Any], _: Any) -> None:
    left.pop()
    if not left:
        with suppress(LedgerUnavailable):
            services().ledger.ring()


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
