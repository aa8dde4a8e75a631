"""What stands in the ledger against what the records say: found, put right, and never while a job moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from factories import NOW, SECOND
from ledger_steps import (
    ALL_ROOMS,
    Through,
    archiving,
    claim,
    contents,
    created,
    engaged,
    places,
    polls,
    running,
    score,
    submits,
    taken,
)

from rushes.shared.domain import events, schedule
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job
from rushes.shared.ledger import keys
from rushes.shared.ledger.inspection import Inspection
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import Store, Writes

LATER = NOW + 60 * SECOND


def write(store: Store, *commands: tuple[Any, ...]) -> None:
    """Bring disorder: commands that no program of ours would do."""
    if isinstance(store, MemoryStore):
        for command, key, *arguments in commands:
            store._command(command, key, arguments)
    else:
        client: Any = store._client  # type: ignore[attr-defined]
        for command in commands:
            client.execute_command(*command)


def found(store: Store, repair: bool = False) -> list[tuple[str, str]]:
    """What an inspection of the records finds."""
    inspection = Inspection(store)
    return [what for page in inspection.jobs() for what in inspection.repair([job for _, job in page if job], repair)]


def strays(store: Store, name: str, repair: bool = False) -> list[str]:
    return [job_id for page in Inspection(store).misplaced(name, repair) for job_id in page]


def everything_is_well(store: Store) -> bool:
    sets = [place(room.lane) for room in ALL_ROOMS for place in (keys.due, keys.leased)]
    names = [*sets, *(keys.due(f"parked:{gateway}") for gateway in ("apimart", "evolink")), *store.index_names()]
    off = Inspection(store).in_flight(["apimart", "evolink", "newapi"])
    return not found(store) and not any(strays(store, name) for name in names) and not any(off.values())


def parked(ledger: Ledger) -> Job:
    ledger.gateways.strike("apimart", Reason.KEY, None, NOW)
    created(ledger)
    held, _ = taken(ledger, submits(), NOW)
    moved = ledger.apply(held.id, events.Parked(held.route), NOW)
    assert moved
    return moved


def resumed(ledger: Ledger) -> Job:
    subject = parked(ledger)
    ledger.gateways.resume("apimart", ["apimart"])
    return subject


WAYS: dict[str, Callable[[Ledger], Any]] = {
    "queued": created,
    "handed out": lambda ledger: created(ledger) and claim(ledger, submits(), NOW),
    "opened": lambda ledger: created(ledger) and taken(ledger, submits(), NOW),
    "submitting": lambda ledger: created(ledger) and engaged(ledger, NOW),
    "running": running,
    "archiving": archiving,
    "parked": parked,
    "back in line": resumed,
    "back in line and handed out": lambda ledger: resumed(ledger) and claim(ledger, submits(), LATER),
    "canceled": lambda ledger: ledger.apply(created(ledger)[0].id, events.Canceled(), NOW),
}


@pytest.mark.parametrize("way", WAYS)
def test_wherever_a_job_rightly_stands_nothing_is_found(ledger: Ledger, store: Store, way: str) -> None:
    WAYS[way](ledger)
    before = contents(store)
    assert everything_is_well(store)
    assert found(store, repair=True) == []
    assert contents(store) == before


def test_a_job_that_stands_nowhere_is_due_again(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    write(store, ("ZREM", "{rushes}:due:poll:apimart", subject.id))
    told = found(store)
    untouched = places(store, subject.id)
    found(store, repair=True)

    assert (told, untouched) == ([(subject.id, "nowhere")], [])
    assert score(store, "due:poll:apimart", subject.id) == subject.due_at
    assert everything_is_well(store)


def test_of_two_places_the_lease_stays(ledger: Ledger, store: Store) -> None:
    created(ledger)
    subject, _ = taken(ledger, submits(), NOW)
    write(store, ("ZADD", "{rushes}:due:submit:apimart", NOW, subject.id))

    assert found(store, repair=True) == [(subject.id, "twice")]
    assert places(store, subject.id) == ["{rushes}:leased:submit:apimart"]


def test_a_job_that_is_in_no_index_is_found_again_by_its_tenant(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    write(store, ("ZREM", keys.index(subject), subject.id))
    missing = ledger.overview.newest("acme", 10)

    assert (missing, found(store, repair=True)) == ([], [(subject.id, "unindexed")])
    assert ledger.overview.newest("acme", 10) == [subject]


@pytest.mark.parametrize(
    "name", ["{rushes}:due:archive", "{rushes}:leased:poll:evolink", "{rushes}:index:rival:queued:-"]
)
def test_an_entry_that_the_record_does_not_know_is_taken_away(ledger: Ledger, store: Store, name: str) -> None:
    subject = running(ledger)
    write(store, ("ZADD", name, NOW, subject.id), ("ZADD", name, NOW, "job_gone"))
    told = strays(store, name)
    strays(store, name, repair=True)

    assert sorted(told) == sorted([subject.id, "job_gone"])
    assert name not in contents(store)
    assert everything_is_well(store)


class Moving(Through):
    """A store in which a job moves on between the look at its record and the repair."""

    def __init__(self, store: Any, move: Callable[[], Any]) -> None:
        super().__init__(store)
        self.move = move

    def repair(self, *arguments: Any) -> Any:
        self.move()
        return self.store.repair(*arguments)

    def remove_misplaced(self, *arguments: Any) -> Any:
        self.move()
        return self.store.remove_misplaced(*arguments)


def test_a_job_that_moved_on_is_left_alone(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    write(store, ("ZREM", "{rushes}:due:poll:apimart", subject.id))
    moving: Any = Moving(store, lambda: ledger.note(subject.id, "seen", None, NOW))

    assert found(moving, repair=True) == []
    assert places(store, subject.id) == []


def test_an_entry_whose_job_was_written_down_meanwhile_is_left_alone(ledger: Ledger, store: Store) -> None:
    subject = replace(running(ledger), id="job_late")
    write(store, ("ZADD", "{rushes}:due:poll:apimart", NOW, subject.id))
    moving: Any = Moving(store, lambda: ledger.create(subject))

    assert strays(moving, "{rushes}:due:poll:apimart", repair=True) == []
    assert places(store, subject.id) == ["{rushes}:due:poll:apimart"]


def test_an_entry_that_was_claimed_meanwhile_is_no_stray(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    moving: Any = Moving(store, lambda: claim(ledger, polls(), LATER))

    assert found(moving, repair=True) == []
    assert strays(moving, "{rushes}:due:poll:apimart", repair=True) == []
    assert places(store, subject.id) == ["{rushes}:leased:poll:apimart"]


def test_places_in_flight_are_counted_without_those_that_were_let_go(ledger: Ledger, store: Store) -> None:
    running(ledger)
    running(ledger)
    created(ledger)
    doubted, _ = engaged(ledger, NOW)
    ledger.apply(doubted.id, events.Lost(""), NOW)
    ledger.apply(doubted.id, events.Unclear(""), schedule.after(NOW, schedule.PLACE_S))
    well = Inspection(store).in_flight(["apimart", "evolink"])
    store.increase(keys.IN_FLIGHT, {"apimart": 3})
    off = Inspection(store).in_flight(["apimart", "evolink"])
    Inspection(store).set_right("apimart", 3)

    assert (well, off) == ({"apimart": 0, "evolink": 0}, {"apimart": 3, "evolink": 0})
    assert (ledger.gateways.in_flight("apimart"), everything_is_well(store)) == (2, True)


def test_many_jobs_come_in_pages_each_once(ledger: Ledger, store: Store) -> None:
    subjects = created(ledger, count=250)
    pages = list(Inspection(store).jobs())

    assert max(map(len, pages)) <= 100
    assert sorted(job_id for page in pages for job_id, _ in page) == sorted(subject.id for subject in subjects)


def test_a_record_that_cannot_be_read_hides_no_other(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    store.create("job_odd", "no record at all", Writes())

    assert dict(pair for page in Inspection(store).jobs() for pair in page) == {"job_odd": None, subject.id: subject}
