"""Each place and counter of the ledger is damaged by hand: the auditor finds it, puts it right, and finds no more."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from batch_steps import begun, completed, end_all, taken_batch
from factories import NOW, POLICY, REQUEST, SECOND
from ledger_steps import claim, contents, created, places, running, submits, taken

from rushes.shared.domain import batch as batch_module
from rushes.shared.domain import events, start_deadline
from rushes.shared.domain.bulk import Action, Bulk, Status
from rushes.shared.domain.events import Reason
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.job_filter import JobFilter
from rushes.shared.intake.job_document import moment
from rushes.shared.ledger import keys
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.memory_store import MemoryStore
from rushes.shared.ledger.store import LaneRoom, Store
from rushes.shared.operations.auditor import Finding, audit

DEADLINE = NOW + 600 * SECOND
BULK_ID = "bulk_01K5N5V3C0000000000000000A"


def write(store: Store, *commands: tuple[Any, ...]) -> None:
    """Commands that no program of ours would do."""
    if isinstance(store, MemoryStore):
        for command, key, *arguments in commands:
            store._command(command, key, arguments)
    else:
        client: Any = store._client  # type: ignore[attr-defined]
        for command in commands:
            client.execute_command(*command)


def audited(ledger: Ledger, repair: bool = True) -> set[tuple[str, str]]:
    archive = SimpleNamespace(abort_stale_uploads=lambda *_: 0)
    settings = SimpleNamespace(policy=POLICY)
    services: Any = SimpleNamespace(ledger=ledger, archive=archive, settings=settings, now=lambda: NOW)
    return {(finding.what, _short(finding)) for page in audit(services, repair) for finding in page}


def _short(finding: Finding) -> str:
    """Where it is, without the ids of jobs, which are new in each run."""
    return " ".join("ID" if word.startswith(("job_", "batch_", "bulk_")) else word for word in finding.where.split(" "))


def waiting(ledger: Ledger, **fields: Any) -> Job:
    (job,) = created(ledger, tenant="a:b", request={**REQUEST, **fields})
    return job


def in_its_turn(ledger: Ledger, **fields: Any) -> Job:
    """Two jobs of one line, of which one is handed out: their tenant takes turns."""
    first, second = created(ledger, 2, tenant="a:b", request={**REQUEST, **fields})
    (ticket,) = claim(ledger, submits(room=1), NOW + 5)
    return first if ticket.job_id == second.id else second


def parked(ledger: Ledger) -> Job:
    job = waiting(ledger)
    ledger.gateways.strike("apimart", Reason.KEY, None, NOW)
    held, _ = taken(ledger, submits(), NOW)
    ledger.apply(held.id, events.Parked(held.route), NOW)
    return job


def erasing(ledger: Ledger) -> Job:
    job = waiting(ledger)
    ledger.apply(job.id, events.Canceled(), NOW)
    moved = ledger.apply(job.id, events.ErasureRequested("acme"), NOW)
    assert moved
    return moved


def acting(ledger: Ledger, **fields: Any) -> Bulk:
    action = Bulk(BULK_ID, "acme", "acme", Action.ERASE, JobFilter(batch="x"), NOW, **fields)
    ledger.bulk_actions.create(action)
    return action


def labeled(ledger: Ledger) -> Job:
    return waiting(ledger, batch="autumn")


def label_of(store: Store) -> str:
    return next(name for name in contents(store) if name.startswith(keys.LABELS))


Damage = Callable[[Store, Any], tuple[Any, ...]]
LINE = "a:b:5"
SETS = {name: f"{{rushes}}:{name}:submit:apimart" for name in ("later", "turns", "lines")}
DAMAGES: dict[str, tuple[Callable[[Ledger], Any], Damage, set[tuple[str, str]]]] = {
    "a line that the claim is not told of": (
        waiting,
        lambda *_: ("ZREM", SETS["later"], LINE),
        {("unlined", "ID")},
    ),
    "a tenant that has no turn": (in_its_turn, lambda *_: ("ZREM", SETS["turns"], "a:b"), {("unlined", "ID")}),
    "a tenant without its lines": (in_its_turn, lambda *_: ("HDEL", SETS["lines"], "a:b"), {("unlined", "ID")}),
    "a line that its tenant does not know": (
        in_its_turn,
        lambda *_: ("HSET", SETS["lines"], "a:b", "4"),
        {("unlined", "ID")},
    ),
    "a job in line of which the claim knows nothing": (
        waiting,
        lambda store, job: ("HDEL", keys.QUEUED, job.id),
        {("unlined", "ID")},
    ),
    "a job that left its line": (
        waiting,
        lambda store, job: ("ZREM", keys.due(f"submit:apimart:{LINE}"), job.id),
        {("nowhere", "ID")},
    ),
    "a job of another line": (
        waiting,
        lambda store, job: ("ZADD", keys.due("submit:apimart:a:b:7"), NOW, job.id),
        set(),  # nobody looks into a line that is in no set
    ),
    "a parked job": (
        parked,
        lambda store, job: ("ZREM", keys.due(f"parked:apimart:{LINE}"), job.id),
        {("nowhere", "ID")},
    ),
    "a line of parked jobs": (
        parked,
        lambda *_: ("ZREM", keys.later("parked", "apimart"), LINE),
        {("unlined", "ID")},
    ),
    "a deadline": (
        lambda ledger: waiting(ledger, start_before=moment(DEADLINE)),
        lambda store, job: ("ZREM", keys.START_BEFORE, job.id),
        {("undated", "ID")},
    ),
    "a deadline of a job without one": (
        waiting,
        lambda store, job: ("ZADD", keys.START_BEFORE, DEADLINE, job.id),
        {("stray", "ID in {rushes}:start_before")},
    ),
    "a lease in the lane of deadlines": (
        running,
        lambda store, job: ("ZADD", keys.leased("expire"), NOW, job.id),
        {("stray", "ID in {rushes}:leased:expire")},
    ),
    "an erasure": (
        erasing,
        lambda store, job: ("ZREM", keys.due("erase"), job.id),
        {("nowhere", "ID")},
    ),
    "a job that is not to be erased": (
        running,
        lambda store, job: ("ZADD", keys.due("erase"), NOW, job.id),
        {("stray", "ID in {rushes}:due:erase")},
    ),
    "a label": (labeled, lambda store, job: ("ZREM", label_of(store), job.id), {("unindexed", "ID")}),
    "a bulk action that nobody goes on with": (
        acting,
        lambda store, action: ("ZREM", keys.due("bulk"), action.id),
        {("nowhere", "ID")},
    ),
    "a bulk action that has ended": (
        lambda ledger: acting(ledger, status=Status.COMPLETED, ended_at=NOW),
        lambda store, action: ("ZADD", keys.leased("bulk"), NOW, action.id),
        {("stray", "ID in {rushes}:due:bulk"), ("stray", "ID in {rushes}:leased:bulk")},
    ),
    "a bulk action that is gone": (
        waiting,
        lambda *_: ("ZADD", keys.due("bulk"), NOW, "bulk_gone"),
        {("stray", "ID in {rushes}:due:bulk")},
    ),
    "the counter of an account": (
        lambda ledger: running(ledger, tenant="a:b"),
        lambda *_: ("HINCRBY", keys.IN_FLIGHT, "apimart", 2),
        {("in_flight", "apimart: off by +2")},
    ),
    "the counter of an account without jobs": (
        running,
        lambda *_: ("HINCRBY", keys.IN_FLIGHT, "apimart/b", 3),
        {("in_flight", "apimart/b: off by +3")},
    ),
    "the counter of a tenant": (
        lambda ledger: running(ledger, tenant="a:b"),
        lambda *_: ("HINCRBY", keys.TENANTS_IN_FLIGHT, "a:b", -1),
        {("in_flight", "a:b: off by -1")},
    ),
    "the money of a batch": (
        lambda ledger: (taken_batch(ledger), begun(ledger))[0],
        lambda store, batch: ("HINCRBY", keys.batch_counts(batch.id), "held", 7),
        {("batch", "ID held: off by +7")},
    ),
    "the open jobs of a batch": (
        lambda ledger: (taken_batch(ledger), completed(ledger))[0],
        lambda store, batch: ("HDEL", keys.batch_counts(batch.id), "open"),
        {("batch", "ID open: off by -2")},
    ),
    "a batch in its tenant's list": (
        taken_batch,
        lambda store, batch: ("ZREM", keys.batches("acme"), batch.id),
        {("unindexed", "ID")},
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_it_is_found_and_put_right(ledger: Ledger, store: Store, name: str) -> None:
    make, damage, expected = DAMAGES[name]
    subject = make(ledger)
    if "has ended" not in name:
        assert audited(ledger, repair=False) == set()
    write(store, damage(store, subject))
    damaged = contents(store)
    found = audited(ledger, repair=False)
    untouched = contents(store)

    assert (found, untouched) == (expected, damaged)
    assert audited(ledger) == expected
    assert audited(ledger) == set()
    assert all(index.startswith("{rushes}:index:") for index in store.index_names())


LINED = [name for name, (make, _, found) in DAMAGES.items() if found == {("unlined", "ID")} and make is not parked]


@pytest.mark.parametrize("name", LINED)
def test_a_job_whose_line_was_forgotten_is_handed_out(ledger: Ledger, store: Store, name: str) -> None:
    make, damage, _ = DAMAGES[name]
    subject = make(ledger)
    write(store, damage(store, subject))
    audited(ledger)

    assert subject.id in [ticket.job_id for ticket in claim(ledger, submits(), NOW + 10)]


def test_a_deadline_that_was_lost_ends_the_job_after_all(ledger: Ledger, store: Store) -> None:
    job = waiting(ledger, start_before=moment(DEADLINE))
    write(store, ("ZREM", keys.START_BEFORE, job.id), ("HDEL", keys.QUEUED, job.id))
    audited(ledger)
    rooms = [LaneRoom(start_deadline.LANE, 9), submits(cap=0)]

    assert [ticket.job_id for ticket in ledger.claim(rooms, DEADLINE)[1]] == [job.id]
    assert places(store, job.id) == ["{rushes}:leased:expire"]
    assert (job.state, audited(ledger)) == (State.QUEUED, set())


def test_a_batch_whose_end_was_missed_ends(ledger: Ledger, store: Store) -> None:
    batch = taken_batch(ledger)
    write(store, ("HINCRBY", keys.batch_counts(batch.id), "open", 1))
    end_all(ledger, batch_module.job_ids(batch))
    missed = places(store, batch.id)
    found = audited(ledger)

    assert (missed, found) == ([], {("batch", "ID open: off by +1"), ("nowhere", "ID")})
    assert places(store, batch.id) == ["{rushes}:due:notify"]
    assert ledger.batches.counts(batch.id)[batch_module.ENDED_AT] == NOW
