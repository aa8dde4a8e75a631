"""Turns of work in the background. Any number of processes may run them: a lease in the ledger lets one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import alerts, balances
from rushes.shared.services import Services

log = structlog.get_logger()

# How often it is seen whether a turn is due; how often that is: domain/alerts.py, domain/balances.py.
LOOK_S = 5
TURNS: dict[str, Callable[[Services], object]] = {"balances": balances.ask_due, "alerts": alerts.turn}


def start(services: Services) -> None:
    """Repeat each turn in a thread of its own, for as long as the process lives."""
    for name, turn in TURNS.items():
        threading.Thread(target=_run, args=(name, turn, services), name=name, daemon=True).start()


def _run(name: str, turn: Callable[[Services], object], services: Services) -> None:
    while True:
        try:
            turn(services)
        except LedgerUnavailable as outage:
            log.warning("background turn put off", turn=name, reason=str(outage))
        except Exception:
            log.exception("background turn broke", turn=name)
        time.sleep(LOOK_S)
