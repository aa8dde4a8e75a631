"""Tickets: the right to do one step of a job, each opened once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rushes.shared.domain import schedule
from rushes.shared.domain.frozen import replace
from rushes.shared.domain.job import Job
from rushes.shared.ledger.store import LeaseRequest


@dataclass(frozen=True)
class Ticket:
    """The right to do one step of a job, until the lease (ms) ends or somebody opens it."""

    lane: str
    job_id: str
    lease: int


class LeaseLost(Exception):
    """The ticket's lease ran out; another may hold the job."""


def ticket_of(job: Job, now: int) -> Ticket:
    """The opened ticket of a job that its worker keeps for the next step (changes.moved)."""
    return Ticket(schedule.lane(job) or "", job.id, schedule.after(now, schedule.LEASE_S))


def extended(tickets: Sequence[Ticket], now: int) -> list[Ticket]:
    """The same tickets with a longer lease.

    The new lease always differs from the old one: a ticket that comes twice then opens once.
    """
    return [replace(ticket, lease=max(schedule.after(now, schedule.LEASE_S), ticket.lease + 1)) for ticket in tickets]


def openings(tickets: Sequence[Ticket], longer: Sequence[Ticket]) -> list[LeaseRequest]:
    """What the store is asked for, to have the longer leases in place of these."""
    return [LeaseRequest(old.lane, old.job_id, old.lease, new.lease) for old, new in zip(tickets, longer, strict=True)]
