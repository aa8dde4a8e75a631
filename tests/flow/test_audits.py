"""The auditor over a whole Rushes: what it finds, puts right, says and counts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from world import BUCKET, World

from rushes.shared.domain.job import State
from rushes.shared.operations.auditor import Finding, audit, whole_round
from rushes.worker import audit_loop

DAY_S = 86_400


@pytest.fixture
def world(open_world: Callable[..., World]) -> World:
    return open_world(RUSHES_S3_PREFIX=f"{uuid.uuid4().hex}/")


def busy(world: World) -> str:
    """Jobs in many states; the id of one that its gateway has."""
    world.finish(world.submit(world.request_for("newapi")))
    world.fault("newapi", "answer_lost")
    world.until(world.submit(world.request_for("newapi")), State.UNCONFIRMED)
    job = world.until(world.submit(world.request_for("newapi")), State.RUNNING)
    world.submit(world.request_for("apimaster"))
    world.claim()
    return job.id


def everything(world: World) -> dict[str, bytes | None]:
    return {name: world.redis.execute_command("DUMP", name, NEVER_DECODE=True) for name in world.redis.keys("*")}


def test_where_all_is_well_nothing_is_found(world: World) -> None:
    busy(world)
    before = everything(world)

    assert whole_round(world.services) == []
    assert everything(world) == before


def test_a_job_that_was_lost_from_its_lane_is_found_and_ends(world: World) -> None:
    job_id = busy(world)
    world.redis.zrem("{rushes}:due:poll:newapi", job_id)
    told = whole_round(world.services)
    job = world.finish(job_id)

    assert told == [Finding("nowhere", job_id, True)]
    assert job.state is State.COMPLETED
    assert world.redis.hget("{rushes}:audit", "nowhere") == "1"


def test_without_repair_it_only_tells(world: World) -> None:
    job_id = busy(world)
    world.redis.zrem("{rushes}:due:poll:newapi", job_id)
    world.redis.zadd("{rushes}:leased:archive", {"job_gone": 1})
    world.redis.hincrby("{rushes}:inflight", "newapi", 2)
    before = everything(world)
    told = [finding for page in audit(world.services, repair=False) for finding in page]

    assert everything(world) == before
    assert told == [
        Finding("nowhere", job_id, False),
        Finding("stray", "job_gone in {rushes}:leased:archive", False),
        Finding("in_flight", "newapi: off by +2", False),
    ]
    whole_round(world.services)


def test_a_counter_that_holds_a_gateway_up_is_corrected(world: World) -> None:
    busy(world)
    world.redis.hincrby("{rushes}:inflight", "apimaster", 20)
    told = whole_round(world.services)

    assert told == [Finding("in_flight", "apimaster: off by +20", True)]
    assert world.ledger.gateways.in_flight("apimaster") == 0


def test_a_counter_that_moved_between_two_looks_is_left_alone(world: World) -> None:
    busy(world)
    world.redis.hincrby("{rushes}:inflight", "apimaster", 20)
    told = []
    for page in audit(world.services):
        told += page
        world.redis.hincrby("{rushes}:inflight", "apimaster", 1)

    assert [finding for finding in told if finding.what == "in_flight"] == []
    world.redis.hset("{rushes}:inflight", "apimaster", 0)


def test_money_that_does_not_add_up_is_told_and_not_touched(world: World) -> None:
    busy(world.begin_a_day())
    (name,) = world.redis.keys("{rushes}:usage:*")
    world.redis.hincrby(name, "acme|newapi|jobs", 7)
    today = whole_round(world.services)
    world.advance(DAY_S)
    told = whole_round(world.services)

    day = name.rpartition(":")[2]
    assert today == []
    assert told == [Finding("money", f"usage|{day}|acme|newapi|jobs: counter 10, records 3", False)]
    assert world.redis.hget(name, "acme|newapi|jobs") == "10"


def test_what_a_dead_worker_left_half_uploaded_is_aborted(world: World) -> None:
    prefix = world.services.settings.prefix
    world.s3.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}jobs/2026/11/20/job_x/video.mp4")
    only_told = [finding for page in audit(world.services, repair=False) for finding in page]

    assert only_told == []
    assert whole_round(world.services) == [Finding("uploads", "1 left half done", True)]
    assert "Uploads" not in world.s3.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)


def test_the_scheduler_goes_round_a_page_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    naps = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if seconds == audit_loop.ROUND_S:
            raise Enough

    busy(world)
    monkeypatch.setattr(audit_loop, "time", SimpleNamespace(sleep=nap))
    with pytest.raises(Enough):
        audit_loop._run_rounds(world.services)

    assert (naps[0], naps[-1]) == (audit_loop.PAGE_S, audit_loop.ROUND_S)
    assert world.redis.hget("{rushes}:audit", "rounds") == "1"
