"""Clips and pictures of every kind, through the whole way: as the result of a paid task, and as an input of one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from clip_samples import CUT, ODD, OTHER, WHOLE, plain
from fault_server import FaultServer
from file_server import FileServer
from picture_samples import JPEGS, NEITHER, PNGS
from world import World, why

from rushes.shared.domain.job import Job, State

Lay = Callable[..., FileServer]
RESULTS = [
    *("zero bytes behind it", "a newline behind it", "a text behind it", "no box behind it"),
    *("free in front", "uuid in front", "no ftyp, wide first", "moov before ftyp", "a large udta in moov"),
    *("fragments without an index", "media to the end", "quicktime", "zeros between header and media"),
]


@pytest.fixture
def lay() -> Iterator[Lay]:
    """Put a file on a server of its own."""
    servers: list[FileServer] = []

    def lay(content: bytes, **options: Any) -> FileServer:
        servers.append(FileServer(content, **options))
        return servers[-1]

    yield lay
    for file_server in servers:
        file_server.close()


def results_in(world: World, clip: str = "", thumbnail: str = "") -> None:
    """Have the gateway name these addresses for its clip and its thumbnail."""

    def retouch(body: bytes) -> bytes:
        try:
            answer = json.loads(body)
            result = answer["data"]["result"]
            result["videos"][0]["url"] = clip or result["videos"][0]["url"]
            result["thumbnail_url"] = thumbnail or None
        except (ValueError, KeyError, TypeError):
            return body
        return json.dumps(answer).encode()

    world.http_client.retouch = retouch


def made(world: World, clip: str = "", thumbnail: str = "") -> Job:
    results_in(world, clip, thumbnail)
    return world.finish(world.submit(world.request_for("apimart")))


def history(world: World, job: Job) -> dict[str, str]:
    """What the job's history says, as a caller reads it."""
    lines = world.api("GET", f"/v1/jobs/{job.id}/history").json["data"]
    return {line["what"]: line["detail"] for line in lines}


# Results


@pytest.mark.parametrize("name", RESULTS)
def test_a_paid_clip_that_players_take_is_archived_at_its_first_download(world: World, lay: Lay, name: str) -> None:
    data = {**WHOLE, **ODD}[name]()
    job = made(world, lay(data).url)

    assert job.state is State.COMPLETED
    assert world.bucket(job)["video.mp4"].body == data
    assert (job.result.duration_s, job.result.width, job.result.height) == (5, 352, 640) if job.result else False
    assert "download failed" not in history(world, job)


@pytest.mark.parametrize("name", ["webm", "mpeg-ts", "avi"])
def test_a_paid_clip_in_another_container_is_kept_and_its_history_says_which(world: World, lay: Lay, name: str) -> None:
    data = ODD[name]()
    job = made(world, lay(data).url)
    stored = world.bucket(job)

    assert job.state is State.COMPLETED
    assert (stored["video.mp4"].body, stored["video.mp4"].content_type) == (data, "video/mp4")
    expected = {"webm": "webm or mkv"}.get(name, name)
    assert history(world, job)["clip kept as it came"] == f"it is {expected}, under the name and type of an MP4"


@pytest.mark.parametrize("name", ["webm", "fragments without an index"])
def test_a_chunked_body_proves_the_end_of_a_clip(world: World, lay: Lay, name: str) -> None:
    data = {**WHOLE, **ODD}[name]()
    job = made(world, lay(data, length=False).url)

    assert job.state is State.COMPLETED
    assert world.bucket(job)["video.mp4"].body == data
    assert "download failed" not in history(world, job)


@pytest.mark.parametrize("name", ["in its media", "in its header", "before its header", "in a fragment"])
def test_a_paid_clip_that_breaks_off_is_fetched_again(world: World, lay: Lay, name: str) -> None:
    file_server = lay(CUT[name]())
    results_in(world, file_server.url)
    job = world.until(world.submit(world.request_for("apimart")), State.ARCHIVING)
    world.run_until(lambda: world.job(job.id).setbacks > 0)
    file_server.content = plain()
    file_server.size = len(plain())
    ended = world.finish(job.id)

    assert ended.state is State.COMPLETED
    assert world.bucket(ended)["video.mp4"].body == plain()
    assert re.search("breaks off|has no", history(world, ended)["download failed"])


