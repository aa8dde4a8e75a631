"""Jobs that are put back as the journal tells them, and the gate that is shut until that is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories import DAY, NOW, SECOND, job
from ledger_steps import CAPS, contents, created, engage, engaged, plan, racing, running, submits, taken

from rushes.shared.domain import events
from rushes.shared.domain.job import Job, State
from rushes.shared.ledger import keys
from rushes.shared.ledger.idempotency import IDEMPOTENCY_S, Conflict
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import Store
from rushes.shared.ledger.submits import CapReached

LATER, WEEK_S = NOW + SECOND, IDEMPOTENCY_S


def told(subject: Job) -> Job:
    """The job as the journal has it: one attempt further than the ledger."""
    begun = replace(subject, state=State.SUBMITTING, attempts=(*subject.attempts, plan(subject, LATER)), due_at=NOW)
    return replace(begun.with_attempt(task_id="task-7"), state=State.RUNNING)


def restore(ledger: Ledger, subject: Job, overwrite: bool = True) -> bool:
    return ledger.restore(subject, subject.current, overwrite)


def test_a_job_that_is_gone_stands_as_it_would_have(ledger: Ledger, store: Store) -> None:
    subject = running(ledger)
    before = {
        name: held for name, held in contents(store).items() if name.startswith(("{rushes}:due", "{rushes}:index:"))
    }
    other = Ledger(MemoryStore(), ledger._policy)

    assert restore(other, subject)
    assert other.get(subject.id) == subject
    assert other.gateways.in_flight("apimart") == 1
    assert before.items() <= contents(other.store).items()


def test_an_attempt_that_is_missing_is_written_over_the_older_record(ledger: Ledger, store: Store) -> None:
    subject = created(ledger)[0]
    assert restore(ledger, told(subject))

    moved = ledger.get(subject.id)
    assert moved
    assert (moved.state, moved.current.task_id, moved.version) == (State.RUNNING, "task-7", subject.version + 1)
    assert (ledger.gateways.in_flight("apimart"), ledger.overview.counts("acme")[State.QUEUED]) == (1, 0)
    assert [name for name in contents(store) if name.startswith(("{rushes}:due", "{rushes}:leased"))] == [
        "{rushes}:due:poll:apimart"
    ]


def test_the_holder_of_an_older_record_can_no_longer_submit(ledger: Ledger) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    restore(ledger, told(subject))

    assert ledger.renew(ticket, NOW) is None


def test_a_job_that_knows_the_attempt_or_has_ended_is_left_as_it_is(ledger: Ledger) -> None:
    known, ended = running(ledger), created(ledger)[0]
    ledger.apply(ended.id, events.Canceled(), NOW)
    over = ledger.get(ended.id)

    assert not restore(ledger, replace(known, progress=99))
    assert not restore(ledger, told(ended))
    assert (ledger.get(known.id), ledger.get(ended.id)) == (known, over)


def test_what_must_not_be_overwritten_is_not(ledger: Ledger) -> None:
    subject = created(ledger)[0]

    assert not restore(ledger, told(subject), overwrite=False)
    assert ledger.get(subject.id) == subject


def test_where_another_is_first_it_is_decided_anew(ledger: Ledger, store: Store) -> None:
    subject = created(ledger)[0]
    second = racing(store, lambda: ledger.apply(subject.id, events.Canceled(), NOW))

    assert not restore(second, told(subject))
    moved = ledger.get(subject.id)
    assert moved
    assert moved.state is State.CANCELED


# --- idempotency keys that are put back

KEY, SAME, OTHER = "order-7", "the same body", "another body"


def under_the_key(digest: str = SAME, **changes: Any) -> Job:
    """A job that the ledger has lost, with the key that it came under."""
    return job(idempotency=f"{keys.digest(KEY)} {digest}", **changes)


def test_a_key_that_is_put_back_does_not_take_the_place_of_a_newer_jobs(ledger: Ledger) -> None:
    newer = job(created_at=NOW + 1)
    ledger.create(newer, KEY, SAME)
    ledger.restore_key(under_the_key(), NOW + 2)

    assert ledger.find_by_key("acme", KEY, SAME, NOW) == ledger.get(newer.id)
    assert ledger.create(job(created_at=NOW + 3), KEY, SAME) == ledger.get(newer.id)


def test_a_key_that_is_put_back_gives_its_job_and_no_other_body_another(ledger: Ledger) -> None:
    lost = under_the_key()
    ledger.restore_key(lost, NOW + DAY)
    again = ledger.create(job(created_at=NOW + DAY), KEY, SAME)

    assert again
    assert again.id == lost.id
    with pytest.raises(Conflict):
        ledger.create(job(created_at=NOW + DAY), KEY, OTHER)


@pytest.mark.parametrize(("age_s", "is_known"), [(0, True), (WEEK_S - 60, True), (WEEK_S, True), (WEEK_S + 60, False)])
def test_a_key_that_is_put_back_is_known_no_longer_than_it_would_have_been(
    store: Store, ledger: Ledger, age_s: int, is_known: bool
) -> None:
    lost, now = under_the_key(), NOW + age_s * SECOND
    ledger.restore_key(lost, now)

    first = ledger.create(job(created_at=now), KEY, SAME)
    assert (first and first.id) == (lost.id if is_known else None)


def test_where_no_key_was_used_none_is_put_back(ledger: Ledger, store: Store) -> None:
    ledger.restore_key(job(), NOW)

    assert contents(store) == {}


def test_a_lost_job_whose_key_another_took_meanwhile_is_put_back_without_it(ledger: Ledger) -> None:
    quicker = job(created_at=NOW + 1)
    ledger.create(quicker, KEY, SAME)
    lost = told(under_the_key())
    stranger = told(under_the_key(OTHER))

    assert (restore(ledger, lost), restore(ledger, stranger)) == (True, True)
    assert ledger.get_many([lost.id, stranger.id]) == [replace(each, idempotency=None) for each in (lost, stranger)]
    assert ledger.find_by_key("acme", KEY, SAME, NOW) == ledger.get(quicker.id)


# --- the gate


def test_on_another_server_than_the_marked_one_no_submit_is_written_down(ledger: Ledger) -> None:
    created(ledger)
    subject, ticket = taken(ledger, submits(), NOW)
    ledger.continuity.set_mark("another/line", NOW)
    whole = ledger.continuity.is_whole()
    with pytest.raises(CapReached) as reached:
        engage(ledger, subject, ticket, events.Begun(plan(subject, NOW)), CAPS, NOW)

    assert (whole, reached.value.cap, reached.value.until) == (False, "whole", NOW + 2 * SECOND)
    assert ledger.get(subject.id) == subject


@pytest.mark.parametrize("mark", ["this", "none", "taken away"])
def test_on_the_marked_server_or_without_a_mark_submits_go_on(ledger: Ledger, mark: str) -> None:
    if mark != "none":
        ledger.continuity.set_mark(ledger.continuity.server() if mark == "this" else "another/line", NOW)
    if mark == "taken away":
        ledger.continuity.unmark()
    created(ledger)

    assert ledger.continuity.is_whole()
    assert engaged(ledger, NOW)[0].state is State.SUBMITTING
