"""Chooses the gateway of a job, or what the job waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rushes.shared.domain import cheapest_wait, events, schedule
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import Error, Job
from rushes.shared.intake.estimates import Estimate, with_known_price
from rushes.shared.intake.intake import length_s
from rushes.shared.ledger.submits import ACCOUNT_CAPS, CapReached
from rushes.shared.services import Services
from rushes.worker.account_choice import bound_account


def duration_s(request: Mapping[str, Any], inputs: Mapping[str, Any]) -> Decimal | None:
    """The length of the clip to be made, None if it is not known."""
    measured = inputs.get("video_url", {}).get("duration_s")
    return Decimal(measured) if measured else length_s(request)


def route_estimates(job: Job, seconds: Decimal | None, services: Services) -> list[Estimate]:
    """The estimates of the gateways on the job's route."""
    estimates = services.intake.estimates(job.request, job.tenant, seconds)
    estimates = with_known_price(estimates) if job.batch_budget_usd is not None else estimates
    return [estimate for estimate in estimates if estimate.provider in job.route]


def choose_gateways(job: Job, services: Services) -> list[Estimate] | Event:
    """The able gateways of the route, the next one to use first; or the event if the route has to change."""
    seconds = duration_s(job.request, job.inputs)
    by_name = {estimate.provider: estimate for estimate in route_estimates(job, seconds, services)}
    able = [by_name[name] for name in job.route if name in by_name and by_name[name].able]
    if not able:
        reasons = [f"{estimate.provider}: {estimate.why_not}" for estimate in by_name.values()]
        reasons = reasons or ["no gateway of its route is enabled any more"]
        return events.Barred(Error("no_provider", "; ".join(reasons)))
    if len(able) < len(job.route):
        names = tuple(estimate.provider for estimate in able)
        return events.Rerouted(names, "a gateway of the route is not able any more")
    return able


def reroute(job: Job, able: Sequence[Estimate], gateway: str, services: Services) -> Event:
    """Reroute a job that waited long enough for its first gateway, when `gateway` has room for it.

    It goes to the first gateway with room, in the order of its route.
    """
    names = [estimate.provider for estimate in able]
    if gateway not in names:
        return events.Deferred(job.due_at or job.created_at, f"{gateway} is not on its route any more")
    further = names[1 : names.index(gateway)]
    target = next((name for name in further if has_room(name, services)), gateway)
    waited_s = services.settings.policy.wait_for_cheapest_s
    why = f"{names[0]} was full or over its rate for {waited_s:g} s"
    return events.Rerouted((target, *(name for name in names if name != target)), why)


def has_room(name: str, services: Services) -> bool:
    """Whether a gateway can take a job now: an account of it is healthy and below its caps."""
    health, now, gateway = services.ledger.gateways, services.now(), services.settings.gateways[name]
    standings = health.standings(name, gateway.open_names, now)
    if health.pause_of(name, gateway.open_names, standings).until > now:
        return False
    caps = gateway.max_in_flight, gateway.submits_per_minute
    return any(not standing.strikes and standing.has_room(*caps, now) for standing in standings)


# A job that is bound to an account looks again after this long, where nothing tells when the account has room.
BOUND_RETRY_S = 5


def deciding_cap(reached: Sequence[CapReached]) -> CapReached:
    """Of the caps of several accounts the one that says what the job waits for: the gateway is paused if all are."""
    last = reached[-1]
    return next((each for each in reached if each.cap != "pause"), last) if last.cap in ACCOUNT_CAPS else last


# The caps that are budgets, and of what.
BUDGETS = {"budget": "day", "month": "month"}


def defer_for_cap(job: Job, reached: CapReached, able: Sequence[Estimate], services: Services) -> Event:
    """The event of a reached cap: the job waits at its old place in the queue. An exceeded budget ends it instead."""
    if reached.cap in BUDGETS:
        period = BUDGETS[reached.cap]
        return events.Barred(Error("budget_exceeded", f"this submit would pass the tenant's budget of the {period}"))
    if reached.cap == "deadline":
        return events.Expired()
    if reached.cap == "batch":
        return events.Canceled(Error("budget_exceeded", "this submit would pass the max_cost_usd of its batch"))
    if reached.cap == "stopped":
        return events.Canceled()
    if reached.cap == "whole":
        return events.Deferred(reached.until, "waits until the ledger was compared with the journal")
    if account := bound_to_one_of_several(job, able[0].provider, services):
        # Not at its old place: the gateway may have room, and the job would be handed out again and again.
        until = max(reached.until, schedule.after(services.now(), BOUND_RETRY_S))
        return events.Deferred(until, f"waits for account {account} of {able[0].provider}: {reached.cap}")
    if reached.cap in ("pause", "stop"):
        return avoid_pause(job, tuple(estimate.provider for estimate in able), services)
    return events.Deferred(job.due_at or job.created_at, f"waits for the {reached.cap} cap")


def bound_to_one_of_several(job: Job, gateway: str, services: Services) -> str | None:
    """The account that a job must go through although the gateway has others."""
    return bound_account(job, gateway) if len(services.settings.gateways[gateway].accounts) > 1 else None


def avoid_pause(job: Job, able: tuple[str, ...], services: Services) -> Event:
    """The event if the first gateway is paused: another one goes first, or the job waits.

    For a gateway over its rate it waits at most RUSHES_WAIT_FOR_CHEAPEST_S.
    """
    health, now, first = services.ledger.gateways, services.now(), able[0]
    pauses = {name: health.pause_of(name, services.settings.gateways[name].open_names) for name in able}
    paused_until = {name: max(pause.until, now) for name, pause in pauses.items()}
    is_throttled = pauses[first].why == Reason.RATE
    if is_throttled and (len(able) == 1 or paused_until[first] <= cheapest_wait.until(job, services.settings.policy)):
        return events.Parked(able)
    soonest = min(able, key=paused_until.__getitem__)  # among those that are not paused the first of the route
    route = (soonest, *(name for name in able if name != soonest))
    if paused_until[soonest] > now:
        return events.Parked(route)
    return events.Rerouted(route, f"{first} is over its rate" if is_throttled else f"{first} is paused")
