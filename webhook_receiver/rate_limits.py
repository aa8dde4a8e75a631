"""How often a key may ask."""

from __future__ import annotations

from threading import Lock

MINUTE_NS = 60_000_000_000


class Rates:
    """A bucket for each tenant, which holds a minute's requests and fills evenly.

    Counted in this process alone: a request costs the ledger nothing, and with `n` web processes a key may ask `n`
    times as often. It keeps one caller's runaway loop from the others; what is spent, the caps and the budget bound.
    """

    def __init__(self, per_minute: int) -> None:
        self._gap_ns = MINUTE_NS // per_minute
        self._full_at: dict[str, int] = {}
        self._lock = Lock()

    def wait_s(self, tenant: str, now_ns: int) -> int:
        """Count a request and answer 0; or, where it is one too many, count nothing and say when to try again."""
        with self._lock:
            full_at = max(self._full_at.get(tenant, 0), now_ns) + self._gap_ns
            over_ns = full_at - now_ns - MINUTE_NS
            if over_ns <= 0:
                self._full_at[tenant] = full_at
        return 0 if over_ns <= 0 else -(-over_ns // 1_000_000_000)
