"""Logs an outage once for each cause, not at each try; and once that it is over."""

from __future__ import annotations

import re

import structlog

log = structlog.get_logger()


class OutageLog:
    """Outages that are logged as `event`, such as "broker out of reach"."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._causes: set[str] = set()

    def record(self, cause: str) -> None:
        """It lasts, for this cause."""
        # A port or a count in the words makes no other cause.
        if (words := re.sub(r"\d+", "", cause)) not in self._causes:
            self._causes.add(words)
            log.warning(self._event, reason=cause)

    def clear(self) -> None:
        """It is over."""
        if self._causes:
            self._causes.clear()
            log.warning(f"over: {self._event}")
