"""A dashboard query: figures from `GET /metrics` (Prometheus text), as Prometheus or your own page computes them.

Ready-made: deploy/grafana-dashboard.json and deploy/alerts.yml. Run it beside `rushes up`:

    . .rushes/env
    pip install prometheus-client
    python dashboard_query.py

It prints:

    completed meanwhile: 1
    paid meanwhile: 0.42 USD at kling
    archived within a minute: 100%
    paused gateways: none
"""

import os
import uuid

import requests
from prometheus_client.parser import text_string_to_metric_families

from rushes.client import Client

JOB = {"model": "kling-v3", "prompt": "rain on a window", "provider": "kling"}


def scrape() -> dict[tuple, float]:
    """Every sample by its name and labels."""
    text = requests.get(os.environ["RUSHES_URL"] + "/metrics", timeout=10).text
    families = text_string_to_metric_families(text)
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def total(samples: dict[tuple, float], name: str, **labels: str) -> float:
    """The sum over all samples of a name that have these labels: `sum(name{labels})`."""
    return sum(
        value for (found, *pairs), value in samples.items() if found == name and labels.items() <= dict(pairs).items()
    )


def main() -> None:
    """What one job changes."""
    before = scrape()
    with Client.connect() as client:
        job = client.submit(JOB, idempotency_key=str(uuid.uuid4()))
        client.wait(job["id"], timeout_s=120)
    after = scrape()

    def increase(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    print(f"completed meanwhile: {increase('rushes_jobs_ended_total', state='completed'):.0f}")
    print(f"paid meanwhile: {increase('rushes_day_actual_usd', gateway='kling'):.2f} USD at kling")

    # Of a histogram: those below an edge, of all.
    archived = increase("rushes_archive_lag_seconds_count")
    print(f"archived within a minute: {increase('rushes_archive_lag_seconds_bucket', le='60') / archived:.0%}")

    paused = [
        dict(labels)["gateway"] for (name, *labels), on in after.items() if name == "rushes_gateway_paused" and on
    ]
    print("paused gateways:", ", ".join(sorted(paused)) or "none")


if __name__ == "__main__":
    main()
