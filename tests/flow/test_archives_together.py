"""The clips of one message: copied side by side, their manifests put together, and none keeps another from its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from hashlib import sha256
from typing import Any

import pytest
from botocore.exceptions import ClientError
from test_counted import some
from world import Died, Stored, World, digest, why

from rushes.shared.domain.job import Chore, Job, Link, State
from rushes.shared.domain.schedule import CRASHES, HANDOUT_S, LEASE_S
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.ledger.tickets import Ticket
from rushes.shared.services import Services
from rushes.shared.storage.archive import ArchiveUnavailable, StoredFile
from rushes.worker import archive as archive_module
from rushes.worker import leases, steps
from rushes.worker.scheduler import messages
from rushes.worker.thread_pools import Sequential, ThreadPools

DAY_S = 86_400
GATEWAYS = ("apimart", "evolink", "apimodels")
REFUSED, BROKE = "the credentials may not do this", "a step of ours broke; see the worker's log"


class AtOnce(Sequential):
    """Hands whose work all ends within one moment."""

    def map_in_groups(
        self, kind: str, function: Callable[[Any], Any], items: Sequence[Any]
    ) -> Iterator[list[tuple[Any, Any]]]:
        yield [(item, function(item)) for item in items]


EITHER_HANDS = pytest.mark.parametrize("hands", [Sequential(), AtOnce()], ids=["in turn", "at once"])


@pytest.fixture(autouse=True)
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[leases.Lease]]:
    """What this worker holds; nothing any more when the test is over."""
    mine: set[leases.Lease] = set()
    monkeypatch.setattr(leases, "ACTIVE", mine)
    yield mine
    assert mine == set()


def due(world: World, gateways: Sequence[str] = GATEWAYS) -> list[str]:
    """Jobs of which all is done but what the archive lane is for; each of its own gateway."""
    ids = [world.submit(world.request_for(name)) for name in gateways]
    world.run_until(lambda: all(job.state is State.RUNNING for job in jobs(world, ids)))
    world.await_gateways()
    world.advance(20)
    world.step()
    world.http_client.fetched.clear()
    return ids


def jobs(world: World, ids: Sequence[str]) -> list[Job]:
    return [world.job(job_id) for job_id in ids]


def states(world: World, ids: Sequence[str]) -> list[State]:
    return [job.state for job in jobs(world, ids)]


def message(world: World, ids: Sequence[str]) -> list[Ticket]:
    """What one turn hands out: all these, in one message."""
    (one,) = messages(world.claim())
    assert {ticket.job_id for ticket in one} == set(ids)
    return sorted(one, key=lambda ticket: ids.index(ticket.job_id))


def work(world: World, tickets: Sequence[Ticket], hands: ThreadPools) -> None:
    """What a worker does with a message, unless it dies of it."""
    with suppress(Died):
        steps.run(tickets, world.services, hands)


def lease_later(world: World) -> None:
    """Another worker does what is due when the leases have run out."""
    world.advance(LEASE_S + 1)
    world.exhaust()


def writes(world: World, job_id: str) -> list[str]:
    """What was written of a job into the bucket, in this order."""
    return [key.rpartition("/")[2] for _, key in world.writes if job_id in key]


def all_writes(world: World) -> list[tuple[str, str]]:
    """What was written of jobs, by its whole name; the journal has a thread of its own."""
    return [write for write in world.writes if write[1].startswith("jobs/")]


def downloads(world: World) -> int:
    return len(world.http_client.fetched)


def buckets(world: World, ids: Sequence[str]) -> list[dict[str, Stored]]:
    return [world.bucket(job) for job in jobs(world, ids)]


def ended_well(world: World, ids: Sequence[str]) -> None:
    """Each job was completed once with the clip that its gateway made, paid for once, and its manifest says so."""
    for job in jobs(world, ids):
        stored = world.bucket(job)
        clip, told = stored["video.mp4"].body, world.manifest(job)
        assert (job.state, job.chores) == (State.COMPLETED, (Chore.RETIRE,))
        assert [note.what for note in job.history].count("completed") == 1
        assert clip == world.served(job)
        assert sha256(clip).hexdigest() == digest(job) == told["job"]["result"]["sha256"]
        assert (told["job"]["id"], told["job"]["status"]) == (job.id, "completed")
        assert [file["key"].rpartition("/")[2] for file in told["files"]] == [
            name for name in ("video.mp4", "thumbnail.jpg") if name in stored
        ]
        assert writes(world, job.id)[-1] == "manifest.json"
    assert len(world.bills()) == len(ids)
    assert sum(some(world, "rushes_archive_lag_seconds_count").values()) == len(ids)


# --- all goes well


@EITHER_HANDS
def test_the_clips_of_a_message_are_archived_each_with_its_manifest_last(world: World, hands: ThreadPools) -> None:
    ids = due(world)
    work(world, message(world, ids), hands)

    ended_well(world, ids)
    assert downloads(world) == 3
    for job, stored in zip(jobs(world, ids), buckets(world, ids), strict=True):
        assert sorted(writes(world, job.id)) == sorted(stored)


def test_clips_that_come_together_have_their_manifests_put_together_and_are_written_down_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, diary = due(world), []
    put, apply_all = world.services.archive.put_manifests, world.ledger.apply_all
    monkeypatch.setattr(
        world.services.archive, "put_manifests", lambda told: (diary.append(("put", len(told))), put(told))[1]
    )
    monkeypatch.setattr(
        world.ledger, "apply_all", lambda news, now: (diary.append(("told", len(news))), apply_all(news, now))[1]
    )
    work(world, message(world, ids), AtOnce())

    assert diary == [("put", 3), ("told", 3)]
    ended_well(world, ids)


def test_a_picture_is_told_of_in_the_manifest_of_its_own_clip(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = due(world)

    def picture(link: Link, folder: str, services: Services) -> StoredFile | None:
        if ids[1] not in folder:
            return None
        return services.archive.put_bytes(folder + "thumbnail.jpg", b"\xff\xd8\xff", "image/jpeg")

    monkeypatch.setattr(archive_module, "copy_thumbnail", picture)
    work(world, message(world, ids), AtOnce())

    ended_well(world, ids)
    assert ["thumbnail.jpg" in stored for stored in buckets(world, ids)] == [False, True, False]


# --- one of them has trouble


@contextmanager
def put_alone(world: World) -> Iterator[None]:
    """The short way rests."""
    direct: Any = world.services.archive._curl_put
    direct._paused_until = math.inf
    yield
    direct._paused_until = 0


@contextmanager
def refusing(world: World, job_id: str, name: str) -> Iterator[None]:
    """S3 does not take this object of a job, on whatever way."""

    def refuse(params: dict[str, Any], **_: Any) -> None:
        if job_id in params["Key"] and params["Key"].endswith(name):
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "so it is"}}, "PutObject")

    world.s3.meta.events.register("provide-client-params.s3.PutObject", refuse)
    with put_alone(world):
        yield
    world.s3.meta.events.unregister("provide-client-params.s3.PutObject", refuse)


@contextmanager
def breaking(job_id: str, step: str) -> Iterator[None]:
    """A step of ours breaks for this job."""
    real = getattr(archive_module, step)

    def broken(job: Job, *rest: Any) -> Any:
        if job.id == job_id:
            raise ZeroDivisionError
        return real(job, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_module, step, broken)
        yield


@contextmanager
def faulty(world: World, job_id: str, fault: str, **options: Any) -> Iterator[None]:
    """The job's gateway gives no clip, once."""
    world.fault(world.job(job_id).provider or "", fault, stage="download", **options)
    yield
    world.mend()


