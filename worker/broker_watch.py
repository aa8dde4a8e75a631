"""Tries the broker while the scheduler has nothing to send, and reports what it finds."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.services import Services
from rushes.worker import broker
from rushes.worker.outage_log import OutageLog

CHECK_S = 10


def start(services: Services) -> None:
    """Try the broker in the background for as long as the process lives."""
    threading.Thread(target=_run, args=(services,), name="broker-watch", daemon=True).start()


def _run(services: Services) -> None:
    name, outage = f"{socket.gethostname()}:{os.getpid()}", OutageLog("no message gets through the broker")
    while True:
        check(services, name, outage)
        time.sleep(CHECK_S)


def check(services: Services, name: str, outage: OutageLog) -> None:
    """Try the broker once, and report it in the ledger."""
    problem = broker.problem(services.settings)
    if problem:
        outage.record(problem)
    else:
        outage.clear()
    with suppress(LedgerUnavailable):
        services.ledger.broker_reports.record(name, problem, services.now())
