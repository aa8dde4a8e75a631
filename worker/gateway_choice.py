"""Which gateway a job goes to, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rushes.shared.domain import cheapest_wait, events
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import Error, Job
from rushes.shared.intake.estimates import Quote, quotes
from rushes.shared.intake.intake import length_s
from rushes.shared.ledger.submits import CapReached
from rushes.shared.services import Services


def duration_s(request: Mapping[str, Any], inputs: Mapping[str, Any]) -> Decimal | None:
    """How long the clip will be."""
    measured = inputs.get("video_url", {}).get("duration_s")
    return Decimal(measured) if measured else length_s(request)


def offered(job: Job, seconds: Decimal | None, services: Services) -> list[Quote]:
    """The quotes of the gateways that this job may still go to."""
    given = quotes(job.request, services.settings.gateways, services.prices, seconds)
    return [quote for quote in given if quote.provider in job.route]


def choice(job: Job, services: Services) -> list[Quote] | Event:
    """The gateways to send to, the first one now; or what it means for the job that there is none."""
    by_name = {quote.provider: quote for quote in offered(job, duration_s(job.request, job.inputs), services)}
    able = [by_name[name] for name in job.route if name in by_name and by_name[name].able]
    if not able:
        reasons = [f"{quote.provider}: {quote.why_not}" for quote in by_name.values()] or ["not enabled any more"]
        return events.Barred(Error("no_provider", "; ".join(reasons)))
    if len(able) < len(job.route):
        names = tuple(quote.provider for quote in able)
        return events.Rerouted(names, "a gateway of the route is not able any more")
    return able


def elsewhere(job: Job, able: Sequence[Quote], gateway: str, services: Services) -> Event:
    """The job waited long enough for the first of these, and `gateway` has room for it.

    It goes to the first of the further ones that has, in the order of its route.
    """
    names = [quote.provider for quote in able]
    if gateway not in names:
        return events.Deferred(job.due_at or job.created_at, f"{gateway} is not of its route any more")
    further = names[1 : names.index(gateway)]
    target = next((name for name in further if has_room(name, services)), gateway)
    waited_s = services.settings.policy.wait_for_cheapest_s
    why = f"{names[0]} was full or over its rate; it was waited for {waited_s:g} s"
    return events.Rerouted((target, *(name for name in names if name != target)), why)


def has_room(name: str, services: Services) -> bool:
    """Whether a gateway would take a job now: it is well, and no cap is reached."""
    ledger, now, caps = services.ledger, services.now(), services.settings.gateways[name]
    health = ledger.gateways.health(name)
    if int(health.get("paused_until", 0)) > now or int(health.get("strikes", 0)):
        return False
    return (
        ledger.gateways.in_flight(name) < caps.max_in_flight
        and ledger.gateways.submits_last_minute(name, now) < caps.submits_per_minute
    )


def put_off(job: Job, reached: CapReached, able: Sequence[Quote], services: Services) -> Event:
    """A cap is waited for, at the old place in the line; a budget is not waited for until tomorrow."""
    if reached.cap == "pause":
        return around(job, tuple(quote.provider for quote in able), services)
    if reached.cap == "budget":
        return events.Barred(Error("budget_exceeded", "this submit would pass the tenant's budget of the day"))
    if reached.cap == "whole":
        return events.Deferred(reached.until, "waits until the ledger is known to be whole")
    return events.Deferred(job.due_at or job.created_at, f"waits for the {reached.cap} cap")


def around(job: Job, able: tuple[str, ...], services: Services) -> Event:
    """The first gateway is paused: another goes first, or the job waits, for one over its rate at most so long."""
    ledger, now, first = services.ledger, services.now(), able[0]
    opens = {name: max(ledger.gateways.paused_until(name), now) for name in able}
    is_throttled = ledger.gateways.health(first).get("why") == Reason.RATE
    if is_throttled and (len(able) == 1 or opens[first] <= cheapest_wait.until(job, services.settings.policy)):
        return events.Parked(able)
    soonest = min(able, key=opens.__getitem__)  # of several that are open the first of the route
    route = (soonest, *(name for name in able if name != soonest))
    if opens[soonest] > now:
        return events.Parked(route)
    return events.Rerouted(route, f"{first} is over its rate" if is_throttled else f"{first} is paused")
