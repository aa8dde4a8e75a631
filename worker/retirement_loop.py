"""Walks over ended jobs (operations/retirement.py), four pages a second: a million of them take less than an hour."""

from __future__ import annotations

import threading
import time

import structlog

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import retirement
from rushes.shared.services import Services

log = structlog.get_logger()

PAGE_S, WALK_S = 0.25, 60


def start(services: Services) -> None:
    """Walk in the background for as long as the process lives."""
    threading.Thread(target=_run, args=(services,), name="retirement", daemon=True).start()


def _run(services: Services) -> None:
    while True:
        try:
            for _ in retirement.walk(services.ledger, services.settings.policy, services.now()):
                time.sleep(PAGE_S)
        except LedgerUnavailable as outage:
            log.warning("retirement put off", reason=str(outage))
        except Exception:
            log.exception("retirement broke")
        time.sleep(WALK_S)