Trouble = Callable[[World, str], AbstractContextManager[None]]
TROUBLES: dict[str, tuple[Trouble, str]] = {
    "invalid clip": (lambda world, job_id: faulty(world, job_id, "truncated_clip", how="short"), "it breaks off"),
    "file server in trouble": (lambda world, job_id: faulty(world, job_id, "http_500"), "HTTP 500"),
    "upload refused": (lambda world, job_id: refusing(world, job_id, "video.mp4"), REFUSED),
    "manifest refused": (lambda world, job_id: refusing(world, job_id, "manifest.json"), REFUSED),
    "broken copy": (lambda world, job_id: breaking(job_id, "copy_clip"), BROKE),
    "broken manifest": (lambda world, job_id: breaking(job_id, "manifest_document"), BROKE),
}
# What the history says where the gateway's link is at fault, and not the bucket or our own step.
WHAT = dict.fromkeys(("invalid clip", "file server in trouble"), "download failed")


@EITHER_HANDS
@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_that_has_trouble_is_put_off_and_keeps_no_other(world: World, trouble: str, hands: ThreadPools) -> None:
    ids = due(world)
    meets, said = TROUBLES[trouble]
    with meets(world, ids[0]):
        work(world, message(world, ids), hands)
    after, left = jobs(world, ids), buckets(world, ids)
    for job_id in ids:
        world.finish(job_id)

    assert [job.state for job in after] == [State.ARCHIVING, State.COMPLETED, State.COMPLETED]
    assert (after[0].setbacks, after[0].history[-1].what) == (1, WHAT.get(trouble, "archive delayed"))
    assert said in (after[0].history[-1].detail or "")
    assert ("video.mp4" in left[0]) is ("manifest" in trouble)
    assert "manifest.json" not in left[0]
    ended_well(world, ids)
    assert {name: world.bucket(after[0])[name] for name in left[0]} == left[0]
    assert [world.bucket(job) for job in after[1:]] == left[1:]


