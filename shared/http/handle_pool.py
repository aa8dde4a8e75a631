"""A pool of libcurl handles and their connections, reused from one call to the next."""

from __future__ import annotations

import time
from collections.abc import Hashable
from threading import Condition, Lock
from typing import Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

# A handle with its connection takes 0.2 MiB over TLS, and a new one 1.5 ms of CPU (OpenSSL 3.6, authorities from a
# directory; from a file it was four times of both). So handles are reused, but not kept in large numbers.
MAX_KEYS, MAX_PER_KEY = 16, 32
# At most one TLS handle per key is created in this time: concurrent calls wait for the first ones to be given back.
TLS_WAIT_S = 0.2
# While handles come back within that time none is created, for calls are quick; but nobody waits longer than this many
# times of it.
MAX_WAITS = 3


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class HandlePool(Generic[T]):
    """Idle handles by key; the most recently used one is taken first. Safe to share between threads."""

    def __init__(self, max_keys: int = MAX_KEYS, max_per_key: int = MAX_PER_KEY) -> None:
        self._max_keys, self._max_per_key = max_keys, max_per_key
        self._generations: list[dict[Hashable, list[T]]] = []
        self.start()

    def start(self) -> None:
        """Start empty. After a fork the parent's handles stay referenced: closing them would end its connections."""
        self._lock, self._idle = Lock(), dict[Hashable, list[T]]()
        self._generations.append(self._idle)
        # Those who wait for a handle of a key hold its condition; it goes with the last of them.
        self._waiting: WeakValueDictionary[Hashable, Condition] = WeakValueDictionary()
        self._created_at = dict[Hashable, float]()
        self._given_back_at = dict[Hashable, float]()

    def take(self, key: Hashable, wait_s: float = 0) -> T | None:
        """Take a handle that was given back under this key; None if the caller is to create one.

        Before None it waits until none was created or given back for `wait_s`, and for MAX_WAITS of that at the most.
        """
        with self._lock:
            if wait_s and not self._idle.get(key):
                self._wait(key, wait_s)
            if idle := self._idle.get(key):
                return idle.pop()
            if len(self._created_at) > self._max_keys:
                self._created_at.clear()
                self._given_back_at.clear()
            self._created_at[key] = time.monotonic()
            return None

    def _wait(self, key: Hashable, wait_s: float) -> None:
        """Wait until a handle is idle or may be created."""
        given_back = self._waiting.get(key) or self._waiting.setdefault(key, Condition(self._lock))
        began_at = time.monotonic()
        while not self._idle.get(key) and (left_s := self._may_create_at(key, began_at, wait_s) - time.monotonic()) > 0:
            given_back.wait(left_s)

    def _may_create_at(self, key: Hashable, began_at: float, wait_s: float) -> float:
        """From when on a call that has waited since `began_at` creates a handle."""
        given_back = min(self._given_back_at.get(key, 0) + wait_s, began_at + MAX_WAITS * wait_s)
        return max(self._created_at.get(key, 0) + wait_s, given_back)

    def give_back(self, key: Hashable, item: T) -> None:
        """Keep a handle for the next call. If there are too many, close the least recently used ones."""
        with self._lock:
            idle = self._idle[key] = self._idle.pop(key, [])  # the most recently used key comes last
            idle.append(item)
            if key in self._created_at:
                self._given_back_at[key] = time.monotonic()
            # One of them, and none of another key: under a burst over TLS some thirty threads wait, and to wake all of
            # them for each handle costs more than the calls.
            if waiting := self._waiting.get(key):
                waiting.notify()
            dropped = [idle.pop(0)] if len(idle) > self._max_per_key else []
            if len(self._idle) > self._max_keys:
                dropped += self._idle.pop(next(iter(self._idle)))
        for dropped_item in dropped:
            dropped_item.close()

    def close(self) -> None:
        """Close all idle handles."""
        with self._lock:
            dropped = [item for idle in self._idle.values() for item in idle]
            self._idle.clear()
        for item in dropped:
            item.close()
