"""What the gateways' last bills say of our estimates, by kind of work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal

from rushes.shared.domain import bills
from rushes.shared.domain.bills import Kind, RecentBills
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store

PLACES = Decimal("0.0001")


class BillHistory:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def recent(self, gateway: str) -> Mapping[Kind, RecentBills]:
        """Kind of work → its last bills at a gateway. Of many the older ones are forgotten over time."""
        sums: defaultdict[Kind, dict[str, int]] = defaultdict(dict)
        for field, count in self._store.counters(keys.bills(gateway)).items():
            model, mode, sound, what = field.split("|")
            sums[Kind(model, mode, sound)][what] = int(count)
        for kind, counts in sums.items():
            if counts.get(bills.WEIGHT, 0) > bills.MOST * bills.PER_ONE:
                # Both numbers are halved at once, and only if nobody did it since they were read here.
                self._store.halve_counts(keys.bills(gateway), "|".join(kind) + "|", sum(counts.values()) - 1)
        return {kind: _recent(counts) for kind, counts in sums.items() if counts.get(bills.WEIGHT)}


def _recent(counts: Mapping[str, int]) -> RecentBills:
    weight = counts[bills.WEIGHT]
    ratio = Decimal(counts.get(bills.RATIO, 0)) / weight
    return RecentBills(max(1, round(weight / bills.PER_ONE)), ratio.quantize(PLACES))
