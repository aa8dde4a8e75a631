"""Sends what is due over the broker."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from rushes.shared.ledger import refusals
from rushes.worker.lane_capacity import QUEUE

# kombu's own errors, in which Celery wraps those of the transports, are no OSErrors.
UNREACHED = (OperationalError, OSError)
CLOSE_S = 1


class BrokerUnavailable(Exception):
    """The broker is out of reach or refuses; the message may have been sent. Says why, without a password."""


class BrokerSender:
    """Sends tickets to the workers, over a connection that is made anew after an error. For one thread."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._producer: Any = None

    def send(self, tickets: Sequence[tuple[str, str, int]]) -> None:
        """Send one message. Raises BrokerUnavailable."""
        try:
            producer = self._producer = self._producer or self._connect()
            arguments = {"args": [tickets], "queue": QUEUE, "producer": producer}
            self._app.send_task("rushes.work", **arguments, retry=False, ignore_result=True)
        except UNREACHED as error:
            self._disconnect()
            raise BrokerUnavailable(refusals.describe(error)) from None

    def _connect(self) -> Any:
        # Nobody here would answer heartbeats between two messages, and RabbitMQ would end the connection.
        return self._app.amqp.Producer(self._app.connection_for_write(heartbeat=0), auto_declare=False)

    def _disconnect(self) -> None:
        """Give the connection up: without `retry` kombu goes on using a dead one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):
                producer.connection.collect(socket_timeout=CLOSE_S)
