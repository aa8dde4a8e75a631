"""A task that is only a hint that something came due."""

from __future__ import annotations

from celery import Task
from celery.worker.request import Request


class UnreceiptedRequest(Request):  # type: ignore[misc]
    """What came without a receipt needs none; kombu would ask Redis to take it from a list it never stood in."""

    def acknowledge(self) -> None:
        self.acknowledged = True


class Hint(Task):  # type: ignore[misc]
    """Its message may be lost: the ledger hands out again what nobody opened."""

    Request = UnreceiptedRequest
