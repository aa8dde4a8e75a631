"""Overdue times: how long the job that waits longest has been waiting for us.

A job waits for us while a worker could take it: it is due, or its ticket was handed out and not opened. It waits for a
gateway, and not for us,
- while it is parked, until the pause ends;
- while nothing more may be submitted there: its cap is reached, or one trial submit is out after a failure;
- while submits go there: one in the last minute means that the queue moves.
A due time in the past only orders jobs: no job waits since before its last move (schedule.ripe_since).
The result is the longest wait of the first jobs of each lane, so it is never too high.
"""

from __future__ import annotations

from collections.abc import Mapping

from rushes.shared.domain import schedule
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.providers import PROVIDERS
from rushes.shared.settings import GatewaySettings

KINDS = ("submit", "poll", "archive", "notify", "erase", "retire")
# Nobody waits for a job to leave the ledger (`retire`).
URGENT = ("submit", "poll", "archive", "notify")
LANES = [
    *("archive", "notify", "erase", "retire"),
    *(f"{kind}:{name}" for kind in ("submit", "parked", "poll") for name in PROVIDERS),
]


def oldest_s(ledger: Ledger, gateways: Mapping[str, GatewaySettings], now: int) -> float:
    """The longest wait of urgent work, in seconds."""
    by_kind = overdue_s(ledger, gateways, now)
    return max(by_kind[kind] for kind in URGENT)


def overdue_s(ledger: Ledger, gateways: Mapping[str, GatewaySettings], now: int) -> dict[str, float]:
    """The longest wait of each kind of work, in seconds."""
    waiting = ledger.overview.waiting_since(LANES, now)
    due = [(lane, since) for lane, since in waiting.items() if not _waits_for_gateway(lane, ledger, gateways, now)]
    longest_s = dict.fromkeys(KINDS, 0.0)
    for lane, since in [*due, *ledger.overview.unopened_since(LANES, now).items()]:
        kind = schedule.kind_of(lane).replace("parked", "submit")
        waited_s = (now - max(since, _paused_until(lane, ledger))) / schedule.SECOND
        longest_s[kind] = max(longest_s[kind], waited_s)
    return longest_s


def _paused_until(lane: str, ledger: Ledger) -> int:
    """The end of the pause that parked jobs wait for; 0 for other lanes."""
    kind, _, name = lane.partition(":")
    return ledger.gateways.paused_until(name) if kind == "parked" else 0


def _waits_for_gateway(lane: str, ledger: Ledger, gateways: Mapping[str, GatewaySettings], now: int) -> bool:
    """Whether a lane's jobs wait for their gateway and not for us."""
    kind, _, name = lane.partition(":")
    gateway = gateways.get(name)
    if kind != "submit" or gateway is None or ledger.gateways.paused_until(name) > now:
        return False  # if it is paused or not enabled, we have to move its jobs to another gateway
    return _takes_no_more(gateway, lane, ledger, now)


def _takes_no_more(gateway: GatewaySettings, lane: str, ledger: Ledger, now: int) -> bool:
    handed_out = ledger.overview.tickets_out(lane)
    has_trial = handed_out > 0 and int(ledger.gateways.health(gateway.name).get("strikes", 0)) > 0
    is_full = ledger.gateways.in_flight(gateway.name) + handed_out >= gateway.max_in_flight
    return has_trial or is_full or ledger.gateways.submits_last_minute(gateway.name, now) > 0
