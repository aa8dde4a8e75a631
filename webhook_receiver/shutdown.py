"""Whether this process is about to end: whatever waits for long checks this event."""

from __future__ import annotations

from threading import Event

STOPPING = Event()
