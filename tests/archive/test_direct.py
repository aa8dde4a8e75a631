"""The short way to S3: what it says, when it gives way to boto, and that both write the same."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import Credentials
from certificates import self_signed
from fault_server import Names
from strict_bucket import CUT_AFTER, CUT_BEFORE, KEY_ID, SECRET, UNSIGNED, StrictBucket

from shared import direct, http, wiring
from shared.archive import Archive, ArchiveUnavailable, Source
from shared.direct import MOST_BYTES, REST_S, DirectPut

KEY, BODY, BUCKET = "jobs/2026/09/21/job_1/manifest.json", b'{"schema": "rushes.manifest/1"}', "clips"
HEADERS = {"Content-Type": "application/json", "x-amz-meta-sha256": hashlib.sha256(BODY).hexdigest()}
METADATA = {"job-id": "job_1", "task-id": "tâche  1\r\nx-evil: 1", "provider": " apimart "}
ODD_KEYS = ["a b+c", "ä/é", "100%", "a//b", "../up", "a?b=c&d", "a#b", "(1)!*'~.-_=:@,;$", "%2F", "日本/語", "a\\b"]
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


def way(s3: Any, token: str | None = None, bucket: str = BUCKET) -> DirectPut:
    return DirectPut(s3, Credentials(KEY_ID, SECRET, token), bucket)


def archive_at(url: str) -> Archive:
    s3 = client(url)
    return Archive(s3, BUCKET, direct=way(s3))


class Clock:
    """The monotonic clock of the short way alone."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(direct, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


# --- what is sent


def test_an_object_is_written_once_under_a_true_signature(strict: StrictBucket) -> None:
    short = way(client(strict.url))
    assert short.put(KEY, BODY, HEADERS) is True
    assert short.put(KEY, b"other", {**HEADERS, "x-amz-meta-sha256": hashlib.sha256(b"other").hexdigest()}) is False
    assert strict.held[f"/{BUCKET}/{KEY}"].body == BODY
    assert (strict.wrong, len(strict.direct)) == ([], 2)
    assert {"content-type", "x-amz-meta-sha256", "if-none-match"} <= strict.seen[0].signed


