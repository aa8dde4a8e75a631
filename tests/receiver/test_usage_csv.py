"""Usage as CSV: the same as the JSON, safe in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pytest
from factories import link
from receiver_steps import TEXT, Web, refused

from rushes.shared.domain import events
from rushes.shared.domain.job import State
from rushes.webhook_receiver.usage_csv import COLUMNS, usage_csv

HEADER = (
    "day,tenant,provider,jobs,completed,failed,seconds,estimated_cost_usd,cost_usd,reported_cost_usd,wasted_cost_usd,"
    "unpriced_jobs,differing_jobs,differing_estimated_cost_usd,differing_billed_cost_usd,differences\r\n"
)


def billed(web: Web, usd: str, **changes: Any) -> None:
    attempt = {"provider": "apimart", "task_id": "task-1"}
    job = web.standing(State.RUNNING, attempt, route=("apimart",), **changes)
    web.parts.ledger.apply(job.id, events.Succeeded(link(), Decimal(usd), attempt=1), web.parts.now())


def fetched(client: Any, query: str = "", accept: str = "text/csv") -> Any:
    return client.get(f"/v1/usage{query}", headers={"Accept": accept})


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_what_the_json_has(web_on_each: Web) -> None:
    web = web_on_each
    for usd in ("0.43", "0.63"):
        billed(web, usd)
    billed(web, "0.84", request={**TEXT, "mode": "std", "sound": True})
    (entry,) = web.acme.get("/v1/usage").json["data"]
    response = fetched(web.acme)
    (row,) = rows(response.text)

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert "attachment" in response.headers["Content-Disposition"]
    assert json.loads(row.pop("differences")) == entry.pop("differences") != []
    differing = [row.pop(name) for name in COLUMNS[-4:-1]]
    assert differing == ["2", "0.84", "1.47"]
    assert row == {name: str(value) for name, value in entry.items()}


def test_the_header_is_the_same_with_and_without_rows(web: Web) -> None:
    assert fetched(web.acme).text == HEADER
    billed(web, "0.43")
    assert fetched(web.acme).text.startswith(HEADER)


def test_a_tenant_gets_its_own_rows_only(web: Web) -> None:
    billed(web, "0.43")
    billed(web, "0.43", tenant="other")

    assert [row["tenant"] for row in rows(fetched(web.acme).text)] == ["acme"]
    assert [row["tenant"] for row in rows(fetched(web.other).text)] == ["other"]
    assert [row["tenant"] for row in rows(fetched(web.admin).text)] == ["acme", "other"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv"),
        ("text/csv;q=0.9, application/json;q=0.1", "text/csv"),
        ("*/*", "application/json"),
        ("application/json, text/csv", "application/json"),
        ("text/html", "application/json"),
    ],
)
def test_accept_says_which_form(web: Web, accept: str, kind: str) -> None:
    response = fetched(web.acme, accept=accept)
    assert (response.mimetype, response.headers["Vary"]) == (kind, "Accept")


def test_what_is_refused_is_json(web: Web) -> None:
    assert list(refused(fetched(web.acme, "?from=soon"), 422)["fields"]) == ["from"]


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_no_cell_is_a_formula(name: str) -> None:
    entry: dict[str, Any] = dict.fromkeys(COLUMNS, 0)
    (row,) = rows(usage_csv([{**entry, "tenant": name, "provider": 'a "b", c', "differences": []}]))
    assert (row["tenant"], row["provider"]) == (f"'{name}", 'a "b", c')
