"""Sends the callbacks that are due. They stand in the books: a restart loses none, one may come twice, as in life."""

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
LEASE_S = 3 * TIMEOUT_S  # a callback whose sender died comes due again
SENDERS = 16
REPEAT_AFTER_S = 1
LOOK_AGAIN_S = 0.1


def next_due(
    player: Gateway, callback: Callback, ended_at: float, now: float, arrived: bool, deliveries: int
) -> float | None:
    """When to send again after this try: a repeat of what arrived, a retry of what did not, or None for never."""
    if callback.forged:
        return None
    if arrived:
        return now + REPEAT_AFTER_S if callback.delivered + 1 < deliveries else None
    if callback.tries < len(player.quick_retries_s):
        return now + player.quick_retries_s[callback.tries]
    later = now + player.later_retry_s
    return later if later <= ended_at + player.retried_for_s else None


def send(url: str, body: bytes) -> int | str:
    """POST a JSON body, following nothing → the status it met, or the name of the error."""
    parts = urlsplit(url)
    connect = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target or "/", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


class CallbackSender:
    """A thread that looks for due callbacks and hands them to a few senders."""

    def __init__(self, book: Billing, players: Mapping[str, Gateway], deliveries: int) -> None:
        self._book, self._players, self._deliveries = book, players, deliveries
        self._stopping = threading.Event()
        self._senders = ThreadPoolExecutor(SENDERS, "sender")
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; what is on its way is waited for."""
        self._stopping.set()
        self._thread.join()
        self._senders.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            due = self._book.claim(time.time(), LEASE_S, limit=SENDERS)
            for callback in due:
                self._senders.submit(self._deliver, callback)
            self._stopping.wait(0 if len(due) == SENDERS else self._pause_s())

    def _pause_s(self) -> float:
        due_at = self._book.next_callback_at()
        return LOOK_AGAIN_S if due_at is None else max(0.0, min(LOOK_AGAIN_S, due_at - time.time()))

    def _deliver(self, callback: Callback) -> None:
        player = self._players[callback.gateway]
        task = self._book.task(callback.gateway, callback.task_id)
        if task is None:
            raise LookupError(f"a callback without its task {callback.task_id}")
        outcome = send(callback.url, json.dumps(self._body(player, task, callback), ensure_ascii=False).encode())
        arrived = isinstance(outcome, int) and 200 <= outcome < 300
        now = time.time()
        due_at = next_due(player, callback, task.ends_at, now, arrived, self._deliveries)
        self._book.sent(callback, now, outcome, due_at)

    def _body(self, player: Gateway, task: Task, callback: Callback) -> dict[str, Any]:
        now = time.time()
        return player.callback(task, player.forged(now) if callback.forged else player.news(task, now))
