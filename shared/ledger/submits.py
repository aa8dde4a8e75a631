"""Submits as the ledger lets them pass: each needs its ticket's lease, a whole ledger, and room under every cap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rushes.shared.domain import batch, counters, schedule
from rushes.shared.domain.accounts import DEFAULT, label
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.gateway_health import WINDOW_MS
from rushes.shared.ledger.store import Writes
from rushes.shared.ledger.tickets import Ticket

# Caps of one account: another account of the gateway may have room.
ACCOUNT_CAPS = frozenset({"pause", "window", "inflight", "trial"})
# A submit that met a ledger not known to be whole is tried again after this long.
WHOLE_S = 2


@dataclass(frozen=True, slots=True)
class Caps:
    """What a submit must fit into, checked together with writing it down."""

    gateway: str
    max_in_flight: int
    submits_per_minute: int
    budget: int | None = None
    """Most that the tenant may hold and spend this day, 10^-8 USD."""
    price: int = 0
    """What this submit holds, 10^-8 USD."""
    monthly_budget: int | None = None
    """Most that the tenant may hold and spend in the days of this month, 10^-8 USD."""
    tenant_in_flight: int | None = None
    """Most of the tenant's jobs that gateways may have."""
    batch_budget: int | None = None
    """Most that the job's batch may hold and spend, 10^-8 USD."""
    account: str = DEFAULT
    has_others: bool = False
    """Whether the gateway has several accounts: then one that refused of late gets one call at a time (`trial`)."""

    @property
    def label(self) -> str:
        return label(self.gateway, self.account)


@dataclass(frozen=True, slots=True)
class Submit:
    """A paid call that is about to be made: what to write down before, and what must be so."""

    job: Job
    """As it was opened, or with what the same step learned since."""
    ticket: Ticket
    event: Event
    caps: Caps


class CapReached(Exception):
    """`cap` is in the way, and `until` (ms) is when to try again.

    One of ACCOUNT_CAPS, `stop`, `tenant`, `budget`, `month`, `whole`, `deadline`; `batch` for the budget of
    the job's batch, `stopped` for a batch of which nothing more is to be submitted.
    """

    def __init__(self, cap: str, until: int) -> None:
        super().__init__(cap)
        self.cap, self.until = cap, until


def gates(writes: Writes, submit: Submit, now: int) -> list[Sequence[object]]:
    """What must hold in the very moment of the write, or two workers would pay where one may (`lua/commit.lua`)."""
    job, ticket, caps = submit.job, submit.ticket, submit.caps
    conditions: list[Sequence[object]] = [
        ["lease", writes.number(keys.leased(ticket.lane)), job.id, ticket.lease],
        ["whole", writes.number(keys.MARK)],
        ["pause", writes.number(keys.gateway(caps.label)), now],
        ["inflight", writes.number(keys.IN_FLIGHT), caps.label, 1, caps.max_in_flight],
        ["window", writes.number(keys.window(caps.label)), caps.submits_per_minute, now - WINDOW_MS],
    ]
    if caps.account != DEFAULT:  # the default account is kept where the operator's pause of the gateway is
        conditions.append(["stop", writes.number(keys.gateway(caps.gateway)), now])
    if caps.has_others:
        conditions.append(["trial", writes.number(keys.gateway(caps.label)), now])
    if caps.budget is not None:
        day = writes.number(keys.committed(counters.day_of(now)))
        conditions.append(["budget", day, job.tenant, caps.price, caps.budget])
    if caps.monthly_budget is not None:  # the days are added up: a month that is counted apart could differ from them
        days = [writes.number(keys.committed(day)) for day in counters.days_of_month(now)]
        conditions.append(["month", days[-1], job.tenant, caps.price, caps.monthly_budget, days])
    if caps.tenant_in_flight is not None:
        conditions.append(["tenant", writes.number(keys.TENANTS_IN_FLIGHT), job.tenant, 1, caps.tenant_in_flight])
    if job.batch_id:
        counts = writes.number(keys.batch_counts(job.batch_id))
        conditions.append(["stopped", counts, batch.STOPPED, 1, 1])
        if caps.batch_budget is not None:
            # In the moment of the write, as the tenant's: of two submits at one instant one gets the last cent.
            conditions.append(["batch", counts, batch.HELD, caps.price, caps.batch_budget])
    return conditions


def opens_at(cap: str, value: str, now: int) -> int:
    """When a gate that was shut may be tried again (ms); `value` is what the gate said."""
    if cap in ("pause", "stop", "trial"):
        return int(value)
    if cap == "whole":
        return schedule.after(now, WHOLE_S)
    if cap == "window":
        return int(float(value or now)) + WINDOW_MS + 1
    if cap == "budget":
        return now - now % schedule.DAY + schedule.DAY
    if cap == "month":
        return counters.next_month(now)
    return now
