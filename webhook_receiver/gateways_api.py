"""The Gateways API: the health of each gateway, and what was spent there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any

from flask import Response, jsonify, request
from werkzeug.exceptions import NotFound

from rushes.shared.domain import counters, gateway_pauses, money, schedule
from rushes.shared.domain.accounts import label
from rushes.shared.intake.intake import Unacceptable
from rushes.shared.intake.job_document import moment
from rushes.shared.operations import balances
from rushes.shared.operations.accounts import MissingAccount, missing_among
from rushes.shared.operations.balances import Standing
from rushes.shared.settings import GatewaySettings
from rushes.webhook_receiver import openapi_responses
from rushes.webhook_receiver.auth import authenticate, authenticate_admin, services
from rushes.webhook_receiver.openapi import answers, answers_also, blueprint, describes, query, refuses
from rushes.webhook_receiver.usage_csv import CSV, usage_csv

gateways_api = blueprint("gateways", "Their health, and what was spent there.")

DAYS_MAX = 366
DAY = re.compile(r"(\d{4}-\d\d-\d\d)(T[\d:.Z+-]*)?", re.ASCII)
JOBS_LOOKED_AT = 50
UNTIL_RESUMED_S = 10 * 366 * 86_400
DATE_RANGE = [
    query("from", "First day, UTC; without it, six days before the last.", type="string", format="date"),
    query("to", "Last day, UTC; without it, today.", type="string", format="date"),
]


@gateways_api.get("/v1/gateways")
@answers(200, openapi_responses.Gateways, "Each enabled gateway.")
@refuses(401, 429, 503)
def gateways() -> Response:
    """Each enabled gateway, as it is now."""
    authenticate()
    return jsonify({"data": gateway_documents(services().settings.gateways.values())})


def gateway_documents(gateways: Iterable[GatewaySettings]) -> list[dict[str, Any]]:
    """Gateways, as they are now."""
    found = {gateway.name: gateway for gateway in gateways}
    standings = balances.standings(services().ledger, found, services().now())
    jobs = services().ledger.overview.jobs_by_account()
    return [gateway_document(gateway, standings, jobs) for gateway in found.values()]


def gateway_document(
    gateway: GatewaySettings, standings: Mapping[str, Standing], jobs: Mapping[str, int]
) -> dict[str, Any]:
    """A gateway, as it is now; `standings` and `jobs` are of each account (accounts.label)."""
    ledger, now = services().ledger, services().now()
    accounts = account_documents(gateway, standings, jobs, now)
    taking = [account for account in accounts if account["state"] == "open"]
    pause = ledger.gateways.pause_of(gateway.name, gateway.open_names)
    standing = balances.first_to_end(standings, gateway)
    return {
        "name": gateway.name,
        **pause_fields(gateway, pause.until, pause.why, now),
        "in_flight": sum(account["in_flight"] for account in accounts),
        "max_in_flight": gateway.max_in_flight * len(taking),
        "submits_left_this_minute": sum(account["submits_left_this_minute"] for account in taking),
        "callbacks": {
            **callback_counts(gateway.name),
            "silent": ledger.learned_times.timings(now).is_silent(gateway.name),
        },
        "finish_s": finish_times(gateway.name, now),
        "balance": standing and balance_document(standing),
        "accounts": accounts,
        "price_table_version": services().prices.version,
    }


def pause_fields(gateway: GatewaySettings, until: int, why: str | None, now: int) -> dict[str, Any]:
    """Until when and why nothing new goes there, and what to do about it."""
    if until <= now:
        return {"paused_until": None, "why": None, "advice": None}
    advice = gateway_pauses.advice(gateway.name, why, gateway.key_name) if why else None
    return {"paused_until": moment(until), "why": why, "advice": advice}


def account_documents(
    gateway: GatewaySettings, standings: Mapping[str, Standing], jobs: Mapping[str, int], now: int
) -> list[dict[str, Any]]:
    """The accounts of a gateway, and those that have jobs and are in no setting. No key is shown."""
    names = [account.name for account in gateway.accounts]
    documents = []
    found = services().ledger.gateways.standings(gateway.name, names, now)
    for account, each in zip(gateway.accounts, found, strict=True):
        name = label(gateway.name, account.name)
        balance = standings.get(name)
        documents.append(
            {
                "name": account.name,
                "state": "drain" if account.drain else "open",
                "jobs": jobs.get(name, 0),
                **pause_fields(gateway, each.paused_until, each.why, now),
                "in_flight": each.in_flight,
                "max_in_flight": gateway.max_in_flight,
                "submits_left_this_minute": max(gateway.submits_per_minute - each.submits, 0),
                "balance": balance and balance_document(balance),
            }
        )
    missing = missing_among(jobs, services().settings.gateways)
    return documents + [missing_document(each) for each in missing if each.gateway == gateway.name]


def missing_document(missing: MissingAccount) -> dict[str, Any]:
    """An account that has jobs and is in no setting."""
    ledger = services().ledger
    return {
        "name": missing.account,
        "state": "missing",
        "jobs": missing.jobs,
        "paused_until": None,
        "why": None,
        "advice": missing.advice,
        "in_flight": ledger.gateways.in_flight(missing.gateway, missing.account),
        "max_in_flight": 0,
        "submits_left_this_minute": 0,
        "balance": None,
    }


def balance_document(standing: Standing) -> dict[str, Any]:
    """The balance of our account at a gateway, as it was read last."""
    balance = standing.balance
    return {
        "usd": money.text(balance.usd) if balance else None,
        "units": money.text(balance.units) if balance else None,
        "unlimited": balance is not None and balance.is_unlimited,
        "at": moment(standing.at),
        "days_left": standing.days_left,
        "problem": standing.problem,
    }


def callback_counts(name: str) -> dict[str, Any]:
    """How many ends of the newest jobs a callback reported, of those for which a callback was asked for."""
    jobs = services().ledger.overview.newest(None, JOBS_LOOKED_AT, provider=name)
    attempts = [attempt for job in jobs for attempt in job.attempts if attempt.provider == name]
    with_callback = [attempt for attempt in attempts if attempt.callback and attempt.heard_by]
    callback_times = [attempt.ended_at or 0 for attempt in with_callback if attempt.heard_by == "callback"]
    return {
        "asked": len(with_callback),
        "heard": len(callback_times),
        "last_heard_at": moment(max(callback_times, default=None)),
    }


def finish_times(name: str, now: int) -> list[dict[str, Any]]:
    """When half and nine in ten of the jobs are finished there, for each kind of job (timing.kind)."""
    timings = services().ledger.learned_times.of_gateway(name, now)
    return [
        {
            **dict(zip(("model", "mode"), kind.split("|")[1:3], strict=True)),
            "duration": int(kind.rpartition("|")[2]) or None,
            "p50_s": round(timing.quantile_s(0.5), 1),
            "p90_s": round(timing.quantile_s(0.9), 1),
            "jobs": timing.total,
        }
        for kind, timing in sorted(timings.items())
    ]


@gateways_api.post("/v1/gateways/<name>/resume")
@answers(200, openapi_responses.Gateway, "The gateway, no longer paused.")
@refuses(401, 403, 404, 429, 503)
def resume(name: str) -> Response:
    """End the pause of a gateway."""
    authenticate_admin()
    return jsonify(resume_gateway(name))


@gateways_api.post("/v1/gateways/<name>/pause")
@answers(200, openapi_responses.Gateway, "The gateway, paused.")
@refuses(401, 403, 404, 429, 503)
def pause(name: str) -> Response:
    """Send no new job to a gateway until it is resumed."""
    authenticate_admin()
    return jsonify(pause_gateway(name))


def resume_gateway(name: str) -> dict[str, Any]:
    """End the pause of a gateway and return it; raises 404."""
    gateway = enabled_gateway(name)
    accounts = [account.name for account in gateway.accounts]
    services().ledger.gateways.resume(name, services().settings.gateways, accounts)
    return gateway_documents([gateway])[0]


def pause_gateway(name: str) -> dict[str, Any]:
    """Pause a gateway until it is resumed, and return it; raises 404."""
    gateway = enabled_gateway(name)
    services().ledger.gateways.pause(name, gateway_pauses.OPERATOR, schedule.after(services().now(), UNTIL_RESUMED_S))
    return gateway_documents([gateway])[0]


def enabled_gateway(name: str) -> GatewaySettings:
    gateway = services().settings.gateways.get(name)
    if gateway is None:
        raise NotFound("There is no such gateway.")
    return gateway


@gateways_api.get("/v1/usage")
@answers(200, openapi_responses.Usage, "Entries by day, tenant and gateway; as JSON, or as CSV with a header.")
@answers_also(200, {"type": "string"}, CSV)
@refuses(401, 422, 429, 503)
@describes(parameters=DATE_RANGE)
def usage() -> Response:
    """What was made and spent, by day and gateway."""
    caller = authenticate()
    first, last = date_range(7)
    entries = [entry for day in days_between(first, last) for entry in usage_entries(day, caller.scope)]
    if request.accept_mimetypes.best_match(["application/json", CSV]) != CSV:
        response = jsonify({"data": entries})
    else:
        response = Response(usage_csv(entries), content_type=f"{CSV}; charset=utf-8; header=present")
        response.headers["Content-Disposition"] = f'attachment; filename="usage-{first}-{last}.csv"'
    response.vary.add("Accept")
    return response


def date_range(days: int) -> tuple[date, date]:
    """First and last day that the query asks for, the last `days` days by default; raises Unacceptable 422."""
    last = queried_day("to", date.fromisoformat(counters.day_of(services().now())))
    first = queried_day("from", date.fromordinal(max(last.toordinal() - days + 1, 1)))
    if not 0 <= (last - first).days < DAYS_MAX:
        problem = {"from": [f"After `to`, or more than {DAYS_MAX} days before it."]}
        raise Unacceptable("invalid_request", "The query does not fit: from.", 422, problem)
    return first, last


def days_between(first: date, last: date) -> list[str]:
    return [str(first + timedelta(days=step)) for step in range((last - first).days + 1)]


def queried_day(name: str, default: date) -> date:
    """The day that a query parameter names, as a date or as a time on that day; raises Unacceptable 422."""
    text = request.args.get(name)
    if not text:
        return default
    match = DAY.fullmatch(text)
    try:
        return date.fromisoformat(match[1] if match else "")
    except ValueError:
        problem = {name: ["Not a day as YYYY-MM-DD."]}
        raise Unacceptable("invalid_request", f"The query does not fit: {name}.", 422, problem) from None


def usage_entries(day: str, scope: str | None) -> list[dict[str, Any]]:
    """The usage of a day, one entry for each tenant and gateway."""
    totals = counters.by_gateway(services().ledger.totals.usage(day), scope)
    return [
        {
            "day": day,
            "tenant": tenant,
            "provider": provider,
            "jobs": counts["jobs"],
            "completed": counts["completed"],
            "failed": counts["failed"],
            "seconds": counts["made_ms"] / 1000,
            "estimated_cost_usd": money.text(money.from_units(counts["estimated"])),
            "cost_usd": money.text(money.from_units(counts["actual"])),
            "reported_cost_usd": usd(counts["reported"]),
            "wasted_cost_usd": money.text(money.from_units(counts["wasted"])),
            "unpriced_jobs": counts["unpriced"],
            "differences": [
                {
                    **kind._asdict(),
                    "jobs": sums["jobs"],
                    "estimated_cost_usd": usd(sums["estimated"]),
                    "billed_cost_usd": usd(sums.get("billed", 0)),
                }
                for kind, sums in counters.differences_by_kind(counts).items()
            ],
        }
        for (tenant, provider), counts in sorted(totals.items())
        if counts["jobs"]
    ]


def usd(units: int) -> str | None:
    return money.text(money.from_units(units))
