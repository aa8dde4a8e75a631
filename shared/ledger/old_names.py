"""The key names of versions before the hash tag: a ledger under them gets the new ones at the first call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import redis
import structlog

from rushes.shared.ledger import keys
from rushes.shared.ledger.redis_store import RETRIES, RedisStore
from rushes.shared.ledger.store import LedgerUnavailable

OLD_ROOT = "rushes"
LEFT = f"this ledger has moved to {keys.ROOT}: end the processes of the earlier version"
# Calls that were out have returned by then, and the journal has their outcomes (as after a failover).
AFTERLOOK_MS, MARGIN_MS = 90_000, 600_000
BOTH = f"there are two ledgers, under {OLD_ROOT}: and under {keys.ROOT}: (see deploy/README.md)"

log = structlog.get_logger()
T = TypeVar("T")


class UpgradingStore(RedisStore):
    """A store that moves an old ledger before anything else is done with it. Safe for threads and processes."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self._moving = threading.RLock()
        self._has_moved = False

    def _reach(self, call: Callable[[], T], again: int = RETRIES) -> T:
        # Before the first call is sent, in every thread: a job that is written under the new names while the old ones
        # are still there would be a second ledger.
        if not self._has_moved:
            with self._moving:
                if not self._has_moved:
                    self._move()
        return super()._reach(call, again)

    def _move(self) -> None:
        self._has_moved = True  # for the call of the program itself
        try:
            outcome = str(self.run("move_old_names", *arguments(keys.ROOT, OLD_ROOT)))
            if outcome == "both":
                raise LedgerUnavailable(BOTH)
        except BaseException:
            self._has_moved = False
            raise
        if outcome == "moved":
            log.warning("the ledger has new key names", was=f"{OLD_ROOT}:", now=f"{keys.ROOT}:")
        elif outcome.startswith("unseen") and not _is_of_a_cluster(outcome):
            advice = f"where an earlier version ran here, allow ~{OLD_ROOT}:* once (deploy/redis.conf)"
            log.warning("keys of earlier versions cannot be seen", reason=outcome, advice=advice)


def arguments(root: str, old_root: str) -> tuple[list[str], list[str | int]]:
    """Keys and arguments of the program, for names that begin so."""
    now = time.time_ns() // 1_000_000
    names = [f"{root}:{name}" for name in ("indexes", "mark", "afterlooks", "check")]
    return names, [f"{old_root}:", f"{root}:", LEFT, now + AFTERLOOK_MS, now - MARGIN_MS]


def _is_of_a_cluster(outcome: str) -> bool:
    """No ledger of an earlier version can be in a cluster: its keys were in many slots."""
    return "non local key" in outcome


def is_waiting(client: redis.Redis) -> bool:
    """Whether a ledger under the old names is there, to be moved at the next start; raises RedisError."""
    kinds = [client.type(f"{OLD_ROOT}:{name}") for name in ("indexes", "mark")]
    return "set" in kinds or "hash" in kinds
