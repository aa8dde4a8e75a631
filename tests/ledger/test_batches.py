from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from batch_steps import (
    CLIP_USD,
    DIGEST,
    PRICE,
    begin,
    begun,
    completed,
    end_all,
    new_batch,
    recounted,
    taken_batch,
)
from factories import MINUTE, NOW, POLICY, REQUEST, SECOND, job
from ledger_steps import Twice, claim, contents, racing, submits

from rushes.shared.domain import batch, events
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Chore, Job, State
from rushes.shared.ledger.batches import _item
from rushes.shared.ledger.idempotency import Conflict, NotWhole
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LaneRoom, LedgerUnavailable, Store
from rushes.shared.ledger.submits import CapReached

NOTIFY = LaneRoom("notify", 10)


def nonzero(ledger: Ledger, of: Job) -> dict[str, int]:
    counts = ledger.batches.counts(of.id)
    return {what: count for what, count in counts.items() if count and what not in (batch.ENDED_AT, batch.STOPPED)}


def due(ledger: Ledger, now: int = NOW) -> list[str]:
    return [ticket.job_id for ticket in claim(ledger, NOTIFY, now)]


# --- taking


def test_a_batch_and_its_jobs_stand_there_together(ledger: Ledger) -> None:
    made, jobs = new_batch(3)
    assert ledger.batches.create(made, jobs) == (made, True)
    assert ledger.batches.get(made.id) == made
    assert ledger.batches.jobs(made) == jobs
    assert len(claim(ledger, submits(), NOW)) == 3
    assert nonzero(ledger, made) == {"queued": 3, "open": 3, "estimated": 3 * PRICE}


def test_what_is_written_for_a_job_of_a_batch_is_what_is_written_for_a_job(ledger: Ledger, store: Store) -> None:
    made, jobs = new_batch(2)
    ledger.batches.create(made, jobs)
    together = contents(store)
    alone = Ledger(type(store)() if not isinstance(store, RedisStore) else _emptied(store), POLICY)
    for each in jobs:
        alone.create(each)
    one_by_one = contents(alone.store)
    own = {
        name for name in together if (":batch:batch_" in name and not name.endswith(":counts")) or ":batches" in name
    }
    assert {name: held for name, held in together.items() if name not in own} == one_by_one


def _emptied(store: RedisStore) -> RedisStore:
    store._client.flushdb()
    return store


def test_the_same_key_and_body_answer_with_the_first_batch(ledger: Ledger) -> None:
    made, jobs = new_batch(2)
    ledger.batches.create(made, jobs, "order-7", DIGEST)
    found, is_new = ledger.batches.create(*new_batch(2), "order-7", DIGEST)
    assert (found, is_new) == (ledger.batches.get(made.id), False)
    assert ledger.overview.counts("acme")[State.QUEUED] == 2
    assert ledger.batches.find_by_key("acme", "order-7", DIGEST, NOW) == found
    assert [each.id for each in ledger.batches.newest("acme", 9)] == [made.id]


def test_the_same_key_with_another_body_is_a_conflict(ledger: Ledger) -> None:
    ledger.batches.create(*new_batch(2), "order-7", DIGEST)
    with pytest.raises(Conflict):
        ledger.batches.create(*new_batch(2), "order-7", "other")
    assert ledger.overview.counts("acme")[State.QUEUED] == 2


def test_a_batch_whose_answer_is_lost_is_taken_once(store: Store) -> None:
    twice: Any = Twice(store)
    made, jobs = new_batch(3)
    assert Ledger(twice, POLICY).batches.create(made, jobs)[0].id == made.id
    once = contents(store)
    assert Ledger(store, POLICY).batches.create(made, jobs)[0].id == made.id
    assert contents(store) == once
    assert once["{rushes}:tally"]["created"] == "3"


def test_nothing_of_a_batch_is_there_where_the_ledger_may_have_lost_its_key(ledger: Ledger, store: Store) -> None:
    with pytest.raises(NotWhole, match="unmarked"):
        ledger.batches.create(*new_batch(2), "order-7", DIGEST, guarded=True)
    assert contents(store) == {}


def test_nothing_of_a_batch_is_there_on_another_server_than_the_one_that_was_whole(
    ledger: Ledger, store: Store
) -> None:
    ledger.continuity.set_mark("0123abc/elsewhere", NOW)
    with pytest.raises(NotWhole, match="elsewhere"):
        ledger.batches.create(*new_batch(2), "order-7", DIGEST, guarded=True)
    assert set(contents(store)) == {"{rushes}:mark"}


def test_a_batch_of_which_redis_refuses_a_write_is_not_there(redis_store: RedisStore) -> None:
    """A user that may not write the records: no job can be handed out, and the same batch is taken later."""
    client: Any = redis_store._client
    made, jobs = new_batch(3)
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(LedgerUnavailable):
            Ledger(redis_store, POLICY).batches.create(made, jobs, "order-7", DIGEST)
    finally:
        client.config_set("maxmemory", "0")
    assert contents(redis_store) == {}
    assert Ledger(redis_store, POLICY).batches.create(made, jobs, "order-7", DIGEST)[0].id == made.id