@EITHER_HANDS
def test_one_whose_link_is_dead_is_given_a_fresh_one_and_keeps_no_other(world: World, hands: ThreadPools) -> None:
    world.fault("evolink", "expired_link")
    ids = due(world)
    before = jobs(world, ids)
    work(world, message(world, ids), hands)
    after = jobs(world, ids)
    world.finish(ids[1])

    assert [job.state for job in after] == [State.COMPLETED, State.ARCHIVING, State.COMPLETED]
    assert after[1].current.link != before[1].current.link
    ended_well(world, ids)


@EITHER_HANDS
def test_one_whose_link_is_past_its_life_is_given_up_and_keeps_no_other(world: World, hands: ThreadPools) -> None:
    ids = due(world)
    world.advance(DAY_S)
    with faulty(world, ids[1], "http_500", times=-1):
        work(world, message(world, ids), hands)

    assert states(world, ids) == [State.COMPLETED, State.FAILED, State.COMPLETED]
    assert why(world.job(ids[1])) == "result_expired"


def test_a_step_that_breaks_after_manifests_were_put_completes_their_jobs_all_the_same(world: World) -> None:
    ids, left = due(world), []
    with world.after(world.services.archive, "put_manifests", lambda: (left.extend(buckets(world, ids)), 1 / 0)):
        work(world, message(world, ids), AtOnce())

    ended_well(world, ids)
    assert all("manifest.json" in stored for stored in left)
    assert buckets(world, ids) == left


def test_one_that_needs_a_ledger_out_of_reach_is_offered_again_and_keeps_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, real = due(world), archive_module.copy_clip

    def needing(job: Job, *rest: Any) -> Any:
        return out_of_reach() if job.id == ids[1] else real(job, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "copy_clip", needing)
        work(world, message(world, ids), AtOnce())
    after = jobs(world, ids)
    lease_later(world)

    assert [job.state for job in after] == [State.COMPLETED, State.ARCHIVING, State.COMPLETED]
    assert (after[1].setbacks, after[1].history[-1].what) == (0, "finished")
    ended_well(world, ids)


# --- past its life, a link still gives the clip


def test_a_clip_that_lies_in_the_bucket_is_not_given_up_because_its_manifest_was_refused_once(world: World) -> None:
    ids = due(world)
    world.advance(DAY_S)
    with refusing(world, ids[1], "manifest.json"):
        work(world, message(world, ids), AtOnce())
    job, after = world.job(ids[1]), states(world, ids)
    left = world.bucket(job)
    world.finish(job.id)

    assert after == [State.COMPLETED, State.ARCHIVING, State.COMPLETED]
    assert ("video.mp4" in left, job.setbacks, why(job)) == (True, 1, None)
    ended_well(world, ids)


