"""Indexes of ended jobs: whatever comes and goes, in any order, they list and count what the twin in memory does."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from factories import NOW, id_at, job
from ledger_steps import contents

from rushes.shared.domain.job import State
from rushes.shared.ledger import keys, record
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import Commit, Store, Writes

INDEX = "{rushes}:index:acme:completed:apimart"
OTHER = "{rushes}:index:acme:failed:apimart"
# Of some leaves.
MANY = 700


@pytest.fixture
def ids() -> list[str]:
    return [id_at(NOW + number) for number in range(MANY)]


def write(store: Store, command: str, ids: Iterable[str], index: str = INDEX) -> None:
    """One commit that writes all this."""
    carrier, writes = job(), Writes()
    store.create(carrier.id, record.encode(carrier, "op"), Writes())
    writes.add("SADD", keys.INDEXES, index)
    for job_id in ids:
        writes.add(command, index, job_id)
    (verdict,) = store.commit([Commit(carrier.id, carrier.version, "op2", "", writes)])
    assert verdict.kind == "done"


def listed(store: Store, index: str = INDEX) -> list[str]:
    return store.newest([index], 10 * MANY, "")


@pytest.mark.parametrize("order", ["as made", "nearly as made", "backwards", "any"])
def test_all_that_came_in_any_order_is_listed_and_counted(store: Store, ids: list[str], order: str) -> None:
    chance = random.Random(7)
    came = {
        "as made": ids,
        "nearly as made": sorted(ids, key=lambda job_id: ids.index(job_id) + chance.randint(0, 90)),
        "backwards": ids[::-1],
        "any": chance.sample(ids, MANY),
    }[order]
    write(store, "LIST", came)
    write(store, "LIST", came[:300])  # again

    assert listed(store) == ids[::-1]
    assert store.sizes([INDEX, OTHER]) == [MANY, 0]


def test_pages_follow_each_other(store: Store, ids: list[str]) -> None:
    write(store, "LIST", ids[::2])
    write(store, "LIST", ids[1::2], OTHER)
    pages, before = [], ""
    while page := store.newest([INDEX, OTHER], 64, before):
        pages += page
        before = page[-1]

    assert pages == ids[::-1]


@pytest.mark.parametrize("since", [0, 1, 60, 119, 120, 121, 350, 690])
def test_what_is_between_two_moments_is_found(store: Store, ids: list[str], since: int) -> None:
    write(store, "LIST", ids)

    assert store.newest([INDEX], MANY, ids[-5], ids[since]) == ids[since:-5][::-1]


@pytest.mark.parametrize("step", [1, -1])
def test_who_leaves_is_gone_and_leaves_nothing_behind(store: Store, ids: list[str], step: int) -> None:
    write(store, "LIST", ids)
    write(store, "UNLIST", [*ids[:250], ids[400], ids[-1], "job_unknown", ids[0]])
    kept = [*ids[250:400], *ids[401:-1]]
    found, size = listed(store), store.sizes([INDEX])
    write(store, "UNLIST", kept[::step])

    assert (found, size) == (kept[::-1], [len(kept)])
    assert store.sizes([INDEX]) == [0]
    assert [name for name in contents(store) if ":index" in name] == [keys.INDEXES]


def test_whatever_happens_it_is_what_the_twin_has(store: Store, ids: list[str]) -> None:
    chance, here = random.Random(11), set[str]()
    for _ in range(60):
        some = chance.sample(ids, chance.choice([1, 5, 90]))
        if chance.random() < 0.6:
            write(store, "LIST", some)
            here |= set(some)
        else:
            write(store, "UNLIST", some)
            here -= set(some)

        assert listed(store) == sorted(here, reverse=True)
        assert store.sizes([INDEX]) == [len(here)]


def test_the_leaves_stay_packed(redis_store: RedisStore, ids: list[str]) -> None:
    write(redis_store, "LIST", random.Random(3).sample(ids, MANY))
    client: Any = redis_store._client
    sets = [name for name in client.keys(f"{INDEX}*") if client.type(name) == "zset"]

    assert len(sets) > MANY / 120
    assert {client.object("encoding", name) for name in sets} <= {"ziplist", "listpack"}


def test_what_comes_in_order_leaves_full_leaves_behind_it(redis_store: RedisStore, ids: list[str]) -> None:
    write(redis_store, "LIST", ids)
    client: Any = redis_store._client
    firsts = client.zrange(f"{INDEX}:leaves", 0, -1)

    assert [client.zcard(f"{INDEX}:{first}") for first in firsts[:-1]] == [120] * (len(firsts) - 1)


def test_one_that_a_version_without_leaves_lists_once_more_counts_once_when_it_is_moved(
    redis_store: RedisStore, ids: list[str]
) -> None:
    write(redis_store, "LIST", ids[:400])
    redis_store._client.zadd(INDEX, dict.fromkeys(ids[:3], 0))
    write(redis_store, "LIST", ids[400:])

    assert listed(redis_store) == ids[::-1]
    assert redis_store.sizes([INDEX]) == [MANY]


def test_an_index_of_a_version_without_leaves_is_read_and_moved_bit_by_bit(
    redis_store: RedisStore, ids: list[str]
) -> None:
    store, client = redis_store, redis_store._client
    client.zadd(INDEX, dict.fromkeys(ids[:-10], 0))
    before = (listed(store), store.sizes([INDEX]))
    for job_id in ids[-10:]:
        write(store, "LIST", [job_id])
    after = (listed(store), store.sizes([INDEX]))
    write(store, "UNLIST", ids[::3])

    assert before == (ids[:-10][::-1], [MANY - 10])
    assert after == (ids[::-1], [MANY])
    assert client.zcard(INDEX) < 250
    assert listed(store) == [job_id for at, job_id in enumerate(ids) if at % 3][::-1]


def test_the_auditor_looks_into_leaves(store: Store, ledger: Ledger, ids: list[str]) -> None:
    real = job(state=State.COMPLETED, created_at=NOW + 3)
    store.create(real.id, record.encode(real, "op"), Writes())
    write(store, "LIST", [real.id, *ids], keys.index(real))
    inspection = Inspection(store)
    strays = [job_id for page in inspection.misplaced(keys.index(real), True) for job_id in page]

    assert sorted(strays) == ids
    assert inspection.repair([real], True) == []
    assert listed(store, keys.index(real)) == [real.id]
    assert store.sizes([keys.index(real)]) == [1]
