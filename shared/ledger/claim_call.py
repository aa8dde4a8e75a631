"""What the program `lua/claim.lua` is given: its keys and its arguments, in the order in which it reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rushes.shared.compact_json import compact
from rushes.shared.domain import fair_shares, start_deadline
from rushes.shared.ledger import keys
from rushes.shared.ledger.store import LaneRoom


def keys_of(lanes: Sequence[LaneRoom]) -> Sequence[str]:
    """All keys: those of the ledger, then those of each lane."""
    return _call(tuple(lanes))[0]


def rooms(lanes: Sequence[LaneRoom]) -> list[Any]:
    """The room of each lane, and what a job without a price costs its tenant."""
    return [_call(tuple(lanes))[1], fair_shares.UNPRICED]


@lru_cache(maxsize=8)
def _call(lanes: tuple[LaneRoom, ...]) -> tuple[tuple[str, ...], str]:
    """The keys, and the rooms as JSON: they are the same turn for turn, and dear to make."""
    names = [keys.IN_FLIGHT, keys.BELL, keys.QUEUED, keys.TENANTS, keys.TENANTS_IN_FLIGHT]
    for lane in lanes:
        names += [keys.START_BEFORE if _expires(lane) else keys.due(lane.lane), keys.leased(lane.lane)]
        if gateway := lane.gateway:
            names += [keys.gateway(gateway), keys.due(f"parked:{gateway}"), keys.standby(gateway)]
            names += [keys.later("parked", gateway), keys.charged(gateway)]
            names += [*keys.line_sets("submit", gateway), *keys.line_sets("standby", gateway)]
            names += [name for label in lane.labels for name in (keys.gateway(label), keys.window(label))]
    return tuple(names), compact([_room(lane) for lane in lanes])


def _room(lane: LaneRoom) -> list[Any]:
    accounts = lane.labels if lane.gateway else []
    return [lane.room, lane.gateway, lane.max_in_flight, lane.submits_per_minute, _expires(lane), accounts]


def _expires(lane: LaneRoom) -> bool:
    """Whether its jobs are due because nobody wants them any more."""
    return lane.lane == start_deadline.LANE
