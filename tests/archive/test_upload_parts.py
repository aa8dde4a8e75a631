"""The parts of a long clip, sent by CurlPut, and their buffers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from archive_steps import MIB, connect
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rushes.shared.storage.archive import Archive, ClipSource
from rushes.shared.storage.clip_check import BufferPool, UploadPart
from rushes.shared.storage.curl_put import CurlPut

KEY = "jobs/2026/11/20/job_1/video.mp4"
CREDENTIALS = Credentials("test", "test")


class Store(ThreadingHTTPServer):
    """Accepts every part, answers as configured, and records the requests."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.says = status, headers
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Door(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        status, headers = self.server.says
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Callable[..., Store]]:
    """store(200, {"ETag": "..."}): a server that answers so to every PUT; with status 0 it hangs up."""
    open_ones: list[Store] = []

    def start(status: int, headers: dict[str, str] | None = None) -> Store:
        server = Store(status, headers or {})
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        open_ones.append(server)
        return server

    yield start
    for server in open_ones:
        server.shutdown()
        server.server_close()


def direct(endpoint: str, bucket: str = "clips") -> CurlPut:
    s3 = connect(endpoint)
    return CurlPut(lambda: s3, CREDENTIALS, bucket)


def whole(clip: bytes) -> ClipSource:
    return ClipSource((clip[at : at + 100_000] for at in range(0, len(clip), 100_000)), len(clip), "video/mp4")


def three_parts(clips: dict[str, bytes]) -> bytes:
    return clips["long"] + (8 + 6 * MIB).to_bytes(4) + b"free" + bytes(6 * MIB)


# By the short way


def test_a_long_clip_lands_byte_for_byte_and_boto_sends_no_part(s3, bucket, endpoint, calls, clips):
    archive = Archive(s3, bucket, part_bytes=5 * MIB, curl_put=direct(endpoint, bucket))
    clip = three_parts(clips)

    archive.put_clip(KEY, whole(clip), {})

    assert calls == ["CreateMultipartUpload", "CompleteMultipartUpload", "CopyObject"]
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == clip


def test_a_part_carries_the_sha256_of_its_bytes_under_the_signature(store):
    server = store(200, {"ETag": '"e"'})

    etag = direct(server.url).put_part(KEY, "u", 1, memoryview(b"frames")[1:])

    ((_, headers, body),) = server.requests
    assert etag == '"e"'
    assert body == b"rames"
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"rames").hexdigest()
    assert "x-amz-content-sha256" in headers["authorization"]


def test_what_is_signed_is_what_is_sent_however_odd_the_names(store):
    server = store(200, {"ETag": '"e"'})

    direct(server.url).put_part("jobs/é & +/a~b.mp4", "u/+=&?~ 1", 12, b"frames")

    ((path, headers, _),) = server.requests
    assert path == "/clips/jobs/%C3%A9%20%26%20%2B/a~b.mp4?partNumber=12&uploadId=u%2F%2B%3D%26%3F~%201"
    assert headers["authorization"].endswith(signature_of(server.url + path, headers))


def signature_of(url: str, headers: dict[str, str]) -> str:
    """What a store computes from the request as it arrived."""
    signed = headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    request = AWSRequest("PUT", url, {name: headers[name] for name in signed})
    request.context["timestamp"] = headers["x-amz-date"]
    auth = S3SigV4Auth(CREDENTIALS, "s3", "us-east-1")
    canonical = auth.canonical_request(request)
    return str(auth.signature(auth.string_to_sign(request, canonical), request))


# Where it is not clear, boto sends the part


@pytest.mark.parametrize(
    ("status", "headers"), [(503, {}), (307, {"Location": "http://127.0.0.1:1/"}), (404, {}), (0, {}), (200, {})]
)
def test_a_part_whose_answer_is_not_clear_is_sent_by_boto(s3, bucket, calls, clips, store, status, headers):
    archive = Archive(s3, bucket, part_bytes=5 * MIB, curl_put=direct(store(status, headers).url, bucket))

    archive.put_clip(KEY, whole(clips["long"]), {})

    assert calls.count("UploadPart") == 2
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == clips["long"]


def test_after_an_answer_that_is_not_clear_nothing_is_asked_for_a_while(store):
    server = store(503)
    short_way = direct(server.url)

    answers = [short_way.put_part(KEY, "u", number, b"frames") for number in (1, 2)]

    assert answers == [None, None]
    assert len(server.requests) == 1


# The buffers


def part(buffers: BufferPool, body: bytes) -> UploadPart:
    upload_part = UploadPart(buffers)
    upload_part.add(body)
    return upload_part


def buffer_content(buffers: BufferPool, count: int) -> bytes:
    pages = buffers.take()
    content = pages[:count]
    buffers.give_back(pages, 0)
    return content


def test_a_buffer_is_used_again_while_another_is_in_use():
    buffers = BufferPool(2, MIB)

    with part(buffers, b"first"):
        with part(buffers, b"x" * MIB):
            pass
        with part(buffers, b"y") as third:
            assert bytes(third.content()) == b"y"
            assert third._pages[:3] == b"yxx"


def test_memory_goes_back_to_the_system_when_no_part_is_in_use_any_more():
    buffers = BufferPool(2, MIB)

    with part(buffers, b"x" * MIB), part(buffers, b"y" * MIB):
        pass

    assert buffer_content(buffers, 3) == bytes(3)


def test_the_few_pages_of_a_small_clip_stay_for_the_next():
    buffers = BufferPool(2, MIB)

    with part(buffers, b"xyz"):
        pass

    assert buffer_content(buffers, 3) == b"xyz"


def test_what_a_part_held_before_is_not_in_the_next(s3, bucket, endpoint, clips):
    archive = Archive(s3, bucket, buffers=1, part_bytes=5 * MIB, curl_put=direct(endpoint, bucket))

    for kind in ("long", "plain"):
        archive.put_clip(kind, whole(clips[kind]), {})

    assert [s3.get_object(Bucket=bucket, Key=kind)["Body"].read() for kind in ("long", "plain")] == [
        clips["long"],
        clips["plain"],
    ]


def test_a_part_closed_twice_gives_one_buffer_back():
    buffers = BufferPool(1, MIB)
    closed = part(buffers, b"x")

    for _ in range(2):
        closed.__exit__()

    with UploadPart(buffers):
        assert not buffers._free.acquire(blocking=False)


def test_a_failed_call_that_still_looks_at_a_buffer_does_not_keep_it_from_its_next_use():
    buffers = BufferPool(1, MIB)
    with part(buffers, b"frames") as failed:
        view: Any = failed.content()

    with part(buffers, b"others") as again:
        assert bytes(again.content()) == b"others"
    view.release()
