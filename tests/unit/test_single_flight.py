from __future__ import annotations

import threading

import pytest
from patience import PATIENCE_S

from rushes.shared.single_flight import SingleFlight


def test_a_look_gives_what_it_saw_or_raises_what_it_met() -> None:
    look = SingleFlight[int](PATIENCE_S)
    assert look.look(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        look.look(lambda: 1 // 0)


def test_while_a_look_hangs_nobody_waits_for_long_and_no_other_is_begun() -> None:
    let_go, begun = threading.Event(), threading.Semaphore(0)
    look = SingleFlight[None](0.02)

    def hang() -> None:
        begun.release()
        let_go.wait(PATIENCE_S)

    for _ in range(5):
        with pytest.raises(TimeoutError):
            look.look(hang)
    assert begun.acquire(timeout=PATIENCE_S)
    let_go.set()
    assert not begun.acquire(blocking=False)
