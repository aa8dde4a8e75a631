"""Small clips are copied together in one thread; what is not plain is copied alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from world import World, digest

from rushes.shared.domain.job import Job, State
from rushes.shared.domain.schedule import LEASE_S
from rushes.shared.gateway_settings import AccountMissing
from rushes.worker import leases, small_clips, steps

LARGE = 16 << 20


@pytest.fixture(autouse=True)
def _no_lease_is_left() -> Iterator[None]:
    yield
    assert set() == leases.ACTIVE


@pytest.fixture(autouse=True)
def _all_clips_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_clips, "MAX_BYTES", LARGE)
    small_clips.SIZES.learn("newapi", 1)


def archiving(world: World, count: int = 2) -> list[str]:
    """Jobs whose clips are to be archived."""
    ids = [world.submit({**world.text, "provider": "newapi"}) for _ in range(count)]
    world.run_until(lambda: all(world.job(job_id).state is State.RUNNING for job_id in ids))
    world.await_gateways()
    world.advance(20)
    world.step()
    assert {world.job(job_id).state for job_id in ids} == {State.ARCHIVING}
    return ids


def archive_together(world: World) -> None:
    steps.run(world.claim(), world.services)


def no_stream(*_: object, **__: object) -> None:
    raise AssertionError("a small clip was copied alone")


def streams(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each clip that is copied alone."""
    alone, stream = list[int](), world.http_client.stream
    monkeypatch.setattr(world.http_client, "stream", lambda *a, **k: (alone.append(1), stream(*a, **k))[1])
    return alone


def came_whole(world: World, job: Job) -> bool:
    clip = world.bucket(job)["video.mp4"]
    return clip.body == world.served(job) and sha256(clip.body).hexdigest() == digest(job)


def test_they_are_copied_without_a_stream_and_end_as_any(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = archiving(world)
    monkeypatch.setattr(world.http_client, "stream", no_stream)
    archive_together(world)

    for job in map(world.job, ids):
        stored = world.bucket(job)
        assert job.state is State.COMPLETED
        assert came_whole(world, job)
        assert stored["video.mp4"].metadata == {
            "job-id": job.id,
            "provider": "newapi",
            "task-id": job.current.task_id,
            "sha256": digest(job),
        }
        assert world.manifest(job)["files"][0]["sha256"] == digest(job)
        assert (job.result and job.result.width, job.result and job.result.duration_s) != (None, None)
    assert len(world.bills()) == len(ids)


def test_the_first_clip_of_a_gateway_is_copied_alone_and_tells_the_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_clips, "SIZES", small_clips.ClipSizes())
    world.finish(world.submit({**world.text, "provider": "newapi"}))
    (job_id,) = archiving(world, 1)

    assert small_clips.is_plain(world.job(job_id))


def test_a_clip_that_is_larger_than_expected_is_copied_alone_and_so_are_those_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = archiving(world)
    monkeypatch.setattr(small_clips, "MAX_BYTES", 1000)
    archive_together(world)

    assert [world.job(job_id).state for job_id in ids] == [State.COMPLETED] * 2
    assert all(came_whole(world, world.job(job_id)) for job_id in ids)
    (next_id,) = archiving(world, 1)
    assert not small_clips.is_plain(world.job(next_id))


def test_there_is_room_for_so_many_and_the_others_are_copied_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = archiving(world, 3)
    monkeypatch.setattr(small_clips, "MAX_CLIPS", 2)
    alone = streams(world, monkeypatch)
    archive_together(world)

    assert [world.job(job_id).state for job_id in ids] == [State.COMPLETED] * 3
    assert len(alone) == 1


def test_where_others_copy_for_long_they_are_copied_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, alone = archiving(world), streams(world, monkeypatch)
    monkeypatch.setattr(small_clips, "WAIT_S", 0.01)
    for _ in range(small_clips.MAX_BATCHES):
        small_clips.SIZES.batches.acquire()
    archive_together(world)

    assert [world.job(job_id).state for job_id in ids] == [State.COMPLETED] * 2
    assert len(alone) == 2


