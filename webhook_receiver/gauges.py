"""Gauges for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric

Samples = Iterable[tuple[tuple[str, ...], float]]


def gauge(name: str, help_text: str, samples: Samples, *labels: str) -> Metric:
    """A gauge with its samples; without samples its name and help text are still written."""
    family = GaugeMetricFamily(f"rushes_{name}", help_text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family
