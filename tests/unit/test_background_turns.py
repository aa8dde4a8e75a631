"""Turns of work in the background go on, whatever breaks one of them."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from patience import PATIENCE_S

from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations import alerts, balances, retirement
from rushes.shared.services import Services
from rushes.worker import background_turns, retirement_loop, scheduler

SERVICES = cast(Services, object())


def test_balances_are_asked_for_and_alerts_are_looked_at() -> None:
    assert set(background_turns.TURNS.values()) == {balances.ask_due, alerts.turn}


def test_a_turn_is_repeated_after_an_outage_and_after_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, came_back, forever = iter([LedgerUnavailable("away"), ZeroDivisionError()]), Event(), Event()

    def turn(services: Services) -> None:
        assert services is SERVICES
        for outcome in outcomes:
            raise outcome
        came_back.set()
        forever.wait()  # the thread lives as long as its process

    monkeypatch.setattr(background_turns, "TURNS", {"a turn": turn})
    monkeypatch.setattr(background_turns, "LOOK_S", 0)
    background_turns.start(SERVICES)

    assert came_back.wait(PATIENCE_S)


def test_ended_jobs_are_walked_over_again_after_an_outage_and_after_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, came_back, forever = iter([LedgerUnavailable("away"), ZeroDivisionError()]), Event(), Event()
    services = cast(
        Services, SimpleNamespace(ledger="ledger", settings=SimpleNamespace(policy="policy"), now=lambda: 7)
    )

    def walk(*asked: object) -> Iterator[int]:
        assert asked == ("ledger", "policy", 7)
        for outcome in outcomes:
            raise outcome
        yield 0
        came_back.set()
        forever.wait()  # the thread lives as long as its process

    monkeypatch.setattr(retirement, "walk", walk)
    monkeypatch.setattr(retirement_loop, "PAGE_S", 0)
    monkeypatch.setattr(retirement_loop, "WALK_S", 0)
    retirement_loop.start(services)

    assert came_back.wait(PATIENCE_S)


def test_the_scheduler_starts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(background_turns, "start", started.append)
    for work in (scheduler.audit_loop, scheduler.broker_watch, scheduler.retirement_loop):
        monkeypatch.setattr(work, "start", started.append)

    scheduler.start_background_work(SERVICES)

    assert started == [SERVICES] * 4
