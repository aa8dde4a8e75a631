"""The ids of jobs sort in the order in which a process makes them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import pairwise

import pytest
from factories import NOW

from rushes.shared.domain import ids, schedule
from rushes.shared.ledger import record

TOP = (1 << ids.RANDOM_BITS) - 1


def numbers(*moments: int) -> list[int]:
    return [ids.number(ids.new_id(moment)) for moment in moments]


def test_within_a_millisecond_an_id_is_the_one_before_and_one() -> None:
    first, *later = numbers(*[NOW] * 1000)

    assert later == [first + step for step in range(1, 1000)]
    assert first >> ids.RANDOM_BITS == NOW


def test_a_new_millisecond_has_a_new_random_part() -> None:
    parts = [number & TOP for number in numbers(NOW, NOW + 1, NOW + 2)]

    assert all(abs(one - other) > 1 << 20 for one, other in pairwise(parts))
    assert [ids.made_at(ids.new_id(NOW + step)) for step in (3, 4, 500)] == [NOW + 3, NOW + 4, NOW + 500]


@pytest.mark.parametrize("back_ms", [1, 100, 3_600_000])
def test_an_id_sorts_after_those_before_it_though_the_clock_was_set_back(back_ms: int) -> None:
    made = [ids.new_id(moment) for moment in (NOW, NOW - back_ms, NOW - back_ms + 1, NOW, NOW + 1)]

    assert made == sorted(set(made))
    assert [ids.made_at(job_id) for job_id in made] == [NOW, NOW, NOW, NOW, NOW + 1]


def test_a_full_random_part_carries_into_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids.secrets, "randbits", lambda count: (1 << count) - 1)
    made = [ids.new_id(moment) for moment in (NOW, NOW, NOW + 1, NOW + 2)]

    assert made == sorted(set(made))
    assert [ids.made_at(job_id) for job_id in made] == [NOW, NOW + 1, NOW + 1, NOW + 2]


def test_an_id_is_chosen_and_read_with_nobody_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = []

    def ulid(number: int) -> str:
        alone.append(ids.FACTORY._lock.locked())
        return real(number)

    real = ids.ulid
    monkeypatch.setattr(ids, "ulid", ulid)
    numbers(NOW, NOW, NOW + 1, NOW)

    assert alone == [True] * 4


def test_two_children_of_a_process_make_different_ids() -> None:
    ids.new_id(NOW)
    with ids.FACTORY._lock:  # as another thread may hold it at the fork
        children = [in_a_child(lambda: ids.new_id(NOW)) for _ in range(2)]
    parts = [ids.number(job_id) & TOP for job_id in [*children, ids.new_id(NOW)]]

    assert all(abs(one - other) > 1 << 20 for one, other in [*pairwise(parts), (parts[0], parts[-1])])


def test_two_children_of_a_process_name_different_operations() -> None:
    names = [in_a_child(record.new_operation), in_a_child(record.new_operation), record.new_operation()]
    assert len(set(names)) == 3
    assert all(len(name) == 12 for name in names)


def in_a_child(make: Callable[[], str]) -> str:
    """What a child of this process makes first."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)  # a child that hangs ends, and gives nothing
        os.write(writing, make().encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        made = answer.read().decode()
    os.waitpid(child, 0)
    return made


@pytest.mark.parametrize("number", [0, 1, NOW << ids.RANDOM_BITS | 7, (1 << 128) - 1])
def test_an_id_can_be_read_back(number: int) -> None:
    assert ids.number(f"job_{ids.ulid(number)}") == number


@pytest.mark.parametrize(
    ("back_ms", "later_ms"), [(0, 0), (1, 1), (schedule.SET_BACK_MS, schedule.SET_BACK_MS), (3_600_000, 0)]
)
def test_a_job_keeps_its_place_in_the_line_where_the_clock_was_set_back_a_little(back_ms: int, later_ms: int) -> None:
    ids.new_id(NOW)
    now = NOW - back_ms

    assert schedule.accepted(ids.new_id(now), now) == now + later_ms


def test_a_short_id_finds_its_moment_and_its_end() -> None:
    now = 1_790_000_000_000
    job_id = ids.IdFactory().new(now)

    begin, end = ids.parse_short(ids.short(job_id), now) or ("", "")

    assert (job_id.startswith(begin), job_id.endswith(end), len(begin), len(end)) == (True, True, 14, 3)
    assert ids.parse_short(f"job_{ids.short(job_id)}".lower(), now) == (begin, end)
    later = now + ids.SHORT_SPAN_MS - ids.SET_AHEAD_MS - 1
    assert ids.parse_short(ids.short(job_id), later) == (begin, end)
    assert ids.parse_short(ids.short(job_id), later + 1) != (begin, end)
    ahead = ids.IdFactory().new(now + ids.SET_AHEAD_MS)
    assert ahead.startswith((ids.parse_short(ids.short(ahead), now) or ("-",))[0])


@pytest.mark.parametrize("text", ["", "8PAPKWZ16", "8PAPKWZ16WX", "8PAPKWZ16U", "8PAPKWZ1 W", "job_"])
def test_what_is_no_short_id_is_none(text: str) -> None:
    assert ids.parse_short(text, 1_790_000_000_000) is None
