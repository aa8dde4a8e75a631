"""Counts since the ledger was new, as Prometheus counters and histograms."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from rushes.shared.domain.metric_counters import BEYOND, EDGES_S, VERDICTS
from rushes.webhook_receiver import callback_counts

# Kind of count: (name, help, labels). The fields of the ledger hold the labels in this order.
COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "created": ("jobs_created", "Jobs accepted.", ()),
    "ended": ("jobs_ended", "Jobs that ended, and the error of those that failed.", ("state", "code")),
    "submits": ("submits", "Paid calls by outcome.", ("gateway", "verdict", "reason")),
    "bills": (
        "bills",
        "Bills compared with their estimates, by kind of work; those that differ by more than 5 % apart.",
        ("gateway", "model", "mode", "sound", "verdict"),
    ),
    "callbacks": ("callbacks", "Callbacks by verdict.", ("gateway", "verdict")),
}
TIMES: dict[str, tuple[str, str]] = {
    "task": ("task_seconds", "From the submit to the report that the clip is made."),
    "lag": ("archive_lag_seconds", "From the report that the clip is made to the clip in the bucket."),
    "left": (
        "archive_link_left_seconds",
        "How long the link of the gateway was still valid when the clip was in the bucket.",
    ),
}
POLLS_EDGES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
WORDS_MAX = 50
# Errors whose first occurrence an operator should see: their counters exist from 0 on.
ERRORS = ("timed_out", "submit_unconfirmed", "result_expired", "result_invalid", "archive_failed", "provider_error")

Table = Mapping[tuple[str, ...], int]


def counter_families(tallies: Mapping[str, str], drift: Mapping[str, str], gateways: Iterable[str]) -> Iterator[Metric]:
    """All counters and histograms. Those of enabled gateways start at 0, or increase() would miss their first step."""
    tables = by_kind(tallies)
    tables["ended"] = ended_counts(tables)
    tables["created"].setdefault((), 0)
    for name in gateways:
        for verdict in {*VERDICTS.values()} - {"refused"}:
            tables["submits"].setdefault((name, verdict, ""), 0)
        for verdict in callback_counts.VERDICTS:
            tables["callbacks"].setdefault((name, verdict), 0)
    for kind, (name, help_text, labels) in COUNTERS.items():
        yield counter(name, help_text, labels, tables[kind])
    yield counter(
        "drift_words", "Status words of a gateway that no document knows.", ("gateway", "word"), drift_words(drift)
    )
    yield polls_histogram(tables["polls"])
    for kind, (name, help_text) in TIMES.items():
        yield duration_histogram(name, help_text, EDGES_S[kind], tables[kind])


def by_kind(tallies: Mapping[str, str]) -> defaultdict[str, dict[tuple[str, ...], int]]:
    tables: defaultdict[str, dict[tuple[str, ...], int]] = defaultdict(dict)
    for field, count in tallies.items():
        kind, *labels = field.split("|")
        tables[kind][tuple(labels)] = int(count)
    return tables


def ended_counts(tables: Mapping[str, Table]) -> dict[tuple[str, ...], int]:
    """Ended jobs; a completed job has no counter of its own and is counted by the histogram of its archive."""
    completed = sum(count for (*_, edge), count in tables.get("lag", {}).items() if edge != "ms")
    return {("completed", ""): completed, **{("failed", code): 0 for code in ERRORS}, **tables.get("ended", {})}


def drift_words(drift: Mapping[str, str]) -> Table:
    """The most frequent words: a gateway that makes up words must not create metrics without end."""
    most = Counter({field: int(count) for field, count in drift.items()}).most_common(WORDS_MAX)
    return {tuple(field.split("|", 1)): count for field, count in most}


def counter(name: str, help_text: str, labels: tuple[str, ...], table: Table) -> Metric:
    family = CounterMetricFamily(f"rushes_{name}", help_text, labels=labels)
    for values, count in sorted(table.items()):
        family.add_metric(values, count)
    return family


def polls_histogram(table: Table) -> Metric:
    help_text = "Polls before a task ended, by who reported the end, and whether a callback was asked for."
    family = HistogramMetricFamily("rushes_polls_per_task", help_text, labels=("gateway", "heard_by", "callback"))
    for labels, counts in grouped(table).items():
        numbers = {float(number): count for number, count in counts.items()}
        total = sum(number * count for number, count in numbers.items())
        family.add_metric(labels, buckets(POLLS_EDGES, numbers), total)
    return family


def duration_histogram(name: str, help_text: str, edges: Iterable[int], table: Table) -> Metric:
    family = HistogramMetricFamily(f"rushes_{name}", help_text, labels=("gateway",))
    for labels, counts in grouped(table).items():
        total_ms = counts.pop("ms", 0)
        family.add_metric(
            labels, buckets(edges, {float(edge): count for edge, count in counts.items()}), total_ms / 1000
        )
    return family


def grouped(table: Table) -> dict[tuple[str, ...], dict[str, int]]:
    """Group by all labels but the last, which is the measured value."""
    groups: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for (*labels, value), count in sorted(table.items()):
        groups[tuple(labels)][value] = count
    return dict(groups)


def buckets(edges: Iterable[int], counts: Mapping[float, int]) -> list[tuple[str, float]]:
    """Cumulative buckets; a value counted under edges of another version falls into the next larger one."""
    upper_edges = [*edges, float(BEYOND)]
    totals = [sum(count for value, count in counts.items() if value <= edge) for edge in upper_edges]
    names = ["+Inf" if edge == float(BEYOND) else str(edge) for edge in upper_edges]
    return list(zip(names, totals, strict=True))
