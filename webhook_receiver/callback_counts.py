"""Callbacks by gateway and verdict: counted in this process, written to the ledger at most once a second.

The response to a callback never waits for the write. A process that is killed loses what it had not written: these
numbers are metrics, and no money depends on them.
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
# The verdict of a refusal follows from its status; the verdict of an accepted callback comes from the ledger.
REFUSALS = {400: "malformed", 404: "unknown", 413: "too_large", 503: "unavailable"}
VERDICTS = ("noted", "ended", "strange", *REFUSALS.values())


class CallbackCounts:
    """The counts of this process that are not yet in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._counts: Counter[str] = Counter()
        self._lock = Lock()
        self._written_at = time.monotonic()

    def count(self, gateway: str, verdict: str) -> None:
        """Count a callback; a name that is no gateway's is left out, because anybody may have made it up."""
        with self._lock:
            self._counts[f"callbacks|{gateway if gateway in PROVIDERS else ''}|{verdict}"] += 1

    def write_if_due(self) -> None:
        """Write the counts, unless that was done less than PAUSE_S ago; never raises LedgerUnavailable."""
        with self._lock:
            if time.monotonic() < self._written_at + PAUSE_S:
                return
            self._written_at = time.monotonic()
        self.write_if_possible()

    def write_if_possible(self) -> None:
        """Write the counts; they stay here while the ledger is out of reach."""
        with suppress(LedgerUnavailable):
            self.write()

    def write(self) -> None:
        """Write the counts; raises LedgerUnavailable, and then they stay here."""
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


def callback_counts() -> CallbackCounts:
    """The counts of this app."""
    counts: CallbackCounts = current_app.extensions["callback_counts"]
    return counts
