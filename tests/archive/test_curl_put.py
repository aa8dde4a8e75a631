"""CurlPut: what it sends, when it leaves an object to boto, and that both write the same."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, NoCredentialsError
from certificates import self_signed
from fault_server import FakeResolver
from strict_bucket import CUT_AFTER, CUT_BEFORE, KEY_ID, SECRET, UNSIGNED, Handler, StrictBucket

from rushes.shared import services
from rushes.shared.domain.http_messages import Request
from rushes.shared.storage import curl_put
from rushes.shared.storage.archive import Archive, ArchiveUnavailable, ClipSource
from rushes.shared.storage.curl_put import MAX_BYTES, PAUSE_S, CurlPut, Put
from rushes.shared.storage.presigned_links import PresignedLinks
from rushes.shared.storage.s3_clients import S3ClientFactory

KEY, BODY, BUCKET = "jobs/2026/09/21/job_1/manifest.json", b'{"schema": "rushes.manifest/1"}', "clips"
HEADERS = {"Content-Type": "application/json", "x-amz-meta-sha256": hashlib.sha256(BODY).hexdigest()}
METADATA = {"job-id": "job_1", "task-id": "tâche  1\r\nx-evil: 1", "provider": " apimart "}
DOTTED_KEYS = ["../up", "a/./b", "a/..", "."]
PLAIN_KEYS = ["a b+c", "ä/é", "100%", "a//b", "a?b=c&d", "a#b", "(1)!*'~.-_=:@,;$", "%2F", "日本/語", "a\\b", "é%20 +"]
ODD_KEYS = [*PLAIN_KEYS, "a//", "...", '|^`{}[]<>"', "a/.../b", *DOTTED_KEYS]
PROXIES = [name for kind in ("http", "https", "all", "no") for name in (f"{kind}_proxy", f"{kind}_proxy".upper())]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def strict() -> Iterator[StrictBucket]:
    with StrictBucket() as server:
        yield server


def client(url: str | None, style: str = "path", token: str | None = None, region: str = "eu-central-1") -> Any:
    addressing: Any = {"addressing_style": style}
    config = Config(
        request_checksum_calculation="when_required",
        signature_version="s3v4",
        connect_timeout=2,
        retries={"total_max_attempts": 1},
        s3=addressing,
    )
    secrets: dict[str, Any] = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET, "aws_session_token": token}
    return boto3.client("s3", endpoint_url=url, region_name=region, config=config, **secrets)


def new_curl_put(s3: Any, token: str | None = None, bucket: str = BUCKET, authorities: str | None = None) -> CurlPut:
    return CurlPut(lambda: s3, Credentials(KEY_ID, SECRET, token), bucket, authorities)


def client_of(strict: StrictBucket) -> Callable[[], Any]:
    s3 = client(strict.url)
    return lambda: s3


def archive_at(url: str) -> Archive:
    s3 = client(url)
    return Archive(s3, BUCKET, curl_put=new_curl_put(s3))


class Clock:
    """The monotonic clock of curl_put alone."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(curl_put, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


# --- what is sent


def test_an_object_is_written_once_under_a_true_signature(strict: StrictBucket) -> None:
    uploader = new_curl_put(client(strict.url))
    assert uploader.put(KEY, BODY, HEADERS) is True
    assert uploader.put(KEY, b"other", {**HEADERS, "x-amz-meta-sha256": hashlib.sha256(b"other").hexdigest()}) is False
    assert strict.objects[f"/{BUCKET}/{KEY}"].body == BODY
    assert (strict.signature_errors, len(strict.curl_requests)) == ([], 2)
    assert {"content-type", "x-amz-meta-sha256", "if-none-match"} <= strict.requests[0].signed_headers


def test_nothing_is_signed_that_a_front_may_say_anew(strict: StrictBucket) -> None:
    uploader = new_curl_put(client(strict.url))
    uploader.put(KEY, BODY, HEADERS)
    uploader.put_all(sample_puts())
    client(strict.url).put_object(Bucket=BUCKET, Key="botos", Body=BODY)

    def own(signed_headers: set[str]) -> set[str]:
        return {name for name in signed_headers if not name.startswith(("x-amz-", "content-", "if-none-match"))}

    assert [own(request.signed_headers) for request in strict.requests] == [{"host"}] * 5


