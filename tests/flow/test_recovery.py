"""A ledger that was lost, or lost its last moments, and what the journal gives back of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from outsiders import Letter
from world import Died, World

from rushes.shared import services
from rushes.shared.cli.main import main
from rushes.shared.domain import events
from rushes.shared.domain.job import AttemptStatus, Job, State
from rushes.shared.domain.schedule import LEASE_S
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.operations.recovery import SKEW_MS, Report, recover
from rushes.shared.storage.archive import ArchiveUnavailable
from rushes.worker.failover_guard import AFTERLOOK_S, MARGIN_S, FailoverGuard
from rushes.worker.scheduler import Scheduler

ANOTHER = "another-server/another-line"


@pytest.fixture
def open_own(open_world: Callable[..., World]) -> Callable[..., World]:
    """A world with a journal of its own: the bucket is everybody's."""

    def open_(**settings: Any) -> World:
        return open_world(RUSHES_S3_PREFIX=f"{uuid.uuid4().hex}/", **settings)

    return open_


@pytest.fixture
def world(open_own: Callable[..., World]) -> World:
    return open_own()


def lose(world: World) -> None:
    """Redis is gone with all that was in it."""
    world.services.journal.flush()
    world.redis.flushdb()


def replica(world: World) -> Any:
    address = world.redis.connection_pool.connection_kwargs
    return redis.Redis(address["host"], address["port"], address["db"])


def snapshot(world: World) -> dict[str, Any]:
    """What a replica has at this moment."""
    with replica(world) as client:
        held = {name: client.dump(name) for name in client.keys("*")}
    return {name: value for name, value in held.items() if value is not None}  # some live for a second only


def fail_over(world: World, held: dict[str, Any], server: str = ANOTHER) -> None:
    """The replica becomes master: what came after is lost, and another server answers than the one that was marked."""
    lose(world)
    with replica(world) as client:
        for name, value in held.items():
            client.restore(name, 0, value)
    world.redis.hset("{rushes}:mark", mapping={"server": server})


def recovered(world: World, **options: Any) -> Report:
    return recover(world.services, **options)


def states(report: Report) -> dict[str, State]:
    return {job.id: job.state for job in report.put_back}


def test_every_paid_clip_of_a_lost_ledger_is_archived_and_paid_once(world: World) -> None:
    ended = world.submit(world.request_for("newapi"))
    world.finish(ended)
    jobs = [world.submit(world.request_for(name)) for name in ("apimaster", "evolink", "apimodels", "newapi")]
    for job_id in jobs:
        world.until(job_id, State.RUNNING)
    posts = world.posts()
    lose(world)

    report = recovered(world)
    found = [world.finish(job_id) for job_id in jobs]

    assert states(report) == dict.fromkeys(jobs, State.RUNNING)
    assert (report.ended, report.known, report.unreadable) == (1, 0, 0)
    assert [job.state for job in found] == [State.COMPLETED] * 4
    assert all("manifest.json" in world.bucket(job) for job in found)
    assert (world.posts(), len(world.bills())) == (posts, 5)
    assert world.ledger.get(ended) is None


def test_a_clip_whose_manifest_was_not_written_yet_is_no_end(world: World) -> None:
    archiving = world.until(world.submit(world.request_for("newapi")), State.ARCHIVING)
    with world.before(world.services.archive, "put_manifests", world.die):
        world.step()
    left = world.bucket(archiving).keys()
    lose(world)
    report = recovered(world)
    job = world.finish(archiving.id)

    assert (left, report.ended, states(report)) == ({"video.mp4"}, 0, {archiving.id: State.RUNNING})
    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)
    assert "manifest.json" in world.bucket(job)


def test_a_job_that_had_failed_is_over_by_its_manifest(open_own: Callable[..., World]) -> None:
    world = open_own(NEWAPI_BASE_URL="http://10.1.2.3")  # where we may not go
    failed = world.finish(world.submit(world.request_for("newapi")))
    lose(world)
    report = recovered(world)

    assert (failed.state, report.put_back, report.ended) == (State.FAILED, [], 1)
    assert world.ledger.get(failed.id) is None


