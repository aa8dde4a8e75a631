"""How often a key may ask."""

from __future__ import annotations

from threading import Lock

MINUTE_NS = 60_000_000_000


class RateLimits:
    """A bucket for each tenant: it holds the requests of one minute and fills evenly.

    Counted in this process alone: a request costs the ledger nothing, and with `n` web processes a key may ask `n`
    times as often. The limit protects the others from a runaway loop of one caller. Caps and budgets bound
    the money.
    """

    def __init__(self, per_minute: int) -> None:
        self._gap_ns = MINUTE_NS // per_minute
        self._full_at: dict[str, int] = {}
        self._lock = Lock()

    def wait_s(self, tenant: str, now_ns: int) -> int:
        """Count a request and return 0; where it is one too many, count nothing and return the seconds to wait."""
        with self._lock:
            full_at = max(self._full_at.get(tenant, 0), now_ns) + self._gap_ns
            over_ns = full_at - now_ns - MINUTE_NS
            if over_ns <= 0:
                self._full_at[tenant] = full_at
        return 0 if over_ns <= 0 else -(-over_ns // 1_000_000_000)
