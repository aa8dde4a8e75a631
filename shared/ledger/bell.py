"""The wake-ups of the ledger, over publish and subscribe: `wake.lua` and every program that makes a job due ring it."""

from __future__ import annotations

import time
from typing import Any, cast

import redis
import structlog

from rushes.shared.ledger import keys, refusals

# Where the server refuses wake-ups, it is asked again after this long: rights are changed while processes run.
DEAF_S = 30

log = structlog.get_logger()


class Bell:
    """What a scheduler sleeps by. For one thread only."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._subscription: redis.client.PubSub | None = None
        self._deaf_until = 0.0

    def listen(self, timeout_s: float) -> None:
        """Sleep until the bell rings, at most so long; without a right to the channel always so long."""
        if time.monotonic() < self._deaf_until:
            time.sleep(timeout_s)
            return
        try:
            self._hear(timeout_s)
        except (redis.ConnectionError, redis.TimeoutError):
            self._hang_up()
            time.sleep(min(timeout_s, 0.2))
        except redis.RedisError as refused:
            self._hang_up()
            if not self._deaf_until:
                advice = f"allow SUBSCRIBE and PUBLISH on {keys.BELL} (deploy/redis.conf)"
                log.warning("no wake-ups: due jobs are looked for", reason=refusals.cause(refused), advice=advice)
            self._deaf_until = time.monotonic() + DEAF_S
            time.sleep(timeout_s)

    def _hear(self, timeout_s: float) -> None:
        if self._subscription is None:
            self._subscription = cast(Any, self._client).pubsub(ignore_subscribe_messages=True)
            self._subscription.subscribe(keys.BELL)
        deadline = time.monotonic() + timeout_s
        message = None
        while message is None and (left := deadline - time.monotonic()) > 0:
            message = self._subscription.get_message(timeout=left)
        while message is not None:
            message = self._subscription.get_message(timeout=0)

    def _hang_up(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
