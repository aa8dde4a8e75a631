"""Asks for the gateways' balances in the background. Any number may run: a lease in the ledger lets one ask."""

from __future__ import annotations

import threading
import time

import structlog

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import balances
from rushes.shared.services import Services

log = structlog.get_logger()

# How often it is looked whether a balance is due; how often one is asked for: domain/balances.py.
LOOK_S = 5


def start(services: Services) -> None:
    """Ask in the background for as long as the process lives."""
    threading.Thread(target=_run, args=(services,), name="balances", daemon=True).start()


def _run(services: Services) -> None:
    while True:
        try:
            balances.ask_due(services)
        except LedgerUnavailable as outage:
            log.warning("balances not asked for", reason=str(outage))
        except Exception:
            log.exception("asking for balances broke")
        time.sleep(LOOK_S)
