"""The handle pool: the most recently used handle is taken first, and the number of idle handles is limited."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Hashable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from queue import SimpleQueue

import pytest

from rushes.shared.http import handle_pool
from rushes.shared.http.handle_pool import HandlePool


class Item:
    closed = False

    def close(self) -> None:
        self.closed = True


def give_back_items(pool: HandlePool[Item], keys: str) -> list[Item]:
    items = [Item() for _ in keys]
    for key, item in zip(keys, items, strict=True):
        pool.give_back(key, item)
    return items


def test_the_one_used_last_goes_first_and_to_its_own_key() -> None:
    pool: HandlePool[Item] = HandlePool()
    older, newer, other = give_back_items(pool, "aab")

    assert [pool.take("a"), pool.take("a"), pool.take("a")] == [newer, older, None]
    assert [pool.take("b"), pool.take("c")] == [other, None]


def test_too_many_of_one_key_close_the_one_not_used_for_longest() -> None:
    assert [item.closed for item in give_back_items(HandlePool(2, 2), "aaa")] == [True, False, False]


def test_too_many_keys_close_the_one_not_used_for_longest() -> None:
    assert [item.closed for item in give_back_items(HandlePool(2, 2), "abac")] == [False, True, False, False]


def test_all_that_is_kept_can_be_closed() -> None:
    pool: HandlePool[Item] = HandlePool()
    items = give_back_items(pool, "ab")
    pool.close()

    assert all(item.closed for item in items)
    assert pool.take("a") is None


def test_after_a_fork_the_parents_are_neither_used_nor_closed() -> None:
    pool: HandlePool[Item] = HandlePool()
    (parents,) = give_back_items(pool, "a")
    pool.start()

    assert pool.take("a") is None
    pool.close()
    assert not parents.closed
    parents_handle = weakref.ref(parents)
    del parents
    gc.collect()
    assert parents_handle()  # one that goes ends the connection of the parent


def test_of_keys_that_nobody_uses_any_more_nothing_is_remembered() -> None:
    pool: HandlePool[Item] = HandlePool(2, 2)
    for key in range(50):
        pool.take(key)
    for key in range(50):
        pool.give_back(key, Item())

    assert max(len(pool._created_at), len(pool._given_back_at)) <= 3


def test_one_that_comes_back_is_waited_for_before_another_is_made() -> None:
    pool: HandlePool[Item] = HandlePool()
    assert pool.take("a") is None
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pool.take, "a", 60)
        (item,) = give_back_items(pool, "a")

        assert waiting.result() is item


def test_where_none_comes_back_in_time_one_is_made_at_a_time() -> None:
    pool: HandlePool[Item] = HandlePool()
    began_at = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        taken = [*threads.map(lambda key: pool.take(key, 0.1), "aaa")]

    assert taken == [None] * 3
    assert time.monotonic() - began_at >= 0.2


def test_one_that_comes_back_wakes_one_of_those_who_wait_and_none_who_waits_for_another_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool: HandlePool[Item] = HandlePool()
    assert [pool.take("a"), pool.take("b")] == [None, None]
    turns = SimpleQueue[Hashable]()  # of the loops of those who wait
    may_create_at = pool._may_create_at

    def count(key: Hashable, *times: float) -> float:
        turns.put(key)
        return may_create_at(key, *times)

    monkeypatch.setattr(pool, "_may_create_at", count)
    with ThreadPoolExecutor(4) as threads:
        waiting = []
        for key in "baaa":
            waiting.append(threads.submit(pool.take, key, 20))
            assert turns.get() == key
            with pool._lock:  # it is free once that one waits
                pass
        items = []
        for left in (3, 2, 1):
            items += give_back_items(pool, "a")
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            waiting = [future for future in waiting if future not in done]
            assert (len(waiting), turns.qsize()) == (left, 0)
            assert [future.result() for future in done] == items[-1:]
        items += give_back_items(pool, "b")
        assert waiting[0].result() is items[-1]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_while_some_come_back_quickly_none_is_created_but_nobody_waits_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(handle_pool, "time", clock)
    pool: HandlePool[Item] = HandlePool()
    assert pool.take("a", 0.2) is None
    assert pool._may_create_at("a", 100.0, 0.2) == 100.2

    clock.now = 100.15
    pool.give_back("a", Item())
    assert pool._may_create_at("a", 100.1, 0.2) == pytest.approx(100.35)
    clock.now = 101.05
    pool.give_back("a", Item())
    assert pool._may_create_at("a", 100.1, 0.2) == pytest.approx(100.1 + 0.2 * handle_pool.MAX_WAITS)


def test_where_calls_are_slow_one_more_is_created_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(handle_pool, "time", clock)
    pool: HandlePool[Item] = HandlePool()
    for number in range(3):
        clock.now = 100 + 0.2 * number
        assert pool._may_create_at("a", clock.now, 0.2) <= clock.now
        assert pool.take("a", 0.2) is None