def test_whoever_has_copied_makes_room_for_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = streams(world, monkeypatch)
    for _ in range(small_clips.MAX_BATCHES + 1):
        ids = archiving(world, 1)
        archive_together(world)
        assert world.job(ids[0]).state is State.COMPLETED

    assert alone == []


def test_an_object_that_is_there_already_stays_and_is_what_the_manifest_names(world: World) -> None:
    ids = archiving(world, 1)
    with world.after(world.services.archive, "put_all", world.die):
        world.step()
    first = world.bucket(world.job(ids[0]))["video.mp4"]
    world.advance(LEASE_S + 1)
    world.exhaust()

    job = world.job(ids[0])
    assert job.state is State.COMPLETED
    assert world.bucket(job)["video.mp4"] == first
    assert came_whole(world, job)


def test_another_object_under_the_clip_s_name_stays_and_is_what_the_manifest_names(world: World) -> None:
    (job_id,) = archiving(world, 1)
    job = world.job(job_id)
    world.put(f"{world.services.archive.folder(job.id, job.created_at)}video.mp4", b"another worker's clip")
    archive_together(world)

    assert world.job(job_id).state is State.COMPLETED
    assert digest(world.job(job_id)) == sha256(b"another worker's clip").hexdigest()


def test_a_clip_with_a_thumbnail_is_copied_alone(world: World) -> None:
    (job_id,) = archiving(world, 1)
    job = world.job(job_id)
    assert job.current.link is not None
    pictured = job.with_attempt(link=replace(job.current.link, thumbnail_url="https://files.example/1.jpg"))

    assert (small_clips.is_plain(job), small_clips.is_plain(pictured)) == (True, False)


def test_where_they_break_together_each_is_copied_alone(world: World) -> None:
    def broken() -> None:
        raise OSError("it broke")

    ids = archiving(world)
    with world.before(world.services.archive, "put_all", broken):
        archive_together(world)

    assert [world.job(job_id).state for job_id in ids] == [State.COMPLETED] * 2
    assert all(came_whole(world, world.job(job_id)) for job_id in ids)


def test_a_clip_that_is_cut_short_is_fetched_again_alone(world: World) -> None:
    world.fault("newapi", "truncated_clip", how="short", times=1)
    ids = archiving(world)
    archive_together(world)
    world.exhaust()
    world.advance(600)
    world.exhaust()

    assert [world.job(job_id).state for job_id in ids] == [State.COMPLETED] * 2
    assert all(came_whole(world, world.job(job_id)) for job_id in ids)


def test_a_clip_whose_account_is_missing_keeps_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, download_request = archiving(world), small_clips.download_request

    def without_account(attempt: Any, url: str, services: Any) -> Any:
        if attempt == world.job(ids[0]).current:
            raise AccountMissing("newapi", "b")
        return download_request(attempt, url, services)

    monkeypatch.setattr(small_clips, "download_request", without_account)
    together = list[int]()
    send_all = world.http_client.send_all
    monkeypatch.setattr(world.http_client, "send_all", lambda r, **k: (together.append(len(r)), send_all(r, **k))[1])
    archive_together(world)

    assert together == [1]
    assert [world.job(job_id).state for job_id in ids] == [State.COMPLETED] * 2


def test_a_clip_that_was_tried_before_is_looked_for_in_the_bucket_first(world: World) -> None:
    ids = archiving(world, 1)
    with world.before(world.services.archive, "put_all", world.die):
        world.step()
    world.advance(LEASE_S + 1)
    (ticket,) = world.claim()
    (opened,) = world.ledger.open_tickets([ticket], world.clock())

    assert opened is not None
    assert (opened[0].id, opened[0].tries, small_clips.is_plain(opened[0])) == (ids[0], 2, False)