def test_recovering_twice_changes_nothing(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.RUNNING)
    lose(world)
    recovered(world)
    before = snapshot(world)
    second = recovered(world)

    assert (second.put_back, second.known) == ([], 1)
    assert snapshot(world) == before


def test_while_all_is_well_it_changes_nothing(world: World) -> None:
    world.finish(world.submit(world.request_for("newapi")))
    world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    world.fault("newapi", "answer_lost")
    world.until(world.submit(world.request_for("newapi")), State.UNCONFIRMED)
    world.services.journal.flush()
    before = snapshot(world)
    report = recovered(world)

    assert (report.put_back, report.answered, report.known) == ([], [], 3)
    assert snapshot(world) == before


def test_a_dry_run_tells_and_writes_nothing(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.RUNNING)
    lose(world)
    report = recovered(world, dry_run=True)

    assert states(report) == {job_id: State.RUNNING}
    assert snapshot(world) == {}


@pytest.mark.parametrize("sent", [True, False])
def test_without_an_answer_in_the_journal_nothing_is_sent_again(world: World, sent: bool) -> None:
    job_id = world.submit(world.request_for("newapi"))
    dying = world.after if sent else world.before
    with dying(world.http_client, "send", world.die):
        world.exhaust()
    lose(world)
    recovered(world)
    doubted = world.job(job_id)
    world.advance(3600)
    world.exhaust()

    assert (doubted.state, doubted.current.status) == (State.UNCONFIRMED, AttemptStatus.UNCONFIRMED)
    assert (world.job(job_id).state, world.posts(), len(world.bills())) == (State.UNCONFIRMED, int(sent), int(sent))


@pytest.mark.parametrize("callbacks", [False, True])
def test_apimart_is_asked_under_the_same_key_and_bills_once(open_own: Callable[..., World], callbacks: bool) -> None:
    world = open_own(callbacks=callbacks)
    job_id = world.submit(world.request_for("apimart"))
    with world.after(world.http_client, "send", world.die):
        world.exhaust()
    lose(world)
    recovered(world)
    job = world.finish(job_id)

    first, second = [request for request in world.http_client.sent if request.method == "POST"]
    assert (job.state, first == second, len(world.bills())) == (State.COMPLETED, True, 1)


def test_a_key_that_may_be_forgotten_is_not_asked_under(world: World) -> None:
    job_id = world.submit(world.request_for("apimart"))
    with world.after(world.http_client, "send", world.die):
        world.exhaust()
    lose(world)
    world.advance(2 * 3600)
    recovered(world)
    world.advance(3600)
    world.exhaust()

    assert (world.job(job_id).state, world.posts(), len(world.bills())) == (State.UNCONFIRMED, 1, 1)


@pytest.mark.parametrize("fault", ["answer_lost", "html_502"])
def test_a_gateway_that_knows_our_own_id_is_asked_by_it_however_long_ago_that_was(world: World, fault: str) -> None:
    world.fault("kling", fault)
    job_id = world.submit(world.motion, provider="kling")
    world.until(job_id, State.UNCONFIRMED)
    lose(world)
    world.advance(3 * 3600)
    report = recovered(world)
    job = world.finish(job_id)

    assert states(report) == {job_id: State.UNCONFIRMED}
    assert (job.state, [attempt.status for attempt in job.attempts]) == (State.COMPLETED, [AttemptStatus.COMPLETED])
    assert (world.posts(), len(world.bills())) == (1 if fault == "answer_lost" else 2, 1)


