"""Sends the callbacks that are due. They are stored in the database: a restart loses none, and may send one twice."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from rushes.deploy.sandbox.gateways.billing import Billing, Callback, Task
from rushes.deploy.sandbox.gateways.gateway import Gateway

TIMEOUT_S = 10
LEASE_S = 3 * TIMEOUT_S  # a callback whose sender died becomes due again
SENDERS = 16
REPEAT_AFTER_S = 1
LOOK_AGAIN_S = 0.1


def next_due(
    gateway: Gateway, callback: Callback, ended_at: float, now: float, arrived: bool, deliveries: int
) -> float | None:
    """When to send again after this try: a repeat after a success, a retry after a failure, or None for never."""
    if callback.forged:
        return None
    if arrived:
        return now + REPEAT_AFTER_S if callback.delivered + 1 < deliveries else None
    if callback.tries < len(gateway.quick_retries_s):
        return now + gateway.quick_retries_s[callback.tries]
    later = now + gateway.later_retry_s
    return later if later <= ended_at + gateway.retried_for_s else None


def send(url: str, body: bytes, headers: Mapping[str, str]) -> int | str:
    """POST a JSON body without following redirects; returns the status, or the name of the error."""
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target or "/", body, {"Content-Type": "application/json", **headers})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


class CallbackSender:
    """A thread that claims due callbacks and hands them to a pool of senders."""

    def __init__(self, billing: Billing, gateways: Mapping[str, Gateway], deliveries: int) -> None:
        self._billing, self._gateways, self._deliveries = billing, gateways, deliveries
        self._stopping = threading.Event()
        self._senders = ThreadPoolExecutor(SENDERS, "sender")
        self._thread = threading.Thread(target=self._run, name="callback-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending; waits for callbacks that are on their way."""
        self._stopping.set()
        self._thread.join()
        self._senders.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            due = self._billing.claim(time.time(), LEASE_S, limit=SENDERS)
            for callback in due:
                self._senders.submit(self._deliver, callback)
            self._stopping.wait(0 if len(due) == SENDERS else self._pause_s())

    def _pause_s(self) -> float:
        due_at = self._billing.next_callback_at()
        return LOOK_AGAIN_S if due_at is None else max(0.0, min(LOOK_AGAIN_S, due_at - time.time()))

    def _deliver(self, callback: Callback) -> None:
        gateway = self._gateways[callback.gateway]
        task = self._billing.task(callback.gateway, callback.task_id)
        if task is None:
            raise LookupError(f"a callback without its task {callback.task_id}")
        body = json.dumps(self._body(gateway, task, callback), ensure_ascii=False).encode()
        # Whoever forges a callback does not know the secret.
        signature = {} if callback.forged else gateway.callback_headers(f"{task.id}-{callback.id}", body, time.time())
        outcome = send(callback.url, body, signature)
        arrived = isinstance(outcome, int) and 200 <= outcome < 300
        now = time.time()
        due_at = next_due(gateway, callback, task.ends_at, now, arrived, self._deliveries)
        if gateway.heeds_4xx and isinstance(outcome, int) and 300 <= outcome < 500:
            due_at = None
        self._billing.record_delivery(callback, now, outcome, due_at)

    def _body(self, gateway: Gateway, task: Task, callback: Callback) -> dict[str, Any]:
        now = time.time()
        return gateway.callback(task, gateway.forged(now) if callback.forged else gateway.status(task, now))
