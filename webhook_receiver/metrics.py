"""The metrics for Prometheus: read from the ledger at each scrape, so they are right with any number of processes.

Every web process returns the same numbers: over several, aggregate with `max`, never with `sum`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flask import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from rushes.shared import __version__
from rushes.shared.domain import alerts, counters, money, schedule
from rushes.shared.domain.job import State
from rushes.shared.intake import catalog
from rushes.shared.operations import balances, overdue, submit_hold
from rushes.shared.services import Services
from rushes.webhook_receiver.account_metrics import (
    account_balance_metrics,
    account_metrics,
    account_standings,
    open_ones,
)
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.callback_counts import callback_counts
from rushes.webhook_receiver.gauges import gauge
from rushes.webhook_receiver.metric_families import counter_families
from rushes.webhook_receiver.openapi import OPEN, answers, blueprint, describes, refuses

metrics = blueprint("metrics", "For Prometheus.")

# Stuck jobs are searched among so many of the oldest running ones.
RUNNING_LOOKED_AT = 100
# The link that expires first is searched among so many of the oldest archiving jobs.
LINKS_LOOKED_AT = 100


@metrics.get("/metrics")
@answers(200, {"type": "string"}, "Prometheus text.", kind="text/plain")
@refuses(503)
@describes(security=OPEN)
def scrape() -> Response:
    """All metrics, read from the ledger now."""
    callback_counts().write()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(services()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class LedgerCollector:
    """All metrics at one moment."""

    def __init__(self, parts: Services) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """The metrics; raises LedgerUnavailable."""
        parts, now = self._parts, self._parts.now()
        yield from job_metrics(parts, now)
        yield from gateway_metrics(parts, now)
        yield from money_metrics(parts, now)
        yield alert_metric(parts, now)
        ledger = parts.ledger
        yield from counter_families(ledger.totals.metrics(), ledger.gateways.unknown_words(), parts.settings.gateways)


def job_metrics(parts: Services, now: int) -> Iterator[Metric]:
    """Jobs by state, and how late the work is."""
    ledger = parts.ledger
    versions = ((__version__, parts.prices.version), 1)
    yield gauge("info", "The version that runs.", [versions], "version", "price_table")
    counts = {(state.value,): number for state, number in ledger.overview.counts(None).items()}
    yield gauge("jobs", "Jobs in the ledger; a finished one leaves after the retention.", counts.items(), "state")
    overdue_by_work = {
        (kind,): late_s for kind, late_s in overdue.overdue_s(ledger, parts.settings.gateways, now).items()
    }
    yield gauge(
        "oldest_overdue_seconds",
        "How long the job that waits longest has waited for Rushes.",
        overdue_by_work.items(),
        "work",
    )
    links = [job.current.link for job in ledger.overview.oldest(State.ARCHIVING, LINKS_LOOKED_AT)]
    expiries = [link.expires_at for link in links if link and link.expires_at]
    left = [((), (min(expiries) - now) / schedule.SECOND)] if expiries else []
    yield gauge("link_life_left_seconds", "Until the first link of a clip that is not archived yet expires.", left)
    yield gauge("workers", "Workers with a recent sign of life.", [((), ledger.workers(now))])
    is_held = submit_hold.reason(parts) is not None
    yield gauge("submits_held", "1 while no submit is sent: ledger and journal are compared.", [((), float(is_held))])
    has_problem = bool(ledger.broker_reports.problem(now))
    yield gauge(
        "broker_unreached", "1 while no scheduler gets a message through the broker.", [((), float(has_problem))]
    )


def gateway_metrics(parts: Services, now: int) -> Iterator[Metric]:
    """Load and health of each gateway."""
    gateways, ledger = parts.settings.gateways, parts.ledger
    accounts = {name: account_standings(gateway, ledger, now) for name, gateway in gateways.items()}
    found = {
        name: ledger.gateways.pause_of(name, gateway.open_names, open_ones(gateway, accounts[name]))
        for name, gateway in gateways.items()
    }
    pauses = {name: max(pause.until - now, 0) / schedule.SECOND for name, pause in found.items()}
    why = {name: pause.why or "" for name, pause in found.items()}
    caps = {
        name: (gateway.max_in_flight * len(gateway.open_names), gateway.submits_per_minute * len(gateway.open_names))
        for name, gateway in gateways.items()
    }
    unknown = catalog.unknown_prices(gateways, parts.prices)
    yield gauge(
        "prices_unknown",
        "Kinds of work of a model that an enabled gateway offers, and whose price is not known.",
        unknown.items(),
        "gateway",
        "model",
    )
    gauges: dict[str, tuple[str, dict[str, float]]] = {
        "in_flight": (
            "Jobs that a gateway has.",
            {name: sum(each.in_flight for each in standings) for name, standings in accounts.items()},
        ),
        "in_flight_max": (
            "The most jobs that it is given at once.",
            {name: cap for name, (cap, _) in caps.items()},
        ),
        "submits_last_minute": (
            "Submits of the last minute.",
            {name: sum(each.submits for each in standings) for name, standings in accounts.items()},
        ),
        "submits_per_minute_max": (
            "The most submits in a minute.",
            {name: cap for name, (_, cap) in caps.items()},
        ),
        "pause_left_seconds": ("Until its pause ends; 0 where it is not paused.", pauses),
    }
    for name, (help_text, by_gateway) in gauges.items():
        samples = {(gateway,): number for gateway, number in by_gateway.items()}
        yield gauge(f"gateway_{name}", help_text, samples.items(), "gateway")
    learned_times = ledger.learned_times.timings(now)
    running = ledger.overview.oldest(State.RUNNING, RUNNING_LOOKED_AT)
    stuck = Counter(job.provider for job in running if learned_times.is_stuck(job, now))
    samples = {(name,): stuck[name] for name in gateways}
    yield gauge("jobs_stuck", "Jobs that run longer than finished jobs make likely.", samples.items(), "gateway")
    paused = {(name, why[name] if left_s else ""): float(left_s > 0) for name, left_s in pauses.items()}
    yield gauge("gateway_paused", "1 while the gateway gets no new jobs, and why.", paused.items(), "gateway", "why")
    yield from balance_metrics(parts, now)
    strikes = {
        (name, why[name]): float(min((each.strikes for each in standings), default=0))
        for name, standings in accounts.items()
    }
    yield gauge(
        "gateway_strikes", "Refusals in a row for a reason of the gateway itself.", strikes.items(), "gateway", "why"
    )
    yield from account_metrics(gateways, accounts, ledger, now)


def balance_metrics(parts: Services, now: int) -> Iterator[Metric]:
    """The balances of our accounts at the gateways that tell them."""
    by_account = balances.standings(parts.ledger, parts.settings.gateways, now)
    yield from account_balance_metrics(by_account)
    # Of several accounts the one that ends first.
    ends = {name: balances.first_to_end(by_account, gateway) for name, gateway in parts.settings.gateways.items()}
    standings = {name: each for name, each in ends.items() if each}
    read = {name: each.balance.usd for name, each in standings.items() if each.balance}
    usd_left = {(name,): float(usd) for name, usd in read.items() if usd is not None}
    yield gauge("gateway_balance_usd", "What is left of the balance, as it was read last.", usd_left.items(), "gateway")
    units = {
        (name,): float(each.balance.units or 0)
        for name, each in standings.items()
        if each.balance and each.balance.units is not None
    }
    yield gauge("gateway_balance_units", "What is left of its packages, in its units.", units.items(), "gateway")
    days = {(name,): each.days_left for name, each in standings.items() if each.days_left is not None}
    yield gauge("gateway_balance_days_left", "How long it lasts at this week's rate.", days.items(), "gateway")
    ages = {(name,): (now - each.at) / schedule.SECOND for name, each in standings.items() if each.at}
    yield gauge("gateway_balance_age_seconds", "Since it was read.", ages.items(), "gateway")
    problems = {(name,): float(each.problem is not None) for name, each in standings.items()}
    yield gauge("gateway_balance_unread", "1 while it cannot be read.", problems.items(), "gateway")


def alert_metric(parts: Services, now: int) -> Metric:
    """What stands by the schedulers' last look; every code of the contract, so that 0 is seen too."""
    standing = Counter(episode.alert.code for episode in parts.ledger.alert_episodes.all() if episode.stands(now))
    samples = {(code,): float(standing[code]) for code in alerts.CODES}
    return gauge("alerts", "Alerts that stand, as operators are told.", samples.items(), "code")


