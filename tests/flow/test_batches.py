"""Many jobs under one budget, from the request to the one notification."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any

from outsiders import Listener
from standardwebhooks import Webhook
from world import Died, World, why

from rushes.shared.domain.job import Chore, State
from rushes.shared.ledger import keys
from rushes.shared.operations.auditor import whole_round
from rushes.shared.operations.recovery import recover
from rushes.worker.gateway_choice import route_estimates

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CLIP_USD = Decimal("0.1899")  # what apimodels takes for the text request


def batch_of(world: World, count: int, key: str = "", **terms: Any) -> dict[str, Any]:
    """A batch of so many jobs that was taken just now."""
    jobs = [{**world.text, "provider": "apimodels"} for _ in range(count)]
    answer = world.api("POST", "/v1/batches", {"jobs": jobs, **terms}, **({"Idempotency_Key": key} if key else {}))
    assert answer.status_code in (200, 202), answer.text
    return dict(answer.json)


def now(world: World, batch_id: str) -> dict[str, Any]:
    return dict(world.api("GET", f"/v1/batches/{batch_id}").json)


def ended(world: World, batch_id: str) -> dict[str, Any]:
    """The batch once all that it owes is done."""
    world.run_until(lambda: now(world, batch_id)["status"] == "completed")
    world.exhaust()
    return now(world, batch_id)


def test_a_batch_is_made_and_its_caller_is_told_once(open_world: Callable[..., World], caller: Listener) -> None:
    world = open_world(RUSHES_WEBHOOK_SECRETS=f"acme:{SECRET}")
    batch = batch_of(world, 3, callback_url=f"{caller.url}/batch", metadata={"order": "17"})
    done = ended(world, batch["id"])

    (letter,) = caller.letters
    told = Webhook(SECRET).verify(letter.body, letter.headers)
    assert (told["type"], told["timestamp"], told["data"]) == ("batch.completed", done["ended_at"], done)
    assert done["metadata"] == {"order": "17"}
    assert done["counts"]["completed"] == 3
    assert (done["seconds"], done["reserved_cost_usd"]) == (9, "0")
    billed = sum(Decimal(bill["usd"]) for bill in world.bills())
    assert Decimal(done["cost_usd"]) == billed == 3 * CLIP_USD
    assert [line["job_id"] for line in done["receipt"]] == batch["job_ids"]
    assert {(line["status"], line["provider"], line["cost_usd"]) for line in done["receipt"]} == {
        ("completed", "apimodels", str(CLIP_USD))
    }


def test_over_its_budget_nothing_is_submitted_and_the_rest_ends_canceled(open_world: Callable[..., World]) -> None:
    world = open_world()
    done = ended(world, batch_of(world, 5, max_cost_usd="0.40")["id"])

    jobs = [world.job(line["job_id"]) for line in done["receipt"]]
    assert sorted(job.state for job in jobs) == [State.CANCELED] * 3 + [State.COMPLETED] * 2
    assert {why(job) for job in jobs if job.state is State.CANCELED} == {"budget_exceeded"}
    assert done["errors"] == {"budget_exceeded": 3}
    assert sum(Decimal(bill["usd"]) for bill in world.bills()) == 2 * CLIP_USD == Decimal(done["cost_usd"])


def test_two_submits_that_both_saw_the_last_money_are_one_submit(open_world: Callable[..., World]) -> None:
    world = open_world()
    batch = batch_of(world, 2, max_cost_usd=str(CLIP_USD))
    first, second = world.claim()
    # The other worker writes its submit down right before the first one does.
    with world.before(world.ledger.store, "commit", lambda: world.perform([second])):
        world.perform([first])
    done = ended(world, batch["id"])

    assert sorted(line["status"] for line in done["receipt"]) == ["canceled", "completed"]
    assert len(world.bills()) == 1


def test_what_failed_and_was_not_billed_leaves_its_money_to_the_others(open_world: Callable[..., World]) -> None:
    world = open_world(APIMODELS_MAX_IN_FLIGHT="1")
    world.fault("apimodels", "fail_task", times=1)
    done = ended(world, batch_of(world, 3, max_cost_usd="0.40")["id"])

    assert sorted(line["status"] for line in done["receipt"]) == ["completed", "completed", "failed"]
    assert done["errors"] == {"provider_error": 1}


def test_a_cancel_stops_what_waits_even_if_the_process_dies_at_once(open_world: Callable[..., World]) -> None:
    world = open_world(APIMODELS_MAX_IN_FLIGHT="1")
    batch = batch_of(world, 3)
    world.step()
    world.ledger.batches.stop(batch["id"])  # and none of the jobs was canceled by then
    done = ended(world, batch["id"])

    assert sorted(line["status"] for line in done["receipt"]) == ["canceled", "canceled", "completed"]
    assert {line["error"] for line in done["receipt"]} == {None}
    assert len(world.bills()) == 1


def test_a_job_of_a_batch_tells_its_own_caller(open_world: Callable[..., World], caller: Listener) -> None:
    world = open_world()
    jobs = [{**world.text, "callback_url": f"{caller.url}/job"}, world.text]
    body = {"jobs": jobs, "callback_url": f"{caller.url}/batch"}
    batch = world.api("POST", "/v1/batches", body).json
    ended(world, batch["id"])

    assert sorted((letter.path, json.loads(letter.body)["type"]) for letter in caller.letters) == [
        ("/batch", "batch.completed"),
        ("/job", "job.completed"),
    ]


def test_a_caller_in_trouble_is_told_again(open_world: Callable[..., World], caller: Listener) -> None:
    world = open_world()
    caller.answers = [500, 503]
    batch = batch_of(world, 1, callback_url=f"{caller.url}/batch")
    world.run_until(lambda: len(caller.letters) == 3)
    world.exhaust()

    assert {json.loads(letter.body)["data"]["id"] for letter in caller.letters} == {batch["id"]}
    assert len({letter.headers["webhook-id"] for letter in caller.letters}) == 1


def test_a_worker_that_dies_while_it_tells_the_caller_loses_nothing(
    open_world: Callable[..., World], caller: Listener
) -> None:
    world = open_world()
    batch = batch_of(world, 1, callback_url=f"{caller.url}/batch")
    with world.after(world.ledger.batches, "close", world.die):
        world.run_until(lambda: bool(now(world, batch["id"])["receipt"]))
        world.exhaust()
    world.run_until(lambda: bool(caller.letters))

    (letter,) = caller.letters
    assert json.loads(letter.body)["data"]["receipt"]


def test_a_process_that_dies_before_the_batch_is_written_leaves_nothing(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_JOURNAL="false")
    with world.before(world.ledger.store, "create_batch", world.die), suppress(Died):
        batch_of(world, 3, key="order-7")
    assert world.step() == 0
    assert list(world.redis.scan_iter("*job*")) == []
    assert len(ended(world, batch_of(world, 3, key="order-7")["id"])["receipt"]) == 3
    assert len(world.bills()) == 3


def test_a_process_that_dies_before_it_answers_is_asked_again_and_nothing_is_made_twice(
    open_world: Callable[..., World],
) -> None:
    world = open_world(RUSHES_JOURNAL="false")
    with world.after(world.ledger.store, "create_batch", world.die), suppress(Died):
        batch_of(world, 3, key="order-7")
    world.step()
    again = batch_of(world, 3, key="order-7")
    assert len(ended(world, again["id"])["receipt"]) == 3
    assert len(world.bills()) == 3


def test_a_batch_leaves_the_ledger_with_its_last_job(open_world: Callable[..., World]) -> None:
    world = open_world(RUSHES_RETENTION_S="3600")
    batch = batch_of(world, 2)
    ended(world, batch["id"])
    world.advance(3700)
    world.exhaust()

    assert world.api("GET", f"/v1/batches/{batch['id']}").status_code == 404
    assert world.api("GET", "/v1/batches").json["data"] == []
    assert not [name for name in world.redis.scan_iter() if "batch" in name]


def found(world: World) -> set[tuple[str, bool]]:
    return {(finding.what, finding.repaired) for finding in whole_round(world.services)}


def test_an_audit_counts_the_jobs_of_a_batch_anew(world: World) -> None:
    batch = batch_of(world, 3, max_cost_usd="2")
    world.step()
    assert found(world) == set()
    before = now(world, batch["id"])
    world.redis.hincrby(keys.batch_counts(batch["id"]), "held", 7)
    world.redis.hdel(keys.batch_counts(batch["id"]), "running")
    assert found(world) == {("batch", True)}
    assert now(world, batch["id"]) == before
    assert found(world) == set()


def test_an_audit_makes_a_batch_due_that_stands_nowhere(world: World) -> None:
    batch = batch_of(world, 1)
    world.api("POST", f"/v1/batches/{batch['id']}/cancel")
    world.redis.zrem(keys.due("notify"), batch["id"])
    assert found(world) == {("nowhere", True)}
    world.exhaust()
    record = world.ledger.batches.get(batch["id"])
    assert record is not None
    assert record.chores == (Chore.RETIRE,)
    assert found(world) == set()


def mark_as_whole(world: World) -> None:
    """As a scheduler does once ledger and journal were compared."""
    world.ledger.continuity.set_mark(world.ledger.continuity.server(), world.clock())


def test_a_repeat_after_a_loss_makes_what_is_missing_and_pays_for_nothing_twice(
    open_world: Callable[..., World],
) -> None:
    world = open_world(RUSHES_S3_PREFIX="a-journal-of-its-own/")
    mark_as_whole(world)
    batch = batch_of(world, 3, key="order-7", max_cost_usd="2")
    world.perform(world.claim()[:1])
    world.services.journal.flush()
    world.redis.flushdb()
    recover(world.services)
    mark_as_whole(world)
    again = batch_of(world, 3, key="order-7", max_cost_usd="2")
    done = ended(world, again["id"])

    assert again["id"] == batch["id"]
    assert done["job_ids"][0] == batch["job_ids"][0]
    assert [line["status"] for line in done["receipt"]] == ["completed"] * 3
    assert len(world.bills()) == 3
    assert Decimal(done["cost_usd"]) == 3 * CLIP_USD
    assert found(world) == set()


def test_under_a_budget_no_gateway_is_asked_whose_price_became_unknown(world: World) -> None:
    job = world.job(world.submit(world.request_for("newapi")))
    under_budget = replace(job, batch_budget_usd=Decimal(1))

    assert [estimate.able for estimate in route_estimates(job, None, world.services)] == [True]
    assert [estimate.able for estimate in route_estimates(under_budget, None, world.services)] == [False]
