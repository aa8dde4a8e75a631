"""The Celery tasks: hints that jobs came due. What happens is in steps.py; a hint that comes twice does nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
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
from worker.hints import Hint
from worker.lanes import SHARES
from worker.steps import InHand

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


def spread(do: Callable[[InHand], None], mine: Iterable[InHand]) -> list[None]:
    """Give each job to the threads of its kind; when the last of a kind is done, the scheduler hears of the room."""
    by_kind: defaultdict[str, list[InHand]] = defaultdict(list)
    for one in mine:
        by_kind[one[1].kind].append(one)
    for kind, held in by_kind.items():
        left = [*held]
        for one in held:
            hands(kind).submit(do, one).add_done_callback(partial(_done, left))
    return []


def _done(left: list[InHand], _: Any) -> None:
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
