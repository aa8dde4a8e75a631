"""A whole ledger of an earlier release: it gets its new names, every job in it ends, and nothing is lost.

`stored/ledgers/` holds all keys as that release wrote them, and lines of its journal. They are never made anew.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from factories import NOW, POLICY, SECOND, job, link, result
from ledger_steps import ALL_ROOMS, contents, engage, plan
from patience import PATIENCE_S

from rushes.shared.domain import events, schedule
from rushes.shared.domain.job import Job, State
from rushes.shared.domain.labels import Label
from rushes.shared.ledger import keys
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.old_names import UpgradingStore
from rushes.shared.ledger.submits import Caps
from rushes.shared.operations.auditor import audit
from rushes.shared.storage import journal

STORED = json.loads((Path(__file__).parent / "stored" / "ledgers" / "2026-11.json").read_text("utf-8"))
JOBS: dict[str, str] = STORED["jobs"]
# After every pause and lease of the sample.
LATER = schedule.after(NOW, 3600)
SUBMITTED = {"running", "unconfirmed", "submitting"}


@pytest.fixture
def client(empty_redis_url: str) -> Iterator[redis.Redis]:
    with connect(empty_redis_url, PATIENCE_S) as made:
        yield made


@pytest.fixture
def old(client: redis.Redis) -> Ledger:
    """The ledger over what the earlier release has left."""
    fill: dict[str, Any] = {
        "string": lambda name, value: client.set(name, base64.b64decode(value)),
        "hash": lambda name, value: client.hset(name, mapping=value),
        "set": lambda name, value: client.sadd(name, *value),
        "zset": client.zadd,
    }
    for name, stored in STORED["keys"].items():
        fill[stored["type"]](name, stored["value"])
    return Ledger(UpgradingStore(client), POLICY)


def audited(ledger: Ledger) -> set[str]:
    archive = SimpleNamespace(abort_stale_uploads=lambda *_: 0)
    services: Any = SimpleNamespace(
        ledger=ledger, archive=archive, settings=SimpleNamespace(policy=POLICY), now=lambda: LATER
    )
    return {finding.what for page in audit(services) for finding in page}


def on(ledger: Ledger, subject: Job, ticket: Any, now: int) -> None:
    """What a worker does with a job that came due: one step of its way, where all goes well."""
    moves: dict[State, Any] = {
        State.SUBMITTING: lambda: events.Lost("the worker died", attempt=subject.current.number),
        State.UNCONFIRMED: lambda: events.Accepted("task-7", attempt=subject.current.number),
        State.RUNNING: lambda: events.Succeeded(link()),
        State.ARCHIVING: lambda: events.Archived(result()),
        State.COMPLETED: events.Notified,
    }
    if subject.state is State.QUEUED:
        caps = Caps(subject.route[0], max_in_flight=20, submits_per_minute=60)
        begun = engage(ledger, subject, ticket, events.Begun(plan(subject, now)), caps, now)
        ledger.apply(begun.id, events.Accepted("task-9", attempt=begun.current.number, asked_at=now), now)
    elif ticket.lane == "retire":
        ledger.retire(subject)
    else:
        ledger.apply(subject.id, moves[subject.state](), now)


def carry_on(ledger: Ledger, until: int) -> dict[str, list[str]]:
    """Do all that is due until then; the states through which each job went."""
    # As a scheduler does once ledger and journal were compared.
    ledger.continuity.set_mark(ledger.continuity.server(), LATER)
    way: dict[str, list[str]] = {job_id: [] for job_id in JOBS.values()}
    now = LATER
    while now < until:
        _, tickets = ledger.claim(ALL_ROOMS, now)
        for opened in filter(None, ledger.open_tickets(tickets, now)):
            way[opened[0].id].append(opened[0].state.value)
            on(ledger, *opened, now)
        now = now + SECOND if tickets else min(until, now + 60 * SECOND)
    return way


def test_every_job_of_an_earlier_release_ends_and_nothing_is_lost(old: Ledger, client: redis.Redis) -> None:
    jobs = {name: old.get(job_id) for name, job_id in JOBS.items()}
    states = {name: found.state.value for name, found in jobs.items() if found}
    again = old.create(job(created_at=LATER), "order-7", "digest")
    way = carry_on(old, LATER + 1800 * SECOND)
    ended = {name: old.get(job_id) for name, job_id in JOBS.items()}

    assert states == {
        **{name: name for name in JOBS},
        **dict.fromkeys(("parked", "handed out", "queued"), "queued"),
    }
    assert again
    assert again.id == JOBS["handed out"]
    assert {each and each.state for each in ended.values()} == {State.COMPLETED}
    assert all(len(each.attempts) == 1 for each in ended.values() if each)  # nothing was paid for twice
    assert {name for name, job_id in JOBS.items() if "queued" in way[job_id]} == {"parked", "handed out", "queued"}
    assert not [name for name in client.keys("rushes:*") if name not in ("rushes:indexes", "rushes:mark")]


def test_an_audit_makes_it_whole_for_what_is_new(old: Ledger) -> None:
    """Labels and the counters of tenants are of later releases: an audit adds them, and then finds nothing more."""
    found = audited(old)
    searched = old.store.page(keys.label(Label("acme", "metadata.order", "17")), 0, 100)[1]

    assert found == {"unindexed", "in_flight"}
    assert audited(old) == set()
    assert sorted(searched) == sorted(JOBS.values())
    assert old.store.counters(keys.TENANTS_IN_FLIGHT) == {"acme": str(len(SUBMITTED))}


def test_all_of_it_leaves_the_ledger_in_the_end(old: Ledger) -> None:
    audited(old)
    carry_on(old, LATER + 1800 * SECOND)
    for job_id in JOBS.values():
        ended = old.get(job_id)
        assert ended
        old.retire(ended)

    held = contents(old.store)
    named = {name for name, value in held.items() if any(job_id in name + str(value) for job_id in JOBS.values())}
    assert {name.rpartition(":")[0] for name in named} == {"{rushes}:idem:acme"}  # which ends by itself


@pytest.mark.parametrize("text", STORED["journal"])
def test_a_line_of_its_journal_brings_a_job_back(text: str) -> None:
    intent = journal._decode_line(text)

    assert isinstance(intent, journal.Intent)
    assert intent.job.id in JOBS.values()
    assert intent.sent == {"prompt": "a red kite"}