def test_the_callback_of_a_lost_submit_still_opens_its_door(open_own: Callable[..., World]) -> None:
    world = open_own(callbacks=True)
    job_id = world.submit(world.request_for("evolink"))
    with world.after(world.http_client, "send", world.die):
        world.exhaust()
    letter = world.letter(job_id)
    lose(world)
    unknown = world.deliver(letter).status_code
    recovered(world)
    known = world.deliver(letter).status_code
    job = world.finish(job_id)

    # Until the journal was read its job may come back: a 404 would end the gateway's tries for good.
    assert (unknown, known) == (503, 200)
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def test_what_was_surely_refused_is_tried_again_where_it_would_have_been(world: World) -> None:
    world.fault("evolink", "no_balance", stage="submit", times=1)
    job_id = world.submit(world.motion, provider=["evolink", "apimaster"])
    world.run_until(lambda: len(world.job(job_id).attempts) == 1)
    lose(world)
    report = recovered(world)
    put_back = world.job(job_id)
    job = world.finish(job_id)

    assert states(report) == {job_id: State.QUEUED}
    assert (put_back.current.status, put_back.route) == (AttemptStatus.REJECTED, ("apimaster", "evolink"))
    assert [(a.provider, a.status.value) for a in job.attempts] == [("evolink", "rejected"), ("apimaster", "completed")]
    assert len(world.bills()) == 1


def test_a_refusal_without_hope_ends_the_job_as_it_would_have(open_own: Callable[..., World]) -> None:
    world = open_own(NEWAPI_BASE_URL="http://10.1.2.3")  # where we may not go
    job_id = world.submit(world.request_for("newapi"))
    before = world.until(job_id, State.FAILED)
    lose(world)
    recovered(world)
    job = world.finish(job_id)

    assert (job.state, job.error) == (State.FAILED, before.error)
    assert (job.current.status, world.bills()) == (AttemptStatus.REJECTED, [])


def test_without_the_bucket_nothing_is_paid_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def refuse(*_: object) -> None:
        tries.append(world.clock())
        raise ArchiveUnavailable("S3 was not reached")

    job_id = world.submit(world.request_for("newapi"))
    with monkeypatch.context() as down:
        down.setattr(world.services.archive, "put_journal", refuse)
        world.exhaust()
        world.advance(14)
        world.exhaust()
        held = world.job(job_id)
        sent = world.posts()
    job = world.finish(job_id)

    # The intent, and then that it was held back: that the first was not stored is not known for certain.
    assert (held.state, held.attempts, sent, len(tries)) == (State.QUEUED, (), 0, 2)
    assert (job.state, len(job.attempts), world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1, 1)


