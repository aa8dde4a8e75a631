"""The pages of batches, without a browser and in one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from browser_steps import sign_in
from console_steps import visitor
from playwright.sync_api import Page, expect
from receiver_steps import TEXT, Web

from rushes.shared.domain import events
from rushes.shared.domain.job import Error, State
from rushes.webhook_receiver.console import batches


def batch_of(web: Web, count: int = 3, **terms: Any) -> str:
    answer = web.acme.post("/v1/batches", json={"jobs": [TEXT] * count, **terms})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def job_ids(web: Web, batch_id: str) -> list[str]:
    return list(web.acme.get(f"/v1/batches/{batch_id}").json["job_ids"])


def fail(web: Web, job_id: str) -> None:
    web.parts.ledger.apply(job_id, events.Barred(Error("no_provider", "none <b>left</b>")), web.parts.now())


def test_the_list_and_the_batch_tell_progress_and_money(web: Web) -> None:
    batch_id = batch_of(web, max_cost_usd="2.50", metadata={"order": "17"})
    fail(web, job_ids(web, batch_id)[0])
    held = {"provider": "evolink", "estimated_usd": Decimal("0.5")}
    web.standing(State.RUNNING, held, batch_id=batch_id)
    person = visitor(web)

    assert "1 of 3" in person.reads("/batches")
    words = person.reads(f"/batches/{batch_id}")
    assert "1 of 3 ended" in words
    assert "$0.00 + $0.50 reserved of $2.50" in words
    assert "20 %" in words
    assert "1 × no_provider" in words
    assert "none <b>left</b>" in words
    assert "order 17" in words
    assert "&lt;b&gt;left" in person.page(f"/batches/{batch_id}")


def test_nobody_sees_anothers_batch(web: Web) -> None:
    batch_id = batch_of(web)
    other = visitor(web, "other")
    assert batch_id not in other.page("/batches")
    assert other.get(f"/batches/{batch_id}").status_code == 404
    assert other.send(f"/batches/{batch_id}/cancel").status_code == 404
    assert other.send(f"/batches/{batch_id}/retry").status_code == 404
    assert batch_id in visitor(web, "admin").page("/batches")
    assert web.app.test_client().get("/batches").status_code == 302


def test_what_waits_is_canceled(web: Web) -> None:
    batch_id, person = batch_of(web), visitor(web)
    answer = person.send(f"/batches/{batch_id}/cancel")
    assert (answer.status_code, answer.location) == (303, f"/batches/{batch_id}?done=batch_canceled")
    assert {web.now(job_id).state for job_id in job_ids(web, batch_id)} == {State.CANCELED}
    assert "Cancel what waits" not in person.page(f"/batches/{batch_id}")


def test_the_failed_are_tried_again_once_however_often_the_button_is_pressed(web: Web) -> None:
    batch_id, person = batch_of(web), visitor(web)
    for job_id in job_ids(web, batch_id)[:2]:
        fail(web, job_id)
    for _ in range(2):
        answer = person.send(f"/batches/{batch_id}/retry")
        assert (answer.status_code, answer.location) == (303, f"/batches/{batch_id}?done=batch_retried")
    retried = [job for job in web.parts.ledger.overview.newest("acme", 50) if job.retry_of]
    assert sorted(job.retry_of or "" for job in retried) == job_ids(web, batch_id)[:2]
    assert {job.batch_id for job in retried} == {None}
    assert web.acme.get(f"/v1/batches/{batch_id}").json["counts"]["failed"] == 2


def test_a_retry_that_takes_too_long_is_gone_on_with(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id, person = batch_of(web), visitor(web)
    for job_id in job_ids(web, batch_id):
        fail(web, job_id)
    monkeypatch.setattr(batches, "RETRY_S", -1.0)
    assert str(person.send(f"/batches/{batch_id}/retry").location).endswith("done=batch_retried_partly")


def test_progress_shows_by_itself_and_the_buttons_work(web: Web, url: str, page: Page) -> None:
    batch_id = batch_of(web)
    sign_in(page, url, onward=f"/batches/{batch_id}")
    expect(page.locator("#summary")).to_contain_text("0 of 3 ended")
    fail(web, job_ids(web, batch_id)[0])
    page.evaluate("rushes.refresh()")
    expect(page.locator("#summary")).to_contain_text("1 of 3 ended")
    page.get_by_role("button", name="Retry the failed").click()
    expect(page.get_by_role("status").filter(has_text="tried again")).to_be_visible()
    page.get_by_role("button", name="Cancel what waits").click()
    expect(page.locator("#summary")).to_contain_text("Ended")
