"""Runs the auditor's rounds: a page a second, so that a million jobs take hours and nothing is slowed down."""

from __future__ import annotations

import threading
import time

import structlog

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations.auditor import audit, record_round, report
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchiveUnavailable

log = structlog.get_logger()

PAGE_S, ROUND_S = 1, 600


def start(services: Services) -> None:
    """Audit in the background for as long as the process lives."""
    threading.Thread(target=_run_rounds, args=(services,), name="auditor", daemon=True).start()


def _run_rounds(services: Services) -> None:
    while True:
        try:
            for page in audit(services):
                report(page, services)
                time.sleep(PAGE_S)
            record_round(services)
        except (LedgerUnavailable, ArchiveUnavailable) as lost:
            log.warning("audit interrupted", reason=str(lost))
        except Exception:
            log.exception("audit broke")
        time.sleep(ROUND_S)
