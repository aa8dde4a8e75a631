"""Whose turn it is at a gateway: what a job counts for, and in which line of its tenant it stands.

The claim takes turns between tenants by estimated dollars over share (deploy/decisions.md, "Fair shares").
"""

from __future__ import annotations

from decimal import Decimal

from rushes.shared.domain.job import Job

# What a job without an estimate counts for, 10^-6 USD: about a clip of five seconds. A gateway without any price so
# divides its jobs and not its money. Once the estimate is known, at the submit, the account is corrected.
UNPRICED = 500_000
# The most that one job counts for: a virtual time stays a whole number in a double.
DEAREST = 10**9
# A share is written in thousandths.
SHARE = 1000


def cost(estimated_usd: Decimal | None) -> int:
    """What a job counts for, 10^-6 USD."""
    return UNPRICED if estimated_usd is None else min(max(round(estimated_usd * 10**6), 1), DEAREST)


def line(job: Job) -> str:
    """The line in which it stands, at whatever gateway: its tenant's jobs of one priority."""
    return f"{job.tenant}:{job.priority}"


def ticket(job: Job) -> str:
    """What the claim knows of a job in line without its record: its line, and what it counts for."""
    return f"{line(job)}:{cost(job.estimated_usd)}"
