"""What lies between tenants, accounts, batches, bulk actions and erasure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from account_steps import fault, submitted_by
from outsiders import Listener
from test_batches import CLIP_USD, batch_of, ended, now
from world import World, why

from rushes.shared.domain.job import Job, State
from rushes.shared.intake.job_document import moment
from rushes.shared.operations.auditor import whole_round

Open = Callable[..., World]


def bulk(world: World, action: str, **filters: str) -> dict[str, Any]:
    """A bulk action, brought to its end."""
    begun = world.api("POST", "/v1/bulk", {"action": action, "filter": filters}).json
    world.run_until(lambda: world.api("GET", f"/v1/bulk/{begun['id']}").json["status"] != "running")
    return dict(world.api("GET", f"/v1/bulk/{begun['id']}").json)


def jobs_of(world: World, batch: dict[str, Any]) -> list[Job]:
    return [world.job(job_id) for job_id in batch["job_ids"]]


def test_two_tenants_are_served_by_their_shares_over_all_accounts(opened: Open, tmp_path: Path) -> None:
    tenants = tmp_path / "tenants.toml"
    tenants.write_text("[tenant.acme]\nshare = 1\n[tenant.rival]\nshare = 3\n")
    world = opened("newapi", "a", "b", NEWAPI_MAX_IN_FLIGHT="1", RUSHES_TENANTS_FILE=str(tenants))
    for _ in range(9):
        for tenant in ("acme", "rival"):
            assert world.api("POST", "/v1/jobs", world.request_for("newapi"), key=f"{tenant}-key").status_code == 202
    world.run_until(lambda: len(world.tasks("newapi")) >= 8)
    begun = [job for job in world.ledger.overview.newest(None, 50) if job.attempts]

    assert Counter(job.tenant for job in begun) == {"rival": 6, "acme": 2}
    assert Counter(submitted_by(world, "newapi")) == {"a": 4, "b": 4}


def test_a_budget_that_ends_while_an_account_is_paused_is_not_passed(opened: Open) -> None:
    world = opened("apimodels", "a", "b")
    fault(world, "apimodels", "a", "no_balance", times=9)
    batch = ended(world, batch_of(world, 4, max_cost_usd="0.40")["id"])

    assert batch["counts"] | {"completed": 2, "canceled": 2} == batch["counts"]
    assert {why(job) for job in jobs_of(world, batch)} == {None, "budget_exceeded"}
    assert submitted_by(world, "apimodels") == ["b", "b"]
    assert sum(Decimal(bill["usd"]) for bill in world.bills()) == 2 * CLIP_USD == Decimal(batch["cost_usd"])
    assert whole_round(world.services) == []


def test_a_bulk_retry_of_what_failed_in_a_batch_pays_once_and_leaves_its_receipt(open_world: Open) -> None:
    world = open_world()
    world.ledger.continuity.set_mark(world.ledger.continuity.server(), world.clock())
    world.fault("apimodels", "fail_task", times=2)
    batch = ended(world, batch_of(world, 3)["id"])
    world.mend()
    before = len(world.tasks("apimodels"))
    with world.before(world.ledger.bulk_actions, "advance", world.die):  # after the first retry; another goes on
        done = bulk(world, "retry", batch=batch["id"], status="failed")
    world.run_until(lambda: all(job.ended for job in world.ledger.overview.newest(None, 50)))
    found = world.api("GET", f"/v1/jobs?batch={batch['id']}&status=completed").json["data"]

    assert (batch["counts"]["failed"], done["outcomes"]) == (2, {"retried": 2})
    assert len(world.tasks("apimodels")) == before + 2
    # A retry is a job of its own: it is found by the batch, and counted beside it, under no budget of the batch.
    assert now(world, batch["id"]) == batch
    assert sorted(job.get("retry_of") or "" for job in found) == sorted(
        ["", *(job.id for job in jobs_of(world, batch) if job.state is State.FAILED)]
    )
    assert whole_round(world.services) == []


def test_with_its_last_job_a_batch_is_erased_but_for_its_receipt(open_world: Open) -> None:
    world = open_world()
    given = {"metadata": {"order": "of-violets"}, "callback_url": "https://caller.example.com/violets"}
    batch = ended(world, batch_of(world, 2, max_cost_usd="9", **given)["id"])
    world.api("DELETE", f"/v1/jobs/{batch['job_ids'][0]}")
    world.run_until(lambda: world.job(batch["job_ids"][0]).erased_at is not None)
    half = now(world, batch["id"])
    bulk(world, "erase", batch=batch["id"])
    world.run_until(lambda: world.job(batch["job_ids"][1]).erased_at is not None)
    after = now(world, batch["id"])

    assert half == batch
    assert after == {**{name: value for name, value in batch.items() if name != "callback_url"}, "metadata": {}}
    assert "violets" not in world.api("GET", "/v1/batches").text
    assert "violets" not in str(world.ledger.store.records([batch["id"]]))
    assert whole_round(world.services) == []


def test_nobody_is_told_of_a_batch_that_was_erased_meanwhile(open_world: Open, caller: Listener) -> None:
    world = open_world()
    caller.answers = [500]
    batch = batch_of(world, 1, callback_url=f"{caller.url}/violets")
    world.run_until(lambda: bool(caller.letters))
    bulk(world, "erase", batch=batch["id"])
    world.run_until(lambda: world.job(batch["job_ids"][0]).erased_at is not None)
    world.advance(3600)
    world.exhaust()

    assert len(caller.letters) == 1
    assert [line["status"] for line in now(world, batch["id"])["receipt"]] == ["completed"]


def test_a_batch_waits_for_the_job_that_is_not_to_begin_yet(world: World) -> None:
    at = world.clock() + 3_600_000
    bodies = [
        {**world.text, "provider": "apimodels"},
        {**world.text, "provider": "apimodels", "not_before": moment(at)},
    ]
    batch = world.api("POST", "/v1/batches", {"jobs": bodies}).json
    world.finish(batch["job_ids"][0])
    early = (len(world.bills()), now(world, batch["id"]))
    done = ended(world, batch["id"])

    assert (early[0], early[1]["status"], early[1]["counts"]["queued"]) == (1, "running", 1)
    assert (world.job(batch["job_ids"][1]).current.submitted_at or 0) >= at
    assert done["counts"]["completed"] == 2


def test_a_batch_goes_on_when_an_account_that_was_taken_out_is_back(opened: Open) -> None:
    world = opened("apimodels", "a", "b")
    batch = batch_of(world, 2)
    world.run_until(lambda: len(world.tasks("apimodels")) == 2)
    lesser = opened("apimodels", "b", after=world)
    lesser.run_until(lambda: now(lesser, batch["id"])["counts"]["completed"] == 1)
    waiting = now(lesser, batch["id"])
    again = opened("apimodels", "a", "b", after=lesser)
    done = ended(again, batch["id"])

    assert (waiting["status"], waiting["receipt"], waiting["counts"]["running"]) == ("running", None, 1)
    assert [line["status"] for line in done["receipt"]] == ["completed"] * 2
    assert sorted(submitted_by(again, "apimodels")) == ["a", "b"]
