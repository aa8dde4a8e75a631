"""How late we are: for how long the job that waits longest has waited for us.

It waits for us from the moment that somebody could have taken it up: it is due, or its ticket was handed out and
nobody opened it. It does not wait for us but for a gateway
- while it is parked, until the pause ends;
- while nothing more may be submitted there: as many jobs as allowed are there, or one is to show that it is well again;
- while submits leave for there: one in the last minute means that the line moves.
A due time in the past is an order, not lateness: nothing waits since before its last move (pace.ripe_since).
Told is the longest wait of the first jobs of each lane, so never more than it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from rushes.shared.domain import schedule
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.providers import PROVIDERS
from rushes.shared.settings import GatewaySettings

KINDS = ("submit", "poll", "archive", "notify", "retire")
# Leaving the ledger is late for nobody.
URGENT = ("submit", "poll", "archive", "notify")
LANES = [
    *("archive", "notify", "retire"),
    *(f"{kind}:{name}" for kind in ("submit", "parked", "poll") for name in PROVIDERS),
]


def oldest_s(ledger: Ledger, gateways: Mapping[str, GatewaySettings], now: int) -> float:
    """How late we are with what cannot wait, in seconds."""
    by_kind = overdue_s(ledger, gateways, now)
    return max(by_kind[kind] for kind in URGENT)


def overdue_s(ledger: Ledger, gateways: Mapping[str, GatewaySettings], now: int) -> dict[str, float]:
    """How late we are with each kind of work, in seconds."""
    waiting = ledger.overview.waiting_since(LANES, now)
    ours = [(lane, since) for lane, since in waiting.items() if not _held_back(lane, ledger, gateways, now)]
    late = dict.fromkeys(KINDS, 0.0)
    for lane, since in [*ours, *ledger.overview.unopened_since(LANES, now).items()]:
        kind = schedule.kind_of(lane).replace("parked", "submit")
        late[kind] = max(late[kind], (now - max(since, _paused_until(lane, ledger))) / schedule.SECOND)
    return late


def _paused_until(lane: str, ledger: Ledger) -> int:
    """Until when whoever is parked does not wait for us."""
    kind, _, name = lane.partition(":")
    return ledger.gateways.paused_until(name) if kind == "parked" else 0


def _held_back(lane: str, ledger: Ledger, gateways: Mapping[str, GatewaySettings], now: int) -> bool:
    """Whether a lane's jobs wait for their gateway and not for us."""
    kind, _, name = lane.partition(":")
    gateway = gateways.get(name)
    if kind != "submit" or gateway is None or ledger.gateways.paused_until(name) > now:
        return False  # where it is paused or not enabled, its jobs are to be led elsewhere
    return _full(gateway, lane, ledger, now)


def _full(gateway: GatewaySettings, lane: str, ledger: Ledger, now: int) -> bool:
    out = ledger.overview.tickets_out(lane)
    tried = out > 0 and int(ledger.gateways.health(gateway.name).get("strikes", 0)) > 0
    busy = ledger.gateways.in_flight(gateway.name) + out >= gateway.max_in_flight
    return tried or busy or ledger.gateways.submits_last_minute(gateway.name, now) > 0
