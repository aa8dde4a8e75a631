"""What fits the list's filter is counted, confirmed, done and followed."""

from __future__ import annotations

import re

import pytest
from console_steps import Visitor
from receiver_steps import KEYS, TEXT, Web

from rushes.shared.domain.job import State


def begin(visitor: Visitor, path: str, **fields: str) -> str:
    once = re.search(r'name="once" value="([^"]+)"', visitor.page(path.replace("/bulk", "/bulk/new")))
    assert once
    answer = visitor.send(path, once=once[1], **fields)
    assert answer.status_code == 303, answer.text
    again = visitor.send(path, once=once[1], **fields)
    assert again.location == answer.location
    return str(answer.location)


def test_all_that_match_are_counted_before_anything_is_done(web: Web) -> None:
    for _ in range(45):
        web.submitted({**TEXT, "batch": "autumn"})
    web.submitted(TEXT)
    visitor = Visitor(web.app, KEYS["acme"])
    page = visitor.page("/?batch=autumn")

    assert "/bulk/new?batch=autumn&amp;action=cancel" in page
    assert "action=retry" in page
    assert "/bulk/new" not in visitor.page("/")
    assert "/bulk/new" not in visitor.page("/?batch=autumn&text=kite")
    assert "Cancel 45 jobs" in visitor.reads("/bulk/new?batch=autumn&action=cancel")
    path = begin(visitor, "/bulk?batch=autumn&action=cancel")
    assert "Running : 0 of 45 jobs" in visitor.reads(path)
    assert len(web.acme.get("/v1/bulk").json["data"]) == 1
    assert "batch=autumn" in visitor.reads("/bulk")
    assert visitor.send(f"{path}/abort").location == f"{path}?done=aborted"
    assert "Aborted" in visitor.reads(path)


def test_an_erasure_wants_a_tick(web: Web) -> None:
    job = web.standing(State.FAILED)
    visitor = Visitor(web.app, KEYS["acme"])
    for path in ("/bulk?state=failed&action=erase", f"/jobs/{job.id}/erase"):
        assert visitor.send(path).status_code == 422
    assert visitor.send(f"/jobs/{job.id}/erase", sure="yes").location == f"/jobs/{job.id}?done=erased"
    assert web.now(job.id).erase_asked_at is not None
    assert "Being erased" in visitor.page(f"/jobs/{job.id}").replace("being", "Being")
    assert job.request["prompt"] not in visitor.page(f"/jobs/{job.id}") + visitor.page("/")


def test_an_admin_acts_on_one_tenants_jobs(web: Web) -> None:
    web.submitted({**TEXT, "batch": "autumn"}, "other")
    web.submitted({**TEXT, "batch": "autumn"}, "acme")
    admin = Visitor(web.app, KEYS["admin"])
    path = begin(admin, "/bulk?batch=autumn&tenant=other&action=cancel")

    (told,) = web.admin.get("/v1/bulk").json["data"]
    assert told["matched"] == 1
    assert web.parts.ledger.bulk_actions.get(told["id"]).scope == "other"  # type: ignore[union-attr]
    assert Visitor(web.app, KEYS["other"]).get(path).status_code == 404


@pytest.mark.parametrize("query", ["action=burn&batch=x", "action=cancel", "action=cancel&text=kite&batch=x"])
def test_a_page_that_would_mean_every_job_is_refused(web: Web, query: str) -> None:
    assert Visitor(web.app, KEYS["acme"]).get(f"/bulk/new?{query}").status_code in (404, 422)


def test_the_list_has_the_filters_of_the_api(web: Web) -> None:
    mine = web.submitted({**TEXT, "metadata": {"order": "17"}})["id"]
    other = web.submitted({**TEXT, "metadata": {"order": "18"}})["id"]
    visitor = Visitor(web.app, KEYS["acme"])

    page = visitor.page("/?metadata=order%3D17&from=2026-09-21&model=kling-v3")
    assert (mine in page, other in page) == (True, False)
    wrong = visitor.page("/?from=yesterday&metadata=order&state=done")
    assert "From: Not a day or a moment" in wrong
    assert "Metadata: Give key=value." in wrong
    assert mine in wrong
