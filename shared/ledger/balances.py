"""The balances of our accounts at the gateways, as they were read last, and the lease of who asks for one."""

from __future__ import annotations

from decimal import Decimal

from rushes.shared.domain.balances import UNLIMITED, Balance, Reading
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store

# Longer than asking takes. Who dies while asking is followed by another after this.
LEASE_S = 60


class Balances:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, gateway: str) -> Reading:
        """What is known of a gateway's balance."""
        fields = self._store.counters(keys.balance(gateway))
        return Reading(
            _decoded(fields.get("usd")),
            int(fields["at"]) if "at" in fields else None,
            int(fields.get("asked_at", 0)),
            fields.get("problem") or None,
            _decoded(fields.get("tried")),
        )

    def take_lease(self, gateway: str, reading: Reading) -> bool:
        """Whether the caller is to ask now. One asks on from each reading; whoever comes after it reads anew."""
        return self._store.keep(keys.balance_lease(gateway, reading.asked_at), "1", LEASE_S)

    def keep(self, gateway: str, balance: Balance, now: int) -> None:
        """A balance was read."""
        values: dict[str, str | int] = {"usd": _encoded(balance), "at": now, "asked_at": now, "problem": ""}
        self._store.remember(keys.balance(gateway), values)

    def keep_problem(self, gateway: str, problem: str, now: int) -> None:
        """A balance was asked for and could not be read; what was read before stays."""
        self._store.remember(keys.balance(gateway), {"asked_at": now, "problem": problem})

    def keep_tried(self, gateway: str, balance: Balance | None) -> None:
        """A pause is ended because of this balance; None: it was the right thing."""
        if balance is None:
            self._store.forget(keys.balance(gateway), ("tried",))
        else:
            self._store.remember(keys.balance(gateway), {"tried": _encoded(balance)})


UNITS = " units"


def _encoded(balance: Balance) -> str:
    if balance.units is not None:
        return f"{balance.units:f}{UNITS}"
    return UNLIMITED if balance.usd is None else f"{balance.usd:f}"


def _decoded(text: str | None) -> Balance | None:
    if text is None or text == UNLIMITED:
        return None if text is None else Balance(None)
    amount = Decimal(text.removesuffix(UNITS))
    return Balance(None, amount) if text.endswith(UNITS) else Balance(amount)
