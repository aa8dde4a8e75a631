"""The lanes of the ledger, and how much of each the workers are given at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rushes.shared.ledger.store import LaneRoom
from rushes.shared.providers import PROVIDERS
from rushes.shared.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class Share:
    """Of one kind of work: tickets out per worker, tickets a message, threads that do them."""

    room: int
    batch: int
    threads: int


QUEUE = "work"

# Rooms bound what waits: a ticket must be opened within pace.HANDOUT_S or it is handed out again.
SHARES: dict[str, Share] = {
    "submit": Share(room=32, batch=8, threads=32),
    "poll": Share(room=96, batch=32, threads=48),
    "archive": Share(room=24, batch=8, threads=24),
    "notify": Share(room=16, batch=8, threads=16),
    "retire": Share(room=64, batch=64, threads=2),
}


# The calls of a step that are made side by side, each in a thread; whoever leads the step waits for them in its own.
CALLS = {"send": 32, "copy": 16}


def lanes(gateways: Iterable[str] = PROVIDERS) -> list[str]:
    """Every lane there is; those of gateways that are not enabled too, for their jobs must not be forgotten."""
    names = list(gateways)
    return ["archive", "notify", "retire", *(f"{kind}:{name}" for kind in ("submit", "poll") for name in names)]


def rooms(gateways: Mapping[str, GatewaySettings], workers: int) -> list[LaneRoom]:
    """The lanes with their room, archives first: links die, polls do not."""
    return [_room(lane, gateways, max(workers, 1)) for lane in lanes()]


def _room(lane: str, gateways: Mapping[str, GatewaySettings], workers: int) -> LaneRoom:
    kind, _, name = lane.partition(":")
    room = SHARES[kind].room * workers
    if kind != "submit":
        return LaneRoom(lane, room)
    gateway = gateways.get(name)
    if gateway is None:  # its jobs, those that wait for the end of a pause too, are handed out to be moved elsewhere
        return LaneRoom(lane, room, name, room, room)
    return LaneRoom(lane, room, name, gateway.max_in_flight, gateway.submits_per_minute)
