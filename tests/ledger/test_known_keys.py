"""Idempotency keys in leaves: each is known for a week, and is gone without a trace after it."""

from __future__ import annotations

from typing import Any

import pytest
from factories import DAY, HOUR, NOW, POLICY, job

from rushes.shared.domain import events
from rushes.shared.ledger import idempotency, keys
from rushes.shared.ledger.idempotency import Conflict
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Store

# Of some leaves.
MANY = 500
LEAVES = f"{keys.IDEMPOTENCY}:leaves"


def leaves(store: RedisStore) -> list[str]:
    client: Any = store._client
    return [name for name in client.keys(f"{keys.IDEMPOTENCY}:*") if name != LEAVES]


def keep(store: Store, number: int, at: int) -> str:
    entry = idempotency.entry("acme", f"{number}", at, job(created_at=at).id, "body")
    return store.keep_key(entry)


def is_known(store: Store, number: int, at: int) -> bool:
    return bool(store.known_keys([idempotency.entry("acme", f"{number}", at)])[0])


def test_of_many_keys_each_is_known_with_its_body(ledger: Ledger) -> None:
    jobs = [job(created_at=NOW + number) for number in range(MANY)]
    made = [ledger.create(each, f"order-{number}", "body") for number, each in enumerate(jobs)]
    again = [ledger.create(job(created_at=NOW + MANY), f"order-{number}", "body") for number in range(MANY)]

    assert made == [None] * MANY
    assert [each and each.id for each in again] == [each.id for each in jobs]
    assert ledger.find_by_key("rival", "order-7", "body", NOW) is None
    with pytest.raises(Conflict):
        ledger.create(job(created_at=NOW + MANY), "order-7", "another body")


def test_the_key_of_a_job_that_has_ended_is_known_although_its_record_does_not_tell_it(ledger: Ledger) -> None:
    ledger.create(subject := job(), "order-7", "body")
    waiting = ledger.get(subject.id)
    ended = ledger.apply(subject.id, events.Canceled(), NOW + 1)

    assert waiting
    assert ended
    assert (waiting.idempotency is None, ended.idempotency) == (False, None)
    assert ledger.create(job(created_at=NOW + 2), "order-7", "body") == ended


def test_leaves_stay_packed(redis_store: RedisStore) -> None:
    for number in range(MANY):
        keep(redis_store, number, NOW)
    client: Any = redis_store._client

    assert MANY / 120 < len(leaves(redis_store)) < MANY / 50
    assert {client.object("encoding", name) for name in leaves(redis_store)} <= {"ziplist", "listpack"}


def test_a_key_of_an_earlier_version_is_known(store: Store) -> None:
    first, earlier = job(), keys.idempotency_of_digest("acme", keys.digest("order-7"))
    if isinstance(store, MemoryStore):
        store.strings[earlier] = f"{first.id} body"
    else:
        store.keep(earlier, f"{first.id} body", 60)
    ledger = Ledger(store, POLICY)
    again = ledger.create(job(created_at=NOW + 1), "order-7", "body")

    assert again
    assert again.id == first.id
    with pytest.raises(Conflict):
        ledger.find_by_key("acme", "order-7", "another body", NOW)


def test_a_key_is_known_for_a_week_and_then_free(store: Store) -> None:
    ledger, later = Ledger(store, POLICY), NOW + 7 * DAY + 1
    ledger.create(subject := job(), "order-7", "body")
    newer = job(created_at=later)

    again = ledger.create(job(created_at=later - 1), "order-7", "body")
    assert again
    assert again.id == subject.id
    assert ledger.create(newer, "order-7", "another body") is None
    found = ledger.find_by_key("acme", "order-7", "another body", later)
    assert found
    assert found.id == newer.id


def test_a_leaf_lives_for_a_week_after_its_last_key(redis_store: RedisStore) -> None:
    client: Any = redis_store._client
    for number in range(MANY):
        keep(redis_store, number, NOW)
    lives = [client.ttl(name) for name in [*leaves(redis_store), LEAVES]]
    for name in [*leaves(redis_store), LEAVES]:
        client.expire(name, 6 * 86_400)  # a day and more goes by
    keep(redis_store, MANY, NOW + DAY)

    assert all(7 * 86_400 < life <= 8 * 86_400 for life in lives)
    assert client.ttl(LEAVES) > 7 * 86_400
    assert sorted(client.ttl(name) > 7 * 86_400 for name in leaves(redis_store)).count(True) == 1


def test_both_halves_of_a_leaf_that_is_cut_end_in_time(redis_store: RedisStore) -> None:
    client: Any = redis_store._client
    lives, count = [], 0
    for number in range(MANY):
        keep(redis_store, number, NOW)
        if len(found := leaves(redis_store)) != count:
            count = len(found)
            lives += [client.ttl(name) for name in found]

    assert count > 3
    assert min(lives) > 7 * 86_400


def test_a_key_that_comes_first_into_the_upper_half_lives_for_a_week_there(redis_store: RedisStore) -> None:
    client: Any = redis_store._client
    ordered = sorted(range(200), key=lambda number: idempotency.entry("acme", f"{number}", NOW).name)
    for number in ordered[:120]:
        keep(redis_store, number, NOW)
    client.expire(f"{keys.IDEMPOTENCY}:", 6 * 86_400)  # a day and more goes by
    keep(redis_store, ordered[120], NOW)  # behind all others: the leaf is cut at this one

    upper = [name for name in leaves(redis_store) if client.zcard(name) == 1]
    assert [client.ttl(name) > 7 * 86_400 for name in upper] == [True]


def test_a_leaf_that_goes_on_drops_keys_whose_time_is_over(redis_store: RedisStore) -> None:
    client: Any = redis_store._client
    for number in range(9):
        keep(redis_store, number, NOW)
    (leaf,) = leaves(redis_store)
    client.expire(leaf, 6 * 86_400)
    keep(redis_store, 9, NOW + 7 * DAY + HOUR)

    assert client.zcard(leaf) == 1
    assert is_known(redis_store, 9, NOW + 7 * DAY + HOUR)


def test_leaves_whose_time_is_over_are_forgotten(redis_store: RedisStore) -> None:
    client: Any = redis_store._client
    for number in range(MANY):
        keep(redis_store, number, NOW)
    client.delete(*leaves(redis_store))
    for number in range(MANY, MANY + 60):
        keep(redis_store, number, NOW + 9 * DAY)

    assert len(leaves(redis_store)) < 5
    assert client.zcard(LEAVES) < len(leaves(redis_store)) + 3  # what nobody came near yet
    assert all(is_known(redis_store, number, NOW + 9 * DAY) for number in range(MANY, MANY + 60))
    assert not any(is_known(redis_store, number, NOW + 9 * DAY) for number in range(MANY))
