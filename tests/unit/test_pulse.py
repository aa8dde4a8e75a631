"""A worker or scheduler that is alive and of no use ends, to be started again."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from factories import NOW, SECOND

from rushes.worker import leases, scheduler


class Board:
    """A ledger in which a ticket has been lying since a moment."""

    def __init__(self, since: int | None) -> None:
        self._since = since

    @property
    def overview(self) -> Board:
        return self

    def unopened_since(self, lanes: Any, now: int) -> dict[str, int]:
        return {} if self._since is None else {"poll:evolink": self._since}


def deaf_after(monkeypatch: pytest.MonkeyPatch, unheard_s: float, lying_s: float | None) -> bool:
    monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=lambda: unheard_s))
    monkeypatch.setattr(leases.PULSE, "heard_at", 0.0)
    since = None if lying_s is None else NOW - round(lying_s * SECOND)
    services: Any = SimpleNamespace(ledger=Board(since), now=lambda: NOW)
    return leases.deaf(services)


def test_a_worker_that_is_handed_nothing_while_work_waits_is_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deaf_after(monkeypatch, unheard_s=61, lying_s=61)


@pytest.mark.parametrize(("unheard_s", "lying_s"), [(59, 600), (600, 59), (600, None)])
def test_a_worker_that_is_idle_or_busy_is_not(
    monkeypatch: pytest.MonkeyPatch, unheard_s: float, lying_s: float | None
) -> None:
    assert not deaf_after(monkeypatch, unheard_s, lying_s)


def test_a_worker_that_holds_a_job_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HELD", {object()})
    assert not deaf_after(monkeypatch, unheard_s=600, lying_s=600)


def test_a_message_shows_that_a_worker_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases.PULSE, "heard_at", 0.0)
    before = time.monotonic()
    leases.heard()
    assert before <= leases.PULSE.heard_at <= time.monotonic()


def test_a_scheduler_that_does_not_turn_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(scheduler, "STALLED_S", 0)
    monkeypatch.setattr(scheduler.os, "_exit", ended.append)
    scheduler.Watchdog().run()
    assert ended == [70]