def test_a_ledger_that_lost_the_attempt_before_the_call_is_not_paid_for(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    behind = snapshot(world)
    with world.after(world.services.journal, "record_intents", lambda: fail_over(world, behind, server="")):
        world.step()
    sent = world.posts()
    job = world.finish(job_id)

    assert (sent, job.state) == (0, State.COMPLETED)
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_a_worker_that_lost_its_lease_before_the_call_does_not_send_it(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))

    def another_takes_it_up() -> None:
        world.advance(LEASE_S + 1)
        world.exhaust()

    with world.after(world.services.journal, "record_intents", another_takes_it_up):
        world.step()
    job = world.finish(job_id)

    assert (job.state, len(job.attempts)) == (State.COMPLETED, 1)
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_a_worker_that_stands_still_right_before_the_call_does_not_send_it(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    seen = []

    def another_takes_it_up() -> None:
        world.advance(LEASE_S + 1)
        world.exhaust()
        seen.append(world.job(job_id).state)

    with world.after(world.ledger, "renew_many", another_takes_it_up):
        world.step()
    sent = world.posts()
    job = world.finish(job_id)

    assert (seen, sent) == ([State.UNCONFIRMED], 0)
    assert (job.state, len(job.attempts)) == (State.COMPLETED, 1)
    assert (world.posts(), len(world.bills())) == (1, 1)


def test_an_attempt_that_a_failover_lost_is_put_back_over_the_older_record(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    behind = snapshot(world)
    world.until(job_id, State.RUNNING)
    fail_over(world, behind)
    stale = world.job(job_id)
    report = recovered(world)
    job = world.finish(job_id)

    assert (stale.state, stale.attempts) == (State.QUEUED, ())
    assert states(report) == {job_id: State.RUNNING}
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def test_a_task_whose_answer_a_failover_lost_is_told_to_the_ledger(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))
    behind: list[dict[str, Any]] = []
    with world.before(world.http_client, "send", lambda: behind.append(snapshot(world))):
        world.step()
    fail_over(world, behind[0], server="")
    world.advance(LEASE_S + 1)
    doubted = world.until(job_id, State.UNCONFIRMED)
    tried = recovered(world, dry_run=True)
    left = world.job(job_id)
    report = recovered(world)
    job = world.finish(job_id)

    assert (tried.answered, left) == ([job_id], doubted)
    assert (doubted.current.task_id, report.answered) == (None, [job_id])
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def test_what_was_held_back_is_not_put_back_as_sent(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))

    def out_of_reach() -> None:
        raise LedgerUnavailable("TimeoutError")

    with world.before(world.ledger, "renew_many", out_of_reach):
        world.step()
    held = world.job(job_id)
    tried, report = recovered(world, dry_run=True), recovered(world)
    job = world.finish(job_id)

    assert (held.state, held.attempts, world.posts()) == (State.QUEUED, (), 1)
    assert [(each.put_back, each.known) for each in (tried, report)] == [([], 1)] * 2
    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("late_s", [0, SKEW_MS // 1000 - 10])
def test_what_is_held_back_while_the_journal_is_read_is_not_put_back_as_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, late_s: int, dry_run: bool
) -> None:
    job_id = world.submit(world.request_for("newapi"))
    flush = world.services.journal.flush

    def out_of_reach() -> None:
        world.advance(-late_s)  # the worker's clock, which names the journal's lines
        raise LedgerUnavailable("TimeoutError")

    monkeypatch.setattr("rushes.shared.storage.journal.LINGER_S", 60)
    monkeypatch.setattr(world.services.journal, "flush", lambda: None)
    with world.before(world.ledger, "renew_many", out_of_reach):
        world.step()
    world.advance(late_s)
    with world.before(world.ledger, "get_many", flush):
        report = recovered(world, dry_run=dry_run)
    job = world.finish(job_id)

    assert (report.put_back, report.known) == ([], 1)
    assert (job.state, len(world.bills())) == (State.COMPLETED, 1)


def test_a_job_that_ended_stays_ended_whatever_the_journal_has(world: World) -> None:
    job_id = world.submit(world.request_for("newapi"))

    def out_of_reach() -> None:
        raise LedgerUnavailable("TimeoutError")

    with (
        world.before(world.ledger, "renew_many", out_of_reach),
        world.before(world.services.journal, "record_outcome", world.die),
    ):
        world.step()
    world.ledger.apply(job_id, events.Withdrawn(world.job(job_id).current.submitted_at, attempt=1), world.clock())
    world.api("POST", f"/v1/jobs/{job_id}/cancel")
    canceled = world.job(job_id)
    tried, report = recovered(world, dry_run=True), recovered(world)

    assert (canceled.state, tried.put_back, report.put_back, report.known) == (State.CANCELED, [], [], 1)
    assert world.job(job_id) == canceled


def test_a_refusal_of_the_second_call_leaves_a_recovered_job_in_doubt(world: World) -> None:
    job_id = world.submit(world.request_for("apimart"))
    with world.after(world.http_client, "send", world.die):
        world.exhaust()
    world.fault("apimart", "no_balance", stage="submit")
    world.run_until(lambda: world.posts() == 2)
    lose(world)
    recovered(world)
    doubted = world.job(job_id)
    job = world.finish(job_id)

    assert doubted.state is State.UNCONFIRMED
    assert (job.state, len(job.attempts), len(world.bills())) == (State.COMPLETED, 1, 1)


def read_in(order: Callable[[Any], Any], world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal's lines come in this order: its objects are named by clocks that differ."""
    read = world.services.journal.read
    monkeypatch.setattr(world.services.journal, "read", lambda *since: iter(order([*read(*since)])))


@pytest.mark.parametrize("order", [list, reversed])
def test_an_acceptance_goes_before_a_lost_answer_in_whatever_order_they_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch, order: Callable[[Any], Any]
) -> None:
    job_id = world.submit(world.request_for("apimart"))
    world.fault("apimart", "answer_lost")
    world.until(job_id, State.UNCONFIRMED)
    world.until(job_id, State.RUNNING)
    lose(world)
    read_in(order, world, monkeypatch)
    report = recovered(world)
    job = world.finish(job_id)

    assert states(report) == {job_id: State.RUNNING}
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 2, 1)


