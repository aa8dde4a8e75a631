"""The Celery tasks: hints that jobs came due. What happens is in steps.py; a hint that comes twice does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from shared import tokens
from shared.archive import ArchiveUnavailable
from shared.document import document
from shared.domain import pace
from shared.intake import Unacceptable
from shared.ledger.ledger import Ticket
from shared.ledger.store import LedgerUnavailable
from worker import steps
from worker.app import app, services
from worker.lanes import SHARES

Tickets = Sequence[tuple[str, str, int]]


@cache
def hands(kind: str) -> ThreadPoolExecutor:
    """The threads that do one kind of work; slow archives never hold up polls."""
    return ThreadPoolExecutor(SHARES[kind].threads, thread_name_prefix=kind)


def work(tickets: Tickets) -> None:
    """Do the steps of a batch side by side, then let the scheduler know that there is room again."""
    held = [Ticket(*ticket) for ticket in tickets]
    kind = pace.kind_of(held[0].lane)
    list(hands(kind).map(lambda ticket: steps.run(ticket, services()), held))
    services().ledger.ring()


for name in SHARES:
    app.task(work, name=f"rushes.{name}")


@app.task(name="rushes.enqueue", ignore_result=False)  # type: ignore[untyped-decorator]
def enqueue(job: Any = None, idempotency_key: str | None = None, api_key: str = "") -> dict[str, Any]:
    """The Jobs API's POST for other Celery services: the job document, or the error envelope."""
    tenant = tokens.tenant_of(services().settings.api_keys, str(api_key))
    try:
        if tenant is None:
            raise Unacceptable("unauthorized", "api_key is not a key of this service.", 401)
        receipt = services().intake.accept(job, tenant, idempotency_key, services().now())
        return document(receipt.job, services().archive.presign)
    except Unacceptable as refused:
        return refused.envelope()
    except LedgerUnavailable:
        return Unacceptable("unavailable", "The ledger is out of reach; nothing was accepted.", 503).envelope()
    except ArchiveUnavailable as problem:
        return Unacceptable("unavailable", f"The bucket cannot be read now: {problem}", 503).envelope()
