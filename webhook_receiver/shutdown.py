"""Whether this process is to end: what would wait on and on looks here."""

from __future__ import annotations

from threading import Event

STOPPING = Event()
