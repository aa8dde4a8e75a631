"""What is kept from one call to the next, connections above all."""

from __future__ import annotations

import time
from collections.abc import Hashable
from threading import Condition
from typing import Generic, Protocol, TypeVar

# A handle over TLS reads its authorities at its first call and keeps them, 0.4 MiB and 24 ms of CPU (OpenSSL 3.6, the
# list of certifi): it is not thrown away lightly, and not kept in plenty.
KEYS, EACH = 16, 32
# Of those over TLS not more than one a key is made in this time: many calls at once wait for the first to come back.
TLS_WAIT_S = 0.2


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Pool(Generic[T]):
    """Those that nobody uses, by key; the one used last goes first. Safe to share between threads."""

    def __init__(self, keys: int = KEYS, each: int = EACH) -> None:
        self._keys, self._each = keys, each
        self._left: list[dict[Hashable, list[T]]] = []
        self.start()

    def start(self) -> None:
        """Begin with none. After a fork the parent's are left alone: to close them would end its connections."""
        self._lock, self._idle = Condition(), dict[Hashable, list[T]]()
        self._left.append(self._idle)
        self._made_at = dict[Hashable, float]()

    def take(self, key: Hashable, wait_s: float = 0) -> T | None:
        """One that was given back under this key; None where the caller is to make one.

        For that it waits until `wait_s` after the last one was made, unless one comes back meanwhile.
        """
        with self._lock:
            while not self._idle.get(key) and (left_s := self._made_at.get(key, 0) + wait_s - time.monotonic()) > 0:
                self._lock.wait(left_s)
            if idle := self._idle.get(key):
                return idle.pop()
            if len(self._made_at) > self._keys:
                self._made_at.clear()
            self._made_at[key] = time.monotonic()
            return None

    def give(self, key: Hashable, item: T) -> None:
        """Keep it for the next call; where there are too many, what was not used for long is closed."""
        with self._lock:
            idle = self._idle[key] = self._idle.pop(key, [])  # the key used last stands last
            idle.append(item)
            self._lock.notify()
            dropped = [idle.pop(0)] if len(idle) > self._each else []
            if len(self._idle) > self._keys:
                dropped += self._idle.pop(next(iter(self._idle)))
        for old in dropped:
            old.close()

    def close(self) -> None:
        """Close all."""
        with self._lock:
            dropped = [item for idle in self._idle.values() for item in idle]
            self._idle.clear()
        for item in dropped:
            item.close()