def test_a_caller_that_asks_again_under_its_key_finds_its_job_and_pays_nothing(world: World) -> None:
    ask = {"Idempotency_Key": "order-7"}
    first = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)
    world.until(first.json["id"], State.RUNNING)
    lose(world)
    recovered(world)
    again = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)
    other = world.api("POST", "/v1/jobs", world.request_for("apimaster"), **ask)

    assert (again.status_code, again.json["id"], other.status_code) == (200, first.json["id"], 409)


def test_a_key_is_not_taken_again_before_the_journal_was_read(world: World) -> None:
    ask = {"Idempotency_Key": "order-7"}
    first = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)
    world.until(first.json["id"], State.RUNNING)
    lose(world)
    quicker = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)
    without = world.api("POST", "/v1/jobs", world.request_for("newapi"))
    recovered(world)
    second = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)

    assert (quicker.status_code, quicker.json["error"]["code"]) == (503, "unavailable")
    assert without.status_code == 202
    assert (second.status_code, second.json["id"]) == (200, first.json["id"])
    assert len(world.bills()) == 1


def test_the_key_of_a_job_that_had_ended_is_known_again(world: World) -> None:
    ask = {"Idempotency_Key": "order-8"}
    first = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)
    world.finish(first.json["id"])
    lose(world)
    recovered(world, dry_run=True)
    tried = snapshot(world)
    recovered(world)
    again = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)
    other = world.api("POST", "/v1/jobs", world.request_for("evolink"), **ask)

    assert tried == {}
    assert (again.status_code, again.json["id"], other.status_code) == (200, first.json["id"], 409)
    assert len(world.bills()) == 1


def test_after_a_failover_a_key_is_not_taken_before_the_journal_was_read(world: World) -> None:
    ask = {"Idempotency_Key": "order-7"}
    world.ledger.continuity.set_mark("0123abc/elsewhere", world.clock())
    quicker = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)
    watched(world).check(world.clock())
    later = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)

    assert (quicker.status_code, later.status_code) == (503, 202)


def test_that_nothing_was_ever_paid_for_is_found_out_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = world.api("POST", "/v1/jobs", world.request_for("newapi"), Idempotency_Key="order-7")
    monkeypatch.setattr(world.services.archive, "journal_names", None)
    second = world.api("POST", "/v1/jobs", world.request_for("newapi"), Idempotency_Key="order-8")

    assert (first.status_code, second.status_code) == (202, 202)


def test_that_nothing_was_ever_paid_for_is_not_said_of_a_server_that_came_since(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.ledger.continuity, "server", lambda: ANOTHER)  # before the journal was looked at
    taken = world.api("POST", "/v1/jobs", world.request_for("newapi"), Idempotency_Key="order-7")
    later = world.api("POST", "/v1/jobs", world.request_for("newapi"), Idempotency_Key="order-8")

    assert (taken.status_code, later.status_code) == (202, 503)


# --- the hold


def watched(world: World) -> FailoverGuard:
    """The scheduler hands submits out only while the watch lets it."""
    watch = FailoverGuard(world.services)
    world.scheduler = Scheduler(world.services, world._take, lambda: watch.open)
    return watch


def test_a_first_start_with_an_empty_journal_passes_at_once(world: World) -> None:
    watch = watched(world)
    world.submit(world.request_for("newapi"))
    before = world.claim()
    report = watch.check(world.clock())

    assert report is not None
    assert (before, report.put_back, watch.open) == ([], [], True)
    assert [ticket.lane for ticket in world.claim()] == ["submit:newapi"]


