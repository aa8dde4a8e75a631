"""What is set aside is kept within bounds, and shown to nobody else."""

from __future__ import annotations

from dataclasses import replace

from factories import DAY, NOW, POLICY, id_at
from ledger_steps import contents, repeating

from rushes.shared.ledger import quarantine
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.quarantine import QuarantinedCallback
from rushes.shared.ledger.store import Store

FIRST = QuarantinedCallback(NOW, "evolink", id_at(NOW), "acme", 1, "task-7", "task-1", "completed", '{"id": "task-7"}')


def strays(count: int, own_jobs: bool = False) -> list[QuarantinedCallback]:
    """So many, each a millisecond after the other."""
    several = [replace(FIRST, at=NOW + number, task_id=f"task-{number}") for number in range(count)]
    return [replace(stray, job_id=id_at(stray.at)) for stray in several] if own_jobs else several


def kept(ledger: Ledger, now: int = NOW + DAY) -> list[QuarantinedCallback]:
    return ledger.quarantine.newest(None, now, limit=10_000)


def test_what_is_set_aside_is_shown_newest_first(ledger: Ledger) -> None:
    several = strays(3)
    for stray in several:
        assert ledger.quarantine.keep(stray)
    assert kept(ledger) == several[::-1]
    assert ledger.quarantine.newest(None, NOW + DAY, limit=1) == several[2:]


def test_the_same_news_is_kept_once(ledger: Ledger) -> None:
    assert ledger.quarantine.keep(FIRST)
    assert not ledger.quarantine.keep(replace(FIRST, at=NOW + 1))
    assert kept(ledger) == [FIRST]
    assert ledger.quarantine.counts() == {"evolink": "1"}


def test_a_reply_that_is_lost_does_not_hide_that_it_was_kept(store: Store) -> None:
    assert repeating(store).quarantine.keep(FIRST)
    assert kept(Ledger(store, POLICY)) == [FIRST]


def test_one_job_does_not_fill_it(ledger: Ledger) -> None:
    several = strays(quarantine.OF_A_JOB + 3)
    said = [ledger.quarantine.keep(stray) for stray in several]
    assert said == [True] * quarantine.OF_A_JOB + [False] * 3
    assert kept(ledger) == several[: quarantine.OF_A_JOB][::-1]
    assert ledger.quarantine.counts() == {"evolink": str(len(several))}


def test_over_all_the_oldest_give_way(ledger: Ledger, store: Store) -> None:
    several = strays(quarantine.IN_ALL + 2, own_jobs=True)
    for stray in several:
        ledger.quarantine.keep(stray)
    assert kept(ledger) == several[2:][::-1]
    held = contents(store)
    assert len(held["{rushes}:quarantine"]) == len(held["{rushes}:quarantine:at"]) == quarantine.IN_ALL


def test_after_a_week_it_is_forgotten(ledger: Ledger, store: Store) -> None:
    ledger.quarantine.keep(FIRST)
    assert kept(ledger, NOW + 7 * DAY - 1) == [FIRST]
    assert kept(ledger, NOW + 7 * DAY) == []
    later = replace(FIRST, at=NOW + 7 * DAY, job_id=id_at(NOW + DAY))
    ledger.quarantine.keep(later)
    assert list(contents(store)["{rushes}:quarantine:at"]) == [later.id]


def test_only_its_own_tenant_sees_it(ledger: Ledger) -> None:
    ledger.quarantine.keep(FIRST)
    assert ledger.quarantine.newest("other", NOW) == []
    assert ledger.quarantine.get(FIRST.id, "other", NOW) is None
    assert ledger.quarantine.get(FIRST.id, "acme", NOW) == ledger.quarantine.get(FIRST.id, None, NOW) == FIRST


def test_what_was_dropped_is_gone(ledger: Ledger, store: Store) -> None:
    ledger.quarantine.keep(FIRST)
    assert ledger.quarantine.drop(FIRST.id)
    assert not ledger.quarantine.drop(FIRST.id)
    assert kept(ledger) == []
    assert "{rushes}:quarantine:at" not in contents(store)
