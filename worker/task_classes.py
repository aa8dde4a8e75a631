"""The two kinds of tasks: a hint that something came due, and what other services enqueue."""

from __future__ import annotations

from typing import Any

from celery import Task

from rushes.worker.message_checks import CheckedRequest


class UnreceiptedRequest(CheckedRequest):
    """What came without a receipt needs none; kombu would ask Redis to take it from a list it never stood in."""

    def acknowledge(self) -> None:
        if is_receipted(self.message):  # somebody sent it to another queue, where it would come again for ever
            super().acknowledge()
        self.acknowledged = True


def is_receipted(message: Any) -> bool:
    """Whether its transport waits for a receipt; one that keeps no list of those is asked itself."""
    awaited = getattr(getattr(message.channel, "qos", None), "_delivered", None)
    return awaited is None or message.delivery_tag in awaited


class Hint(Task):  # type: ignore[misc]
    """Its message may be lost: the ledger hands out again what nobody opened."""

    Request = UnreceiptedRequest


class Enqueue(Task):  # type: ignore[misc]
    """Its message stands nowhere else, so it is receipted; and anybody may have written it."""

    Request = CheckedRequest
    typing = False  # the task names the argument that is wrong
