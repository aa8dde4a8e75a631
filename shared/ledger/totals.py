"""The counters of money and of the metrics, as they stand in the ledger."""

from __future__ import annotations

from collections.abc import Mapping

from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store


class Totals:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def usage(self, day: str) -> Mapping[str, str]:
        """The counters of a UTC day (`domain.counters.by_gateway` reads them)."""
        return self._store.counters(keys.usage(day))

    def committed(self, day: str) -> Mapping[str, str]:
        """Tenant → what it holds or has spent of a UTC day's budget, 10^-8 USD."""
        return self._store.counters(keys.committed(day))

    def metrics(self) -> Mapping[str, str]:
        """What was counted for the metrics since the ledger was new: `what|…` → how often, or how many ms."""
        return self._store.counters(keys.TALLY)

    def add_to_metrics(self, counts: Mapping[str, int]) -> None:
        """Count what no move of a job tells."""
        self._store.increase(keys.TALLY, counts)
