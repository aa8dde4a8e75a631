"""What the finished jobs of all processes have taught, read anew now and then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from rushes.shared.domain.timing import MOST, Timing, Timings
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import LedgerUnavailable, Store

FRESH_MS = 15_000
# A plan is made anew when so many more jobs are known; making it takes a few milliseconds.
GROWTH = 1.05


class LearnedTimes:
    """Times to finish by kind, and silent gateways; what is known may be FRESH_MS old. Safe for threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kinds: dict[str, dict[str, Timing]] = {}
        self._silences: dict[str, int] = {}
        self._read_at: dict[str, int] = {}

    def timings(self, now: int) -> Timings:
        """What is known at this moment; read from the ledger only where somebody asks."""
        return Timings(of=partial(self._of, now), silent=partial(self._silent, now))

    def of_gateway(self, gateway: str, now: int) -> Mapping[str, Timing]:
        """Kind → what is known of it, of all that a gateway has finished."""
        self._freshen(gateway, now)
        return self._kinds.get(gateway, {})

    def _of(self, now: int, kind: str) -> Timing | None:
        return self.of_gateway(kind.partition("|")[0], now).get(kind)

    def _silent(self, now: int, gateway: str) -> int:
        self._freshen(gateway, now)
        return self._silences.get(gateway, 0)

    def _freshen(self, gateway: str, now: int) -> None:
        if 0 <= now - self._read_at.get(gateway, -FRESH_MS) < FRESH_MS:
            return
        self._read_at[gateway] = now
        with suppress(LedgerUnavailable):  # then what was known is gone by
            counters = self._store.counters(keys.times(gateway))
            self._silences[gateway] = int(self._store.counters(keys.gateway(gateway)).get("silent", 0))
            self._kinds[gateway] = self._made(gateway, counters)

    def _made(self, gateway: str, counters: Mapping[str, str]) -> dict[str, Timing]:
        counts: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for field, count in counters.items():
            kind, _, bucket = field.rpartition("|")
            counts[f"{gateway}|{kind}"][int(bucket)] = int(count)
        for kind, buckets in counts.items():
            if sum(buckets.values()) > MOST:
                self._store.halve_counts(keys.times(gateway), kind.partition("|")[2] + "|", MOST)
        before = self._kinds.get(gateway, {})
        return {kind: _kept(before.get(kind), Timing(buckets)) for kind, buckets in counts.items()}


def _kept(old: Timing | None, new: Timing) -> Timing:
    """The old one with its plan, where little has come to it."""
    return old if old and old.total <= new.total <= old.total * GROWTH else new
