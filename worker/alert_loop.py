"""Looks in the background what stands, and says it. Any number may run: a lease in the ledger lets one look."""

from __future__ import annotations

import threading
import time

import structlog

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import alerts
from rushes.shared.services import Services

log = structlog.get_logger()

# How often it is seen whether a look is due; how often that is: domain/alerts.py.
LOOK_S = 5


def start(services: Services) -> None:
    """Look in the background for as long as the process lives."""
    threading.Thread(target=_run, args=(services,), name="alerts", daemon=True).start()


def _run(services: Services) -> None:
    while True:
        try:
            alerts.turn(services)
        except LedgerUnavailable as outage:
            log.warning("alerts not looked at", reason=str(outage))
        except Exception:
            log.exception("looking at alerts broke")
        time.sleep(LOOK_S)
