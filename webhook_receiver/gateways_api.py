"""The gateways' health, and what was spent at them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import NotFound

from shared.document import moment
from shared.domain import books, money
from shared.intake import Unacceptable
from shared.settings import GatewaySettings
from webhook_receiver.auth import admin, caller, services

gateways_api = Blueprint("gateways", __name__)

DAYS_MAX = 366


@gateways_api.get("/v1/gateways")
def gateways() -> Response:
    """Each enabled gateway as it stands."""
    caller()
    return jsonify({"data": [standing(gateway) for gateway in services().settings.gateways.values()]})


def standing(gateway: GatewaySettings) -> dict[str, Any]:
    ledger, now = services().ledger, services().now()
    health = ledger.health(gateway.name)
    paused = int(health.get("paused_until", 0))
    used = ledger.submits_lately(gateway.name, now)
    return {
        "name": gateway.name,
        "paused_until": moment(paused) if paused > now else None,
        "why": health.get("why") if paused > now else None,
        "in_flight": ledger.in_flight(gateway.name),
        "max_in_flight": gateway.max_in_flight,
        "submits_left_this_minute": max(gateway.submits_per_minute - used, 0),
        "price_table_version": services().prices.version,
    }


@gateways_api.post("/v1/gateways/<name>/resume")
def resume(name: str) -> Response:
    """End a pause."""
    admin()
    gateway = services().settings.gateways.get(name)
    if gateway is None:
        raise NotFound("There is no such gateway.")
    services().ledger.recovered(name)
    services().ledger.ring()
    return jsonify(standing(gateway))


@gateways_api.get("/v1/usage")
def usage() -> Response:
    """What was made and spent, by day and gateway."""
    asking = caller()
    today = datetime.now(UTC).date()
    first, last = day_of("from", today - timedelta(days=6)), day_of("to", today)
    if not 0 <= (last - first).days < DAYS_MAX:
        problem = {"from": [f"Not before `to`, or more than {DAYS_MAX} days."]}
        raise Unacceptable("invalid_request", "The query does not fit: from.", 422, problem)
    days = [str(first + timedelta(days=step)) for step in range((last - first).days + 1)]
    return jsonify({"data": [line for day in days for line in lines(day, asking.scope)]})


def day_of(name: str, otherwise: date) -> date:
    text = request.args.get(name)
    try:
        return date.fromisoformat(text[:10]) if text else otherwise
    except ValueError:
        problem = {name: ["Not a day as YYYY-MM-DD."]}
        raise Unacceptable("invalid_request", f"The query does not fit: {name}.", 422, problem) from None


def lines(day: str, tenant: str | None) -> list[dict[str, Any]]:
    """A day's lines, one for each tenant and gateway."""
    totals = books.by_gateway(services().ledger.usage(day), tenant)
    return [
        {
            "day": day,
            "tenant": held_by,
            "provider": provider,
            "jobs": counts["jobs"],
            "completed": counts["completed"],
            "failed": counts["failed"],
            "seconds": counts["made_ms"] / 1000,
            "estimated_cost_usd": money.text(money.from_units(counts["estimated"])),
            "cost_usd": money.text(money.from_units(counts["actual"])),
            "unpriced_jobs": counts["unpriced"],
        }
        for (held_by, provider), counts in sorted(totals.items())
        if counts["jobs"]
    ]