def test_on_the_same_server_the_journal_is_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(world).check(world.clock())
    monkeypatch.setattr(world.services.journal, "read", None)
    watch = watched(world)

    assert (watch.check(world.clock()), watch.open) == (None, True)


def test_after_a_failover_no_submit_is_handed_out_before_the_journal_was_read(world: World) -> None:
    watch = watched(world)
    watch.check(world.clock())
    lost = world.submit(world.request_for("newapi"))
    behind = snapshot(world)
    world.until(lost, State.RUNNING)
    fail_over(world, behind)
    held = []
    with world.before(world.services.journal, "read", lambda: held.append(world.step())):
        report = watch.check(world.clock())
    job = world.finish(lost)

    assert report is not None
    assert (held, states(report)) == ([0], {lost: State.RUNNING})
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def overtaken(world: World, job_id: str) -> None:
    """A worker takes its submit back: it stood still before the call, and another made it meanwhile, unheard."""

    def another_asks_under_the_key() -> None:
        world.advance(LEASE_S + 1)
        world.exhaust()
        world.fault("apimart", "answer_lost")
        world.run_until(lambda: world.posts() == 1)
        world.mend()

    with world.after(world.services.journal, "record_intents", another_asks_under_the_key):
        world.step()


@pytest.mark.parametrize("order", [list, reversed])
@pytest.mark.parametrize("lost", ["nothing", "the ledger", "the attempt"])
def test_what_another_asked_again_meanwhile_is_not_taken_back(
    world: World, monkeypatch: pytest.MonkeyPatch, lost: str, order: Callable[[Any], Any]
) -> None:
    job_id = world.submit(world.motion, provider=["apimart", "evolink"])
    behind = snapshot(world)
    overtaken(world, job_id)
    paid = len(world.bills("apimart"))
    if lost == "the ledger":
        lose(world)
    if lost == "the attempt":
        fail_over(world, behind)
    read_in(order, world, monkeypatch)
    report = recovered(world)
    doubted = world.job(job_id)
    world.fault("apimart", "no_balance", stage="submit", times=1)
    job = world.finish(job_id)

    assert (paid, doubted.state, len(doubted.attempts)) == (1, State.UNCONFIRMED, 1)
    assert states(report) == ({} if lost == "nothing" else {job_id: State.UNCONFIRMED})
    assert (job.state, job.provider, len(world.bills())) == (State.COMPLETED, "apimart", 1)


def test_a_message_that_a_failover_brought_back_opens_nothing(world: World) -> None:
    watched(world).check(world.clock())
    job_id = world.submit(world.request_for("newapi"))
    watch = watched(world)
    watch.check(world.clock())
    tickets = world.claim()
    behind = snapshot(world)
    world.perform(tickets)
    fail_over(world, behind)
    world.perform(tickets)
    sent = world.posts()
    watch.check(world.clock())
    job = world.finish(job_id)

    assert sent == 1
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def test_without_the_bucket_submits_stay_held_and_all_else_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watched(world)
    watch.check(world.clock())
    running = world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    fail_over(world, snapshot(world))
    queued = world.submit(world.request_for("apimaster"))

    def refuse(*_: object) -> None:
        raise ArchiveUnavailable("S3 was not reached")

    with monkeypatch.context() as down:
        down.setattr(world.services.archive, "journal_names", refuse)
        with pytest.raises(ArchiveUnavailable):
            watch.check(world.clock())
        done = world.finish(running.id)
        held = world.job(queued).state
        ready = world.api("GET", "/readyz")
    watch.check(world.clock())

    assert (done.state, held) == (State.COMPLETED, State.QUEUED)
    assert (ready.status_code, "held" in ready.json["submits"]) == (503, True)
    assert world.finish(queued).state is State.COMPLETED
    assert "submits" not in world.api("GET", "/readyz").json


