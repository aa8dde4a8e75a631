from __future__ import annotations

import threading

import pytest
from patience import PATIENCE_S

from rushes.shared.single_flight import SingleFlight


def test_a_call_returns_its_result_or_raises_its_error() -> None:
    flight = SingleFlight[int](PATIENCE_S)
    assert flight.call(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        flight.call(lambda: 1 // 0)


def test_while_a_call_hangs_nobody_waits_for_long_and_no_other_is_begun() -> None:
    release, begun = threading.Event(), threading.Semaphore(0)
    flight = SingleFlight[None](0.02)

    def hang() -> None:
        begun.release()
        release.wait(PATIENCE_S)

    for _ in range(5):
        with pytest.raises(TimeoutError):
            flight.call(hang)
    assert begun.acquire(timeout=PATIENCE_S)
    release.set()
    assert not begun.acquire(blocking=False)
