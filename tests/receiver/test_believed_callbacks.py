"""Where callbacks are believed (RUSHES_CALLBACK_CONFIRM=false): which may end a job by themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from factories import job_in, link

from rushes.shared.domain import events
from rushes.shared.domain.events import Event, Reason
from rushes.shared.domain.job import State
from rushes.webhook_receiver.callbacks import may_be_believed

INPUT = "https://inputs.example/dancer.mp4"
JOB = job_in(State.RUNNING, request={"video_url": INPUT})
FAILED, SUCCEEDED = events.Failed(Reason.PROVIDER, "no luck"), events.Succeeded(link())


@pytest.mark.parametrize(
    ("event", "attempt", "task_id", "believed"),
    [
        (SUCCEEDED, 1, "task-1", True),
        (FAILED, 1, "task-1", True),
        (SUCCEEDED, 1, None, True),  # its address names the attempt, whose task is known
        (SUCCEEDED, 1, "task-2", False),
        (FAILED, 2, "task-1", False),
        (events.Progressed(40), 1, "task-1", False),
        (events.Succeeded(link(video_url=f"{INPUT}?signed")), 1, "task-1", False),
    ],
)
def test_an_end_is_believed_of_its_own_task_with_a_link_that_is_no_input(
    event: Event, attempt: int, task_id: str | None, believed: bool
) -> None:
    ledger: Any = SimpleNamespace(get=lambda job_id: JOB)
    assert may_be_believed(JOB.id, attempt, event, task_id, ledger) == believed


def test_a_task_that_is_not_known_yet_is_taken_from_the_callback() -> None:
    doubted = job_in(State.UNCONFIRMED)
    ledger: Any = SimpleNamespace(get=lambda job_id: doubted)
    assert may_be_believed(doubted.id, 1, FAILED, "task-7", ledger)
