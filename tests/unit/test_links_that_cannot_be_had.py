"""A clip is made and cannot be fetched: the job's history says so at once, and its error says it in the end."""

from __future__ import annotations

import pytest
from factories import DAY, HOUR, NOW, POLICY, SECOND, job_in

from rushes.shared.domain import events
from rushes.shared.domain.events import Event
from rushes.shared.domain.job import AttemptStatus, Error, Job, State
from rushes.shared.domain.transitions import transition

LINKLESS = events.Unclear("the gateway says completed but gave no link", finished=True)
REFUSED = events.ArchiveFailed("archive_failed", "we do not fetch the gateway's link: an odd port", refused=True)
DELAYED = events.ArchiveFailed("archive_failed", "S3 is away")


def told(job: Job, *happened: Event, since: int = NOW) -> Job:
    """The job after these, a second apart."""
    for second, event in enumerate(happened, 1):
        job = transition(job, event, since + second * SECOND, POLICY)
    return job


def notes(job: Job) -> list[str]:
    return [note.what for note in job.history]


def test_an_end_without_a_link_is_said_at_once_and_once_and_asked_about_again() -> None:
    first = told(job_in(State.RUNNING), LINKLESS)
    later = told(first, events.Lost("timeout"), LINKLESS, events.Progressed(40), LINKLESS, since=NOW + HOUR)
    assert [(note.what, note.detail) for note in first.history] == [("no link", LINKLESS.message)]
    assert notes(later) == ["no link"]
    assert (later.state, later.current.polls) == (State.RUNNING, 5)
    assert (later.due_at or 0) > NOW + HOUR


def test_the_link_of_a_later_answer_is_taken() -> None:
    made = job_in(State.ARCHIVING).current.link
    assert made
    assert told(job_in(State.RUNNING), LINKLESS, events.Succeeded(made)).state is State.ARCHIVING


@pytest.mark.parametrize("last", [LINKLESS, events.Lost("timeout"), events.Progressed(99)])
def test_an_end_without_a_link_is_what_the_job_ends_with(last: Event) -> None:
    over = told(told(job_in(State.RUNNING), LINKLESS), last, since=NOW + DAY)
    assert (over.state, over.current.status) == (State.FAILED, AttemptStatus.RUNNING)
    assert over.error == Error(
        "provider_error", "the gateway says completed but gave no link within 86400 s", over.provider
    )


def test_what_an_earlier_attempt_said_is_not_said_of_this_one() -> None:
    second = told(job_in(State.RUNNING), LINKLESS)
    second = second.with_attempt(submitted_at=NOW + HOUR, number=2)
    over = told(second, events.Lost("timeout"), since=NOW + HOUR + DAY)
    assert over.error
    assert over.error.code == "timed_out"


def test_a_submit_in_doubt_is_confirmed_by_an_end_without_a_link() -> None:
    named = job_in(State.UNCONFIRMED, {"task_id": "task-1"})
    job = told(named, LINKLESS)
    assert (job.state, job.current.task_id) == (State.RUNNING, "task-1")
    assert notes(job) == ["confirmed", "no link"]


def test_a_link_that_we_refuse_is_told_as_that_whatever_was_in_the_way_before() -> None:
    job = told(job_in(State.ARCHIVING), DELAYED, REFUSED, DELAYED, REFUSED)
    assert [(note.what, note.detail) for note in job.history] == [
        ("archive delayed", DELAYED.message),
        ("link refused", REFUSED.message),
    ]
