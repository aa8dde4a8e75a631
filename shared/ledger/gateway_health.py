"""What the ledger knows of each gateway: its pauses, how many jobs it has, and words that no document knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rushes.shared.domain import gateway_pauses, schedule
from rushes.shared.domain.changes import HEALTH_FIELDS
from rushes.shared.domain.events import Reason
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store

# The caps say "a minute"; a second more, because our clock and the gateway's tick apart.
WINDOW_MS = 61_000


class GatewayHealth:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def health(self, gateway: str) -> Mapping[str, str]:
        """What is known of a gateway's health: `paused_until` (ms), `why`, `strikes`; the pause that lasts longer."""
        fields = self._store.counters(keys.gateway(gateway))
        if int(fields.get("stopped_until", 0)) <= int(fields.get("paused_until", 0)):
            return fields
        return {**fields, "paused_until": fields["stopped_until"], "why": fields["stopped_why"]}

    def paused_until(self, gateway: str) -> int:
        """Until when (ms) nothing new goes to a gateway; 0 where it is well."""
        return int(self.health(gateway).get("paused_until", 0))

    def strike(self, gateway: str, reason: Reason, retry_after_s: float | None, now: int) -> None:
        """Count a refusal that is the gateway's own trouble; enough of them pause it.

        Calls that were under way when a pause began say nothing new.
        """
        if self.paused_until(gateway) > now:
            return
        strikes = self._store.strike(keys.gateway(gateway), {"why": reason.value})
        pause_s = gateway_pauses.pause_s(reason, strikes, retry_after_s)
        if pause_s:
            self._store.remember(keys.gateway(gateway), {"paused_until": schedule.after(now, pause_s)})

    def pause(self, gateway: str, why: str, until: int) -> None:
        """Send nothing new there until then, whatever the gateway says meanwhile; jobs go elsewhere or wait."""
        self._store.remember(keys.gateway(gateway), {"stopped_until": until, "stopped_why": why})
        self._store.wake()

    def resume(self, gateway: str, enabled: Iterable[str]) -> None:
        """An operator says that it is well: its pauses end, and jobs that wait for any enabled gateway choose again."""
        self._store.forget(keys.gateway(gateway), (*HEALTH_FIELDS, "stopped_until", "stopped_why"))
        for name in enabled:
            self._unpark(name)
        self._store.wake()

    def end_pause(self, gateway: str, reason: Reason, enabled: Iterable[str], now: int) -> bool:
        """End the pause that a gateway's own word began for this reason; one by hand or for another reason stays.

        Its strikes stay too: refused again at once, it is left alone for longer. True where there was such a pause.
        """
        fields = self._store.counters(keys.gateway(gateway))
        if fields.get("why") != reason.value or int(fields.get("paused_until", 0)) <= now:
            return False
        self._store.forget(keys.gateway(gateway), ("paused_until",))
        for name in enabled:
            self._unpark(name)
        self._store.wake()
        return True

    def _unpark(self, gateway: str) -> None:
        self._store.move(keys.due(f"parked:{gateway}"), keys.due(f"submit:{gateway}"))  # of an older version
        self._store.unpark(gateway)

    def in_flight(self, gateway: str) -> int:
        """How many jobs a gateway has."""
        return int(self._store.counters(keys.IN_FLIGHT).get(gateway, 0))

    def submits_last_minute(self, gateway: str, now: int) -> int:
        """How many submits count against the cap of a minute."""
        return self._store.count_since(keys.window(gateway), now - WINDOW_MS)

    def count_unknown_word(self, gateway: str, word: str) -> None:
        """Count a status word of a gateway that no document knows."""
        self._store.increase(keys.DRIFT, {f"{gateway}|{word}": 1})

    def unknown_words(self) -> Mapping[str, str]:
        """`gateway|word` → how often it came."""
        return self._store.counters(keys.DRIFT)
