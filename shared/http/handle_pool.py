"""What is kept from one call to the next, connections above all."""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar

# A handle over TLS keeps its authorities, 0.4 MiB and 3 ms: it is not thrown away lightly, and not kept in plenty.
KEYS, EACH = 16, 32


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
        self._lock, self._idle = Lock(), dict[Hashable, list[T]]()
        self._left.append(self._idle)

    def take(self, key: Hashable) -> T | None:
        """One that was given back under this key."""
        with self._lock:
            idle = self._idle.get(key)
            return idle.pop() if idle else None

    def give(self, key: Hashable, item: T) -> None:
        """Keep it for the next call; where there are too many, what was not used for long is closed."""
        with self._lock:
            idle = self._idle[key] = self._idle.pop(key, [])  # the key used last stands last
            idle.append(item)
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
