"""How each gateway stands, and the hand that pauses it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from flask import redirect, render_template
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response

from rushes.shared.domain import counters, gateway_pauses, money, timing
from rushes.shared.providers import PROVIDERS
from rushes.webhook_receiver import gateways_api
from rushes.webhook_receiver.auth import Caller, services
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.session import visitor

# Why a gateway is paused; what to do about it says the API.
WHY = {
    gateway_pauses.OPERATOR: "Paused by an operator",
    "key_rejected": "Its key is refused",
    "insufficient_balance": "The account there is empty",
    "address_moved": "Its address has moved",
    "rate_limited": "It asks us to slow down",
    "unavailable": "It does not answer",
}


@dataclass(frozen=True, slots=True)
class FinishTimes:
    """By when half and nine in ten of a gateway's clips are finished, in seconds; None where none is yet."""

    clips: int = 0
    p50_s: float | None = None
    p90_s: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a tenant has held or spent today, of what it may; no limit where `limit_usd` is None."""

    tenant: str
    used_usd: Decimal
    limit_usd: Decimal | None

    @property
    def tone(self) -> str:
        if not self.limit_usd:
            return ""
        return "bad" if self.used_usd >= self.limit_usd else "warn" if self.used_usd * 5 >= self.limit_usd * 4 else ""


@console.get("/gateways")
def gateways() -> str:
    """Every enabled gateway."""
    asking = visitor()
    today = counters.day_of(services().now())
    spent = spent_today(today, asking)
    shown = [
        view(gateways_api.standing(gateway), spent.get(gateway.name, money.ZERO))
        for gateway in services().settings.gateways.values()
    ]
    return render_template("gateways.html", gateways=shown, budgets=budgets(today, asking), admin=asking.is_admin)


@console.post("/gateways/<name>/pause")
def pause_gateway(name: str) -> Response:
    """Send nothing new there."""
    operator()
    gateways_api.paused(name)
    return redirect("/gateways?said=paused", 303)


@console.post("/gateways/<name>/resume")
def resume_gateway(name: str) -> Response:
    """Let it have jobs again."""
    operator()
    gateways_api.resumed(name)
    return redirect("/gateways?said=resumed", 303)


def operator() -> None:
    """Raise 403 for everybody but the administrator."""
    if not visitor().is_admin:
        raise Forbidden("Only the admin key may pause and resume a gateway. Sign in with it.")


def view(standing: dict[str, Any], spent_usd: Decimal) -> dict[str, Any]:
    """A gateway as the page shows it."""
    name, until = standing["name"], standing["paused_until"]
    return {
        **standing,
        "up": until is None,
        "by_hand": standing["why"] == gateway_pauses.OPERATOR,
        "until": moment_ms(until),
        "heard_at": moment_ms(standing["callbacks"]["last_heard_at"]),
        "why": WHY.get(standing["why"] or "", "Paused"),
        "do": standing["advice"],
        "calls": calls(standing["callbacks"], PROVIDERS[name].calls_back, silent=is_silent(name)),
        "times": finish_times(name),
        "spent_usd": spent_usd,
    }


def moment_ms(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


def is_silent(name: str) -> bool:
    """Whether the newest ends came without their callbacks."""
    return services().ledger.learned_times.timings(services().now()).is_silent(name)


def calls(callbacks: dict[str, Any], asks: bool, silent: bool) -> tuple[str, str, str]:
    """How its callbacks have been arriving: tone, word, and what that means."""
    asked, heard = callbacks["asked"], callbacks["heard"]
    told = f"{heard} of the last {asked} ends."
    if not asks:
        return "off", "Polled", "It never calls back."
    if services().settings.public_url is None:
        return "off", "Polled", "None are asked for: RUSHES_PUBLIC_URL is unset."
    if not asked:
        return "wait", "None yet", "No task that ended had a callback asked for."
    if silent or (heard == 0 and asked >= timing.SILENT):
        return "warn", "Silent", f"{told} Polls find them instead: is RUSHES_PUBLIC_URL reached from outside?"
    return ("good", "Arriving", told) if heard * 2 >= asked else ("warn", "Some arrive", told)


def finish_times(gateway: str) -> FinishTimes:
    """How long it has been taking from submit to end, whatever the model and the length."""
    counts: Counter[int] = Counter()
    for each in services().ledger.learned_times.of_gateway(gateway, services().now()).values():
        counts.update(each.counts)
    known = timing.Timing(counts)
    return FinishTimes(known.total, known.quantile_s(0.5), known.quantile_s(0.9)) if counts else FinishTimes()


def spent_today(day: str, asking: Caller) -> dict[str, Decimal]:
    """What the visitor may see of today's spending, by gateway."""
    spent: dict[str, Decimal] = {}
    for (_, gateway), counts in counters.by_gateway(services().ledger.totals.usage(day), asking.scope).items():
        spent[gateway] = spent.get(gateway, money.ZERO) + money.from_units(counts["actual"])
    return spent


def budgets(day: str, asking: Caller) -> list[Budget]:
    """Today's budget of the visitor; of every tenant that spent something, for the administrator."""
    held, limit = services().ledger.totals.committed(day), services().settings.daily_budget_usd
    tenants = sorted(held) if asking.scope is None else [asking.scope]
    return [Budget(tenant, money.from_units(int(held.get(tenant, 0))), limit) for tenant in tenants]