def test_an_empty_redis_is_filled_from_the_journal_before_anything_is_sent(world: World) -> None:
    watch = watched(world)
    watch.check(world.clock())
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.RUNNING)
    lose(world)
    report = watch.check(world.clock())
    job = world.finish(job_id)

    assert report is not None
    assert states(report) == {job_id: State.RUNNING}
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def test_an_empty_redis_is_filled_with_all_that_a_key_may_still_be_asked_for(world: World) -> None:
    watch = watched(world)
    watch.check(world.clock())
    ask = {"Idempotency_Key": "order-9"}
    first = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)
    world.finish(first.json["id"])
    world.advance(6 * 86_400)
    lose(world)
    report = watch.check(world.clock())
    again = world.api("POST", "/v1/jobs", world.request_for("newapi"), **ask)

    assert report is not None
    assert (report.ended, again.status_code, again.json["id"]) == (1, 200, first.json["id"])


def test_an_answer_that_comes_after_the_journal_was_read_is_found_later(world: World) -> None:
    watch = watched(world)
    watch.check(world.clock())
    job_id = world.submit(world.request_for("newapi"))
    looks: list[Job] = []

    def lost_meanwhile() -> None:
        lose(world)
        watch.check(world.clock())
        looks.append(world.job(job_id))
        world.redis.flushdb()  # what the worker then writes down goes nowhere
        watch.check(world.clock())

    with world.after(world.http_client, "send", lost_meanwhile), world.before(world.ledger, "apply_all", world.die):
        world.step()
    world.services.journal.flush()
    world.advance(AFTERLOOK_S + 1)
    watch.check(world.clock())
    job = world.finish(job_id)

    assert looks[0].state is State.UNCONFIRMED
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def answered_late(world: World) -> str:
    """A job whose paid call was out when the ledger was lost; its answer stands in the journal alone."""
    job_id = world.submit(world.request_for("newapi"))

    def lost_meanwhile() -> None:
        lose(world)
        watched(world).check(world.clock())

    with world.after(world.http_client, "send", lost_meanwhile), world.before(world.ledger, "apply_all", world.die):
        world.step()
    world.services.journal.flush()
    return job_id


def unreachable(*_: object) -> None:
    raise ArchiveUnavailable("S3 was not reached")


def test_the_second_look_is_made_up_for_when_the_bucket_is_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(world).check(world.clock())
    job_id = answered_late(world)
    watch = watched(world)
    watch.check(world.clock())
    world.advance(AFTERLOOK_S + 1)
    with monkeypatch.context() as down:
        down.setattr(world.services.archive, "journal_names", unreachable)
        with pytest.raises(ArchiveUnavailable):
            watch.check(world.clock())
    before = world.job(job_id).state
    report = watch.check(world.clock())
    job = world.finish(job_id)

    assert report is not None
    assert (before, report.answered) == (State.UNCONFIRMED, [job_id])
    assert (job.state, world.posts(), len(world.bills())) == (State.COMPLETED, 1, 1)


def test_the_second_look_is_made_by_the_scheduler_that_lives_then_and_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched(world).check(world.clock())
    job_id = answered_late(world)
    restarted = watched(world)
    world.advance(AFTERLOOK_S - 1)
    early = restarted.check(world.clock())
    world.advance(2)
    report = restarted.check(world.clock())
    monkeypatch.setattr(world.services.journal, "read", None)
    again = [watch.check(world.clock()) for watch in (restarted, watched(world))]

    assert report is not None
    assert (early, report.answered, again) == (None, [job_id], [None, None])


def test_a_scheduler_that_dies_between_its_two_looks_leaves_both_to_be_made(world: World) -> None:
    watched(world).check(world.clock())
    fail_over(world, snapshot(world))
    dead = []
    with world.before(world.ledger.continuity, "plan_afterlook", world.die):
        try:
            watched(world).check(world.clock())
        except Died:
            dead.append("before the second look was planned")
    held = world.ledger.continuity.is_whole()
    report = watched(world).check(world.clock())
    world.advance(AFTERLOOK_S + 1)

    assert (len(dead), held) == (1, False)
    assert report is not None
    assert watched(world).check(world.clock()) is not None


