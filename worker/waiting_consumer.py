"""A consumer that waits for a broker that refuses, as Celery's waits for one that is gone.

Redis refuses writes for a while where it has too few replicas or its disk is full, and consuming is a write. To kombu a
refusal is an error of the channel, and at one of those a worker ends as "Unrecoverable" (Celery 5.7.0).
"""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.consumer import consumer as celery_consumer

from rushes.shared.ledger import refusals
from rushes.worker import leases
from rushes.worker.outage_log import OutageLog

RETRY_S, RETRY_MAX_S = 1, 5
# A broker that refuses lets the worker connect all the same: it is back if it has not refused for so long.
STEADY_S = 5


class WaitingConsumer(CeleryConsumer):  # type: ignore[misc]
    """Tries again for as long as the broker is away or refuses; one line in the log for each cause."""

    connection_errors: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection_errors = (*self.connection_errors, *self.channel_errors)
        self._outage = OutageLog("broker out of reach")
        for name in (celery_consumer.__name__, "kombu.transport.redis"):
            logging.getLogger(name).addFilter(is_told_by_nobody_else)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, however long it takes."""
        connection = conn.ensure_connection(
            lambda error, _: self._record_outage(error),
            None,
            RETRY_S,
            RETRY_S,
            RETRY_MAX_S,
            callback=state.maybe_shutdown,
        )
        self.first_connection_attempt = False
        return connection

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        self._record_outage(exc)
        time.sleep(RETRY_S)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        self._record_outage(exc)
        super().on_connection_error_after_connected(exc)
        time.sleep(RETRY_S)

    def _record_outage(self, error: Exception) -> None:
        self._outage.record(refusals.describe(error))
        leases.record_broker_outage()

    def on_ready(self) -> None:
        super().on_ready()
        self.timer.call_after(STEADY_S, self._clear_outage, (self.restart_count,))

    def _clear_outage(self, restart_count: int) -> None:
        if restart_count == self.restart_count:
            self._outage.clear()


# What Celery and kombu write at each try. The last is kombu's, with a traceback, about a key that is refreshed later.
EACH_TRY = (
    celery_consumer.CONNECTION_ERROR,
    celery_consumer.CONNECTION_RETRY,
    "maybe_refresh_binding_expiry: Redis error",
)


def is_told_by_nobody_else(record: logging.LogRecord) -> bool:
    """False for a line about a failed try: the outage has a line of ours."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(str(text).startswith(EACH_TRY) for text in (record.msg, *arguments))
