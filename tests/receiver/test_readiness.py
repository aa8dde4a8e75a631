"""`GET /readyz` and the metrics tell when no job can be submitted, and why."""

from __future__ import annotations

from typing import Any

import pytest
from factories import NOW, SECOND
from receiver_steps import Web, parts_over, s3_client
from test_metrics import told

from rushes.shared.ledger import broker_reports
from rushes.shared.ledger.store import Store
from rushes.webhook_receiver import health


@pytest.fixture
def web(store: Store, monkeypatch: pytest.MonkeyPatch) -> Web:
    """A receiver with a journal; the bucket is no part of these tests."""
    monkeypatch.setattr(health, "_archive_problem", lambda: None)
    return Web(parts_over(store, s3_client(), RUSHES_JOURNAL="true"))


def ready(web: Web) -> tuple[int, dict[str, Any]]:
    answer = web.nobody.get("/readyz")
    return answer.status_code, answer.json or {}


def test_submits_are_held_until_a_scheduler_says_that_the_ledger_is_whole(web: Web) -> None:
    continuity = web.parts.ledger.continuity
    status, body = ready(web)
    assert (status, "new or empty" in body["submits"], told(web)["rushes_submits_held"]) == (503, True, 1)

    continuity.set_mark("another server", NOW)
    status, body = ready(web)
    assert (status, "another one" in body["submits"], told(web)["rushes_submits_held"]) == (503, True, 1)

    continuity.set_mark(continuity.server(), NOW)
    assert (ready(web)[0], told(web)["rushes_submits_held"]) == (200, 0)


def test_without_a_journal_nothing_is_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_archive_problem", lambda: None)
    assert ready(Web(parts_over(store, s3_client(), RUSHES_JOURNAL="false")))[0] == 200


def test_a_broker_that_no_scheduler_reaches_is_told(web: Web) -> None:
    ledger, now = web.parts.ledger, web.parts.now()
    ledger.continuity.set_mark(ledger.continuity.server(), now)
    ledger.broker_reports.record("one", "ConnectionRefusedError", now)
    assert ready(web) == (
        503,
        {"status": "unready", "broker": "out of reach: ConnectionRefusedError", "oldest_overdue_s": 0},
    )
    assert told(web)["rushes_broker_unreached"] == 1

    ledger.broker_reports.record("two", "", now)  # jobs are handed out
    assert (ready(web)[0], told(web)["rushes_broker_unreached"]) == (200, 0)


def test_a_scheduler_that_ended_says_nothing_of_the_broker_any_more(web: Web) -> None:
    reports, ended_at = web.parts.ledger.broker_reports, NOW - broker_reports.FRESH_S * SECOND - 1
    reports.record("ended", "refused", ended_at)
    assert reports.problem(NOW) == ""
    reports.record("lives", "", NOW + broker_reports.FORGOTTEN_S * SECOND)
    assert list(web.parts.ledger.store.counters("{rushes}:broker")) == ["lives"]
