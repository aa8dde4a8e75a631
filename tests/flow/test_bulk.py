"""One thing done to every job that fits a filter: each job once, however often a worker dies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from world import World

from rushes.shared.domain import events
from rushes.shared.domain.job import Job, State
from rushes.shared.operations import bulk
from rushes.shared.operations import retry as retries
from rushes.worker import bulk_turn


def begin(world: World, action: str, key: str = "acme-key", **filters: str) -> str:
    answer = world.api("POST", "/v1/bulk", {"action": action, "filter": filters}, key=key)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/bulk/{answer.json['id']}"
    return str(answer.json["id"])


def shown(world: World, bulk_id: str, key: str = "acme-key") -> dict[str, Any]:
    return dict(world.api("GET", f"/v1/bulk/{bulk_id}", key=key).json)


def finished(world: World, bulk_id: str) -> dict[str, Any]:
    for _ in range(50):
        told = shown(world, bulk_id)
        if told["status"] != "running":
            return told
        if not world.step():
            world.advance(20)  # the lease of a worker that died
    raise AssertionError(f"it has no end: {told}")


def queued(world: World, count: int = 3, **fields: Any) -> list[str]:
    """Jobs that nobody submits meanwhile: their gateway is stopped."""
    world.ledger.gateways.pause("newapi", "test", world.clock() + 10**9)
    return [world.submit({**world.request_for("newapi"), **fields}) for _ in range(count)]


def failed(world: World, count: int = 3, **fields: Any) -> list[str]:
    world.ledger.continuity.set_mark(world.ledger.continuity.server(), world.clock())
    world.fault("newapi", "fail_task", times=count)
    ids = [world.submit({**world.request_for("newapi"), **fields}) for _ in range(count)]
    for job_id in ids:
        world.until(job_id, State.FAILED)
        world.finish(job_id)
    world.mend()
    return ids


def states(world: World, ids: list[str]) -> list[State]:
    return [world.job(job_id).state for job_id in ids]


def retries_of(world: World, ids: list[str]) -> list[str]:
    return sorted(job.retry_of or "" for job in world.ledger.overview.newest(None, 200) if job.retry_of in ids)


def test_everything_that_fits_is_canceled_and_nothing_else(world: World) -> None:
    mine, others = queued(world, batch="autumn"), queued(world, 2, batch="winter")
    theirs = world.api("POST", "/v1/jobs", {**world.request_for("newapi"), "batch": "autumn"}, key="rival-key").json[
        "id"
    ]
    bulk_id = begin(world, "cancel", batch="autumn")
    later = queued(world, 1, batch="autumn")
    told = finished(world, bulk_id)

    assert states(world, mine) == [State.CANCELED] * 3
    assert states(world, [*others, theirs, *later]) == [State.QUEUED] * 4
    assert (told["status"], told["matched"], told["done"], told["outcomes"]) == ("completed", 3, 3, {"canceled": 3})
    assert told["ended_at"]


def test_a_dry_run_counts_and_tells_the_cost_and_does_nothing(world: World) -> None:
    ids = failed(world, 2, batch="autumn")
    cost = sum(world.job(job_id).estimated_usd or 0 for job_id in ids)
    answer = world.api("POST", "/v1/bulk", {"action": "retry", "filter": {"batch": "autumn"}, "dry_run": True})

    assert answer.status_code == 200
    assert (answer.json["count"], answer.json["complete"]) == (2, True)
    assert float(answer.json["estimated_cost_usd"]) == pytest.approx(float(cost))
    world.exhaust()
    assert retries_of(world, ids) == []
    assert world.api("GET", "/v1/bulk").json == {"data": []}


PLACES: dict[str, Callable[[World], tuple[Any, str]]] = {
    "the search": lambda world: (world.ledger.search, "page"),
    "the act": lambda world: (bulk_turn, "act"),
    "the cursor": lambda world: (world.ledger.bulk_actions, "advance"),
    "the end": lambda world: (world.ledger.bulk_actions, "end"),
}


def test_who_asks_twice_for_all_that_failed_pays_once_and_a_retry_that_failed_is_tried_itself(world: World) -> None:
    ids = failed(world, 2)
    world.fault("newapi", "fail_task", times=2)
    finished(world, begin(world, "retry", status="failed"))
    again = finished(world, begin(world, "retry", status="failed"))

    assert (again["outcomes"], retries_of(world, ids)) == ({"already_retried": 2}, sorted(ids))
    world.run_until(lambda: all(job.ended for job in world.ledger.overview.newest(None, 200)))
    third = finished(world, begin(world, "retry", status="failed"))
    assert third["outcomes"] == {"already_retried": 2, "retried": 2}
    assert retries_of(world, ids) == sorted(ids)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("place", PLACES)
def test_a_worker_that_dies_neither_skips_nor_repeats_a_retry(
    world: World, place: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = failed(world, 2)
    bulk_id = begin(world, "retry", status="failed")
    part, name = PLACES[place](world)
    monkeypatch.setattr(part, name, getattr(part, name), raising=False)  # puts a module's own function back
    _die_once(world, part, name, when, monkeypatch)
    world.step()
    told = finished(world, bulk_id)
    bills = len(world.bills("newapi"))
    world.run_until(lambda: all(job.ended for job in world.ledger.overview.newest(None, 200)))

    assert told["outcomes"] == {"retried": 2}
    assert retries_of(world, ids) == sorted(ids)
    assert len(world.tasks("newapi")) == 4
    assert bills <= len(world.bills("newapi"))


def _die_once(world: World, part: Any, name: str, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, deaths = getattr(part, name), [world.die]

    def call(*args: Any, **options: Any) -> Any:
        if when == "before" and deaths:
            deaths.pop()()
        answer = real(*args, **options)
        if deaths:
            deaths.pop()()
        return answer

    monkeypatch.setattr(part, name, call)


@pytest.mark.parametrize("action", ["cancel", "notify", "erase"])
@pytest.mark.parametrize("place", ["the act", "the cursor"])
def test_a_worker_that_dies_after_a_move_does_not_make_it_twice(
    world: World, action: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"batch": "autumn", "callback_url": "https://caller.example.com/heard"}
    ids = queued(world, 3, **fields)
    if action != "cancel":
        for job_id in ids:
            world.ledger.apply(job_id, events.Canceled(), world.clock())
    bulk_id = begin(world, action, batch="autumn")
    part, name = PLACES[place](world)
    _die_once(world, part, name, "after" if place == "the act" else "before", monkeypatch)
    world.perform([ticket for ticket in world.claim() if ticket.lane == "bulk"])
    world.advance(20)
    for _ in range(20):
        if shown(world, bulk_id)["status"] != "running":
            break
        world.perform([ticket for ticket in world.claim() if ticket.lane == "bulk"])

    notes = [[note.what for note in world.job(job_id).history].count("bulk action") for job_id in ids]
    word = {"cancel": "canceled", "notify": "notified", "erase": "erased"}[action]
    assert (shown(world, bulk_id)["outcomes"], notes) == ({word: 3}, [1, 1, 1])
    assert all(world.job(job_id).state is State.CANCELED for job_id in ids)


def test_an_aborted_bulk_action_leaves_the_rest_alone(world: World) -> None:
    ids = queued(world, 4, batch="autumn")
    bulk_id = begin(world, "cancel", batch="autumn")
    answers = []
    with world.after(
        world.ledger.bulk_actions, "advance", lambda: answers.append(world.api("POST", f"/v1/bulk/{bulk_id}/abort"))
    ):
        world.step()
    told = finished(world, bulk_id)

    assert [answer.status_code for answer in answers] == [200]
    assert told["status"] == "aborted"
    assert sorted(states(world, ids)).count(State.CANCELED) == told["done"] <= 2
    assert world.api("POST", f"/v1/bulk/{bulk_id}/abort").status_code == 200


def test_what_was_done_while_it_was_aborted_is_told(world: World) -> None:
    ids = queued(world, 3, batch="autumn")
    bulk_id = begin(world, "cancel", batch="autumn")
    with world.before(world.ledger.bulk_actions, "advance", lambda: world.api("POST", f"/v1/bulk/{bulk_id}/abort")):
        world.step()

    assert shown(world, bulk_id)["outcomes"] == {"canceled": 1}
    assert states(world, ids).count(State.CANCELED) == 1


def test_of_two_workers_at_one_bulk_action_one_goes_on(world: World) -> None:
    ids = failed(world, 2)
    bulk_id = begin(world, "retry", status="failed")

    def another_takes_it_up() -> None:
        world.advance(20)
        world.step()

    with world.before(world.ledger.bulk_actions, "advance", another_takes_it_up):
        world.step()
    told = finished(world, bulk_id)

    assert told["outcomes"] == {"retried": 2}
    assert retries_of(world, ids) == sorted(ids)


def test_a_job_at_which_workers_end_again_and_again_is_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = queued(world, 2, batch="autumn")
    bulk_id = begin(world, "cancel", batch="autumn")
    real = bulk.act

    def die_at_the_newest(job: Job, *rest: Any) -> str:
        return real(job, *rest) if job.id != ids[-1] else world.die()  # type: ignore[func-returns-value]

    monkeypatch.setattr(bulk_turn, "act", die_at_the_newest)
    for _ in range(20):
        world.perform([ticket for ticket in world.claim() if ticket.lane == "bulk"])
        world.advance(20)

    assert shown(world, bulk_id)["outcomes"] == {"given_up": 1, "canceled": 1}


def test_a_retry_waits_while_the_ledger_is_compared_with_the_journal(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = failed(world, 1)
    bulk_id = begin(world, "retry", status="failed")
    refusals = [bulk.LEDGER_INCOMPLETE]
    real = retries.retry

    def refuse_once(*args: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return real(*args)

    monkeypatch.setattr(bulk, "retry", refuse_once)
    world.step()
    waiting = shown(world, bulk_id)
    world.advance(6)

    assert (waiting["status"], waiting["outcomes"]) == ("running", {})
    assert finished(world, bulk_id)["outcomes"] == {"retried": 1}
    assert retries_of(world, ids) == ids


def test_a_long_bulk_action_takes_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rushes.shared.domain.bulk.TURN_S", 0.000001)
    monkeypatch.setattr("rushes.worker.bulk_turn.PAGE", 2)
    ids = queued(world, 5, metadata={"shop": "x"})
    bulk_id = begin(world, "cancel", **{"metadata.shop": "x"})
    told = finished(world, bulk_id)

    assert told["outcomes"] == {"canceled": 5}
    assert set(states(world, ids)) == {State.CANCELED}


def test_the_admin_acts_on_the_jobs_of_all_and_a_tenant_sees_only_its_own(world: World) -> None:
    ours = queued(world, 1, batch="autumn")
    theirs = world.api("POST", "/v1/jobs", {**world.request_for("newapi"), "batch": "autumn"}, key="rival-key").json[
        "id"
    ]
    bulk_id = begin(world, "cancel", key="admin-key", batch="autumn")
    world.exhaust()

    assert states(world, [*ours, theirs]) == [State.CANCELED] * 2
    assert shown(world, bulk_id, "admin-key")["outcomes"] == {"canceled": 2}
    assert world.api("GET", f"/v1/bulk/{bulk_id}").status_code == 404
    assert world.api("POST", f"/v1/bulk/{bulk_id}/abort").status_code == 404
    assert world.api("GET", f"/v1/jobs/{bulk_id}", key="admin-key").status_code == 404
    mine = begin(world, "cancel", batch="autumn")
    listed = [each["id"] for each in world.api("GET", "/v1/bulk").json["data"]]
    assert listed == [mine]
    assert [each["id"] for each in world.api("GET", "/v1/bulk", key="admin-key").json["data"]] == [mine, bulk_id]


def test_the_same_request_under_the_same_key_begins_once(world: World) -> None:
    failed(world, 1)
    body = {"action": "retry", "filter": {"status": "failed"}}
    first = world.api("POST", "/v1/bulk", body, Idempotency_Key="order-17")
    again = world.api("POST", "/v1/bulk", body, Idempotency_Key="order-17")
    other = world.api("POST", "/v1/bulk", {**body, "action": "erase"}, Idempotency_Key="order-17")

    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 409)
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert first.json["id"] == again.json["id"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"action": "retry", "filter": {}}, "filter"),
    ({"action": "retry", "filter": {"status": "failed", "batch": ""}}, "filter.batch"),
    ({"action": "retry", "filter": {"status": "failed", "metadata.order": ""}}, "filter.metadata.order"),
    ({"action": "retry"}, "filter"),
    ({"action": "burn", "filter": {"batch": "x"}}, "action"),
    ({"action": "retry", "filter": {"batch": 7}}, "filter.batch"),
    ({"action": "retry", "filter": {"state": "failed"}}, "filter.state"),
    ({"action": "retry", "filter": {"batch": "x"}, "dry_run": "yes"}, "dry_run"),
    ({"action": "retry", "filter": {"batch": "x"}, "dry": True}, "dry"),
]


@pytest.mark.parametrize(("body", "field"), WRONG)
def test_what_does_not_fit_is_named(world: World, body: dict[str, Any], field: str) -> None:
    answer = world.api("POST", "/v1/bulk", body)
    assert (answer.status_code, list(answer.json["error"]["fields"])) == (422, [field])


def test_under_a_path_of_its_own_the_location_has_it(world: World) -> None:
    body, headers = {"action": "cancel", "filter": {"batch": "x"}}, {"Authorization": "Bearer acme-key"}
    answer = world.door.post("/v1/bulk", json=body, headers=headers, environ_overrides={"SCRIPT_NAME": "/films"})

    assert answer.json
    assert answer.headers["Location"] == f"/films/v1/bulk/{answer.json['id']}"
