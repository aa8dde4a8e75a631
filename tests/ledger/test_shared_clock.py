"""One clock for hosts whose clocks differ: that of the ledger's server."""

from __future__ import annotations

import threading

import pytest
from patience import wait_until

from rushes.shared.ledger import shared_clock
from rushes.shared.ledger.shared_clock import TOLERANCE_MS, SharedClock, wall_clock
from rushes.shared.ledger.store import LedgerUnavailable, Store


def test_each_store_tells_its_time(store: Store) -> None:
    before = wall_clock()
    assert before - 1 <= store.time_ms() <= wall_clock() + 1


@pytest.mark.parametrize("ahead_ms", [90_000, -90_000, TOLERANCE_MS + 50_000])
def test_a_host_whose_clock_differs_goes_by_the_servers(ahead_ms: int) -> None:
    clock = SharedClock(lambda: wall_clock() + ahead_ms)

    clock.measure()

    assert abs(clock.now() - wall_clock() - ahead_ms) < TOLERANCE_MS


def test_what_may_be_chance_is_no_difference() -> None:
    clock = SharedClock(lambda: wall_clock() + TOLERANCE_MS // 2)
    assert clock.measure() == 0


def test_the_difference_is_measured_beside_the_work_and_by_one() -> None:
    asked, answer = [], threading.Event()

    def server_time() -> int:
        asked.append(1)
        answer.wait()
        return wall_clock() + 90_000

    clock = SharedClock(server_time)
    assert all(abs(clock.now() - wall_clock()) < TOLERANCE_MS for _ in range(5))  # nobody waits for the answer
    answer.set()

    wait_until(lambda: clock.now() - wall_clock() > TOLERANCE_MS, "the difference")
    assert len(asked) == 1


def test_a_server_that_is_away_leaves_the_last_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([90_000])

    def server_time() -> int:
        for ahead_ms in answers:
            return wall_clock() + ahead_ms
        raise LedgerUnavailable("away")

    monkeypatch.setattr(shared_clock, "MEASURE_S", 0)
    clock = SharedClock(server_time)
    clock.measure()
    for _ in range(3):
        assert clock.now() - wall_clock() > TOLERANCE_MS
    with pytest.raises(LedgerUnavailable):
        clock.measure()
    assert clock.now() - wall_clock() > TOLERANCE_MS
