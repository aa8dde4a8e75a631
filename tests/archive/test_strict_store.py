"""The bucket at strict stores: in another region, without list rights, with odd metadata and required headers."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from patience import PATIENCE_S
from strict_bucket import KEY_ID, SECRET
from strict_store import LIST, UPLOADS, StoreBehavior, StrictStore

from rushes.shared import services as services_module
from rushes.shared.settings import SettingsError, load
from rushes.shared.storage.archive import Archive, ArchiveUnavailable, ClipSource
from rushes.shared.storage.bucket import Bucket
from rushes.shared.storage.bucket_probe import probe_bucket
from rushes.shared.storage.s3_clients import BucketRegions, S3ClientFactory, s3_client

KEY, METADATA = "jobs/2026/11/30/job_1/video.mp4", {"job-id": "job_1", "provider": "apimart", "task-id": "task-7"}
NEEDED = {
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "RUSHES_SECRET_KEY": "secret",
    "RUSHES_API_KEYS": "acme:key",
    "RUSHES_WORKER_PROCESSES": "1",
}
EVERY_WRITE = ("clip", "long", "thumbnail", "manifest", "manifests", "journal", "input")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)  # other tests of this process leave a bucket in it
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name, value in {"ACCESS_KEY_ID": KEY_ID, "SECRET_ACCESS_KEY": SECRET, "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], None]:
    """configured("s3 =\\n  addressing_style = virtual"): lines of the default profile."""
    return lambda lines: (tmp_path / "config").write_text(f"[default]\n{lines}\n") and None


@pytest.fixture
def store(endpoint: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., StrictStore]]:
    """store(region=…, denied={…}): a strict store with this behavior, which the environment points to."""
    servers: list[StrictStore] = []

    def open_store(**behavior: Any) -> StrictStore:
        servers.append(StrictStore(endpoint, bucket, StoreBehavior(**behavior)))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", servers[-1].url)
        return servers[-1]

    yield open_store
    for server in servers:
        server.__exit__()


def archive_of(bucket: str, **changes: str) -> Archive:
    """The archive as every process builds it from its environment."""
    return services_module.build({**NEEDED, "RUSHES_S3_BUCKET": bucket, **changes}).archive


def client() -> Any:
    return s3_client("eu-central-1")


def source(data: bytes) -> ClipSource:
    return ClipSource(iter([data]), len(data), "video/mp4")


def fetched(link: str) -> bytes:
    with urllib.request.urlopen(link, timeout=PATIENCE_S) as response:
        return bytes(response.read())


def write_all(archive: Archive, clips: dict[str, bytes], tmp_path: Path) -> None:
    """One object of each kind that Rushes writes."""
    archive.put_clip("jobs/clip", source(clips["plain"]), METADATA)
    archive.put_clip("jobs/long", source(clips["long"]), METADATA)
    archive.put_bytes("jobs/thumbnail", b"jpeg", "image/jpeg")
    archive.put_manifest("jobs/manifest", {"schema": "rushes.manifest/1"})
    if archive.put_manifests([("jobs/manifests", {"schema": "rushes.manifest/1"})]) == [False]:
        archive.put_manifest("jobs/manifests", {"schema": "rushes.manifest/1"})
    archive.put_journal("journal", "{}")
    (tmp_path / "input").write_bytes(b"picture")
    with (tmp_path / "input").open("rb") as file:
        archive.put_input("inputs/input", file, "image/png")


# --- a bucket in another region


@pytest.mark.parametrize("names_region", [True, False])
def test_a_link_is_signed_for_the_region_of_the_bucket(
    store: Any, bucket: str, clips: dict[str, bytes], names_region: bool
) -> None:
    server = store(region="eu-west-3", names_region=names_region)
    archive = archive_of(bucket)

    archive.put_clip(KEY, source(clips["plain"]), METADATA)

    assert fetched(archive.presign(KEY)) == clips["plain"]
    assert fetched(archive_of(bucket).presign(KEY)) == clips["plain"]  # of a process that has written nothing
    assert server.signature_errors == []
    assert [request.method for request in server.curl_requests] == [
        "PUT",
        "GET",
        "GET",
    ]  # the short way needed no correction


def test_an_input_in_a_bucket_elsewhere_is_signed_for_its_region(store: Any, bucket: str, s3: Any) -> None:
    store(region="eu-west-3")
    s3.put_object(Bucket=bucket, Key="in/picture é.png", Body=b"png")
    services = services_module.build({**NEEDED, "RUSHES_S3_BUCKET": "another-one"})

    assert fetched(services.fetchable_url(f"s3://{bucket}/in/picture é.png")) == b"png"


def test_the_region_is_asked_for_once_and_needs_no_right(store: Any, bucket: str) -> None:
    server = store(region="eu-west-3", denied={LIST})
    archive = archive_of(bucket)

    links = [archive.presign(KEY) for _ in range(3)]

    assert all("eu-west-3" in link for link in links)
    assert {request.method for request in server.requests} == {"HEAD"}
    assert len(server.requests) == 2  # signed for ours, and told; then for its own


def test_links_of_temporary_credentials_carry_their_token(
    store: Any, bucket: str, clips: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = store(region="eu-west-3")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session/token+==")
    archive = archive_of(bucket)

    archive.put_clip(KEY, source(clips["plain"]), METADATA)

    assert fetched(archive.presign(KEY)) == clips["plain"]
    assert server.signature_errors == []


def test_a_store_that_cannot_be_asked_stops_nothing_and_is_asked_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    clients: list[str] = []
    s3 = S3ClientFactory()
    regions, made = BucketRegions(s3), s3.client
    monkeypatch.setattr(s3, "client", lambda **how: clients.append("asked") or made(**how))

    assert [regions.region("clips") for _ in range(3)] == [None] * 3
    assert clients == ["asked"]
    monkeypatch.setattr("rushes.shared.storage.s3_clients.RETRY_AFTER_S", 0)
    regions._cache.clear()
    assert [regions.region("clips") for _ in range(2)] == [None] * 2
    assert len(clients) == 3


def test_aws_region_is_read_as_every_aws_program_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_REGION", "ap-southeast-2")
    assert s3_client().meta.region_name == "ap-southeast-2"


# --- the user's own AWS configuration


VIRTUAL = "s3 =\n  addressing_style = virtual"


def host_of(archive: Archive) -> str:
    return urlsplit(archive.presign(KEY)).netloc


@pytest.mark.parametrize(
    ("lines", "variables", "host"),
    [
        (VIRTUAL, {"AWS_ENDPOINT_URL_S3": "https://s3.test"}, "clips.s3.test"),
        ("s3 =\n  addressing_style = path", {"AWS_ENDPOINT_URL_S3": "https://s3.test"}, "s3.test"),
        ("", {"AWS_ENDPOINT_URL_S3": "https://s3.test"}, "s3.test"),
        ("", {"AWS_ENDPOINT_URL": "https://all.test"}, "all.test"),
        ("endpoint_url = https://file.test", {}, "file.test"),
        ("services = mine\n[services mine]\ns3 =\n  endpoint_url = https://section.test", {}, "section.test"),
        ("s3 =\n  use_accelerate_endpoint = true", {}, "clips.s3-accelerate.amazonaws.com"),
        ("s3 =\n  use_dualstack_endpoint = true", {}, "clips.s3.dualstack.us-east-1.amazonaws.com"),
        ("s3 =\n  addressing_style = path", {}, "s3.amazonaws.com"),
        ("", {"AWS_USE_FIPS_ENDPOINT": "true"}, "clips.s3-fips.us-east-1.amazonaws.com"),
        (f"[profile mine]\n{VIRTUAL}\nendpoint_url = https://s3.test", {"AWS_PROFILE": "mine"}, "clips.s3.test"),
    ],
)
def test_what_the_user_configures_wins(
    configured: Any, monkeypatch: pytest.MonkeyPatch, lines: str, variables: dict[str, str], host: str
) -> None:
    configured(lines)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(BucketRegions, "region", lambda *_: None)
    archive = archive_of("clips")

    assert host_of(archive) == host
    uploader: Any = archive._curl_put
    assert urlsplit(uploader.target.root).netloc == host


OPTIONS = [
    ("request_checksum_calculation", "when_supported", "AWS_REQUEST_CHECKSUM_CALCULATION"),
    ("response_checksum_validation", "when_supported", "AWS_RESPONSE_CHECKSUM_VALIDATION"),
]


@pytest.mark.parametrize("by", ["file", "variable"])
@pytest.mark.parametrize(("name", "value", "variable"), OPTIONS)
def test_checksums_are_the_users_to_choose(
    configured: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, variable: str, by: str
) -> None:
    assert getattr(s3_client().meta.config, name) == "when_required"
    configured(f"{name} = {value}") if by == "file" else monkeypatch.setenv(variable, value)
    assert getattr(s3_client().meta.config, name) == value


@pytest.mark.parametrize("by", ["file", "variable"])
def test_retries_are_the_users_to_choose(configured: Any, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    assert s3_client().meta.config.retries == {"mode": "standard", "total_max_attempts": 3}
    if by == "file":
        configured("retry_mode = adaptive\nmax_attempts = 7")
    else:
        monkeypatch.setenv("AWS_RETRY_MODE", "adaptive")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "7")
    assert s3_client().meta.config.retries == {"mode": "adaptive", "total_max_attempts": 7}
    assert s3_client(max_attempts=1).meta.config.retries["total_max_attempts"] == 1  # where somebody waits


def test_with_checksums_of_the_users_choice_every_object_has_one(
    store: Any, bucket: str, clips: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = store()
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    write_all(archive_of(bucket), clips, tmp_path)

    puts = [
        request for request in server.requests if request.method == "PUT" and "x-amz-copy-source" not in request.headers
    ]
    assert all("x-amz-checksum-crc32" in request.headers for request in puts)
    assert (server.curl_requests, server.signature_errors) == ([], [])
    done = next(request for request in server.requests if request.method == "POST" and "uploadId" in request.target)
    assert done.body.count(b"<ChecksumCRC32>") == 2


@pytest.mark.parametrize(
    ("lines", "variables", "named"),
    [
        ("", {"AWS_PROFILE": "nobodys"}, "AWS_PROFILE"),
        ("", {"AWS_RETRY_MODE": "often"}, "AWS_RETRY_MODE"),
        ("", {"AWS_REQUEST_CHECKSUM_CALCULATION": "sometimes"}, "AWS_REQUEST_CHECKSUM_CALCULATION"),
        ("s3 =\n  addressing_style = odd", {}, "addressing_style"),
        ("no equals sign\n[", {}, "AWS_CONFIG_FILE"),
        ("", {"AWS_ENDPOINT_URL": "no address"}, "AWS_ENDPOINT_URL"),
        ("", {"AWS_SECRET_ACCESS_KEY": ""}, "AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_configuration_that_is_none_is_one_line_at_start(
    configured: Any, monkeypatch: pytest.MonkeyPatch, lines: str, variables: dict[str, str], named: str
) -> None:
    configured(lines)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if variables.get("AWS_SECRET_ACCESS_KEY") == "":
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SettingsError, match=named) as refused:
        archive_of("clips")
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)


# --- credentials that may not list


def test_without_the_right_to_list_an_archive_is_tried_again_and_ends(
    store: Any, bucket: str, clips: dict[str, bytes]
) -> None:
    store(denied={LIST, UPLOADS})
    archive = archive_of(bucket)

    assert (archive.head(KEY), archive.read_json("jobs/manifest.json")) == (None, None)
    first = archive.put_clip(KEY, source(clips["plain"]), METADATA)
    assert archive.put_clip(KEY, source(clips["plain"]), METADATA) == first
    archive.check()
    assert archive.abort_stale_uploads(0, 0) == 0


def test_a_wrong_secret_is_never_taken_for_a_key_at_which_nothing_stands(
    store: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(denied={LIST})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    archive = archive_of(bucket)

    for question in (archive.check, lambda: archive.head(KEY), lambda: archive.read_json(KEY)):
        with pytest.raises(ArchiveUnavailable, match="secret key does not belong"):  # HEAD alone says 403, no more
            question()


def test_a_probe_says_which_rights_are_missing(store: Any, bucket: str) -> None:
    server = store()
    found = probe_bucket(Bucket(client, bucket), "")
    assert (found.lists, found.lists_uploads, found.tells_missing, found.problem) == (True, True, True, None)

    server.behavior.denied = {LIST, UPLOADS}
    found = probe_bucket(Bucket(client, bucket), "")
    assert (found.lists, found.lists_uploads, found.tells_missing) == (False, False, False)
    assert found.writes
    assert found.deletes


# --- metadata as odd stores have them


def test_metadata_are_compared_without_case(store: Any, bucket: str, clips: dict[str, bytes]) -> None:
    server = store(capitalizes_metadata=True)
    archive = archive_of(bucket)
    archive.put_clip(KEY, source(clips["long"]), METADATA)
    server.requests.clear()

    stored = archive.head(KEY)

    assert stored
    assert stored.sha256 == hashlib.sha256(clips["long"]).hexdigest()
    assert archive.put_clip(KEY, source(clips["long"]), METADATA).file == stored
    assert [request for request in server.writes() if "x-amz-copy-source" in request.headers] == []


@pytest.mark.parametrize(
    "odd",
    [
        {"drops_metadata": True},
        {"drops_metadata": True, "copy_status": 501},
        {"copy_status": 501},
        {"copy_status": 500},
    ],
)
def test_a_store_that_does_not_give_metadata_back_or_copies_nothing_ends_an_archive_all_the_same(
    store: Any, bucket: str, clips: dict[str, bytes], odd: dict[str, Any]
) -> None:
    store(**odd)
    archive = archive_of(bucket)
    if odd.get("copy_status") == 500:  # that may be otherwise in a moment: once, the whole archiving is tried again
        with pytest.raises(ArchiveUnavailable):
            archive.put_clip(KEY, source(clips["long"]), METADATA)

    for _ in range(2):
        stored = archive.put_clip(KEY, source(clips["long"]), METADATA).file
        assert stored.sha256 == hashlib.sha256(clips["long"]).hexdigest()


def test_is_it_there_is_one_head_that_changes_nothing(store: Any, bucket: str) -> None:
    server = store(drops_metadata=True)
    archive = archive_of(bucket)
    archive.put_manifest("jobs/manifest.json", {})
    server.requests.clear()

    stored = archive.head("jobs/manifest.json")

    assert stored
    assert stored.sha256 == ""
    assert [request.method for request in server.requests] == ["HEAD"]


# --- what is said of every object


EXTRA = {
    "ServerSideEncryption": "aws:kms",
    "SSEKMSKeyId": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd",
    "StorageClass": "STANDARD_IA",
    "ACL": "bucket-owner-full-control",
    "Tagging": "project=rushes&team=film%20%2B%20tv",
    "CacheControl": "private, max-age=60",
}
REQUIRED_HEADERS = {
    "x-amz-server-side-encryption": "aws:kms",
    "x-amz-server-side-encryption-aws-kms-key-id": EXTRA["SSEKMSKeyId"],
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-acl": "bucket-owner-full-control",
    "x-amz-tagging": "project=rushes&team=film%20%2B%20tv",
    "cache-control": "private, max-age=60",
}


@pytest.mark.parametrize("way", ["short", "botos"])
def test_extra_arguments_are_said_of_every_object(
    store: Any, bucket: str, clips: dict[str, bytes], tmp_path: Path, way: str
) -> None:
    server = store(required_headers=REQUIRED_HEADERS)
    archive = archive_of(bucket, RUSHES_S3_EXTRA_ARGS=json.dumps(EXTRA))
    if way == "botos":
        archive._curl_put = None

    write_all(archive, clips, tmp_path)
    found = probe_bucket(Bucket(client, bucket, load_extra(bucket)), "")

    assert (server.signature_errors, server.rejected_writes) == ([], [])
    assert found.problem is None
    copies = [request for request in server.writes() if "x-amz-copy-source" in request.headers]
    assert {request.headers["x-amz-tagging-directive"] for request in copies} == {"REPLACE"}
    assert bool(server.curl_requests) == (way == "short")


def load_extra(bucket: str) -> Any:
    return load({**NEEDED, "RUSHES_S3_BUCKET": bucket, "RUSHES_S3_EXTRA_ARGS": json.dumps(EXTRA)}).s3_extra_args


def test_a_bucket_that_demands_what_is_not_said_refuses(store: Any, bucket: str, clips: dict[str, bytes]) -> None:
    store(required_headers=REQUIRED_HEADERS)
    with pytest.raises(ArchiveUnavailable, match="credentials may not"):
        archive_of(bucket).put_clip(KEY, source(clips["plain"]), METADATA)


@pytest.mark.parametrize("lock", [{"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": "2030-01-01T00:00:00Z"},
                                  {"ObjectLockLegalHoldStatus": "ON"}, {"ChecksumAlgorithm": "SHA256"}])  # fmt: skip
def test_what_needs_a_checksum_of_its_own_is_botos(
    store: Any, bucket: str, clips: dict[str, bytes], lock: dict[str, str]
) -> None:
    server = store()
    archive = archive_of(bucket, RUSHES_S3_EXTRA_ARGS=json.dumps(lock))
    archive.put_clip(KEY, source(clips["long"]), METADATA)
    assert (server.curl_requests, server.signature_errors) == ([], [])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nonsense", "JSON"),
        ("[]", "JSON object"),
        ('{"Metadata": {"a": "b"}}', "Metadata"),
        ('{"ContentType": "video/mp4"}', "ContentType"),
        ('{"IfNoneMatch": "*"}', "IfNoneMatch"),
        ('{"SSECustomerKey": "k"}', "SSECustomerKey"),
        ('{"serversideencryption": "AES256"}', "serversideencryption"),
        ('{"StorageClass": 1}', "StorageClass"),
        ('{"StorageClass": "GLACIER"}', "StorageClass"),
        ('{"ACL": ""}', "ACL"),
        ('{"ACL": "private\\r\\nx-evil: 1"}', "ACL"),
        ('{"Tagging": {"a": "b"}}', "Tagging"),
        ('{"Tagging": "a"}', "Tagging"),
        ('{"BucketKeyEnabled": "true"}', "BucketKeyEnabled"),
        ('{"ObjectLockRetainUntilDate": "soon"}', "ObjectLockRetainUntilDate"),
        ('{"ChecksumAlgorithm": "CRC64NVME"}', "ChecksumAlgorithm"),
    ],
)
def test_extra_arguments_that_cannot_be_are_one_line_at_start(text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=f"RUSHES_S3_EXTRA_ARGS: .*{named}") as refused:
        archive_of("clips", RUSHES_S3_EXTRA_ARGS=text)
    assert "\n" not in str(refused.value)


# --- odd prefixes


def loopback(host: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
    """Every name resolves to this machine."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port or 0)))]


@pytest.mark.parametrize("prefix", ["a b/", "~+(')é%/", "日本/", "a//b/", "a+b%20c/", "./", "../"])
@pytest.mark.parametrize("style", ["path", "virtual"])
def test_under_odd_prefixes_everything_is_written_read_and_linked(
    store: Any,
    bucket: str,
    clips: dict[str, bytes],
    prefix: str,
    style: str,
    configured: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = store()
    if style == "virtual":
        configured(VIRTUAL)
        monkeypatch.setattr("socket.getaddrinfo", loopback)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://s3.test:{server.port}")
    archive = archive_of(bucket, RUSHES_S3_PREFIX=prefix)
    key = archive.folder("job_1", 0) + "video.mp4"

    archive.put_clip(key, source(clips["long"]), METADATA)
    archive.put_journal("2026/11/30/0000/01.jsonl", "{}")

    assert fetched(archive.presign(key)) == clips["long"]
    assert list(archive.journal_names("")) == ["2026/11/30/0000/01.jsonl"]
    assert server.signature_errors == []
    hosts = {request.headers["host"].partition(":")[0] for request in server.requests}
    assert hosts == {f"{bucket}.s3.test" if style == "virtual" else "127.0.0.1"}
