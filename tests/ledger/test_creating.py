from __future__ import annotations

from dataclasses import replace

import pytest
from factories import DAY, NOW, POLICY, job, job_in
from ledger_steps import contents, created, places, repeating, score, submits

from rushes.shared.domain.job import State
from rushes.shared.ledger import keys
from rushes.shared.ledger.idempotency import Conflict, NotWhole
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Store


def test_a_new_job_is_due_in_the_lane_of_its_first_gateway(ledger: Ledger, store: Store) -> None:
    subject = job()
    assert ledger.create(subject) is None
    assert ledger.get(subject.id) == subject
    assert places(store, subject.id) == ["{rushes}:due:submit:apimart:acme:5"]
    assert score(store, "due:submit:apimart:acme:5", subject.id) == NOW


def test_a_job_that_adopts_a_task_begins_where_that_task_is(ledger: Ledger, store: Store) -> None:
    subject = job_in(State.RUNNING, due_at=NOW, retry_of="job_0")
    ledger.create(subject)
    assert places(store, subject.id) == ["{rushes}:due:poll:apimart"]
    assert store.counters("{rushes}:inflight") == {"apimart": "1"}


def test_without_a_key_every_call_makes_a_job(ledger: Ledger) -> None:
    created(ledger, 3)
    assert ledger.overview.counts("acme")[State.QUEUED] == 3


def test_the_same_key_and_body_answer_with_the_first_job(ledger: Ledger) -> None:
    first, second = job(), job()
    assert ledger.create(first, "order-7", "digest") is None
    found = ledger.create(second, "order-7", "digest")
    assert found == ledger.get(first.id)
    assert ledger.get(second.id) is None
    assert ledger.overview.counts("acme")[State.QUEUED] == 1


def test_the_same_key_with_another_body_is_a_conflict(ledger: Ledger) -> None:
    first, second = job(), job()
    ledger.create(first, "order-7", "digest")
    with pytest.raises(Conflict, match=first.id):
        ledger.create(second, "order-7", "other")
    assert ledger.get(second.id) is None


def test_the_first_job_of_a_key_is_told_to_the_same_body_alone(ledger: Ledger) -> None:
    first = job()
    ledger.create(first, "order-7", "one body")

    assert ledger.find_by_key("acme", "order-7", "one body", NOW) == ledger.get(first.id)
    assert ledger.find_by_key("acme", "order-8", "one body", NOW) is None
    assert ledger.find_by_key("rival", "order-7", "one body", NOW) is None
    with pytest.raises(Conflict):
        ledger.find_by_key("acme", "order-7", "another", NOW)


def test_one_tenants_key_is_not_anothers(ledger: Ledger) -> None:
    ledger.create(job(), "order-7", "digest")
    assert ledger.create(job(tenant="zenith"), "order-7", "digest") is None


def test_keys_that_look_alike_are_not_the_same(ledger: Ledger) -> None:
    ledger.create(job(), "order-7", "digest")
    assert ledger.create(job(), "order-7 ", "digest") is None
    assert ledger.create(job(), "Order-7", "digest") is None


def test_a_create_whose_reply_is_lost_writes_once(store: Store) -> None:
    subject = job()
    assert repeating(store).create(subject, "order-7", "digest") is None
    once = contents(store)
    assert Ledger(store, POLICY).create(subject, "order-7", "digest") is None
    assert contents(store) == once
    assert once["{rushes}:index:acme:queued:-"] == {subject.id: 0}


def test_a_create_without_a_key_whose_reply_is_lost_writes_once(store: Store) -> None:
    ledger, subject = repeating(store), job()
    assert ledger.create(subject) is None
    assert len(ledger.claim([submits()], NOW)[1]) == 1
    assert ledger.overview.counts("acme")[State.QUEUED] == 1


@pytest.mark.parametrize("key", ["order-7", None])
def test_a_repeated_create_does_not_put_a_job_back(ledger: Ledger, store: Store, key: str | None) -> None:
    subject = job()
    ledger.create(subject, key, "digest")
    ledger.claim([submits()], NOW)
    ledger.create(replace(subject, due_at=NOW + 1), key, "digest")
    assert places(store, subject.id) == ["{rushes}:leased:submit:apimart"]


def test_a_key_is_kept_for_seven_days_and_a_job_without_end(redis_store: RedisStore) -> None:
    subject = job()
    Ledger(redis_store, POLICY).create(subject, "order-7", "digest")
    names = set(map(str, redis_store._client.keys("*"))) - {"{rushes}:bell"}
    lives = {name: redis_store._client.ttl(name) for name in names}
    of_keys = [lives.pop(name) for name in names if name.startswith(keys.IDEMPOTENCY)]
    assert set(lives.values()) == {-1}
    assert len(of_keys) == 2
    assert all(604_800 < life <= 8 * 86_400 for life in of_keys)
    first = Ledger(redis_store, POLICY).create(job(created_at=NOW + 7 * DAY), "order-7", "digest")
    assert first
    assert first.id == subject.id
    assert Ledger(redis_store, POLICY).create(job(created_at=NOW + 7 * DAY + 1), "order-7", "another") is None


def test_words_of_every_script_come_back_unharmed(ledger: Ledger) -> None:
    subject = job(request={"prompt": "凧 над морем 🪁 \x00 \u2028 \ud83d \\u0041 %d %s\n"})
    ledger.create(subject)
    assert ledger.get(subject.id) == subject


def test_jobs_are_read_in_the_order_asked_for(ledger: Ledger) -> None:
    one, two = created(ledger, 2)
    assert ledger.get_many([two.id, "job_unknown", one.id]) == [two, None, one]
    assert ledger.get_many([]) == []


# --- a ledger that may have lost what it knew


def test_a_key_is_not_taken_before_somebody_said_that_the_ledger_is_whole(ledger: Ledger, store: Store) -> None:
    with pytest.raises(NotWhole, match="unmarked"):
        ledger.create(job(), "order-7", "digest", guarded=True)
    assert contents(store) == {}


def test_a_key_is_not_taken_by_another_server_than_the_one_that_was_whole(ledger: Ledger, store: Store) -> None:
    ledger.continuity.set_mark("0123abc/elsewhere", NOW)
    with pytest.raises(NotWhole, match="elsewhere"):
        ledger.create(job(), "order-7", "digest", guarded=True)
    assert set(contents(store)) == {"{rushes}:mark"}


def test_a_whole_ledger_takes_a_key_and_knows_it_again_whatever_becomes_of_the_mark(ledger: Ledger) -> None:
    ledger.continuity.set_mark(ledger.continuity.server(), NOW)
    first = job()
    assert ledger.create(first, "order-7", "digest", guarded=True) is None
    ledger.continuity.unmark()
    again = ledger.create(job(), "order-7", "digest", guarded=True)
    assert again is not None
    assert again.id == first.id


def test_without_a_key_nothing_has_to_be_whole(ledger: Ledger) -> None:
    assert ledger.create(job(), guarded=True) is None
