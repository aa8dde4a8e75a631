"""How often the gateways called, and what became of it: counted here, written down once a second by whoever comes.

A callback's answer never waits for it. A process that is killed forgets what it had not written; the metrics are none
of the books.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from threading import Lock

from flask import current_app

from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.providers import PROVIDERS

PAUSE_S = 1.0
# What the status of the answer says; of what was taken, the ledger says more.
REFUSED = {400: "malformed", 404: "unknown", 413: "too_large", 503: "unavailable"}
VERDICTS = ("noted", "ended", "strange", *REFUSED.values())


class Visits:
    """The counts of this process that are not yet in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counts: Counter[str] = Counter()
        self._lock = Lock()
        self._written_at = time.monotonic()

    def count(self, gateway: str, verdict: str) -> None:
        """Note a callback; a name that is no gateway's is not kept, for anybody may have made it up."""
        with self._lock:
            self._counts[f"callbacks|{gateway if gateway in PROVIDERS else ''}|{verdict}"] += 1

    def write_now_and_then(self) -> None:
        """Write down what was counted, if that was not done a moment ago; whatever happens."""
        with self._lock:
            if time.monotonic() < self._written_at + PAUSE_S:
                return
            self._written_at = time.monotonic()
        self.write_if_possible()

    def write_if_possible(self) -> None:
        """Write down what was counted; with the ledger away it is kept."""
        with suppress(LedgerUnavailable):
            self.write()

    def write(self) -> None:
        """Write down what was counted; raises LedgerUnavailable, and then it is kept."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            self._ledger.totals.add_to_metrics(counts)
        except LedgerUnavailable:
            with self._lock:
                self._counts.update(counts)
            raise


def visits() -> Visits:
    """The counts of this app."""
    held: Visits = current_app.extensions["visits"]
    return held