@pytest.mark.parametrize(
    ("data", "told"),
    [
        # How long the clip is depends on the encoder's threads, so on the machine.
        (CUT["in its media"], "breaks off after {size} bytes, in 'mdat'"),
        (CUT["in its header"], "breaks off after {size} bytes, in 'moov'"),
        (OTHER["a page"], "an html or xml page, not a clip"),
        (OTHER["json"], "json, not a clip"),
        (OTHER["nothing"], "empty"),
        (OTHER["png"], "png, not a clip"),
    ],
)
def test_what_never_becomes_a_clip_is_told_as_what_it_is(
    world: World, lay: Lay, data: Callable[[], bytes], told: str
) -> None:
    content = data()
    job = made(world, lay(content).url)

    assert (job.state, why(job)) == (State.FAILED, "result_invalid")
    assert job.error
    assert told.format(size=len(content)) in job.error.message
    assert world.bucket(job).keys() == {"manifest.json"}


def unframed(data: bytes) -> FaultServer:
    """A server that says neither how long its clip is nor where it ends: it hangs up."""
    return FaultServer(
        lambda peer: peer.read_request() and peer.send_bytes(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + data)
    )


def test_a_clip_whose_end_nothing_proves_is_kept_at_the_last_try(world: World) -> None:
    data = WHOLE["fragments without an index"]()
    with unframed(data) as server:
        job = made(world, f"{server.url}/clip.mp4")

    assert job.state is State.COMPLETED
    assert world.bucket(job)["video.mp4"].body == data
    assert "length was not announced" in history(world, job)["download failed"]
    assert sum("clip.mp4" in request.url for request in world.http_client.fetched) == 9


def test_setbacks_of_another_kind_cost_a_clip_none_of_its_downloads(world: World) -> None:
    world.fault("apimart", "http_500", stage="download", times=12)
    world.fault("apimart", "truncated_clip", how="short", times=3)
    job = world.finish(world.submit(world.request_for("apimart")))

    assert (job.state, job.current.bad_downloads) == (State.COMPLETED, 3)
    assert world.bucket(job)["video.mp4"].body == world.served(job)
    assert len(world.bills()) == 1


def test_a_retry_that_takes_the_clip_over_has_all_its_downloads_again(world: World) -> None:
    world.fault("apimart", "truncated_clip", how="short", times=12)
    failed = world.finish(world.submit(world.request_for("apimart")))
    again = world.api("POST", f"/v1/jobs/{failed.id}/retry")
    job = world.finish(again.json["id"])

    assert (failed.state, failed.current.bad_downloads) == (State.FAILED, 8)
    assert (job.state, job.current.adopted, job.current.bad_downloads) == (State.COMPLETED, True, 3)
    assert len(world.bills()) == 1


def test_ever_new_links_to_a_clip_that_breaks_off_are_given_up_too(world: World, lay: Lay) -> None:
    file_server, numbers = lay(CUT["in its media"]()), count(1)
    results_in(world, file_server.url)
    plain_retouch = world.http_client.retouch
    world.http_client.retouch = lambda body: plain_retouch(body).replace(
        file_server.url.encode(), f"{file_server.url}/{next(numbers)}".encode()
    )
    job = world.finish(world.submit(world.request_for("apimart")))

    assert (job.state, why(job)) == (State.FAILED, "result_invalid")
    assert len(file_server.requested_ranges) == 9


def test_a_clip_that_breaks_off_is_not_kept_at_the_last_try_either(world: World) -> None:
    with unframed(CUT["in a fragment"]()) as server:
        job = made(world, f"{server.url}/clip.mp4")

    assert (job.state, why(job)) == (State.FAILED, "result_invalid")
    assert world.bucket(job).keys() == {"manifest.json"}


# Thumbnails


