"""The gateways' health, and what was spent at them."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from flask import Response, jsonify, request
from werkzeug.exceptions import NotFound

from rushes.shared.domain import counters, gateway_pauses, money, schedule
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.job_document import moment
from rushes.shared.settings import GatewaySettings
from rushes.webhook_receiver import openapi_responses
from rushes.webhook_receiver.auth import admin, caller, services
from rushes.webhook_receiver.openapi import answers, blueprint, notes, query, refuses

gateways_api = blueprint("gateways", "Their health, and what was spent at them.")

DAYS_MAX = 366
DAY = re.compile(r"(\d{4}-\d\d-\d\d)(T[\d:.Z+-]*)?", re.ASCII)
JOBS_LOOKED_AT = 50
UNTIL_RESUMED_S = 10 * 366 * 86_400
STRETCH = [
    query("from", "First day, UTC; six days before the last.", type="string", format="date"),
    query("to", "Last day, UTC; today.", type="string", format="date"),
]


@gateways_api.get("/v1/gateways")
@answers(200, openapi_responses.Gateways, "They are.")
@refuses(401, 429, 503)
def gateways() -> Response:
    """Each enabled gateway as it stands."""
    caller()
    return jsonify({"data": [standing(gateway) for gateway in services().settings.gateways.values()]})


def standing(gateway: GatewaySettings) -> dict[str, Any]:
    ledger, now = services().ledger, services().now()
    known = ledger.gateways.health(gateway.name)
    until = int(known.get("paused_until", 0))
    why = known.get("why") if until > now else None
    used = ledger.gateways.submits_last_minute(gateway.name, now)
    return {
        "name": gateway.name,
        "paused_until": moment(until) if until > now else None,
        "why": why,
        "advice": gateway_pauses.advice(gateway.name, why) if why else None,
        "in_flight": ledger.gateways.in_flight(gateway.name),
        "max_in_flight": gateway.max_in_flight,
        "submits_left_this_minute": max(gateway.submits_per_minute - used, 0),
        "callbacks": {**arriving(gateway.name), "silent": ledger.learned_times.timings(now).is_silent(gateway.name)},
        "finish_s": finishing(gateway.name, now),
        "price_table_version": services().prices.version,
    }


def arriving(name: str) -> dict[str, Any]:
    """Of the tasks of the newest jobs there for which a callback was asked: how many ends it told us of."""
    jobs = services().ledger.overview.newest(None, JOBS_LOOKED_AT, provider=name)
    tried = [attempt for job in jobs for attempt in job.attempts if attempt.provider == name]
    ended = [attempt for attempt in tried if attempt.callback and attempt.heard_by]
    heard = [attempt.ended_at or 0 for attempt in ended if attempt.heard_by == "callback"]
    return {"asked": len(ended), "heard": len(heard), "last_heard_at": moment(max(heard, default=None))}


def finishing(name: str, now: int) -> list[dict[str, Any]]:
    """By when half and nine in ten of the jobs are finished there, by what takes equally long (timing.kind)."""
    known = services().ledger.learned_times.of_gateway(name, now)
    return [
        {
            **dict(zip(("model", "mode"), kind.split("|")[1:3], strict=True)),
            "duration": int(kind.rpartition("|")[2]) or None,
            "p50_s": round(each.quantile_s(0.5), 1),
            "p90_s": round(each.quantile_s(0.9), 1),
            "jobs": each.total,
        }
        for kind, each in sorted(known.items())
    ]


@gateways_api.post("/v1/gateways/<name>/resume")
@answers(200, openapi_responses.Gateway, "It has ended.")
@refuses(401, 403, 404, 429, 503)
def resume(name: str) -> Response:
    """End a pause."""
    admin()
    return jsonify(resumed(name))


@gateways_api.post("/v1/gateways/<name>/pause")
@answers(200, openapi_responses.Gateway, "It has begun.")
@refuses(401, 403, 404, 429, 503)
def pause(name: str) -> Response:
    """Send nothing new there until a resume."""
    admin()
    return jsonify(paused(name))


def resumed(name: str) -> dict[str, Any]:
    """The gateway as it stands after its pause was ended; raises 404."""
    gateway = enabled(name)
    services().ledger.gateways.resume(name, services().settings.gateways)
    return standing(gateway)


def paused(name: str) -> dict[str, Any]:
    """The gateway as it stands after an operator paused it; raises 404."""
    gateway = enabled(name)
    services().ledger.gateways.pause(name, gateway_pauses.OPERATOR, schedule.after(services().now(), UNTIL_RESUMED_S))
    return standing(gateway)


def enabled(name: str) -> GatewaySettings:
    gateway = services().settings.gateways.get(name)
    if gateway is None:
        raise NotFound("There is no such gateway.")
    return gateway


@gateways_api.get("/v1/usage")
@answers(200, openapi_responses.Usage, "This.")
@refuses(401, 422, 429, 503)
@notes(parameters=STRETCH)
def usage() -> Response:
    """What was made and spent, by day and gateway."""
    asking = caller()
    first, last = stretch(7)
    return jsonify({"data": [line for day in days(first, last) for line in lines(day, asking.scope)]})


def stretch(usual_days: int) -> tuple[date, date]:
    """First and last day that the query asks for; raises Unacceptable."""
    last = day_of("to", date.fromisoformat(counters.day_of(services().now())))
    first = day_of("from", date.fromordinal(max(last.toordinal() - usual_days + 1, 1)))
    if not 0 <= (last - first).days < DAYS_MAX:
        problem = {"from": [f"Not before `to`, or more than {DAYS_MAX} days."]}
        raise Unacceptable("invalid_request", "The query does not fit: from.", 422, problem)
    return first, last


def days(first: date, last: date) -> list[str]:
    return [str(first + timedelta(days=step)) for step in range((last - first).days + 1)]


def day_of(name: str, otherwise: date) -> date:
    """The day that the query names, also by a moment of it."""
    text = request.args.get(name)
    if not text:
        return otherwise
    named = DAY.fullmatch(text)
    try:
        return date.fromisoformat(named[1] if named else "")
    except ValueError:
        problem = {name: ["Not a day as YYYY-MM-DD."]}
        raise Unacceptable("invalid_request", f"The query does not fit: {name}.", 422, problem) from None


def lines(day: str, tenant: str | None) -> list[dict[str, Any]]:
    """A day's lines, one for each tenant and gateway."""
    totals = counters.by_gateway(services().ledger.totals.usage(day), tenant)
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
            "wasted_cost_usd": money.text(money.from_units(counts["wasted"])),
            "unpriced_jobs": counts["unpriced"],
        }
        for (held_by, provider), counts in sorted(totals.items())
        if counts["jobs"]
    ]
