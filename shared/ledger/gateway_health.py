"""What the ledger knows of each gateway and its accounts: pauses, how many jobs each has, words no document knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rushes.shared.domain import gateway_pauses, schedule
from rushes.shared.domain.accounts import DEFAULT, AccountStanding, GatewayPause, gateway_pause, label
from rushes.shared.domain.changes import HEALTH_FIELDS
from rushes.shared.domain.events import Reason
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store

# The caps say "a minute"; a second more, because our clock and the gateway's tick apart.
WINDOW_MS = 61_000


class GatewayHealth:
    """Every method raises LedgerUnavailable where the store is out of reach.

    A gateway with several accounts is paused where all of them are (`pause_of`).
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def health(self, gateway: str, account: str = DEFAULT) -> Mapping[str, str]:
        """What is known of an account's health: `paused_until` (ms), `why`, `strikes`.

        Where an operator has paused the gateway for longer, that pause.
        """
        fields = self._store.counters(keys.gateway(label(gateway, account)))
        stop = fields if account == DEFAULT else self._store.counters(keys.gateway(gateway))
        if int(stop.get("stopped_until", 0)) <= int(fields.get("paused_until", 0)):
            return fields
        return {**fields, "paused_until": stop["stopped_until"], "why": stop["stopped_why"]}

    def paused_until(self, gateway: str, account: str = DEFAULT) -> int:
        """Until when (ms) nothing new goes to an account; 0 where it is well."""
        return int(self.health(gateway, account).get("paused_until", 0))

    def standings(self, gateway: str, accounts: Sequence[str], now: int) -> list[AccountStanding]:
        """How accounts stand now: pauses by their own answers, jobs, submits of the last minute."""
        in_flight = self._store.counters(keys.IN_FLIGHT)
        return [self._standing(gateway, account, in_flight, now) for account in accounts]

    def _standing(self, gateway: str, account: str, in_flight: Mapping[str, str], now: int) -> AccountStanding:
        name = label(gateway, account)
        fields = self._store.counters(keys.gateway(name))
        return AccountStanding(
            account,
            int(fields.get("paused_until", 0)),
            fields.get("why", ""),
            int(fields.get("strikes", 0)),
            int(fields.get("trial_until", 0)),
            int(in_flight.get(name, 0)),
            self._store.count_since(keys.window(name), now - WINDOW_MS),
        )

    def pause_of(
        self, gateway: str, accounts: Sequence[str], standings: Sequence[AccountStanding] = ()
    ) -> GatewayPause:
        """The pause of a gateway with these accounts, by an operator or while each is paused by its own answers."""
        stop = self._store.counters(keys.gateway(gateway))
        known = standings or [self._pause_only(gateway, account) for account in accounts]
        return gateway_pause(known, int(stop.get("stopped_until", 0)), stop.get("stopped_why"))

    def _pause_only(self, gateway: str, account: str) -> AccountStanding:
        fields = self._store.counters(keys.gateway(label(gateway, account)))
        return AccountStanding(account, int(fields.get("paused_until", 0)), fields.get("why", ""))

    def strike(
        self, gateway: str, reason: Reason, retry_after_s: float | None, now: int, account: str = DEFAULT
    ) -> None:
        """Count a refusal that is the account's or the gateway's own trouble; enough of them pause the account.

        Calls that were under way when a pause began say nothing new.
        """
        health, key = self.health(gateway, account), keys.gateway(label(gateway, account))
        if int(health.get("paused_until", 0)) > now:
            return
        strikes = self._store.strike(key, {"why": reason.value})
        if "trial_until" in health:  # of a call before the refusal, or of the one that brought it
            self._store.forget(key, ("trial_until",))
        pause_s = gateway_pauses.pause_s(reason, strikes, retry_after_s)
        if pause_s:
            self._store.remember(key, {"paused_until": schedule.after(now, pause_s)})

    def pause(self, gateway: str, why: str, until: int) -> None:
        """Send nothing new there until then, whatever the gateway says meanwhile; jobs go elsewhere or wait."""
        self._store.remember(keys.gateway(gateway), {"stopped_until": until, "stopped_why": why})
        self._store.wake()

    def resume(self, gateway: str, enabled: Iterable[str], accounts: Iterable[str] = (DEFAULT,)) -> None:
        """An operator says that it is well: its pauses end, and jobs that wait for any enabled gateway choose again."""
        for name in {gateway, *(label(gateway, account) for account in accounts)}:
            self._store.forget(keys.gateway(name), (*HEALTH_FIELDS, "stopped_until", "stopped_why"))
        self._unpark_all(enabled)

    def end_pause(self, gateway: str, reason: Reason, enabled: Iterable[str], now: int, account: str = DEFAULT) -> bool:
        """End the pause that an account's own word began for this reason; one by hand or for another reason stays.

        Its strikes stay too: refused again at once, it is left alone for longer. True where there was such a pause.
        """
        key = keys.gateway(label(gateway, account))
        fields = self._store.counters(key)
        if fields.get("why") != reason.value or int(fields.get("paused_until", 0)) <= now:
            return False
        self._store.forget(key, ("paused_until",))
        self._unpark_all(enabled)
        return True

    def _unpark_all(self, enabled: Iterable[str]) -> None:
        for name in enabled:
            self._unpark(name)
        self._store.wake()

    def _unpark(self, gateway: str) -> None:
        self._store.move(keys.due(f"parked:{gateway}"), keys.due(f"submit:{gateway}"))  # of an older version
        self._store.unpark(gateway)

    def in_flight(self, gateway: str, account: str = DEFAULT) -> int:
        """How many jobs an account has."""
        return int(self._store.counters(keys.IN_FLIGHT).get(label(gateway, account), 0))

    def submits_last_minute(self, gateway: str, now: int, account: str = DEFAULT) -> int:
        """How many submits count against the cap of a minute."""
        return self._store.count_since(keys.window(label(gateway, account)), now - WINDOW_MS)

    def count_unknown_word(self, gateway: str, word: str) -> None:
        """Count a status word of a gateway that no document knows."""
        self._store.increase(keys.DRIFT, {f"{gateway}|{word}": 1})

    def unknown_words(self) -> Mapping[str, str]:
        """`gateway|word` → how often it came."""
        return self._store.counters(keys.DRIFT)
