"""What stands now that an operator or a tenant wants to know of: one function a code of CONTRACT.md, Alerts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from rushes.shared.domain import balances as balance_rules
from rushes.shared.domain import bills, counters, gateway_pauses, money, schedule
from rushes.shared.domain.accounts import DEFAULT, of_label
from rushes.shared.domain.alerts import CRITICAL, INFO, WARNING, Alert
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import State
from rushes.shared.intake import catalog
from rushes.shared.operations import accounts, balances, overdue
from rushes.shared.services import Services

GATEWAYS, SPEND = "/gateways", "/spend"
# Those that only somebody can end; the others are said where they last.
NEEDS_OPERATOR = frozenset({Reason.KEY.value, Reason.BALANCE.value, Reason.MOVED.value, gateway_pauses.OPERATOR})
PAUSE_LASTS_S = 600
# Kling's settle themselves, and a callback settles others, mostly within this.
UNCONFIRMED_AFTER_S = 600
LINK_LEFT_S = 4 * 3600
LINKS_LOOKED_AT = 100
OVERDUE_S, OVERDUE_AFTER_S = 60, 60


def standing(services: Services, now: int) -> list[Alert]:
    """All that stands now. Raises LedgerUnavailable."""
    return [alert for look in LOOKS for alert in look(services, now)]


def budgets(services: Services, now: int) -> Iterator[Alert]:
    """What tenants have reserved or spent of their budgets of this UTC day and this month."""
    days = counters.days_of_month(now)
    by_day = {day: services.ledger.totals.committed(day) for day in days}
    for tenant in sorted({name for committed in by_day.values() for name in committed}):
        settings, today = services.settings.tenants[tenant], counters.day_of(now)
        yield from _budget(tenant, today, settings.daily_budget_usd, [by_day.get(today, {}).get(tenant, 0)])
        in_month = [committed.get(tenant, 0) for committed in by_day.values()]
        yield from _budget(tenant, today[:7], settings.monthly_budget_usd, in_month)


def _budget(tenant: str, period: str, limit_usd: Decimal | None, units: Sequence[str | int]) -> Iterator[Alert]:
    used_usd = money.from_units(sum(int(each) for each in units))
    for code, percent, severity in (("budget_80", 80, WARNING), ("budget_100", 100, CRITICAL)):
        if limit_usd and used_usd * 100 >= limit_usd * percent:
            value, limit = f"{used_usd:.2f}", f"{limit_usd:f}"
            text = f"{tenant} has reserved or spent {value} of {limit} USD in {period} (UTC)"
            after = ", so its further jobs fail as budget_exceeded" if percent == 100 else ""
            yield Alert(code, severity, f"{text}{after}.", value, limit, None, tenant, period, SPEND)


def pauses(services: Services, now: int) -> Iterator[Alert]:
    for name, gateway in services.settings.gateways.items():
        pause = services.ledger.gateways.pause_of(name, gateway.open_names)
        if pause.until <= now:
            continue
        why = pause.why or ""
        severity = INFO if why == gateway_pauses.OPERATOR else CRITICAL if why in NEEDS_OPERATOR else WARNING
        after_s = 0 if why in NEEDS_OPERATOR else PAUSE_LASTS_S
        text = f"{name} gets no new jobs: {why}. {gateway_pauses.advice(name, why, gateway.key_name)}"
        yield Alert("gateway_paused", severity, text, why, gateway=name, detail=why, path=GATEWAYS, after_s=after_s)


def missing_accounts(services: Services, now: int) -> Iterator[Alert]:
    """Accounts that have jobs of ours, and whose key is in the settings no more."""
    for each in accounts.missing_accounts(services.ledger, services.settings.gateways):
        jobs = "1 job of ours" if each.jobs == 1 else f"{each.jobs} jobs of ours"
        name = f"Account {each.account} of {each.gateway}"
        text = f"{name} has {jobs}, and its key is not in the settings. They wait for it."
        value, detail = str(each.jobs), each.account
        yield Alert("account_missing", CRITICAL, text, value, gateway=each.gateway, detail=detail, path=GATEWAYS)


def low_balances(services: Services, now: int) -> Iterator[Alert]:
    for name, each in balances.standings(services.ledger, services.settings.gateways, now).items():
        usd, days = each.balance.usd if each.balance else None, each.days_left
        is_empty = usd is not None and usd <= 0
        if is_empty or (days is not None and days < balance_rules.LOW_DAYS):
            lasts = (
                "is used up" if is_empty else f"lasts for {balance_rules.duration_text(days or 0)} at this week's rate"
            )
            value = "0" if is_empty else f"{days:g}"
            text = f"The balance at {name} {lasts}. Top it up."
            limit, severity = str(balance_rules.LOW_DAYS), CRITICAL if is_empty else WARNING
            gateway, account = of_label(name)
            detail = "" if account == DEFAULT else account
            yield Alert("balance_low", severity, text, value, limit, gateway, detail=detail, path=GATEWAYS)


def drifting_costs(services: Services, now: int) -> Iterator[Alert]:
    for name in services.settings.gateways:
        for kind, recent in sorted(services.ledger.bill_history.recent(name).items()):
            if abs(recent.mean_ratio - 1) > bills.TOLERANCE:
                value, what = f"{recent.mean_ratio.normalize():f}", ", ".join(kind)
                text = f"{name} bills {value} times the estimate for {what}, over its last {recent.count} bills."
                advice = "Correct the price in RUSHES_PRICES_FILE."
                limit, detail = f"{bills.TOLERANCE:f}", "/".join(kind)
                yield Alert("cost_drift", WARNING, f"{text} {advice}", value, limit, name, None, detail, SPEND)


def unknown_prices(services: Services, now: int) -> Iterator[Alert]:
    for (name, model), kinds in catalog.unknown_prices(services.settings.gateways, services.prices).items():
        if kinds:
            text = f"{name} offers {model}, and its price is unknown for {kinds} kinds of work: it is tried last there."
            advice = "Enter it in RUSHES_PRICES_FILE."
            yield Alert("price_unknown", INFO, f"{text} {advice}", str(kinds), None, name, None, model, GATEWAYS)


def unconfirmed(services: Services, now: int) -> Iterator[Alert]:
    jobs = services.ledger.overview.counts(None)[State.UNCONFIRMED]
    if jobs:
        text = f"{jobs} paid calls wait for an answer that never came. Look them up at the gateway, then decide."
        path = "/?state=unconfirmed"
        yield Alert("unconfirmed_waiting", WARNING, text, str(jobs), path=path, after_s=UNCONFIRMED_AFTER_S)


def links_at_risk(services: Services, now: int) -> Iterator[Alert]:
    links = [job.current.link for job in services.ledger.overview.oldest(State.ARCHIVING, LINKS_LOOKED_AT)]
    left_s = [(link.expires_at - now) // schedule.SECOND for link in links if link and link.expires_at]
    at_risk = [seconds for seconds in left_s if seconds < LINK_LEFT_S]
    if at_risk:
        hours = max(min(at_risk), 0) / 3600
        text = f"{len(at_risk)} paid clips are not archived, and the first link expires in {hours:.1f} hours."
        value, limit = str(max(min(at_risk), 0)), str(LINK_LEFT_S)
        yield Alert("links_at_risk", CRITICAL, text, value, limit, path="/?state=archiving")


def overdue_work(services: Services, now: int) -> Iterator[Alert]:
    oldest_s = overdue.oldest_s(services.ledger, services.settings.gateways, now)
    if oldest_s > OVERDUE_S:
        text = f"A job has waited {oldest_s:.0f} s for Rushes: scheduler or workers stand still, or are too few."
        yield Alert("oldest_overdue", CRITICAL, text, f"{oldest_s:.0f}", str(OVERDUE_S), after_s=OVERDUE_AFTER_S)


LOOKS = (
    *(budgets, pauses, missing_accounts, low_balances, drifting_costs),
    *(unknown_prices, unconfirmed, links_at_risk, overdue_work),
)
