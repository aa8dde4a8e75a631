"""The shares of tenants, and how much each may have in flight, where the claim can read them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from rushes.shared.compact_json import compact
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store

DIGEST = "digest"
CHUNK = 1000


class TenantTerms:
    """Both methods raise LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, terms: Mapping[str, str]) -> None:
        """Have the ledger hold these terms (tenant → `share:max_in_flight`, share in thousandths), and no others.

        Cheap where it does already; so it may be called often, and a ledger that was lost has them again soon.
        """
        digest = sha256(compact(sorted(terms.items())).encode()).hexdigest()
        if self._store.counters(keys.TENANTS_DIGEST).get(DIGEST) == digest:
            return
        names = sorted(terms)
        for first in range(0, len(names), CHUNK):
            self._store.remember(keys.TENANTS, {name: terms[name] for name in names[first : first + CHUNK]})
        others = sorted(self._store.counters(keys.TENANTS).keys() - terms.keys())
        for first in range(0, len(others), CHUNK):
            self._store.forget(keys.TENANTS, others[first : first + CHUNK])
        self._store.remember(keys.TENANTS_DIGEST, {DIGEST: digest})

    def read(self) -> Mapping[str, str]:
        """The terms that the ledger holds."""
        return self._store.counters(keys.TENANTS)
