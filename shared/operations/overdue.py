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

from collections.abc import Mapping, Sequence

from rushes.shared.domain import schedule
from rushes.shared.domain.accounts import DEFAULT, AccountStanding
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
        waited_s = (now - max(since, _paused_until(lane, ledger, gateways))) / schedule.SECOND
        longest_s[kind] = max(longest_s[kind], waited_s)
    return longest_s


def _paused_until(lane: str, ledger: Ledger, gateways: Mapping[str, GatewaySettings]) -> int:
    """The end of the pause that parked jobs wait for; 0 for other lanes."""
    kind, _, name = lane.partition(":")
    accounts = gateways[name].open_names if name in gateways else (DEFAULT,)
    return ledger.gateways.pause_of(name, accounts).until if kind == "parked" else 0


def _waits_for_gateway(lane: str, ledger: Ledger, gateways: Mapping[str, GatewaySettings], now: int) -> bool:
    """Whether a lane's jobs wait for their gateway and not for us."""
    kind, _, name = lane.partition(":")
    gateway = gateways.get(name)
    if kind != "submit" or gateway is None or not gateway.open_accounts:
        return False
    standings = ledger.gateways.standings(name, gateway.open_names, now)
    if ledger.gateways.pause_of(name, gateway.open_names, standings).until > now:
        return False  # if it is paused or takes none, we have to move its jobs to another gateway
    unpaused = [standing for standing in standings if standing.paused_until <= now]
    return _takes_no_more(gateway, unpaused, ledger.overview.tickets_out(lane))


def _takes_no_more(gateway: GatewaySettings, standings: Sequence[AccountStanding], handed_out: int) -> bool:
    has_trial = handed_out > 0 and all(standing.strikes > 0 for standing in standings)
    places = sum(gateway.max_in_flight - standing.in_flight for standing in standings)
    return has_trial or handed_out >= places or any(standing.submits > 0 for standing in standings)