@pytest.mark.parametrize(
    ("picture", "name", "content_type"),
    [
        (PNGS["plain"], "thumbnail.png", "image/png"),
        (PNGS["animated"], "thumbnail.png", "image/png"),
        (JPEGS["progressive cmyk"], "thumbnail.jpg", "image/jpeg"),
    ],
)
def test_a_thumbnail_is_kept_under_its_own_type_and_name(
    world: World, lay: Lay, picture: Callable[[], bytes], name: str, content_type: str
) -> None:
    job = made(world, thumbnail=lay(picture()).url)
    stored, manifest = world.bucket(job), world.manifest(job)
    shown = world.api("GET", f"/v1/jobs/{job.id}").json["result"]

    assert stored.keys() == {"video.mp4", name, "manifest.json"}
    assert (stored[name].body, stored[name].content_type) == (picture(), content_type)
    assert shown["thumbnail_key"] == shown["key"].replace("video.mp4", name)
    assert manifest["job"]["result"]["thumbnail_key"] == shown["thumbnail_key"]
    assert [(file["key"], file["content_type"]) for file in manifest["files"]] == [
        (shown["key"], "video/mp4"),
        (shown["thumbnail_key"], content_type),
    ]
    assert "thumbnail dropped" not in history(world, job)


@pytest.mark.parametrize("kind", ["webp", "gif", "page", "clip"])
def test_a_thumbnail_of_another_kind_is_dropped_with_a_line_in_the_history(world: World, lay: Lay, kind: str) -> None:
    make, found = NEITHER[kind]
    job = made(world, thumbnail=lay(make()).url)

    assert job.state is State.COMPLETED
    assert world.bucket(job).keys() == {"video.mp4", "manifest.json"}
    assert len(world.manifest(job)["files"]) == 1
    assert history(world, job)["thumbnail dropped"] == f"it is {found}, not JPG or PNG"


def test_a_thumbnail_that_is_not_to_be_had_is_dropped_with_a_line_in_the_history(world: World) -> None:
    job = made(world, thumbnail=f"{world.gateways_url}/inputs/none.jpg")

    assert job.state is State.COMPLETED
    assert history(world, job)["thumbnail dropped"] == "its address answered 404"


# Inputs


@pytest.mark.parametrize(
    "name",
    ["zero bytes behind it", "no ftyp, wide first", "fragments with sidx", "a large udta in moov", "quicktime"],
)
@pytest.mark.parametrize("ranges", [True, False])
def test_an_input_clip_that_players_take_is_taken(world: World, lay: Lay, name: str, ranges: bool) -> None:
    file_server = lay(WHOLE[name](), ranges=ranges)
    job = world.finish(world.submit({**world.request_for("apimart"), "video_url": file_server.url}))

    assert job.state is State.COMPLETED
    assert (job.inputs["video_url"]["width"], job.inputs["video_url"]["duration_s"]) == (352, "5.00")


@pytest.mark.parametrize(
    ("kind", "picture"),
    [("jpeg", JPEGS["progressive cmyk"]), ("jpeg", JPEGS["many segments"]), ("png", PNGS["large text"])],
)
def test_an_input_picture_is_what_its_bytes_say_whatever_its_address_says(
    world: World, lay: Lay, kind: str, picture: Callable[[], bytes]
) -> None:
    file_server = lay(picture())
    request = {**world.request_for("apimart"), "image_url": f"{file_server.url}/picture.webp"}
    job = world.finish(world.submit(request))

    assert job.state is State.COMPLETED
    assert (job.inputs["image_url"]["format"], job.inputs["image_url"]["width"]) == (kind, 640)


@pytest.mark.parametrize(
    ("field", "data", "told"),
    [
        ("image_url", NEITHER["webp"][0], "image_url: the file is webp, not JPG or PNG"),
        ("image_url", NEITHER["page"][0], "image_url: the file is an html or xml page, not JPG or PNG"),
        ("video_url", ODD["webm"], "video_url: the file is webm or mkv, not MP4 or MOV"),
        ("video_url", CUT["in its media"], "video_url: cannot be read as mp4: it is cut short"),
        ("video_url", OTHER["a text"], "video_url: the file is of an unknown format, not MP4 or MOV"),
    ],
)
def test_an_input_that_is_something_else_is_rejected_with_its_field_and_what_it_is(
    world: World, lay: Lay, field: str, data: Callable[[], bytes], told: str
) -> None:
    file_server = lay(data())
    job = world.finish(world.submit({**world.request_for("apimart"), field: f"{file_server.url}/a.png"}))

    assert (job.state, why(job)) == (State.FAILED, "input_rejected")
    assert job.error
    assert job.error.message.startswith(told)
    assert world.bills() == []