@contextmanager
def stored_unheard(world: World, alone: bool) -> Iterator[None]:
    """S3 stores manifests and is not heard: not of those put together and, it may be, of none put alone either."""
    archive = world.services.archive
    together, one = archive.put_manifests, archive.put_manifest

    def lost(key: str, told: Mapping[str, Any]) -> bool:
        one(key, told)
        raise ArchiveUnavailable("the answer was lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive, "put_manifests", lambda told: [False for _ in together(told)])
        if alone:
            patch.setattr(archive, "put_manifest", lost)
        yield


def test_a_manifest_that_was_stored_unheard_is_found_there_when_it_is_put_alone(world: World) -> None:
    ids = due(world)
    world.advance(DAY_S)
    with stored_unheard(world, alone=False):
        work(world, message(world, ids), AtOnce())

    ended_well(world, ids)
    assert (downloads(world), [job.setbacks for job in jobs(world, ids)]) == (3, [0, 0, 0])


def test_a_manifest_that_was_stored_unheard_twice_is_not_contradicted_by_the_ledger(world: World) -> None:
    ids = due(world)
    world.advance(DAY_S)
    with stored_unheard(world, alone=True):
        work(world, message(world, ids), AtOnce())
    after, left = jobs(world, ids), buckets(world, ids)
    for job_id in ids:
        world.finish(job_id)

    assert [(job.state, job.setbacks, why(job)) for job in after] == [(State.ARCHIVING, 1, None)] * 3
    assert all("manifest.json" in stored for stored in left)
    ended_well(world, ids)
    assert (buckets(world, ids), downloads(world)) == (left, 3)


def test_a_clip_past_its_link_is_not_given_up_where_the_bucket_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mute(key: str) -> None:
        raise ArchiveUnavailable("S3 was not reached")

    ids = due(world)
    world.advance(DAY_S)
    with stored_unheard(world, alone=True):
        work(world, message(world, ids), AtOnce())
    with monkeypatch.context() as patch:
        patch.setattr(world.services.archive, "read_json", mute)
        world.advance(60)
        work(world, message(world, ids), AtOnce())
    after = jobs(world, ids)
    for job_id in ids:
        world.finish(job_id)

    assert [(job.state, job.setbacks, why(job)) for job in after] == [(State.ARCHIVING, 2, None)] * 3
    ended_well(world, ids)
    assert downloads(world) == 3


# --- the worker dies


def test_dead_between_the_clips_and_the_manifests_each_is_completed_with_the_clip_that_lies_there(world: World) -> None:
    ids = due(world)
    with world.before(world.services.archive, "put_manifests", world.die):
        work(world, message(world, ids), AtOnce())
    left, died = buckets(world, ids), states(world, ids)
    world.advance(LEASE_S - 5)
    within = world.claim()
    world.advance(10)
    world.exhaust()

    assert (died, within) == ([State.ARCHIVING] * 3, [])
    assert all("video.mp4" in stored and "manifest.json" not in stored for stored in left)
    ended_well(world, ids)
    for before, stored in zip(left, buckets(world, ids), strict=True):
        assert {name: stored[name] for name in before} == before


def test_dead_between_the_manifests_and_the_ledger_each_is_completed_without_a_second_download(world: World) -> None:
    ids = due(world)
    with world.before(world.ledger, "apply_all", world.die):
        work(world, message(world, ids), AtOnce())
    left, died, written = buckets(world, ids), states(world, ids), all_writes(world)
    lease_later(world)

    assert died == [State.ARCHIVING] * 3
    ended_well(world, ids)
    assert (buckets(world, ids), downloads(world), all_writes(world)) == (left, 3, written)


def test_dead_between_two_manifests_only_those_without_one_are_downloaded_again(
    world: World, held: set[leases.Lease]
) -> None:
    ids = due(world)
    links = {job.current.link.video_url: job.id for job in jobs(world, ids) if job.current.link}
    with put_alone(world), world.after(world.services.archive, "put_manifest", world.die):
        work(world, message(world, ids), AtOnce())
    held.clear()  # they went with the worker
    left, again = buckets(world, ids), downloads(world)
    lease_later(world)

    assert ["manifest.json" in stored for stored in left] == [True, False, False]
    ended_well(world, ids)
    assert downloads(world) - again == 2
    assert {links[request.url] for request in world.http_client.fetched[again:]} == set(ids[1:])
    for before, stored in zip(left, buckets(world, ids), strict=True):
        assert {name: stored[name] for name in before} == before


def test_dead_after_the_first_was_written_down_the_others_are_begun_anew(world: World) -> None:
    ids = due(world)
    with world.after(world.ledger, "apply_all", world.die):
        work(world, message(world, ids), Sequential())
    first, died = world.job(ids[0]), states(world, ids)
    lease_later(world)

    assert died == [State.COMPLETED, State.ARCHIVING, State.ARCHIVING]
    ended_well(world, ids)
    assert (world.job(ids[0]), downloads(world)) == (first, 3)


@pytest.mark.parametrize("door", ["put_manifests", "put_manifest"])
def test_frozen_between_the_clips_and_the_manifests_a_worker_changes_nothing_any_more(world: World, door: str) -> None:
    ids, seen = due(world), []
    way = put_alone(world) if door == "put_manifest" else nullcontext()

    def frozen() -> None:
        lease_later(world)
        seen.append((jobs(world, ids), buckets(world, ids)))

    with way, world.before(world.services.archive, door, frozen):
        work(world, message(world, ids), AtOnce())

    ended_well(world, ids)
    assert (jobs(world, ids), buckets(world, ids)) == seen[0]


# --- those of a message that are not to be archived


@EITHER_HANDS
def test_one_that_ended_without_a_clip_leaves_its_manifest_beside_the_clips_of_others(
    world: World, hands: ThreadPools
) -> None:
    world.fault("evolink", "fail_task")
    ids = due(world)
    before = states(world, ids)
    work(world, message(world, ids), hands)
    failed = world.job(ids[1])

    assert before == [State.ARCHIVING, State.FAILED, State.ARCHIVING]
    assert states(world, ids) == [State.COMPLETED, State.FAILED, State.COMPLETED]
    assert (failed.chores, writes(world, failed.id), downloads(world)) == ((Chore.RETIRE,), ["manifest.json"], 2)


@pytest.mark.parametrize("deaths", [CRASHES - 1, CRASHES])
def test_one_that_was_begun_too_often_is_given_up_beside_the_clips_of_others(world: World, deaths: int) -> None:
    ids = due(world)
    for _ in range(deaths):  # each time of a worker that dies of this one alone
        (ticket,) = [ticket for ticket in world.claim() if ticket.job_id == ids[1]]
        world.ledger.open_tickets([ticket], world.clock())
        world.advance(LEASE_S + 1)
    work(world, message(world, ids), AtOnce())
    given_up = deaths == CRASHES
    job = world.job(ids[1])

    assert states(world, ids)[::2] == [State.COMPLETED, State.COMPLETED]
    assert (job.state, why(job)) == ((State.FAILED, "archive_failed") if given_up else (State.COMPLETED, None))
    assert downloads(world) == (2 if given_up else 3)


def test_one_whose_ticket_was_opened_before_is_left_alone_and_keeps_no_other(world: World) -> None:
    ids = due(world)
    tickets = message(world, ids)
    work(world, tickets[1:2], AtOnce())
    opened = world.job(ids[1])
    work(world, tickets, AtOnce())

    ended_well(world, ids)
    assert (world.job(ids[1]), downloads(world)) == (opened, 3)


@EITHER_HANDS
def test_a_message_of_clips_that_comes_twice_is_done_once(world: World, hands: ThreadPools) -> None:
    ids = due(world)
    tickets = message(world, ids)
    work(world, tickets, hands)
    once = jobs(world, ids), all_writes(world)
    work(world, tickets, hands)

    ended_well(world, ids)
    assert ((jobs(world, ids), all_writes(world)), downloads(world)) == (once, 3)


def test_one_that_is_twice_in_a_message_is_done_once_and_let_go(world: World, held: set[leases.Lease]) -> None:
    ids = due(world)
    tickets = message(world, ids)
    work(world, [*tickets, *tickets], AtOnce())

    assert held == set()
    ended_well(world, ids)
    assert downloads(world) == 3


# --- the ledger is gone


def out_of_reach() -> None:
    raise LedgerUnavailable("TimeoutError")


@pytest.mark.parametrize("heard", [True, False])
def test_clips_that_could_not_be_written_down_are_offered_again_and_finished_without_a_second_download(
    world: World, heard: bool
) -> None:
    ids = due(world)
    with (world.after if heard else world.before)(world.ledger, "apply_all", out_of_reach):
        work(world, message(world, ids), AtOnce())
    left, after, written = buckets(world, ids), states(world, ids), all_writes(world)
    within = world.claim()
    lease_later(world)

    assert (after, within) == ([State.COMPLETED if heard else State.ARCHIVING] * 3, [])
    ended_well(world, ids)
    assert (buckets(world, ids), downloads(world), all_writes(world)) == (left, 3, written)


def test_one_that_could_not_be_written_down_keeps_no_other_from_it(world: World) -> None:
    ids = due(world)
    with world.before(world.ledger, "apply_all", out_of_reach):
        work(world, message(world, ids), Sequential())
    after, again = states(world, ids), downloads(world)
    lease_later(world)

    assert after == [State.ARCHIVING, State.COMPLETED, State.COMPLETED]
    ended_well(world, ids)
    assert downloads(world) == again


def test_without_a_ledger_to_open_them_no_clip_is_touched(world: World) -> None:
    ids = due(world)
    with world.before(world.ledger, "open_tickets", out_of_reach):
        work(world, message(world, ids), AtOnce())
    untouched = (downloads(world), world.written())
    world.advance(HANDOUT_S + 1)
    world.exhaust()

    assert untouched == (0, [])
    ended_well(world, ids)
