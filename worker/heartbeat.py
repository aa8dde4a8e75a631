"""A worker shows every few seconds that it lives, which gives it its share of the lanes."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

from shared.ledger.store import LedgerUnavailable
from shared.wiring import Services

EVERY_S = 5


def start(services: Services) -> None:
    """Beat in the background for as long as the process lives."""
    threading.Thread(target=_beat, args=(services,), name="heartbeat", daemon=True).start()


def _beat(services: Services) -> None:
    name = f"{socket.gethostname()}:{os.getpid()}"
    while True:
        with suppress(LedgerUnavailable):
            services.ledger.alive(name, services.now())
        time.sleep(EVERY_S)
