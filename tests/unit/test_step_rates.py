"""How many steps the workers end in a second, as they tell it and as a scheduler sees it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from factories import NOW, POLICY, SECOND

from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.worker import leases
from rushes.worker.step_rates import EndedSteps, StepRates


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(MemoryStore(), POLICY)


def ended(ledger: Ledger, **counts: int) -> None:
    steps = EndedSteps()
    for kind, count in counts.items():
        for _ in range(count):
            steps.add(kind)
    steps.tell(ledger)


def test_what_all_workers_end_is_counted_once(ledger: Ledger) -> None:
    steps = EndedSteps()
    steps.add("poll")
    steps.tell(ledger)
    steps.tell(ledger)
    ended(ledger, poll=2, archive=1)
    assert ledger.steps() == {"poll": 3, "archive": 1}


def test_the_rate_is_what_came_since_the_last_look(ledger: Ledger) -> None:
    ended(ledger, poll=100)
    rates = StepRates(ledger)
    assert rates(NOW) == {}  # since when the first hundred were ended is not known
    ended(ledger, poll=30)
    assert rates(NOW + SECOND - 1) == {}
    assert rates(NOW + 2 * SECOND) == {"poll": 15}
    assert rates(NOW + 3 * SECOND) == {"poll": 0}


def test_a_ledger_that_was_lost_makes_no_rate_of_less_than_none(ledger: Ledger) -> None:
    ended(ledger, poll=100)
    rates = StepRates(ledger)
    rates(NOW)
    rates._ledger = Ledger(MemoryStore(), POLICY)
    ended(rates._ledger, poll=5)
    assert rates(NOW + SECOND) == {"poll": 0}


def test_an_outage_leaves_the_rates_as_they_are(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = StepRates(ledger)
    rates(NOW)
    ended(ledger, poll=10)
    rates(NOW + SECOND)

    def away() -> None:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(ledger, "steps", away)
    assert rates(NOW + 2 * SECOND) == {"poll": 10}


def test_a_lease_that_is_released_is_a_step_that_has_ended_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "ENDED", EndedSteps())
    services: Any = SimpleNamespace(now=lambda: NOW)
    lease = leases.acquire(Ticket("poll:apimart", "job_1", NOW), services)
    lease.release()
    lease.release()
    ledger = Ledger(MemoryStore(), POLICY)
    leases.ENDED.tell(ledger)
    assert ledger.steps() == {"poll": 1}
