"""The base classes of the two tasks: a hint that jobs are due, and a job that another service enqueues."""

from __future__ import annotations

from typing import Any

from celery import Task

from rushes.worker.message_checks import CheckedRequest


class UnacknowledgedRequest(CheckedRequest):
    """Does not acknowledge a message that needs none: kombu would ask Redis to remove it from a list that lacks it."""

    def acknowledge(self) -> None:
        if needs_acknowledgement(self.message):  # it was sent to another queue, which would deliver it again for ever
            super().acknowledge()
        self.acknowledged = True


def needs_acknowledgement(message: Any) -> bool:
    """Whether its transport waits for an acknowledgement; True if the transport does not list its deliveries."""
    unacknowledged = getattr(getattr(message.channel, "qos", None), "_delivered", None)
    return unacknowledged is None or message.delivery_tag in unacknowledged


class Hint(Task):  # type: ignore[misc]
    """Its message may be lost: a ticket that is not opened is handed out again."""

    Request = UnacknowledgedRequest


class Enqueue(Task):  # type: ignore[misc]
    """Its message is the only copy, so it is acknowledged; and its content may be anything."""

    Request = CheckedRequest
    typing = False  # the task itself names a wrong argument
