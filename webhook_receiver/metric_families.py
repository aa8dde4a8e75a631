"""What was counted since the ledger was new, as Prometheus wants it: counters, and histograms by their buckets."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from rushes.shared.domain.metric_counters import BEYOND, EDGES_S, VERDICTS
from rushes.webhook_receiver import callback_counts

# What is counted: (name, help, labels); the fields of the ledger hold the labels in this order.
COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "created": ("jobs_created", "Jobs taken in.", ()),
    "ended": ("jobs_ended", "Jobs that came to their end, and the error of those that failed.", ("state", "code")),
    "submits": ("submits", "What became of paid calls.", ("gateway", "verdict", "reason")),
    "callbacks": ("callbacks", "Callbacks by what became of them.", ("gateway", "verdict")),
}
TIMES: dict[str, tuple[str, str]] = {
    "task": ("task_seconds", "From the submit to the word that the clip is made."),
    "lag": ("archive_lag_seconds", "From the word that the clip is made to the clip in the bucket."),
    "left": ("archive_link_left_seconds", "How long the gateway's link still lived when the clip was in the bucket."),
}
POLLS_EDGES = (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89)
WORDS_MAX = 50
# Whatever else a job may fail of: of these somebody should look at the first one.
ERRORS = ("timed_out", "submit_unconfirmed", "result_expired", "result_invalid", "archive_failed", "provider_error")

Table = Mapping[tuple[str, ...], int]


def counted(tallies: Mapping[str, str], drift: Mapping[str, str], gateways: Iterable[str]) -> Iterator[Metric]:
    """All counters and histograms; those of enabled gateways from 0 on, or their first step would not show."""
    tables = by_kind(tallies)
    tables["ended"] = ended(tables)
    tables["created"].setdefault((), 0)
    for name in gateways:
        for verdict in {*VERDICTS.values()} - {"refused"}:
            tables["submits"].setdefault((name, verdict, ""), 0)
        for verdict in callback_counts.VERDICTS:
            tables["callbacks"].setdefault((name, verdict), 0)
    for kind, (name, told, labels) in COUNTERS.items():
        yield counter(name, told, labels, tables[kind])
    yield counter("drift_words", "Words of a gateway that no document knows.", ("gateway", "word"), words(drift))
    yield polls(tables["polls"])
    for kind, (name, told) in TIMES.items():
        yield times(name, told, EDGES_S[kind], tables[kind])


def by_kind(tallies: Mapping[str, str]) -> defaultdict[str, dict[tuple[str, ...], int]]:
    tables: defaultdict[str, dict[tuple[str, ...], int]] = defaultdict(dict)
    for field, count in tallies.items():
        kind, *labels = field.split("|")
        tables[kind][tuple(labels)] = int(count)
    return tables


def ended(tables: Mapping[str, Table]) -> dict[tuple[str, ...], int]:
    """A completed job is counted by how long its archive took, and nowhere else."""
    completed = sum(count for (*_, edge), count in tables.get("lag", {}).items() if edge != "ms")
    return {("completed", ""): completed, **{("failed", code): 0 for code in ERRORS}, **tables.get("ended", {})}


def words(drift: Mapping[str, str]) -> Table:
    """The words heard most: a gateway that makes up words must not make up metrics without end."""
    most = Counter({field: int(count) for field, count in drift.items()}).most_common(WORDS_MAX)
    return {tuple(field.split("|", 1)): count for field, count in most}


def counter(name: str, told: str, labels: tuple[str, ...], table: Table) -> Metric:
    family = CounterMetricFamily(f"rushes_{name}", told, labels=labels)
    for values, count in sorted(table.items()):
        family.add_metric(values, count)
    return family


def polls(table: Table) -> Metric:
    told = "Polls of a task that told no end, by who told the end, and whether a callback was asked for."
    family = HistogramMetricFamily("rushes_polls_per_task", told, labels=("gateway", "heard_by", "callback"))
    for labels, held in grouped(table).items():
        numbers = {float(number): count for number, count in held.items()}
        total = sum(number * count for number, count in numbers.items())
        family.add_metric(labels, buckets(POLLS_EDGES, numbers), total)
    return family


def times(name: str, told: str, edges: Iterable[int], table: Table) -> Metric:
    family = HistogramMetricFamily(f"rushes_{name}", told, labels=("gateway",))
    for labels, held in grouped(table).items():
        total_ms = held.pop("ms", 0)
        family.add_metric(labels, buckets(edges, {float(edge): n for edge, n in held.items()}), total_ms / 1000)
    return family


def grouped(table: Table) -> dict[tuple[str, ...], dict[str, int]]:
    """By all labels but the last, which is the value counted."""
    groups: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for (*labels, value), count in sorted(table.items()):
        groups[tuple(labels)][value] = count
    return dict(groups)


def buckets(edges: Iterable[int], counts: Mapping[float, int]) -> list[tuple[str, float]]:
    """Cumulative; what was counted under edges of another version falls into the next larger one."""
    ups = [*edges, float(BEYOND)]
    return [("+Inf" if up == float(BEYOND) else str(up), sum(n for at, n in counts.items() if at <= up)) for up in ups]
