"""A worker that keeps a job after its poll, to archive its clip at once."""

from __future__ import annotations

from functools import partial

from factories import NOW, SECOND, link
from ledger_steps import claim, places, racing, repeating, running, score

from rushes.shared.domain import events
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.schedule import LEASE_S
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.store import LaneRoom, Store
from rushes.shared.ledger.tickets import Ticket

LATER = NOW + 60 * SECOND
LEASE_ENDS = LATER + LEASE_S * SECOND
ROOM = LaneRoom("archive", 8)
SUCCEEDED = events.Succeeded(link(), heard_by="poll", attempt=1)


def archives(job: Job) -> bool:
    return job.state is State.ARCHIVING


def test_a_kept_job_is_leased_to_its_worker_and_due_for_nobody(ledger: Ledger, store: Store) -> None:
    job = running(ledger)
    ((kept, ticket),) = ledger.apply_all([(job, SUCCEEDED)], LATER, archives)

    assert kept == ledger.get(job.id)
    assert (kept.state, kept.tries, ticket) == (State.ARCHIVING, 1, Ticket("archive", job.id, LEASE_ENDS))
    assert score(store, "leased:archive", job.id) == LEASE_ENDS
    assert places(store, job.id) == ["{rushes}:leased:archive"]
    assert claim(ledger, ROOM, LEASE_ENDS - 1) == []


def test_a_job_that_is_not_kept_is_due_as_ever(ledger: Ledger, store: Store) -> None:
    job = running(ledger)
    assert ledger.apply_all([(job, events.Progressed(40, attempt=1))], LATER, archives) == []
    assert places(store, job.id) == ["{rushes}:due:poll:apimart"]


def test_a_kept_job_whose_worker_died_is_handed_out_once_its_lease_is_over(ledger: Ledger) -> None:
    job = running(ledger)
    ledger.apply_all([(job, SUCCEEDED)], LATER, archives)
    (ticket,) = claim(ledger, ROOM, LEASE_ENDS + 1)
    (opened,) = ledger.open_tickets([ticket], LEASE_ENDS + 1)

    assert opened is not None
    assert (opened[0].id, opened[0].tries) == (job.id, 2)


def test_the_lease_of_a_kept_job_can_be_renewed(ledger: Ledger) -> None:
    job = running(ledger)
    ((_, ticket),) = ledger.apply_all([(job, SUCCEEDED)], LATER, archives)
    renewed = ledger.renew(ticket, LATER + 10 * SECOND)

    assert renewed is not None
    assert claim(ledger, ROOM, LEASE_ENDS + 1) == []


def test_the_end_of_a_kept_job_leaves_no_lease(ledger: Ledger, store: Store) -> None:
    job = running(ledger)
    ((kept, _),) = ledger.apply_all([(job, SUCCEEDED)], LATER, archives)
    ledger.apply(job.id, events.ArchiveFailed("archive_failed", "S3 is away"), LATER, known=kept)

    assert places(store, job.id) == ["{rushes}:due:archive"]


def test_a_job_to_which_others_were_first_is_not_kept(ledger: Ledger, store: Store) -> None:
    job = running(ledger)
    first = partial(ledger.apply, job.id, events.Progressed(60), LATER)

    assert racing(store, first).apply_all([(job, SUCCEEDED)], LATER, archives) == []
    assert places(store, job.id) == ["{rushes}:due:archive"]


def test_a_job_is_kept_once_although_its_commit_was_sent_twice(ledger: Ledger, store: Store) -> None:
    job = running(ledger)
    ((kept, _),) = repeating(store).apply_all([(job, SUCCEEDED)], LATER, archives)

    assert (kept.version, places(store, job.id)) == (job.version + 1, ["{rushes}:leased:archive"])
