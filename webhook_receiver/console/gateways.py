"""The page of the gateways: their state, pause and resume."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from flask import redirect, render_template, url_for
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response

from rushes.shared.domain import counters, gateway_pauses, money, timing
from rushes.shared.domain.accounts import DEFAULT
from rushes.shared.domain.balances import LOW_DAYS, duration_text
from rushes.shared.operations.accounts import missing_accounts
from rushes.shared.providers import PROVIDERS
from rushes.webhook_receiver import gateways_api
from rushes.webhook_receiver.auth import Caller, services
from rushes.webhook_receiver.console import console
from rushes.webhook_receiver.console.formatting import usd
from rushes.webhook_receiver.console.session import require_sign_in

# Why a gateway is paused; what to do about it comes from the API (`advice`).
WHY = {
    gateway_pauses.OPERATOR: "Paused by an operator",
    "key_rejected": "Its key is refused",
    "insufficient_balance": "The account there is empty",
    "address_moved": "Its address has moved",
    "rate_limited": "It asks Rushes to slow down",
    "unavailable": "It does not answer",
}


@dataclass(frozen=True, slots=True)
class FinishTimes:
    """When half and nine in ten of a gateway's clips are finished, in seconds; None before the first clip."""

    clips: int = 0
    p50_s: float | None = None
    p90_s: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What a tenant has reserved or spent today, and its budget; no budget where `limit_usd` is None."""

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
    visitor = require_sign_in()
    today = counters.day_of(services().now())
    spent = spent_today(today, visitor)
    views = [
        gateway_view(document, spent.get(document["name"], money.ZERO))
        for document in gateways_api.gateway_documents(services().settings.gateways.values())
    ]
    enabled = services().settings.gateways
    orphans = [each for each in missing_accounts(services().ledger, enabled) if each.gateway not in enabled]
    return render_template(
        "gateways.html", gateways=views, orphans=orphans, budgets=budgets(today, visitor), admin=visitor.is_admin
    )


@console.post("/gateways/<name>/pause")
def pause_gateway(name: str) -> Response:
    """Send no new job to a gateway."""
    require_admin()
    gateways_api.pause_gateway(name)
    return redirect(url_for("console.gateways", done="paused"), 303)


@console.post("/gateways/<name>/resume")
def resume_gateway(name: str) -> Response:
    """Send jobs to a gateway again."""
    require_admin()
    gateways_api.resume_gateway(name)
    return redirect(url_for("console.gateways", done="resumed"), 303)


def require_admin() -> None:
    """Raise 403 for everybody but the administrator."""
    if not require_sign_in().is_admin:
        raise Forbidden("Only the admin key may pause and resume a gateway. Sign in with it.")


def gateway_view(document: dict[str, Any], spent_usd: Decimal) -> dict[str, Any]:
    """A gateway, as the page shows it."""
    name, until = document["name"], document["paused_until"]
    return {
        **document,
        "up": until is None,
        "by_hand": document["why"] == gateway_pauses.OPERATOR,
        "until": moment_ms(until),
        "last_callback_at": moment_ms(document["callbacks"]["last_heard_at"]),
        "why": WHY.get(document["why"] or "", "Paused"),
        "callback_status": callback_status(document["callbacks"], can_call(name), silent=is_silent(name)),
        "times": finish_times(name),
        "spent_usd": spent_usd,
        "balance_status": balance_status(document["balance"]),
        "balance_at": moment_ms(document["balance"]["at"]) if document["balance"] else None,
        "accounts": account_views(document),
    }


def account_views(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The accounts of a gateway, as the page shows them; none where the gateway has its one key and nothing else."""
    accounts = document["accounts"]
    if [account["name"] for account in accounts] == [DEFAULT] and accounts[0]["state"] != "missing":
        return []
    return [
        {
            **account,
            "status": account_status(account),
            "until": moment_ms(account["paused_until"]),
            "why": WHY.get(account["why"] or "", "Paused"),
            "balance_status": balance_status(account["balance"]),
        }
        for account in accounts
    ]


