"""The lanes of the ledger, and how many of their jobs the workers get at once."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from rushes.shared.domain import start_deadline
from rushes.shared.ledger.store import LaneRoom
from rushes.shared.providers import PROVIDERS
from rushes.shared.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Share:
    """The limits of one kind of work: tickets out per worker, tickets per message, threads per worker."""

    max_tickets: int
    batch: int
    threads: int

    def batch_of(self, tickets: int, workers: int) -> int:
        """The tickets per message where so many are handed out at once."""
        return min(max(self.batch, -(-tickets // (2 * workers))), 2 * self.batch)


QUEUE = "work"

# `max_tickets` limits waiting: a ticket that is not opened within schedule.HANDOUT_S is handed out again.
SHARES: dict[str, Share] = {
    "submit": Share(max_tickets=32, batch=8, threads=32),
    "poll": Share(max_tickets=96, batch=32, threads=48),
    "archive": Share(max_tickets=24, batch=8, threads=24),
    "notify": Share(max_tickets=16, batch=8, threads=16),
    "expire": Share(max_tickets=64, batch=64, threads=2),
    "bulk": Share(max_tickets=4, batch=1, threads=4),
    "erase": Share(max_tickets=8, batch=4, threads=4),
    "retire": Share(max_tickets=64, batch=64, threads=2),
}


BULK = "bulk"
# Steps in which the tickets of a lane grow with what the workers do, and the most: a claim of more holds up Redis.
ADDED, MAX_ADDED = 16, 512
# Threads for the calls of a batch; the thread that runs the batch waits for them.
CALLS = {"send": 32, "copy": 16}


def lanes(gateways: Iterable[str] = PROVIDERS) -> list[str]:
    """All lanes of jobs, those of disabled gateways included: their jobs must not be forgotten."""
    names = list(gateways)
    return [
        *("archive", "notify", "erase", "retire", start_deadline.LANE),
        *(f"{kind}:{name}" for kind in ("submit", "poll") for name in names),
    ]


def lane_limits(
    gateways: Mapping[str, GatewaySettings],
    workers: int,
    left_out: Container[str] = (),
    more: Mapping[str, int] | None = None,
) -> list[LaneRoom]:
    """The lanes with their limits, those of some gateways left out. Archives come first, because links expire.

    `more` are tickets of each kind that may be out beyond those of SHARES (more_tickets).
    """
    names = [name for name in PROVIDERS if name not in left_out]
    return [_limit(lane, gateways, max(workers, 1), more or {}) for lane in (*lanes(names), BULK)]


def more_tickets(rates: Mapping[str, float]) -> dict[str, int]:
    """As many tickets more may be out as the workers end in a second; `rates` are their steps a second by kind.

    They grow by ADDED: where the limits stay the same a turn does not make them anew (claim_call.py).
    """
    return {kind: min(int(rate / ADDED) * ADDED, MAX_ADDED) for kind, rate in rates.items()}


def _limit(lane: str, gateways: Mapping[str, GatewaySettings], workers: int, more: Mapping[str, int]) -> LaneRoom:
    kind, _, name = lane.partition(":")
    max_tickets = SHARES[kind].max_tickets * workers + more.get(kind, 0)
    if kind != "submit":
        return LaneRoom(lane, max_tickets)
    gateway = gateways.get(name)
    # One that takes none has its jobs, parked ones included, handed out to be rerouted.
    if gateway is None or not gateway.open_accounts:
        return LaneRoom(lane, max_tickets, name, max_tickets, max_tickets)
    return LaneRoom(lane, max_tickets, name, gateway.max_in_flight, gateway.submits_per_minute, gateway.open_names)
