"""From the gateway's link to the bucket, with everything in the way that can be."""

from __future__ import annotations

import itertools
import re
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest
from fault_server import FaultServer, Peer, http_response
from world import BUCKET, World, digest, why

from rushes.deploy.sandbox.ports import free_ports
from rushes.shared.domain.job import Job, State
from rushes.shared.providers import PROVIDERS
from rushes.shared.storage.archive import Archive
from rushes.shared.storage.s3_clients import s3_client
from rushes.worker import small_clips

DAY_S = 86_400


@pytest.fixture(autouse=True, params=["alone", "together"])
def copied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each clip is copied alone, or as small ones are, together with others."""
    if request.param == "together":
        monkeypatch.setattr(small_clips, "MAX_BYTES", 16 << 20)
        for gateway in PROVIDERS:
            small_clips.SIZES.learn(gateway, 1)
    how: str = request.param
    return how


def archived_whole(world: World, job: Job) -> bool:
    """Whether the bucket has the bytes that the gateway serves, and they were paid for once."""
    clip = world.bucket(job)["video.mp4"].body
    return len(world.bills()) == 1 and clip == world.served(job) and sha256(clip).hexdigest() == digest(job)


@pytest.mark.parametrize("gateway", PROVIDERS)
def test_an_expired_link_is_asked_for_again_and_not_paid_for_again(world: World, gateway: str) -> None:
    world.fault(gateway, "expired_link")
    job = world.finish(world.submit(world.request_for(gateway)))

    assert job.state is State.COMPLETED
    assert archived_whole(world, job)


@pytest.mark.parametrize(("how", "times"), [("cut", 1), ("short", 1), ("undeclared", 1), ("short", 3)])
def test_a_clip_that_was_cut_short_is_fetched_again(world: World, how: str, times: int) -> None:
    world.fault("apimart", "truncated_clip", how=how, times=times)
    job = world.finish(world.submit(world.request_for("apimart")))

    assert job.state is State.COMPLETED
    assert archived_whole(world, job)
    assert world.written() == ["video.mp4", "manifest.json"]


def test_a_clip_that_never_comes_whole_is_given_up(world: World) -> None:
    world.fault("newapi", "truncated_clip", how="short", times=-1)
    job = world.finish(world.submit(world.request_for("newapi")))

    assert (job.state, why(job)) == (State.FAILED, "result_invalid")
    assert world.bucket(job).keys() == {"manifest.json"}


def moved(location: str) -> bytes:
    return http_response(b"", f"Location: {location}", status="302 Found")


MANNERS: dict[str, Callable[[str, bytes], bytes]] = {
    "a coding that changes no byte": lambda path, clip: http_response(clip, "Content-Encoding: aws-chunked"),
    "a coding of none": lambda path, clip: http_response(clip, "Content-Encoding: identity, utf-8"),
    "a transfer of none": lambda path, clip: http_response(clip, "Transfer-Encoding: identity"),
    "all of it called a part": lambda path, clip: http_response(
        clip, f"Content-Range: bytes 0-{len(clip) - 1}/{len(clip)}", status="206 Partial Content"
    ),
    "a part of a whole that it does not know": lambda path, clip: http_response(
        clip, f"Content-Range: bytes 0-{len(clip) - 1}/*", status="206 Partial Content"
    ),
    "a part of it does not say what": lambda path, clip: http_response(clip, status="206 Partial Content"),
    "just made": lambda path, clip: http_response(clip, status="201 Created"),
    "passed on by a proxy": lambda path, clip: http_response(clip, status="203 Non-Authoritative Information"),
    "a location in raw UTF-8": lambda path, clip: (
        http_response(clip) if path == "/%D0%BA%D0%B8%D0%BD%D0%BE%201.mp4" else moved("/кино 1.mp4")
    ),
    "eight redirects": lambda path, clip: (
        http_response(clip) if path == "/8" else moved(f"/{int(path[1:]) + 1 if path[1:].isdigit() else 1}")
    ),
}


COPIED_ALONE = {
    *("a coding that changes no byte", "a coding of none", "a part of a whole that it does not know"),
    *("a part of it does not say what", "a location in raw UTF-8", "eight redirects"),
}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_file_server_of_odd_manners_gives_the_clip_all_the_same(world: World, manner: str, copied: str) -> None:
    links = list[str]()

    def serve(peer: Peer) -> None:
        while request := peer.read_request():
            path = request.split(b" ")[1].decode()
            if path.startswith("/files"):
                links.append(path)
            with urllib.request.urlopen(f"{world.gateways_url}{links[0]}") as found:
                peer.send_bytes(MANNERS[manner](path, found.read()))
            if manner == "a transfer of none":  # its length does not count: the clip ends with the connection
                return

    with FaultServer(serve) as server:
        host = world.gateways_url.partition("//")[2].encode()
        world.http_client.retouch = lambda body: body.replace(
            host + b"/files", f"127.0.0.1:{server.port}/files".encode()
        )
        job = world.finish(world.submit(world.request_for("evolink")))

    assert job.state is State.COMPLETED
    assert archived_whole(world, job)
    assert len(links) == (2 if copied == "together" and manner in COPIED_ALONE else 1)


@pytest.mark.parametrize("fault", ["html_502", "http_500", "refuse_503"])
def test_a_file_server_in_trouble_is_asked_again(world: World, fault: str) -> None:
    world.fault("evolink", fault, stage="download", times=3)
    job = world.finish(world.submit(world.request_for("evolink")))

    assert job.state is State.COMPLETED
    assert archived_whole(world, job)


def days_later(world: World, days: float) -> None:
    """Put the clock forward, and do what is due then."""
    world.advance(days * DAY_S)
    world.exhaust()


def test_a_dead_link_that_the_gateway_only_names_again_is_given_up_past_its_life(world: World) -> None:
    world.http_client.retouch = lambda body: re.sub(rb'/files/[^"]+', b"/files/gone", body)
    job = world.until(world.submit(world.request_for("evolink")), State.ARCHIVING)
    days_later(world, 0.99)
    within = world.job(job.id)
    days_later(world, 0.02)
    ended = world.finish(job.id)

    assert within.state is State.ARCHIVING
    assert (ended.state, why(ended)) == (State.FAILED, "result_expired")
    assert world.bucket(ended).keys() == {"manifest.json"}
    assert len(world.bills()) == 1


@pytest.mark.parametrize("gateway", ["apimart", "evolink"])
def test_ever_new_links_that_are_all_dead_are_given_up_a_life_later(world: World, gateway: str) -> None:
    signed = itertools.count()
    world.http_client.retouch = lambda body: body.replace(b"&sig=", b"&n=%d&sig=" % next(signed))
    world.fault(gateway, "expired_link", times=-1)
    job = world.until(world.submit(world.request_for(gateway)), State.ARCHIVING)
    days_later(world, 1.9)
    within = world.job(job.id)
    days_later(world, 0.2)
    ended = world.finish(job.id)

    assert within.state is State.ARCHIVING
    assert (ended.state, why(ended)) == (State.FAILED, "result_expired")
    assert len(world.bills()) == 1


def test_a_fresh_link_that_lives_is_taken_long_after_the_first_one_died(world: World) -> None:
    world.fault("evolink", "expired_link", times=2)
    job = world.until(world.submit(world.request_for("evolink")), State.ARCHIVING)
    world.step()
    days_later(world, 1.5)
    ended = world.finish(job.id)

    assert ended.state is State.COMPLETED
    assert archived_whole(world, ended)


def test_while_s3_is_away_the_clip_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = world.submit(world.request_for("newapi"))
    world.until(job_id, State.ARCHIVING)
    well = world.services
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_ports(1)[0]}")
    world.services = replace(well, archive=Archive(s3_client(), BUCKET))
    world.step()
    waits = world.job(job_id)
    world.services = well
    job = world.finish(job_id)

    assert (waits.state, waits.history[-1].what) == (State.ARCHIVING, "archive delayed")
    assert job.state is State.COMPLETED
    assert archived_whole(world, job)
