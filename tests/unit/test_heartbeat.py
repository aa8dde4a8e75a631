"""A worker or scheduler that is alive and of no use ends, to be started again."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from factories import NOW, SECOND

from rushes.worker import leases, scheduler


class Board:
    """A ledger in which a ticket has been unopened since some time."""

    def __init__(self, since: int | None) -> None:
        self._since = since

    @property
    def overview(self) -> Board:
        return self

    def unopened_since(self, lanes: Any, now: int) -> dict[str, int]:
        return {} if self._since is None else {"poll:evolink": self._since}


def receives_nothing_after(monkeypatch: pytest.MonkeyPatch, idle_s: float, unopened_s: float | None) -> bool:
    monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=lambda: idle_s))
    monkeypatch.setattr(leases.HEARTBEAT, "received_at", 0.0)
    since = None if unopened_s is None else NOW - round(unopened_s * SECOND)
    services: Any = SimpleNamespace(ledger=Board(since), now=lambda: NOW)
    return leases.receives_nothing(services)


def test_a_worker_that_receives_nothing_while_work_waits_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert receives_nothing_after(monkeypatch, idle_s=61, unopened_s=61)


@pytest.mark.parametrize(("idle_s", "unopened_s"), [(59, 600), (600, 59), (600, None)])
def test_a_worker_that_is_idle_or_busy_is_not(
    monkeypatch: pytest.MonkeyPatch, idle_s: float, unopened_s: float | None
) -> None:
    assert not receives_nothing_after(monkeypatch, idle_s, unopened_s)


def test_a_worker_that_holds_a_job_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "ACTIVE", {object()})
    assert not receives_nothing_after(monkeypatch, idle_s=600, unopened_s=600)


@pytest.mark.parametrize("record", [leases.record_work, leases.record_broker_outage])
def test_a_message_or_a_broker_that_is_away_shows_that_a_worker_is_not_broken(
    monkeypatch: pytest.MonkeyPatch, record: Callable[[], None]
) -> None:
    monkeypatch.setattr(leases.HEARTBEAT, "received_at", 0.0)
    before = time.monotonic()
    record()
    assert before <= leases.HEARTBEAT.received_at <= time.monotonic()


def test_a_worker_that_is_forked_long_after_its_launcher_began_has_its_full_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases.HEARTBEAT, "received_at", 0.0)
    no_thread = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(leases, "threading", SimpleNamespace(Thread=lambda **_: no_thread))
    before = time.monotonic()
    leases.start_heartbeat(SimpleNamespace())  # type: ignore[arg-type]
    assert before <= leases.HEARTBEAT.received_at


def test_a_scheduler_that_does_not_turn_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(scheduler, "STALLED_S", 0)
    monkeypatch.setattr(scheduler.os, "_exit", ended.append)
    scheduler.Watchdog().run()
    assert ended == [70]