@pytest.mark.parametrize("late_s", [MARGIN_S - 1, 0])
def test_an_attempt_of_a_clock_that_is_behind_is_found_after_a_failover(world: World, late_s: int) -> None:
    watch = watched(world)
    watch.check(world.clock())
    behind = snapshot(world)
    world.advance(-late_s)  # the worker's clock, which names the journal's lines
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.RUNNING)
    world.advance(late_s)
    fail_over(world, behind)
    report = watch.check(world.clock())

    assert report is not None
    assert states(report) == {job_id: State.RUNNING}


def test_a_mark_that_is_old_has_the_journal_read_from_then_on(world: World) -> None:
    watch = watched(world)
    watch.check(world.clock())
    backup = snapshot(world)
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.RUNNING)
    world.advance(6 * 3600)
    fail_over(world, backup)
    report = watch.check(world.clock())

    assert report is not None
    assert states(report) == {job_id: State.RUNNING}


def test_switched_off_the_journal_holds_nothing(open_own: Callable[..., World]) -> None:
    world = open_own(RUSHES_JOURNAL="false")
    world.redis.hset("{rushes}:mark", mapping={"server": ANOTHER, "at": 1})
    watch = watched(world)
    watch.check(world.clock())

    assert (watch.open, world.ledger.continuity.is_whole()) == (True, True)
    assert world.finish(world.submit(world.request_for("newapi"))).state is State.COMPLETED


def test_the_console_reads_what_was_sent(open_own: Callable[..., World]) -> None:
    world = open_own(callbacks=True)
    job = world.until(world.submit(world.request_for("evolink")), State.RUNNING)
    letter: Letter = world.letter(job.id)
    world.services.journal.flush()
    (entry,) = world.services.journal.entries(job)

    assert (entry.attempt, entry.provider, entry.outcome) == (1, "evolink", "accepted")
    assert str(entry.answer).startswith("HTTP 200 {")
    assert letter.path.rpartition("/")[2] not in str(entry.sent)
    assert "/callbacks/evolink/" in str(entry.sent)


# --- from a shell


@pytest.fixture
def rushes(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(services, "build", lambda _: world.services)
    return lambda *words: CliRunner().invoke(main, list(words))


def test_the_command_tells_what_it_put_back(world: World, rushes: Callable[..., Result]) -> None:
    job_id = world.submit(world.request_for("newapi"))
    job = world.until(job_id, State.RUNNING)
    lose(world)
    tried = rushes("recover", "--dry-run", "--json")
    done = rushes("recover", "--json")
    again = rushes("recover")

    put_back = [{"id": job_id, "status": "running", "provider": "newapi", "task_id": job.current.task_id}]
    assert json.loads(tried.stdout)["put_back"] == json.loads(done.stdout)["put_back"] == put_back
    assert (tried.exit_code, done.exit_code, again.exit_code) == (0, 0, 0)
    assert ("known" in again.stdout, job_id in again.stdout) == (True, False)


def test_the_command_reads_from_a_day_on(world: World, rushes: Callable[..., Result]) -> None:
    world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    lose(world)

    assert json.loads(rushes("recover", "--since", "2199-01-01", "--json").stdout)["put_back"] == []


def test_the_audit_command_tells_by_its_exit_what_is_not_put_right(world: World, rushes: Callable[..., Result]) -> None:
    job = world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    world.redis.zrem("{rushes}:due:poll:newapi", job.id)
    told = rushes("audit", "--dry-run", "--json")
    repaired = rushes("audit")
    well = rushes("audit")

    assert json.loads(told.stdout) == [{"what": "nowhere", "where": job.id, "repaired": False}]
    assert (told.exit_code, repaired.exit_code, well.exit_code) == (1, 0, 0)


def test_without_the_ledger_the_commands_say_so_in_a_line(
    world: World, rushes: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise LedgerUnavailable("TimeoutError")

    with monkeypatch.context() as down:
        down.setattr(world.ledger.store, "index_names", refuse)
        answer = rushes("audit")

    assert (answer.exit_code, answer.stderr.splitlines()[-1]) == (3, "error: TimeoutError")
