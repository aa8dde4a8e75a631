"""Whether submits are held until the ledger was compared with the journal (worker/failover_guard.py)."""

from __future__ import annotations

from rushes.shared.services import Services


def reason(services: Services) -> str | None:
    """Why submits are held; None if they are not. Raises LedgerUnavailable."""
    if not services.settings.journal:
        return None
    continuity = services.ledger.continuity
    if "server" not in continuity.mark():
        # A first start and a Redis that has lost everything look the same: each scheduler holds submits then.
        return "held until a scheduler has compared the ledger with the journal: this Redis is new or empty"
    if not continuity.is_whole():
        return "held until a scheduler has compared the ledger with the journal: its Redis is another one"
    return None