def test_a_thousand_jobs_are_taken_in_one_program(redis_store: RedisStore) -> None:
    ledger = Ledger(redis_store, POLICY)
    made, jobs = new_batch(batch.JOBS_MAX)
    ledger.batches.create(made, jobs, "order-7", DIGEST)
    assert ledger.overview.counts("acme")[State.QUEUED] == batch.JOBS_MAX
    assert ledger.batches.counts(made.id)["open"] == batch.JOBS_MAX


# --- after a loss: what was paid for is not made again


def lost(jobs: list[Job], at: int) -> Job:
    """One job of a batch as the journal has it."""
    return replace(jobs[at], idempotency=f"{_item('order-7', at)} {DIGEST}")


def test_a_repeat_after_a_loss_takes_over_what_was_put_back(ledger: Ledger) -> None:
    made, jobs = new_batch(3)
    ledger._create(lost(jobs, 1))
    ledger.restore_key(lost(jobs, 2), NOW)  # it has ended: its manifest is in the bucket
    again, others = new_batch(3)
    found, _ = ledger.batches.create(again, others, "order-7", DIGEST)
    assert found.id == made.id
    assert batch.job_ids(found) == [others[0].id, jobs[1].id]
    assert ledger.overview.counts("acme")[State.QUEUED] == 2
    assert ledger.batches.counts(found.id)["open"] == 2
    assert nonzero(ledger, found) == recounted(ledger, found)


def test_a_repeat_of_which_nothing_is_left_to_make_is_closed_at_once(ledger: Ledger) -> None:
    _, jobs = new_batch(1)
    ledger.restore_key(lost(jobs, 0), NOW)
    found, _ = ledger.batches.create(*new_batch(1), "order-7", DIGEST)
    assert ledger.overview.counts("acme")[State.QUEUED] == 0
    assert batch.job_ids(found) == []
    assert due(ledger) == [found.id]


# --- counting


def test_what_the_jobs_of_a_batch_come_to_is_counted_with_each_move(ledger: Ledger) -> None:
    made = taken_batch(ledger, 4)
    first = completed(ledger, Decimal("0.40"))
    second = begun(ledger)
    ledger.apply(second.id, events.Accepted("task-2", attempt=1), NOW)
    third = begun(ledger)
    ledger.apply(third.id, events.Refused(Reason.INPUT, "no", attempt=1), NOW)
    counts = nonzero(ledger, made)
    assert first.state is State.COMPLETED
    assert counts == recounted(ledger, made)
    assert counts["held"] == PRICE + 40_000_000
    assert counts["actual"] == 40_000_000
    assert counts["made_ms"] == 5000
    assert (counts["completed"], counts["running"], counts["failed"], counts["queued"]) == (1, 1, 1, 1)
    assert counts["error.input_rejected"] == 1
    assert counts["open"] == 2


def test_a_job_that_only_says_the_word_does_not_count_in_a_batch(ledger: Ledger) -> None:
    made = taken_batch(ledger, 1)
    ledger.create(job(request={**REQUEST, "batch": made.id}))
    assert ledger.batches.counts(made.id)["queued"] == 1


# --- the budget


def test_the_last_money_of_a_batch_goes_to_one_of_two_submits(ledger: Ledger) -> None:
    """Two workers hold two jobs, and both saw that there is money left for one."""
    taken_batch(ledger, 2, CLIP_USD)
    first, second = ledger.open_tickets(claim(ledger, submits(), NOW), NOW)
    assert first is not None
    assert second is not None
    begin(ledger, *first, budget=1)
    with pytest.raises(CapReached) as shut:
        begin(ledger, *second, budget=1)
    assert shut.value.cap == "batch"


def test_money_that_comes_free_can_be_held_again(ledger: Ledger) -> None:
    taken_batch(ledger, 2, CLIP_USD)
    first, second = ledger.open_tickets(claim(ledger, submits(), NOW), NOW)
    assert first is not None
    assert second is not None
    refused = begin(ledger, *first, budget=1)
    ledger.apply(refused.id, events.Refused(Reason.INPUT, "no", attempt=1), NOW)
    assert begin(ledger, *second, budget=1).state is State.SUBMITTING


def test_what_was_billed_counts_and_not_what_was_estimated(ledger: Ledger) -> None:
    taken_batch(ledger, 3, 2 * CLIP_USD)
    completed(ledger, 2 * CLIP_USD)
    with pytest.raises(CapReached, match="batch"):
        begun(ledger, budget=2)


def test_another_batch_has_money_of_its_own(ledger: Ledger) -> None:
    taken_batch(ledger, 1, CLIP_USD)
    begun(ledger, budget=1)
    taken_batch(ledger, 1, CLIP_USD)
    assert begun(ledger, budget=1).state is State.SUBMITTING


def test_of_a_batch_that_was_stopped_nothing_more_is_submitted(ledger: Ledger) -> None:
    made = taken_batch(ledger, 2)
    begun(ledger)
    ledger.batches.stop(made.id)
    with pytest.raises(CapReached, match="stopped"):
        begun(ledger)


