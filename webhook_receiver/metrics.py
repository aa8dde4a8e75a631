"""What Prometheus is told: read from the ledger at each scrape, so right with any number of processes.

Every web process tells the same numbers: of several, aggregate with `max`, never with `sum`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from flask import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from rushes.shared import __version__
from rushes.shared.domain import counters, money, schedule
from rushes.shared.domain.job import State
from rushes.shared.operations import overdue
from rushes.shared.services import Services
from rushes.webhook_receiver.auth import services
from rushes.webhook_receiver.callback_counts import visits
from rushes.webhook_receiver.metric_families import counted
from rushes.webhook_receiver.openapi import OPEN, answers, blueprint, notes, refuses

metrics = blueprint("metrics", "For Prometheus.")

# Of the jobs that the gateways have, so many of the oldest are looked at for those that are stuck.
RUNNING_LOOKED_AT = 100
# The link that dies first is sought among so many archiving jobs, the oldest.
LINKS_LOOKED_AT = 100

Samples = Iterable[tuple[tuple[str, ...], float]]


@metrics.get("/metrics")
@answers(200, {"type": "string"}, "Prometheus text.", kind="text/plain")
@refuses(503)
@notes(security=OPEN)
def scrape() -> Response:
    """All metrics, as the ledger has them now."""
    visits().write()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything(services()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class Everything:
    """All there is to tell at one moment."""

    def __init__(self, parts: Services) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """The metrics; raises LedgerUnavailable."""
        parts, now = self._parts, self._parts.now()
        yield from ours(parts, now)
        yield from at_gateways(parts, now)
        yield from spent(parts, now)
        ledger = parts.ledger
        yield from counted(ledger.totals.metrics(), ledger.gateways.unknown_words(), parts.settings.gateways)


def gauge(name: str, told: str, samples: Samples, *labels: str) -> Metric:
    """A gauge with its samples; without any it is still named."""
    family = GaugeMetricFamily(f"rushes_{name}", told, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def ours(parts: Services, now: int) -> Iterator[Metric]:
    """Where the jobs stand, and how late we are."""
    ledger = parts.ledger
    about = ((__version__, parts.prices.version), 1)
    yield gauge("info", "The version that runs.", [about], "version", "price_table")
    counts = {(state.value,): number for state, number in ledger.overview.counts(None).items()}
    yield gauge("jobs", "Jobs in the ledger; a finished one leaves after the retention.", counts.items(), "state")
    late = {(kind,): late_s for kind, late_s in overdue.overdue_s(ledger, parts.settings.gateways, now).items()}
    yield gauge("oldest_overdue_seconds", "How long the job that waits longest waits for us.", late.items(), "work")
    links = [job.current.link for job in ledger.overview.oldest(State.ARCHIVING, LINKS_LOOKED_AT)]
    ends = [link.expires_at for link in links if link and link.expires_at]
    left = [((), (min(ends) - now) / schedule.SECOND)] if ends else []
    yield gauge("link_life_left_seconds", "Until the first link of a clip that is not archived yet dies.", left)
    yield gauge("workers", "Workers that have shown themselves lately.", [((), ledger.workers(now))])


def at_gateways(parts: Services, now: int) -> Iterator[Metric]:
    """How full and how well each gateway is."""
    gateways, ledger = parts.settings.gateways, parts.ledger
    health = {name: ledger.gateways.health(name) for name in gateways}
    pauses = {name: max(int(known.get("paused_until", 0)) - now, 0) / schedule.SECOND for name, known in health.items()}
    why = {name: known.get("why", "") for name, known in health.items()}
    caps = {name: (held.max_in_flight, held.submits_per_minute) for name, held in gateways.items()}
    full: dict[str, tuple[str, dict[str, float]]] = {
        "in_flight": ("Jobs that a gateway has.", {name: ledger.gateways.in_flight(name) for name in gateways}),
        "in_flight_max": (
            "The most that it is given at once.",
            {n: most for n, (most, _) in caps.items()},
        ),
        "submits_last_minute": (
            "Submits of the last minute.",
            {n: ledger.gateways.submits_last_minute(n, now) for n in gateways},
        ),
        "submits_per_minute_max": (
            "The most in a minute.",
            {n: most for n, (_, most) in caps.items()},
        ),
        "pause_left_seconds": ("Until its pause ends; 0 where it is well.", pauses),
    }
    for name, (told, by_gateway) in full.items():
        samples = {(gateway,): number for gateway, number in by_gateway.items()}
        yield gauge(f"gateway_{name}", told, samples.items(), "gateway")
    learned_times = ledger.learned_times.timings(now)
    running = ledger.overview.oldest(State.RUNNING, RUNNING_LOOKED_AT)
    stuck = Counter(job.provider for job in running if learned_times.is_stuck(job, now))
    samples = {(name,): stuck[name] for name in gateways}
    yield gauge("jobs_stuck", "Jobs older than the times of finished ones make likely.", samples.items(), "gateway")
    paused = {(name, why[name] if left_s else ""): float(left_s > 0) for name, left_s in pauses.items()}
    yield gauge("gateway_paused", "1 while nothing new goes there, and why.", paused.items(), "gateway", "why")
    strikes = {(name, why[name]): float(known.get("strikes", 0)) for name, known in health.items()}
    yield gauge("gateway_strikes", "Refusals in a row that were its own trouble.", strikes.items(), "gateway", "why")


def spent(parts: Services, now: int) -> Iterator[Metric]:
    """The money of the UTC day."""
    day, ledger, budget = counters.day_of(now), parts.ledger, parts.settings.daily_budget_usd
    held = {(tenant,): usd(units) for tenant, units in ledger.totals.committed(day).items()}
    yield gauge("day_committed_usd", "Held or spent this UTC day.", held.items(), "tenant")
    limit = [((), float(budget))] if budget is not None else []
    yield gauge("day_budget_usd", "What a tenant may hold and spend in a UTC day, where it is bounded.", limit)
    by_gateway = counters.by_gateway(ledger.totals.usage(day), None)
    for what, told in (("estimated", "Estimated"), ("actual", "Actual"), ("wasted", "Paid for what failed")):
        samples = {names: usd(counts[what]) for names, counts in by_gateway.items()}
        yield gauge(f"day_{what}_usd", f"{told}, this UTC day.", samples.items(), "tenant", "gateway")


def usd(units: str | int) -> float:
    return float(money.from_units(int(units)))