def test_the_strict_bucket_takes_botos_signature_and_no_other(strict: StrictBucket) -> None:
    client(strict.url).put_object(Bucket=BUCKET, Key="ä b", Body=BODY)
    assert strict.objects[f"/{BUCKET}/ä b"].body == BODY
    other = CurlPut(client_of(strict), Credentials(KEY_ID, "another secret"), BUCKET)
    assert other.put(KEY, BODY, HEADERS) is None
    assert strict.signature_errors == ["the signature does not match"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_every_key_is_written_under_its_own_name(strict: StrictBucket, key: str) -> None:
    uploader = new_curl_put(client(strict.url))
    if key in DOTTED_KEYS:  # libcurl would sign them as it shortens them
        assert (uploader.put(key, BODY, HEADERS), uploader.put_part(key, "upload", 1, BODY), strict.requests) == (
            None,
            None,
            [],
        )
        assert uploader.put_all([put_of(key, BODY), put_of("other", BODY)]) == [None, True]  # and no reason to rest
    archive_at(strict.url).put_bytes(key, BODY, "application/json")
    assert (strict.objects[f"/{BUCKET}/{key}"].body, strict.signature_errors) == (BODY, [])
    assert any(request.is_from_boto for request in strict.requests) == (key in DOTTED_KEYS)


@pytest.mark.parametrize("body", [b"", b"\x00\xff" * 1000, bytes(MAX_BYTES)], ids=["empty", "bytes", "most"])
@pytest.mark.parametrize("has_sha256", [True, False], ids=["with sha256", "without"])
def test_every_body_arrives_as_it_is(strict: StrictBucket, body: bytes, has_sha256: bool) -> None:
    headers = {"x-amz-meta-sha256": hashlib.sha256(body).hexdigest()} if has_sha256 else {}
    assert new_curl_put(client(strict.url)).put(KEY, body, headers) is True
    assert (strict.objects[f"/{BUCKET}/{KEY}"].body, strict.signature_errors) == (body, [])


def test_temporary_credentials_carry_their_token(strict: StrictBucket) -> None:
    assert new_curl_put(client(strict.url, token="session/token=="), "session/token==").put(KEY, BODY, HEADERS) is True
    assert strict.requests[0].headers["x-amz-security-token"] == "session/token=="
    assert "x-amz-security-token" in strict.requests[0].signed_headers


def test_credentials_are_asked_for_at_each_call(strict: StrictBucket) -> None:
    sets = [Credentials(KEY_ID, SECRET, f"token-{number}") for number in (1, 2)]
    renewed: Any = SimpleNamespace(get_frozen_credentials=lambda: sets.pop(0).get_frozen_credentials())
    uploader = CurlPut(client_of(strict), renewed, BUCKET)
    uploader.put("a", BODY, HEADERS)
    uploader.put("b", BODY, HEADERS)
    assert [request.headers["x-amz-security-token"] for request in strict.requests] == ["token-1", "token-2"]


def test_a_bucket_in_the_host_name_is_addressed_there(strict: StrictBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", FakeResolver(clips_s3_test=[["127.0.0.1"]]))
    uploader = new_curl_put(client(f"http://s3.test:{strict.port}", style="virtual"))
    assert uploader.put("a b", BODY, HEADERS) is True
    assert (list(strict.objects), strict.signature_errors) == (["/a b"], [])
    assert strict.requests[0].headers["host"] == f"clips.s3.test:{strict.port}"


@pytest.mark.parametrize(
    ("style", "bucket", "root"),
    [
        ("virtual", "clips", "https://clips.s3.eu-central-1.amazonaws.com/"),
        ("path", "clips", "https://s3.eu-central-1.amazonaws.com/clips/"),
        ("auto", "clips.of.acme", "https://s3.eu-central-1.amazonaws.com/clips.of.acme/"),
    ],
)
def test_amazons_own_buckets_are_addressed_as_boto_does(style: str, bucket: str, root: str) -> None:
    uploader = new_curl_put(client(None, style=style), bucket=bucket)
    assert uploader._request(uploader.target, "a b", "", b"", {}).url == f"{root}a%20b"


# --- what is clear, and what is botos


@pytest.mark.parametrize("fault", [500, 503, 403, 404, 409, 307, 301, CUT_BEFORE, CUT_AFTER])
def test_after_an_answer_that_is_not_clear_boto_is_asked_alone_for_a_minute(
    strict: StrictBucket, clock: Clock, fault: int | str
) -> None:
    uploader = new_curl_put(client(strict.url))
    strict.faults.append(fault)
    assert uploader.put(KEY, BODY, HEADERS) is None
    clock.now += PAUSE_S - 0.1
    assert uploader.put(KEY, BODY, HEADERS) is None
    assert uploader.put_part(KEY, "upload", 1, BODY) is None
    assert len(strict.requests) == 1
    clock.now += 0.1
    assert uploader.put("again", BODY, HEADERS) is True


def test_a_server_that_is_not_there_is_for_boto_to_find_out(clock: Clock) -> None:
    uploader = new_curl_put(client("http://127.0.0.1:1"))
    assert uploader.put(KEY, BODY, HEADERS) is None
    with pytest.raises(ArchiveUnavailable, match="S3 was not reached"):
        archive_at("http://127.0.0.1:1").put_bytes(KEY, BODY, "text/plain")


def test_a_clear_no_is_no_reason_to_rest(strict: StrictBucket, clock: Clock) -> None:
    uploader = new_curl_put(client(strict.url))
    assert [uploader.put(KEY, BODY, HEADERS) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("fault", [500, 503, 409, CUT_BEFORE])
def test_what_the_short_way_did_not_do_boto_does(strict: StrictBucket, fault: int | str) -> None:
    archive = archive_at(strict.url)
    strict.faults.append(fault)
    file = archive.put_bytes(KEY, BODY, "application/json")
    assert (file.size, file.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert [request.is_from_boto for request in strict.requests] == [False, True]
    assert strict.objects[f"/{BUCKET}/{KEY}"].body == BODY


def test_an_answer_lost_after_the_body_leads_boto_to_the_object_that_was_written(strict: StrictBucket) -> None:
    archive = archive_at(strict.url)
    strict.faults.append(CUT_AFTER)
    file = archive.put_bytes(KEY, BODY, "application/json")
    assert (file.key, file.size, file.sha256) == (KEY, len(BODY), hashlib.sha256(BODY).hexdigest())
    assert [(request.method, request.is_from_boto) for request in strict.requests] == [
        ("PUT", False),
        ("PUT", True),
        ("HEAD", True),
    ]
    assert strict.objects[f"/{BUCKET}/{KEY}"].body == BODY


def test_what_somebody_else_wrote_first_stays_and_is_told(strict: StrictBucket) -> None:
    archive = archive_at(strict.url)
    archive.put_bytes(KEY, b"theirs", "text/plain")
    file = archive.put_bytes(KEY, BODY, "application/json")
    assert file.sha256 == hashlib.sha256(b"theirs").hexdigest()
    assert strict.objects[f"/{BUCKET}/{KEY}"].body == b"theirs"


def test_a_large_body_is_botos(strict: StrictBucket) -> None:
    uploader = new_curl_put(client(strict.url))
    assert uploader.put(KEY, bytes(MAX_BYTES + 1), HEADERS) is None
    assert strict.requests == []
    assert uploader.put(KEY, BODY, HEADERS) is True  # and no reason to rest


def test_without_credentials_there_is_no_short_way(strict: StrictBucket) -> None:
    s3: Any = SimpleNamespace(session=SimpleNamespace(get_credentials=lambda: None), allows_curl_put=lambda: True)
    assert services.curl_put(s3, PresignedLinks(client(strict.url)), BUCKET) is None


# --- many together

NO_FAULT = ""
HOW_MANY_STAND = pytest.mark.parametrize("standing", [0, 1, 3])


def sample_puts(count: int = 3, word: str = "ours") -> list[Put]:
    """`count` different objects."""
    return [put_of(f"jobs/job {number}/manifest.json", f"{word} {number}".encode()) for number in range(count)]


def put_of(key: str, body: bytes) -> Put:
    return key, body, {"Content-Type": "application/json", "x-amz-meta-sha256": hashlib.sha256(body).hexdigest()}


def open_connections(uploader: CurlPut, strict: StrictBucket, count: int) -> None:
    """Open this many connections to the bucket, and forget the requests that this took."""
    root = uploader._client().meta.endpoint_url
    for _ in uploader._http.send_all([Request("HEAD", f"{root}/{BUCKET}/none")] * count, deadline_s=30):
        pass
    strict.requests.clear()


def stored_bodies(strict: StrictBucket, puts: list[Put]) -> list[bytes | None]:
    """The bodies in the bucket at the keys of these puts."""
    stored = [strict.objects.get(f"/{BUCKET}/{key}") for key, _, _ in puts]
    return [entry.body if entry else None for entry in stored]


def expected_bodies(puts: list[Put]) -> list[bytes]:
    return [body for _, body, _ in puts]


@pytest.fixture
def connected(strict: StrictBucket) -> list[Any]:
    """The bucket's ends of its connections."""
    connections: list[Any] = []

    def note(request: Any, address: Any) -> bool:
        connections.append(request)
        return True

    strict.verify_request = note  # type: ignore[method-assign]
    return connections


@HOW_MANY_STAND
def test_many_are_written_once_under_true_signatures_over_the_connections_that_stand(
    strict: StrictBucket, connected: list[Any], standing: int
) -> None:
    uploader, puts = new_curl_put(client(strict.url)), sample_puts()
    open_connections(uploader, strict, standing)
    connected.clear()

    assert uploader.put_all(puts) == [True, True, True]
    assert (stored_bodies(strict, puts), strict.signature_errors) == (expected_bodies(puts), [])
    assert len(strict.curl_requests) == 3
    assert len(connected) <= 3 - standing
    must = {"content-type", "x-amz-meta-sha256", "if-none-match"}
    assert all(must <= request.signed_headers for request in strict.requests)


@HOW_MANY_STAND
@pytest.mark.parametrize("number", [0, 1, 2])
def test_of_many_the_one_where_something_stands_is_told_and_stays(
    strict: StrictBucket, clock: Clock, standing: int, number: int
) -> None:
    uploader, puts, theirs = new_curl_put(client(strict.url)), sample_puts(), sample_puts(word="theirs")
    uploader.put(*theirs[number])
    open_connections(uploader, strict, standing)

    assert uploader.put_all(puts) == [other != number for other in range(3)]
    assert stored_bodies(strict, puts)[number] == theirs[number][1]
    assert uploader.put_all(puts) == [False, False, False]  # that was clear: no reason to rest


def garbled(handler: Handler) -> None:
    """Send something that is not HTTP, and hang up."""
    handler.close_connection = True
    handler.wfile.write(b"so it is\r\n\r\n")


def mute(handler: Handler) -> None:
    """Send nothing, and wait until the client hangs up."""
    handler.close_connection = True
    handler.rfile.read(1)


@pytest.mark.parametrize("fault", [500, 503, 403, 404, 409, 307, 301, garbled, mute])
def test_of_many_one_unclear_answer_is_botos_and_the_short_way_rests(
    strict: StrictBucket, clock: Clock, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    monkeypatch.setattr(curl_put, "DEADLINE_S", 3.0 if fault is mute else 30.0)
    monkeypatch.setattr(Handler, "_cut", fault)
    uploader, puts = new_curl_put(client(strict.url)), sample_puts()
    open_connections(uploader, strict, 3)
    strict.faults.append(fault if isinstance(fault, int) else CUT_BEFORE)

    written = uploader.put_all(puts)

    assert sorted(written, key=str) == [None, True, True]
    assert [None if body is None else True for body in stored_bodies(strict, puts)] == written
    clock.now += PAUSE_S - 0.1
    assert (uploader.put_all(sample_puts(5)), uploader.put(KEY, BODY, HEADERS), len(strict.requests)) == (
        [None] * 5,
        None,
        3,
    )
    clock.now += 0.1
    assert sorted(map(bool, uploader.put_all(puts))) == [False, False, True]


def test_of_many_those_whose_connections_were_closed_meanwhile_are_sent_over_others(
    strict: StrictBucket, clock: Clock, connected: list[socket.socket]
) -> None:
    uploader, puts = new_curl_put(client(strict.url)), sample_puts()
    open_connections(uploader, strict, 2)
    for connection in connected:
        connection.shutdown(socket.SHUT_RDWR)

    assert uploader.put_all(puts) == [True, True, True]
    assert stored_bodies(strict, puts) == expected_bodies(puts)


def test_one_alone_is_written_over_the_connection_of_the_put_before_it(
    strict: StrictBucket, connected: list[Any]
) -> None:
    uploader, (first, *puts) = new_curl_put(client(strict.url)), sample_puts()
    uploader.put(*first)
    connected.clear()

    assert [uploader.put_all([put]) for put in (*puts, first)] == [[True], [True], [False]]
    assert (stored_bodies(strict, puts), connected) == (expected_bodies(puts), [])


def reset(handler: Handler) -> None:
    """Hang up with a reset, as a machine does that does not know the connection."""
    handler.close_connection = True
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(handler.connection.detach())


@pytest.mark.parametrize("hang_up", [Handler._cut, reset])
@pytest.mark.parametrize("cut", [CUT_BEFORE, CUT_AFTER])
def test_of_many_one_whose_connection_broke_is_sent_alone(
    strict: StrictBucket, clock: Clock, monkeypatch: pytest.MonkeyPatch, cut: str, hang_up: Callable[[Handler], None]
) -> None:
    monkeypatch.setattr(Handler, "_cut", hang_up)
    uploader, puts = new_curl_put(client(strict.url)), sample_puts()
    open_connections(uploader, strict, 3)
    strict.faults.append(cut)

    assert sorted(map(bool, uploader.put_all(puts))) == [cut == CUT_BEFORE, True, True]
    assert (stored_bodies(strict, puts), len(strict.requests)) == (expected_bodies(puts), 4)
    assert uploader.put(KEY, BODY, HEADERS) is True  # and no reason to rest


def test_of_none_nothing_is_asked(strict: StrictBucket) -> None:
    assert (new_curl_put(client(strict.url)).put_all([]), strict.requests) == ([], [])


@HOW_MANY_STAND
@pytest.mark.parametrize(
    "trouble", [NoCredentialsError(), ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole")]
)
def test_many_are_botos_where_credentials_cannot_be_had(
    strict: StrictBucket, standing: int, trouble: Exception
) -> None:
    def frozen() -> Any:
        raise trouble

    gone: Any = SimpleNamespace(get_frozen_credentials=frozen)
    uploader = CurlPut(client_of(strict), gone, BUCKET)
    open_connections(uploader, strict, standing)

    assert (uploader.put_all(sample_puts()), strict.requests) == ([None, None, None], [])


@HOW_MANY_STAND
def test_of_many_each_carries_the_token_of_temporary_credentials(strict: StrictBucket, standing: int) -> None:
    uploader = new_curl_put(client(strict.url, token="session/token=="), "session/token==")
    open_connections(uploader, strict, standing)

    assert uploader.put_all(sample_puts()) == [True, True, True]
    assert [request.headers["x-amz-security-token"] for request in strict.requests] == ["session/token=="] * 3
    assert all("x-amz-security-token" in request.signed_headers for request in strict.requests)


def test_many_for_a_server_that_is_not_there_are_for_boto_to_find_out(clock: Clock) -> None:
    assert new_curl_put(client("http://127.0.0.1:1")).put_all(sample_puts()) == [None, None, None]


@HOW_MANY_STAND
def test_over_https_many_are_signed_too(
    secure: StrictBucket, certificate: tuple[str, ssl.SSLContext], standing: int
) -> None:
    uploader, puts = new_curl_put(client(secure.url), authorities=certificate[0]), sample_puts()
    open_connections(uploader, secure, standing)

    assert uploader.put_all(puts) == [True, True, True]
    assert (stored_bodies(secure, puts), secure.signature_errors) == (expected_bodies(puts), [])
    assert all(request.headers["x-amz-content-sha256"] not in (UNSIGNED, "") for request in secure.requests)


# --- manifests together


def manifests(count: int = 3) -> list[tuple[str, dict[str, Any]]]:
    return [(key, {"number": number}) for number, (key, _, _) in enumerate(sample_puts(count))]


@HOW_MANY_STAND
def test_manifests_go_the_short_way_together(strict: StrictBucket, standing: int) -> None:
    s3 = client(strict.url)
    uploader = new_curl_put(s3)
    open_connections(uploader, strict, standing)

    archive = Archive(s3, BUCKET, curl_put=uploader)
    written = [archive.put_manifests(manifests()) for _ in range(2)]

    assert written == [[True, True, True]] * 2
    assert stored_bodies(strict, sample_puts()) == [b'{"number":0}', b'{"number":1}', b'{"number":2}']
    assert (len(strict.curl_requests), len(strict.requests), strict.signature_errors) == (
        6,
        6,
        [],
    )  # a clear no is not asked for again


@HOW_MANY_STAND
@pytest.mark.parametrize("fault", [500, 503, 409])
def test_a_manifest_that_the_short_way_did_not_put_boto_puts_alone(
    strict: StrictBucket, standing: int, fault: int
) -> None:
    s3 = client(strict.url)
    uploader = new_curl_put(s3)
    open_connections(uploader, strict, standing)
    strict.faults.append(fault)

    archive = Archive(s3, BUCKET, curl_put=uploader)
    written = archive.put_manifests(manifests())

    assert written == [body is not None for body in stored_bodies(strict, sample_puts())]
    assert (written.count(False), any(request.is_from_boto for request in strict.requests)) == (1, False)
    assert all(archive.put_manifest(*entry) for entry, done in zip(manifests(), written, strict=True) if not done)
    assert stored_bodies(strict, sample_puts()) == [b'{"number":0}', b'{"number":1}', b'{"number":2}']
    assert sum(request.is_from_boto for request in strict.requests) == 1


def test_a_manifest_that_both_ways_refuse_keeps_no_other(strict: StrictBucket) -> None:
    s3 = client(strict.url)
    uploader = new_curl_put(s3)
    open_connections(uploader, strict, 3)
    strict.faults.extend([403, NO_FAULT, NO_FAULT, 403])

    archive = Archive(s3, BUCKET, curl_put=uploader)
    written = archive.put_manifests(manifests())
    with pytest.raises(ArchiveUnavailable, match="does not belong to the access key"):
        archive.put_manifest(*manifests()[written.index(False)])

    assert written == [body is not None for body in stored_bodies(strict, sample_puts())]
    assert sorted(written) == [False, True, True]


# --- parts


def test_a_part_is_sent_under_a_true_signature_and_tells_its_etag(strict: StrictBucket) -> None:
    uploader, upload = new_curl_put(client(strict.url)), "2~a/b+c= d&e"
    etag = uploader.put_part("a b", upload, 12, memoryview(BODY))
    assert etag == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert strict.signature_errors == []
    assert strict.requests[0].target.endswith("?partNumber=12&uploadId=2~a%2Fb%2Bc%3D%20d%26e")


def test_a_part_that_is_taken_for_written_already_is_for_boto(strict: StrictBucket) -> None:
    strict.faults.append(412)
    assert new_curl_put(client(strict.url)).put_part(KEY, "upload", 1, BODY) is None


# --- what only boto knows of


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY"])
def test_with_a_proxy_on_the_way_boto_goes_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, strict: StrictBucket
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    kind = name.lower().removesuffix("_proxy")
    assert curl_put._has_proxy(f"{kind}://s3.test/")
    assert not curl_put._has_proxy(f"{'http' if kind == 'https' else 'https'}://s3.test/")


def test_an_object_goes_through_the_proxy(strict: StrictBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", strict.url)
    archive_at("http://s3.test:8080").put_bytes(KEY, BODY, "application/json")
    (request,) = strict.requests
    assert (request.is_from_boto, request.target) == (True, f"http://s3.test:8080/{BUCKET}/{KEY}")


@pytest.mark.parametrize("spared", ["127.0.0.1", "*", "s3.test,127.0.0.1"])
def test_what_is_spared_the_proxy_goes_the_short_way(
    strict: StrictBucket, monkeypatch: pytest.MonkeyPatch, spared: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", spared)
    assert new_curl_put(client(strict.url)).put(KEY, BODY, HEADERS) is True


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    return self_signed("s3.test", tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictBucket]:
    monkeypatch.setattr("socket.getaddrinfo", FakeResolver(s3_test=[["127.0.0.1"]]))
    with StrictBucket(certificate[1]) as server:
        server.url = f"https://s3.test:{server.port}"
        yield server


def test_over_https_the_body_is_signed_too(secure: StrictBucket, certificate: tuple[str, ssl.SSLContext]) -> None:
    assert new_curl_put(client(secure.url), authorities=certificate[0]).put(KEY, BODY, HEADERS) is True
    assert secure.signature_errors == []
    assert secure.requests[0].headers["x-amz-content-sha256"] not in (UNSIGNED, "")


def test_nobody_whom_the_user_does_not_trust_gets_an_object(secure: StrictBucket) -> None:
    assert new_curl_put(client(secure.url)).put(KEY, BODY, HEADERS) is None
    assert secure.requests == []


@pytest.mark.parametrize("by", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "profile", "RUSHES_CA_FILE"])
def test_authorities_of_the_users_own_are_believed_by_both_ways(
    secure: StrictBucket,
    certificate: tuple[str, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "config").write_text(f"[default]\nca_bundle = {certificate[0]}\n" if by == "profile" else "")
    if by.endswith("BUNDLE"):
        monkeypatch.setenv(by, certificate[0])
    settings = {"CONFIG_FILE": str(tmp_path / "config"), "ACCESS_KEY_ID": KEY_ID, "SECRET_ACCESS_KEY": SECRET}
    for name, value in {**settings, "ENDPOINT_URL_S3": secure.url, "DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3 = S3ClientFactory(certificate[0] if by == "RUSHES_CA_FILE" else None)
    s3.client().put_object(Bucket=BUCKET, Key="botos", Body=BODY)
    uploader = services.curl_put(s3, PresignedLinks(s3.client()), BUCKET)
    assert uploader
    assert uploader.put(KEY, BODY, HEADERS) is True
    assert ([request.is_from_boto for request in secure.requests], secure.signature_errors) == ([True, False], [])


# --- both ways write the same


def read_object(s3: Any, bucket: str, key: str) -> dict[str, Any]:
    response = s3.get_object(Bucket=bucket, Key=key)
    facts = {name: response[name] for name in ("ContentType", "Metadata", "ContentLength", "ETag")}
    return {**facts, "Body": response["Body"].read()}


@pytest.fixture
def both(s3: Any, bucket: str) -> tuple[Archive, Archive]:
    """An archive with CurlPut, and one without."""
    return Archive(s3, bucket, curl_put=CurlPut(lambda: s3, Credentials("test", "test"), bucket)), Archive(s3, bucket)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_boto_reads_what_the_short_way_wrote(both: Any, s3: Any, bucket: str, calls: list[str], key: str) -> None:
    both[0].put_bytes(key, BODY, "application/json", METADATA)
    assert bool(calls) == (key in DOTTED_KEYS)  # boto was not needed
    assert read_object(s3, bucket, key)["Body"] == BODY
    assert [held["Key"] for held in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


def put_manifest_as_worker(archive: Archive, key: str, manifest: dict[str, Any]) -> None:
    """Put a manifest as the worker does: together with others, then alone."""
    if archive.put_manifests([(key, manifest)]) == [False]:
        archive.put_manifest(key, manifest)


@pytest.mark.parametrize("kind", ["bytes", "clip", "long", "manifest", "manifests"])
def test_both_ways_leave_the_same_object(both: Any, s3: Any, bucket: str, clips: dict[str, bytes], kind: str) -> None:
    puts: dict[str, Callable[[Archive, str], Any]] = {
        "bytes": lambda archive, key: archive.put_bytes(key, BODY, "image/jpeg", METADATA),
        "clip": lambda archive, key: archive.put_clip(key, source(clips["plain"]), METADATA),
        "long": lambda archive, key: archive.put_clip(key, source(clips["long"]), METADATA),
        "manifest": lambda archive, key: archive.put_manifest(key, {"schema": "rushes.manifest/1"}),
        "manifests": lambda archive, key: put_manifest_as_worker(archive, key, {"schema": "rushes.manifest/1"}),
    }
    uploader, botos = both
    puts[kind](uploader, "short")
    puts[kind](botos, "botos")
    assert read_object(s3, bucket, "short") == read_object(s3, bucket, "botos")


def source(data: bytes) -> ClipSource:
    return ClipSource(iter([data]), len(data), "video/mp4")