# --- the end


def test_a_batch_is_due_once_when_its_last_job_has_ended(ledger: Ledger) -> None:
    made = taken_batch(ledger, 3)
    end_all(ledger, batch.job_ids(made)[:2], NOW)
    assert due(ledger) == []
    end_all(ledger, batch.job_ids(made)[2:], NOW + SECOND)
    assert due(ledger, NOW + SECOND) == [made.id]
    end_all(ledger, batch.job_ids(made), NOW + MINUTE)
    ledger.apply(batch.job_ids(made)[0], events.Manifested(), NOW + MINUTE)
    assert due(ledger, NOW + 5 * SECOND) == []
    assert ledger.batches.counts(made.id)[batch.ENDED_AT] == NOW + SECOND


def test_the_receipt_is_written_once_and_tells_what_became_of_each(ledger: Ledger) -> None:
    made = taken_batch(ledger, 2)
    completed(ledger, Decimal("0.40"))
    end_all(ledger, batch.job_ids(made)[1:])
    closed = ledger.batches.close(made)
    assert ledger.batches.close(made) == closed == ledger.batches.get(made.id)
    assert closed.ended_at == NOW
    first, second = batch.receipt(closed) or []
    assert first == {
        "job_id": batch.job_ids(made)[0],
        "status": "completed",
        "provider": "apimart",
        "error": None,
        "estimated_cost_usd": "0.42",
        "cost_usd": "0.4",
        "wasted_cost_usd": "0",
    }
    assert (second["status"], second["provider"], second["cost_usd"]) == ("canceled", None, None)


def test_the_notice_of_a_batch_is_tried_again_as_that_of_a_job(ledger: Ledger) -> None:
    made = taken_batch(ledger, 1, callback_url="https://caller.example/heard")
    end_all(ledger, batch.job_ids(made))
    (ticket,) = claim(ledger, NOTIFY, NOW)
    (opened,) = ledger.open_tickets([ticket], NOW)
    assert opened is not None
    closed = ledger.batches.close(opened[0])
    failed = ledger.apply(closed.id, events.NoticeFailed("HTTP 500"), NOW)
    assert failed is not None
    assert failed.due_at is not None
    assert failed.due_at > NOW
    assert due(ledger, failed.due_at - 1) == []
    assert due(ledger, failed.due_at) == [made.id]


def test_a_batch_leaves_with_its_last_job(ledger: Ledger, store: Store) -> None:
    made = taken_batch(ledger, 1)
    (job_id,) = batch.job_ids(made)
    end_all(ledger, [job_id])
    for event in (events.Manifested(), events.Notified()):
        ledger.apply(job_id, event, NOW)
    told = ledger.apply(ledger.batches.close(made).id, events.Notified(), NOW + SECOND)
    assert told is not None
    assert told.chores == (Chore.RETIRE,)
    gone = ledger.get(job_id)
    assert gone is not None
    assert told.due_at == gone.due_at
    ledger.retire(gone)
    ledger.batches.retire(told)
    assert not any("batch" in name or "due:" in name for name in contents(store))


def test_tenants_see_their_own_batches_newest_first(ledger: Ledger) -> None:
    first, second = taken_batch(ledger, 1), taken_batch(ledger, 1)
    assert [each.id for each in ledger.batches.newest("acme", 9)] == [second.id, first.id]
    assert [each.id for each in ledger.batches.newest(None, 9, second.id)] == [first.id]
    assert ledger.batches.newest("rival", 9) == []


def test_a_receipt_is_written_although_another_worker_opened_the_ticket_meanwhile(ledger: Ledger) -> None:
    made = taken_batch(ledger, 1)
    end_all(ledger, batch.job_ids(made))
    ledger.open_tickets(claim(ledger, NOTIFY, NOW), NOW)
    assert ledger.batches.close(made) == ledger.batches.get(made.id)
    assert batch.receipt(ledger.batches.close(made)) is not None


def test_with_the_erasure_of_its_last_job_what_the_caller_gave_to_a_batch_goes(ledger: Ledger, store: Store) -> None:
    taken = taken_batch(ledger, metadata={"order": "17"}, callback_url="https://caller.example/heard", priority=7)
    first, *others = batch.job_ids(taken)
    end_all(ledger, [first, *others])
    ledger.apply(first, events.ErasureRequested("acme"), NOW)
    ledger.batches.erase_content(taken.id)
    half = ledger.batches.get(taken.id)
    for job_id in others:
        ledger.apply(job_id, events.ErasureRequested("acme"), NOW)
    racing(store, lambda: ledger.batches.close(taken)).batches.erase_content(taken.id)  # closed by another meanwhile
    after = ledger.batches.get(taken.id)

    assert half == taken
    assert after
    assert after.request.keys() == {"job_ids", "receipt", "priority"}
    assert [line["job_id"] for line in batch.receipt(after) or ()] == [first, *others]
    ledger.batches.erase_content(taken.id)
    assert ledger.batches.get(taken.id) == after
