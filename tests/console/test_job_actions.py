"""What can be done to a job on its page."""

from __future__ import annotations

import pytest
from console_steps import asking_for, visitor
from receiver_steps import Web

from rushes.shared.domain import events
from rushes.shared.domain.job import Chore, Error, State


def test_canceling_takes_a_queued_job_back_and_says_so(web: Web) -> None:
    job, person = web.standing(State.QUEUED), visitor(web)

    answer = person.send(f"/jobs/{job.id}/cancel")

    assert web.now(job.id).state is State.CANCELED
    assert "nothing was paid" in person.reads(answer.headers["Location"])


def test_a_job_that_a_gateway_has_is_not_canceled_and_the_page_leads_back_to_it(web: Web) -> None:
    job = web.standing(State.RUNNING)

    answer = visitor(web).send(f"/jobs/{job.id}/cancel")

    assert answer.status_code == 409
    assert "it is paid for and will be archived" in answer.text
    assert f'href="/jobs/{job.id}"' in answer.text


def test_a_retry_leads_to_the_new_job(web: Web) -> None:
    failed_id, person = web.submitted()["id"], visitor(web)
    web.parts.ledger.apply(failed_id, events.Barred(Error("provider_error", "no luck")), web.parts.now())

    answer = person.send(f"/jobs/{failed_id}/retry")
    again = answer.headers["Location"].partition("?")[0].removeprefix("/jobs/")

    assert web.now(again).retry_of == failed_id
    assert failed_id in person.reads(answer.headers["Location"])


def test_an_ended_job_notifies_again_when_it_is_told_to(web: Web) -> None:
    job, person = web.standing(State.FAILED, chores=(Chore.RETIRE,)), visitor(web)

    offered = "Replay notification" in person.reads(f"/jobs/{job.id}")
    answer = person.send(f"/jobs/{job.id}/notify")

    assert offered
    assert Chore.NOTICE in web.now(job.id).chores
    assert "notified again" in person.reads(answer.headers["Location"])


def test_where_nobody_is_to_be_told_there_is_nothing_to_replay(web: Web) -> None:
    job = web.standing(State.FAILED, **asking_for("x"))

    assert "Replay notification" not in visitor(web).reads(f"/jobs/{job.id}")
    assert visitor(web).send(f"/jobs/{job.id}/notify").status_code == 409


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        ({"action": "fail"}, State.FAILED),
        ({"action": "adopt", "task_id": " task-9 "}, State.RUNNING),
        ({"action": "resubmit"}, State.QUEUED),
    ],
)
def test_an_unconfirmed_job_is_resolved_once_somebody_says_that_they_looked(
    web: Web, decision: dict[str, str], state: State
) -> None:
    job, person = web.standing(State.UNCONFIRMED), visitor(web)

    unlooked = person.send(f"/jobs/{job.id}/resolve", **decision)
    before = web.now(job.id)
    looked = person.send(f"/jobs/{job.id}/resolve", looked_up="yes", **decision)

    assert (unlooked.status_code, before) == (422, job)
    assert looked.status_code == 303
    assert web.now(job.id).state is state
    assert web.now(job.id).current.task_id == ("task-9" if state is State.RUNNING else None)


@pytest.mark.parametrize(
    "decision", [{}, {"action": "pay"}, {"action": "adopt"}, {"action": "adopt", "task_id": "a b"}]
)
def test_a_decision_that_is_none_changes_nothing(web: Web, decision: dict[str, str]) -> None:
    job = web.standing(State.UNCONFIRMED)

    assert visitor(web).send(f"/jobs/{job.id}/resolve", looked_up="yes", **decision).status_code == 422
    assert web.now(job.id) == job
