"""Retirement: ended jobs whose retention is over come due, to leave the ledger.

Until then they stand in no lane (schedule.rests). A walk over the indexes of ended jobs finds them: whoever was created
less than a retention ago cannot have ended so long ago, so it begins there and reads nobody younger.
"""

from __future__ import annotations

from collections.abc import Iterator

from rushes.shared.domain import ids, schedule
from rushes.shared.domain.job import ENDED, Job
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.ledger import Ledger

PAGE = 100
# So many indexes are read at once.
INDEXES = 50


def walk(ledger: Ledger, policy: Policy, now: int) -> Iterator[int]:
    """Make due whose retention is over; a page at each step, which says how many came due. Raises LedgerUnavailable.

    The moment is the one in the record, so a retention that was made shorter since does not hold for it. One that was
    made longer does: the walk begins so long ago.
    """
    names = ledger.overview.indexes(None, set(ENDED), None)
    for start in range(0, len(names), INDEXES):
        before = ids.first_at(schedule.after(now, -stays_s(policy)))
        while job_ids := ledger.store.newest(names[start : start + INDEXES], PAGE, before):
            over = [job for job in ledger.get_many(job_ids) if job and _is_over(job, now)]
            Inspection(ledger.store).retire(over)
            yield len(over)
            before = job_ids[-1]


def stays_s(policy: Policy) -> float:
    """How long an ended job stays at least: with RUSHES_ERASE_AFTER_DAYS until it is erased (moves/ended.py)."""
    return policy.retention_s if policy.erase_after_s is None else policy.erase_after_s


def _is_over(job: Job, now: int) -> bool:
    return schedule.rests(job) and job.due_at is not None and job.due_at <= now