def bill_metrics(parts: Services) -> Iterator[Metric]:
    """What the last bills were in estimates."""
    ratios = {
        (name, *kind): float(recent.mean_ratio)
        for name in parts.settings.gateways
        for kind, recent in parts.ledger.bill_history.recent(name).items()
    }
    help_text = "The last bills of a kind of work in estimates; 1 where they agree."
    yield gauge("bill_ratio", help_text, ratios.items(), "gateway", "model", "mode", "sound")


def money_metrics(parts: Services, now: int) -> Iterator[Metric]:
    """The money of the UTC day."""
    day, ledger, budget = counters.day_of(now), parts.ledger, parts.settings.daily_budget_usd
    committed = {(tenant,): usd(units) for tenant, units in ledger.totals.committed(day).items()}
    yield gauge("day_committed_usd", "Reserved or spent this UTC day.", committed.items(), "tenant")
    limit = [((), float(budget))] if budget is not None else []
    yield gauge("day_budget_usd", "What a tenant may reserve and spend in a UTC day, where there is a budget.", limit)
    by_gateway = counters.by_gateway(ledger.totals.usage(day), None)
    yield from bill_metrics(parts)
    kinds = (
        ("estimated", "Estimated"),
        ("actual", "Actual"),
        ("reported", "Told by the gateways"),
        ("wasted", "Paid for failures"),
    )
    for kind, help_text in kinds:
        samples = {names: usd(counts[kind]) for names, counts in by_gateway.items()}
        yield gauge(f"day_{kind}_usd", f"{help_text}, this UTC day.", samples.items(), "tenant", "gateway")


def usd(units: str | int) -> float:
    return float(money.from_units(int(units)))
