"""Whether the ledger is still whole: the server it was last whole on, and what is to be compared with the journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store


class Continuity:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def server(self) -> str:
        """Which server answers, and which line of descent its data are of; '' where it does not say."""
        return self._store.server()

    def mark(self) -> Mapping[str, str]:
        """The `server` that the ledger was last found whole on, and until when (`at`, ms) that was so."""
        return self._store.counters(keys.MARK)

    def set_mark(self, server: str, now: int) -> None:
        """The ledger is whole at this moment, on this server."""
        self._store.remember(keys.MARK, {"server": server, "at": now})

    def unmark(self) -> None:
        """From now on nobody says whether the ledger is whole, and no submit waits for that."""
        self._store.forget(keys.MARK, ("server", "at"))

    def is_whole(self) -> bool:
        """False while submits wait, because the ledger may have lost something with its last server."""
        marked = self.mark().get("server")
        return marked is None or marked == self.server()

    def plan_afterlook(self, at: int, since: int) -> None:
        """The journal is to be compared once more from `at` on, read from `since` (ms)."""
        self._store.remember(keys.AFTERLOOKS, {str(at): since})

    def afterlooks(self) -> dict[int, int]:
        """The comparisons that are still to be made: when each is due → since when the journal is read, ms."""
        return {int(at): int(since) for at, since in self._store.counters(keys.AFTERLOOKS).items()}

    def drop_afterlooks(self, moments: Iterable[int]) -> None:
        """These comparisons are made; one that was planned meanwhile stays."""
        self._store.forget(keys.AFTERLOOKS, [str(at) for at in moments])