def test_the_strict_bucket_takes_botos_signature_and_no_other(strict: StrictBucket) -> None:
    client(strict.url).put_object(Bucket=BUCKET, Key="ä b", Body=BODY)
    assert strict.held[f"/{BUCKET}/ä b"].body == BODY
    other = DirectPut(client(strict.url), Credentials(KEY_ID, "another secret"), BUCKET)
    assert other.put(KEY, BODY, HEADERS) is None
    assert strict.wrong == ["the signature does not match"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_every_key_is_written_under_its_own_name(strict: StrictBucket, key: str) -> None:
    assert way(client(strict.url)).put(key, BODY, HEADERS) is True
    assert (list(strict.held), strict.wrong) == ([f"/{BUCKET}/{key}"], [])


@pytest.mark.parametrize("body", [b"", b"\x00\xff" * 1000, bytes(MOST_BYTES)], ids=["empty", "bytes", "most"])
@pytest.mark.parametrize("told", [True, False], ids=["sha256 told", "not told"])
def test_every_body_arrives_as_it_is(strict: StrictBucket, body: bytes, told: bool) -> None:
    headers = {"x-amz-meta-sha256": hashlib.sha256(body).hexdigest()} if told else {}
    assert way(client(strict.url)).put(KEY, body, headers) is True
    assert (strict.held[f"/{BUCKET}/{KEY}"].body, strict.wrong) == (body, [])


def test_temporary_credentials_carry_their_token(strict: StrictBucket) -> None:
    assert way(client(strict.url, token="session/token=="), "session/token==").put(KEY, BODY, HEADERS) is True
    assert strict.seen[0].headers["x-amz-security-token"] == "session/token=="
    assert "x-amz-security-token" in strict.seen[0].signed


def test_credentials_are_asked_for_at_each_call(strict: StrictBucket) -> None:
    held = [Credentials(KEY_ID, SECRET, f"token-{number}") for number in (1, 2)]
    renewed: Any = SimpleNamespace(get_frozen_credentials=lambda: held.pop(0).get_frozen_credentials())
    short = DirectPut(client(strict.url), renewed, BUCKET)
    short.put("a", BODY, HEADERS)
    short.put("b", BODY, HEADERS)
    assert [seen.headers["x-amz-security-token"] for seen in strict.seen] == ["token-1", "token-2"]


def test_a_bucket_in_the_host_name_is_addressed_there(strict: StrictBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getaddrinfo", Names(clips_s3_test=[["127.0.0.1"]]))
    short = way(client(f"http://s3.test:{strict.port}", style="virtual"))
    assert short.put("a b", BODY, HEADERS) is True
    assert (list(strict.held), strict.wrong) == (["/a b"], [])
    assert strict.seen[0].headers["host"] == f"clips.s3.test:{strict.port}"


@pytest.mark.parametrize(
    ("style", "bucket", "root"),
    [
        ("virtual", "clips", "https://clips.s3.eu-central-1.amazonaws.com/"),
        ("path", "clips", "https://s3.eu-central-1.amazonaws.com/clips/"),
        ("auto", "clips.of.acme", "https://s3.eu-central-1.amazonaws.com/clips.of.acme/"),
    ],
)
def test_amazons_own_buckets_are_addressed_as_boto_does(style: str, bucket: str, root: str) -> None:
    assert way(client(None, style=style), bucket=bucket)._url("a b") == f"{root}a%20b"


# --- what is clear, and what is botos


@pytest.mark.parametrize("fault", [500, 503, 403, 404, 409, 307, 301, CUT_BEFORE, CUT_AFTER])
def test_after_an_answer_that_is_not_clear_boto_is_asked_alone_for_a_minute(
    strict: StrictBucket, clock: Clock, fault: int | str
) -> None:
    short = way(client(strict.url))
    strict.faults.append(fault)
    assert short.put(KEY, BODY, HEADERS) is None
    clock.now += REST_S - 0.1
    assert short.put(KEY, BODY, HEADERS) is None
    assert short.put_part(KEY, "upload", 1, BODY) is None
    assert len(strict.seen) == 1
    clock.now += 0.1
    assert short.put("again", BODY, HEADERS) is True


def test_a_server_that_is_not_there_is_for_boto_to_find_out(clock: Clock) -> None:
    short = way(client("http://127.0.0.1:1"))
    assert short.put(KEY, BODY, HEADERS) is None
    with pytest.raises(ArchiveUnavailable, match="S3 was not reached"):
        archive_at("http://127.0.0.1:1").put_bytes(KEY, BODY, "text/plain")


def test_a_clear_no_is_no_reason_to_rest(strict: StrictBucket, clock: Clock) -> None:
    short = way(client(strict.url))
    assert [short.put(KEY, BODY, HEADERS) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("fault", [500, 503, 409, CUT_BEFORE])
def test_what_the_short_way_did_not_do_boto_does(strict: StrictBucket, fault: int | str) -> None:
    archive = archive_at(strict.url)
    strict.faults.append(fault)
    file = archive.put_bytes(KEY, BODY, "application/json")
    assert (file.size, file.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert [seen.is_botos for seen in strict.seen] == [False, True]
    assert strict.held[f"/{BUCKET}/{KEY}"].body == BODY


def test_an_answer_lost_after_the_body_leads_boto_to_the_object_that_was_written(strict: StrictBucket) -> None:
    archive = archive_at(strict.url)
    strict.faults.append(CUT_AFTER)
    file = archive.put_bytes(KEY, BODY, "application/json")
    assert (file.key, file.size, file.sha256) == (KEY, len(BODY), hashlib.sha256(BODY).hexdigest())
    assert [(seen.method, seen.is_botos) for seen in strict.seen] == [("PUT", False), ("PUT", True), ("HEAD", True)]
    assert strict.held[f"/{BUCKET}/{KEY}"].body == BODY


def test_what_somebody_else_wrote_first_stays_and_is_told(strict: StrictBucket) -> None:
    archive = archive_at(strict.url)
    archive.put_bytes(KEY, b"theirs", "text/plain")
    file = archive.put_bytes(KEY, BODY, "application/json")
    assert file.sha256 == hashlib.sha256(b"theirs").hexdigest()
    assert strict.held[f"/{BUCKET}/{KEY}"].body == b"theirs"


def test_a_large_body_is_botos(strict: StrictBucket) -> None:
    short = way(client(strict.url))
    assert short.put(KEY, bytes(MOST_BYTES + 1), HEADERS) is None
    assert strict.seen == []
    assert short.put(KEY, BODY, HEADERS) is True  # and no reason to rest


def test_without_credentials_there_is_no_short_way(strict: StrictBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    session = SimpleNamespace(Session=lambda: SimpleNamespace(get_credentials=lambda: None))
    monkeypatch.setattr("shared.wiring.boto3.session", session)
    assert wiring.direct_put(client(strict.url), BUCKET) is None


# --- parts


def test_a_part_is_sent_under_a_true_signature_and_tells_its_etag(strict: StrictBucket) -> None:
    short, upload = way(client(strict.url)), "2~a/b+c= d&e"
    etag = short.put_part("a b", upload, 12, memoryview(BODY))
    assert etag == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert strict.wrong == []
    assert strict.seen[0].target.endswith("?partNumber=12&uploadId=2~a%2Fb%2Bc%3D%20d%26e")


def test_a_part_that_is_taken_for_written_already_is_for_boto(strict: StrictBucket) -> None:
    strict.faults.append(412)
    assert way(client(strict.url)).put_part(KEY, "upload", 1, BODY) is None


# --- what only boto knows of


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY"])
def test_with_a_proxy_on_the_way_boto_goes_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, strict: StrictBucket
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    kind = name.lower().removesuffix("_proxy")
    assert not direct._reachable(f"{kind}://s3.test/")
    assert direct._reachable(f"{'http' if kind == 'https' else 'https'}://s3.test/")


def test_an_object_goes_through_the_proxy(strict: StrictBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", strict.url)
    archive_at("http://s3.test:8080").put_bytes(KEY, BODY, "application/json")
    (seen,) = strict.seen
    assert (seen.is_botos, seen.target) == (True, f"http://s3.test:8080/{BUCKET}/{KEY}")


@pytest.mark.parametrize("spared", ["127.0.0.1", "*", "s3.test,127.0.0.1"])
def test_what_is_spared_the_proxy_goes_the_short_way(
    strict: StrictBucket, monkeypatch: pytest.MonkeyPatch, spared: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", spared)
    assert way(client(strict.url)).put(KEY, BODY, HEADERS) is True


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    return self_signed("s3.test", tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictBucket]:
    monkeypatch.setattr("socket.getaddrinfo", Names(s3_test=[["127.0.0.1"]]))
    with StrictBucket(certificate[1]) as server:
        server.url = f"https://s3.test:{server.port}"
        yield server


def test_over_https_the_body_is_signed_too(
    secure: StrictBucket, certificate: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "DEFAULT_CA_BUNDLE_PATH", certificate[0])
    assert way(client(secure.url)).put(KEY, BODY, HEADERS) is True
    assert secure.wrong == []
    assert secure.seen[0].headers["x-amz-content-sha256"] not in (UNSIGNED, "")


@pytest.mark.parametrize("name", direct.AUTHORITIES)
def test_with_authorities_of_ones_own_boto_goes_alone(
    secure: StrictBucket, certificate: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, certificate[0])
    assert not direct._reachable(secure.url)  # it is not even tried
    archive_at(secure.url).put_bytes(KEY, BODY, "application/json")
    assert [seen.is_botos for seen in secure.seen] == [True]
    assert secure.held[f"/{BUCKET}/{KEY}"].body == BODY


def test_over_http_authorities_do_not_matter(strict: StrictBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere.pem")
    assert direct._reachable(strict.url)


# --- both ways write the same


def looks(s3: Any, bucket: str, key: str) -> dict[str, Any]:
    there = s3.get_object(Bucket=bucket, Key=key)
    kept = {name: there[name] for name in ("ContentType", "Metadata", "ContentLength", "ETag")}
    return {**kept, "Body": there["Body"].read()}


@pytest.fixture
def both(s3: Any, bucket: str) -> tuple[Archive, Archive]:
    """An archive that goes the short way, and one that does not."""
    return Archive(s3, bucket, direct=DirectPut(s3, Credentials("test", "test"), bucket)), Archive(s3, bucket)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_boto_reads_what_the_short_way_wrote(both: Any, s3: Any, bucket: str, calls: list[str], key: str) -> None:
    both[0].put_bytes(key, BODY, "application/json", METADATA)
    assert calls == []  # boto was not needed
    assert looks(s3, bucket, key)["Body"] == BODY
    assert [held["Key"] for held in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]


@pytest.mark.parametrize("kind", ["bytes", "clip", "long", "manifest"])
def test_both_ways_leave_the_same_object(both: Any, s3: Any, bucket: str, clips: dict[str, bytes], kind: str) -> None:
    puts: dict[str, Callable[[Archive, str], Any]] = {
        "bytes": lambda archive, key: archive.put_bytes(key, BODY, "image/jpeg", METADATA),
        "clip": lambda archive, key: archive.put_clip(key, source(clips["plain"]), METADATA),
        "long": lambda archive, key: archive.put_clip(key, source(clips["long"]), METADATA),
        "manifest": lambda archive, key: archive.put_manifest(key, {"schema": "rushes.manifest/1"}),
    }
    short, botos = both
    puts[kind](short, "short")
    puts[kind](botos, "botos")
    assert looks(s3, bucket, "short") == looks(s3, bucket, "botos")


def source(data: bytes) -> Source:
    return Source(iter([data]), len(data), "video/mp4")
