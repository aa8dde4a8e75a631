"""The episodes of alerts, the lease of who looks at them, and addresses that did not take one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from rushes.shared.domain.alerts import Alert, Episode
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import Store

# Longer than a turn takes. Who dies in it is followed by another after this.
LEASE_S = 60
LOOKED_AT, EPISODE, FAILURES = "looked_at", "episode:", "failures:"


class AlertEpisodes:
    """Every method raises LedgerUnavailable where the store is out of reach."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def looked_at(self) -> int:
        """When it was last looked what stands, ms; 0 for never."""
        return int(self._store.counters(keys.ALERTS).get(LOOKED_AT, 0))

    def take_lease(self, looked_at: int) -> bool:
        """Whether the caller is to look now. One goes on from each look; whoever comes after it reads anew."""
        return self._store.keep(keys.alerts_lease(looked_at), "1", LEASE_S)

    def finish(self, now: int) -> None:
        """A look is over; the next one is due from now on."""
        self._store.remember(keys.ALERTS, {LOOKED_AT: now})

    def all(self) -> list[Episode]:
        """The episodes, the oldest first."""
        fields = self._store.counters(keys.ALERTS)
        episodes = [_decoded(text) for name, text in fields.items() if name.startswith(EPISODE)]
        return sorted(episodes, key=lambda episode: (episode.since, episode.id))

    def replace(self, known: Iterable[Episode], episodes: Iterable[Episode]) -> None:
        """Write these in place of those that were known."""
        new = {EPISODE + episode.id: _encoded(episode) for episode in episodes}
        if new:
            self._store.remember(keys.ALERTS, new)
        gone = [name for episode in known if (name := EPISODE + episode.id) not in new]
        if gone:
            self._store.forget(keys.ALERTS, gone)

    def failures(self) -> Mapping[str, tuple[int, int]]:
        """Receiver → how often in a row it did not take an alert, and when it is tried again, ms."""
        fields = self._store.counters(keys.ALERTS)
        found = {name.removeprefix(FAILURES): text for name, text in fields.items() if name.startswith(FAILURES)}
        return {name: (int(count), int(at)) for name, text in found.items() for count, at in [text.split()]}

    def keep_failure(self, receiver: str, count: int, retry_at: int) -> None:
        """A receiver did not take an alert; a count of 0: it did."""
        if count:
            self._store.remember(keys.ALERTS, {FAILURES + receiver: f"{count} {retry_at}"})
        else:
            self._store.forget(keys.ALERTS, [FAILURES + receiver])


def _encoded(episode: Episode) -> str:
    return json.dumps(asdict(episode), ensure_ascii=False)


def _decoded(text: str) -> Episode:
    fields = json.loads(text)
    notified, notified_of_end = tuple(fields["notified"]), tuple(fields["notified_of_end"])
    return Episode(
        **{**fields, "alert": Alert(**fields["alert"]), "notified": notified, "notified_of_end": notified_of_end}
    )
