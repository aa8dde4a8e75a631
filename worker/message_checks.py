"""Checks messages from the broker: none can end the worker, and the content of none is logged.

Celery logs the whole body of a message that it cannot run, its api_key included. A message that has not Celery's form
makes it end, or restart for ever (5.7.0, kombu 5.7.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery.exceptions import InvalidTaskError, NotRegistered
from celery.utils.objects import Bunch
from celery.worker.request import Request
from kombu.exceptions import ContentDisallowed
from kombu.log import get_logger

from rushes.shared.intake.intake import Unacceptable
from rushes.worker.message_decoding import MALFORMED
from rushes.worker.waiting_consumer import WaitingConsumer

log = structlog.get_logger()

ENQUEUE = "rushes.enqueue"
NOT_JSON = Unacceptable("bad_request", "The message is not JSON in UTF-8.", 400)
NOT_CELERY = Unacceptable("invalid_request", "The message is not one of Celery's.", 422)
SERIALIZER = Unacceptable("unsupported_media_type", "The message is not JSON: send it with serializer='json'.", 415)


class CheckedRequest(Request):  # type: ignore[misc]
    """A call whose envelope has Celery's form; raises InvalidTaskError if it has not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
            is_valid = self._is_valid(*self._payload)
        except MALFORMED:
            is_valid = False
        if not is_valid:
            raise InvalidTaskError("not a call of Celery's form")

    def _is_valid(self, arguments: Any, named: Any, embed: Any) -> bool:
        str.encode(self.id)  # it becomes a key in Redis
        limits = self.time_limits
        return (
            isinstance(arguments, (list, tuple))
            and isinstance(named, Mapping)
            and isinstance(limits, (list, tuple))
            and len(limits) == 2
            and all(limit is None or isinstance(limit, (int, float)) for limit in limits)
            and isinstance(self.stamped_headers, list)
            and (not embed or (isinstance(embed, Mapping) and all(map(is_signature, embed.values()))))
        )


def is_signature(value: Any) -> bool:
    """Whether it is a Celery signature, a list of them, or None."""
    signatures = value if isinstance(value, (list, tuple)) else [value]
    return all(signature is None or isinstance(signature, Mapping) for signature in signatures)


class Consumer(WaitingConsumer):
    """Celery's consumer, which logs a message that it cannot run without its content."""

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_refuse(message: Any) -> None:
            try:
                handle(message)
            except MALFORMED as error:
                self.refuse(message, error, NOT_CELERY)

        return handle_or_refuse

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self.refuse(message, exc, NOT_JSON)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self.refuse(message, None, NOT_CELERY)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self.refuse(message, NotRegistered(), None)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self.refuse(message, exc, SERIALIZER if isinstance(exc, ContentDisallowed) else NOT_CELERY)

    def refuse(self, message: Any, error: Exception | None, envelope: Unacceptable | None) -> None:
        """Remove a message for good, and give its caller the reason as its result."""
        reason = type(error).__name__ if error else "unknown form"
        log.error("message refused", reason=reason, bytes=len(message.body or ""))
        try:
            self._set_result(message, envelope)
        except (*self.connection_errors, *MALFORMED) as error_of_result:
            log.warning("the caller gets no result", reason=type(error_of_result).__name__)
        if not message.acknowledged and not needs_no_acknowledgement(message):
            message.reject_log_error(get_logger(__name__), self.connection_errors)

    def _set_result(self, message: Any, envelope: Unacceptable | None) -> None:
        """Store the result of a refused message, unless the message names none."""
        task, task_id = message.headers.get("task"), message.headers.get("id")
        if not isinstance(task, str) or not isinstance(task_id, str) or message.headers.get("ignore_result"):
            return
        properties = message.properties
        request = Bunch(
            name=task,
            id=task_id,
            chord=None,
            root_id=None,
            errbacks=None,
            ignore_result=False,
            reply_to=properties.get("reply_to"),
            correlation_id=properties.get("correlation_id"),
        )
        if task == ENQUEUE and envelope:
            self.app.backend.mark_as_done(task_id, envelope.envelope(), request=request)
        elif envelope is None:
            self.app.backend.mark_as_failure(task_id, NotRegistered(task), request=request)


def needs_no_acknowledgement(message: Any) -> bool:
    """Whether its queue is consumed without them (app.py); RabbitMQ closes the channel if it gets one."""
    return message.delivery_info.get("consumer_tag") in (message.channel.no_ack_consumers or ())
