"""What is kept from one call to the next, connections above all, and who may have it."""

from __future__ import annotations

from collections.abc import Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar

# A handle over TLS keeps its authorities, 0.4 MiB: it is not thrown away lightly, and not kept in plenty.
MOST, MOST_EACH = 96, 32


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Pool(Generic[T]):
    """Those that nobody uses, by key; the one used last goes first. Safe to share between threads."""

    def __init__(self, most: int = MOST, most_each: int = MOST_EACH) -> None:
        self._most, self._most_each = most, most_each
        self._left: list[dict[Hashable, list[T]]] = []
        self.start()

    def start(self) -> None:
        """Begin with none. After a fork the parent's are left alone: to close them would end its connections."""
        self._lock, self._idle, self._count = Lock(), dict[Hashable, list[T]](), 0
        self._left.append(self._idle)

    def take(self, key: Hashable) -> T | None:
        """One that was given back under this key."""
        with self._lock:
            kept = self._idle.get(key)
            if not kept:
                return None
            self._count -= 1
            return kept.pop()

    def give(self, key: Hashable, item: T) -> None:
        """Keep it for the next call; where there are too many, one that was not used for long is closed."""
        dropped = []
        with self._lock:
            kept = self._idle.pop(key, [])
            self._idle[key] = kept  # the key used last stands last
            kept.append(item)
            self._count += 1
            if len(kept) > self._most_each:
                dropped.append(kept.pop(0))
            elif self._count > self._most:
                dropped.append(self._oldest())
            self._count -= len(dropped)
        for old in dropped:
            old.close()

    def _oldest(self) -> T:
        key = next(key for key, kept in self._idle.items() if kept)
        oldest = self._idle[key].pop(0)
        if not self._idle[key]:
            del self._idle[key]
        return oldest

    def close(self) -> None:
        """Close all."""
        with self._lock:
            idle = [item for kept in self._idle.values() for item in kept]
            self._idle.clear()
            self._count = 0
        for item in idle:
            item.close()