def account_status(account: dict[str, Any]) -> tuple[str, str]:
    """Tone and label of an account's state."""
    if account["state"] == "missing":
        return "bad", "Missing"
    if account["paused_until"]:
        return "bad", "Paused"
    return ("off", "Drain") if account["state"] == "drain" else ("good", "Up")


def can_call(name: str) -> bool:
    """Whether a gateway calls back, at our address where there is one."""
    return PROVIDERS[name].can_call(services().settings.public_url or "https://rushes.example")


def moment_ms(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)


def is_silent(name: str) -> bool:
    """Whether the last ends came without a callback."""
    return services().ledger.learned_times.timings(services().now()).is_silent(name)


def callback_status(callbacks: dict[str, Any], calls_back: bool, silent: bool) -> tuple[str, str, str]:
    """How the callbacks have been arriving: tone, label, and an explanation."""
    asked, heard = callbacks["asked"], callbacks["heard"]
    share = f"{heard} of the last {asked} ends."
    if not calls_back:
        return "off", "Polled", "It never calls back, or not at RUSHES_PUBLIC_URL."
    if services().settings.public_url is None:
        return "off", "Polled", "No callbacks are asked for: RUSHES_PUBLIC_URL is unset."
    if not asked:
        return "wait", "None yet", "No callback was asked for any task that has ended."
    if silent or (heard == 0 and asked >= timing.SILENT):
        return (
            "warn",
            "Silent",
            f"{share} Polls find them instead. Can RUSHES_PUBLIC_URL be reached from outside?",
        )
    return ("good", "Arriving", share) if heard * 2 >= asked else ("warn", "Some arrive", share)


def balance_status(balance: dict[str, Any] | None) -> tuple[str, str, str]:
    """What is known of the balance: tone, text, and an explanation."""
    if balance is None:
        return "off", "Not told", ""
    problem = f"It could not be read just now: {balance['problem']}." if balance["problem"] else ""
    if balance["unlimited"]:
        return "good", "Unlimited", problem
    if balance["usd"] is None and balance["units"] is None:
        return "warn", "Unknown", problem
    days_left = balance["days_left"]
    is_empty = balance["usd"] is not None and Decimal(balance["usd"]) <= 0
    tone = "warn" if is_empty or (days_left is not None and days_left < LOW_DAYS) else ""
    lasts = f"Lasts about {duration_text(days_left)} at this week's rate." if days_left is not None else ""
    cash = "No package has units left; of cash nothing is told." if balance["units"] == "0" else ""
    amount = usd(balance["usd"]) if balance["units"] is None else f"{balance['units']} units"
    return tone, amount, " ".join(filter(None, (lasts, cash, problem)))


def finish_times(gateway: str) -> FinishTimes:
    """How long jobs took from submit to end, over all models and lengths."""
    counts: Counter[int] = Counter()
    for each in services().ledger.learned_times.of_gateway(gateway, services().now()).values():
        counts.update(each.counts)
    times = timing.Timing(counts)
    return FinishTimes(times.total, times.quantile_s(0.5), times.quantile_s(0.9)) if counts else FinishTimes()


def spent_today(day: str, visitor: Caller) -> dict[str, Decimal]:
    """Today's spending by gateway, as far as the visitor may see it."""
    spent: dict[str, Decimal] = {}
    for (_, gateway), counts in counters.by_gateway(services().ledger.totals.usage(day), visitor.scope).items():
        spent[gateway] = spent.get(gateway, money.ZERO) + money.from_units(counts["actual"])
    return spent


def budgets(day: str, visitor: Caller) -> list[Budget]:
    """Today's budget of the visitor; for the administrator, of every tenant that spent something."""
    committed, tenants = services().ledger.totals.committed(day), services().settings.tenants
    names = sorted(committed) if visitor.scope is None else [visitor.scope]
    spent = {name: money.from_units(int(committed.get(name, 0))) for name in names}
    return [Budget(name, used_usd, tenants[name].daily_budget_usd) for name, used_usd in spent.items()]
