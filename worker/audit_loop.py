"""The auditor's rounds: a page a second, so that a million jobs take hours and nobody is held up."""

from __future__ import annotations

import threading
import time

import structlog

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations.auditor import audit, finished, tell
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchiveUnavailable

log = structlog.get_logger()

PAGE_S, ROUND_S = 1, 600


def start(services: Services) -> None:
    """Go round in the background for as long as the process lives."""
    threading.Thread(target=_go_on, args=(services,), name="auditor", daemon=True).start()


def _go_on(services: Services) -> None:
    while True:
        try:
            for page in audit(services):
                tell(page, services)
                time.sleep(PAGE_S)
            finished(services)
        except (LedgerUnavailable, ArchiveUnavailable) as lost:
            log.warning("audit interrupted", reason=str(lost))
        except Exception:
            log.exception("audit broke")
        time.sleep(ROUND_S)
