"""A page with nothing on it says what to do; search finds a job by its short id."""

from __future__ import annotations

import pytest
from console_steps import visitor
from receiver_steps import Web

from rushes.shared.domain import alerts, ids
from rushes.shared.domain.alerts import Alert, Episode
from rushes.shared.domain.job import State
from rushes.webhook_receiver.console import labels


@pytest.mark.parametrize(
    ("path", "title", "way_on"),
    [
        ("/", "No jobs yet", "/new"),
        ("/?text=nothing+like+it", "No job fits these filters", "/"),
        ("/batches", "No batches yet", "/new"),
        ("/alerts", "No alerts", "/"),
        ("/quarantine", "No quarantined callbacks", "/gateways"),
        ("/spend", "Nothing was spent", "/new"),
    ],
)
def test_an_empty_page_says_so_and_leads_on(web: Web, path: str, title: str, way_on: str) -> None:
    empty = visitor(web, "admin").page(path).partition('<div class="empty">')[2].partition("</div>")[0]

    assert f"<h2>{title}</h2>" in empty
    assert f'href="{way_on}"' in empty


def test_search_finds_a_job_by_its_short_id(web: Web) -> None:
    job = web.standing(State.COMPLETED)
    short = ids.short(job.id)

    assert visitor(web).get(f"/?text={short.lower()}").headers["Location"] == f"/jobs/{job.id}"
    assert visitor(web, "other").get(f"/?text={short}").status_code == 200
    batch_id = f"batch_{job.id.removeprefix('job_')}"
    assert visitor(web).get(f"/?text={batch_id}").headers["Location"] == f"/batches/{batch_id}"


def test_every_alert_has_a_title_and_leads_to_what_it_is_about(web: Web) -> None:
    assert set(labels.ALERTS) == set(alerts.CODES)
    now = web.parts.now()
    alert = Alert("links_at_risk", alerts.CRITICAL, "3 paid clips.", "3", path="/?state=archiving")
    web.parts.ledger.alert_episodes.replace([], [Episode(alert, since=now, seen=now)])

    page = visitor(web, "admin").page("/alerts")

    assert "Clips not archived before their links expire" in page
    assert 'href="/?state=archiving"' in page
