"""The archive against a real S3 API: what is stored, and what is not."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import structlog
from archive_steps import MIB, connect
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from patience import PATIENCE_S

from rushes.shared.storage.archive import Archive, ArchiveUnavailable, ClipInfo, ClipSource, InvalidClip, StoredFile
from rushes.shared.storage.bucket import Bucket
from rushes.shared.storage.bucket_probe import ProbeResult, probe_bucket
from rushes.shared.storage.curl_put import CurlPut

KEY = "jobs/2026/11/20/job_1/video.mp4"
METADATA = {"job-id": "job_1", "provider": "apimart", "task-id": "task-7"}
BOTH_WAYS = pytest.mark.parametrize("kind", ["plain", "long"])  # one PutObject; a multipart upload


def source(clip: bytes, *, length: int | None = -1, content_type: str = "video/mp4") -> ClipSource:
    return ClipSource(in_chunks(clip), len(clip) if length == -1 else length, content_type)


def in_chunks(clip: bytes, chunk_bytes: int = 100_000) -> Iterator[bytes]:
    for start in range(0, len(clip), chunk_bytes):
        yield clip[start : start + chunk_bytes]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def object_state(s3, bucket, key=KEY):
    """Everything visible of an object: equal before and after only if nothing touched it."""
    response = s3.get_object(Bucket=bucket, Key=key)
    return (
        response["Body"].read(),
        response["Metadata"],
        response["ContentType"],
        response["ETag"],
        response["LastModified"],
    )


def is_empty(s3, bucket):
    uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return uploads == [] and "Contents" not in s3.list_objects_v2(Bucket=bucket)


def open_uploads(s3, bucket):
    return [upload["Key"] for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


class Killed(BaseException):
    """The process dies here."""


# What lands


@BOTH_WAYS
@pytest.mark.parametrize("length_known", [True, False])
def test_a_clip_lands_byte_for_byte_with_its_metadata(archive, s3, bucket, clips, kind, length_known):
    clip = clips[kind]

    stored = archive.put_clip(KEY, source(clip, length=-1 if length_known else None), METADATA)

    body, metadata, content_type, _, _ = object_state(s3, bucket)
    assert body == clip
    assert metadata == {**METADATA, "sha256": sha256(clip)}
    assert content_type == "video/mp4"
    assert stored.file == StoredFile(KEY, len(clip), sha256(clip), "video/mp4")
    assert stored.info == ClipInfo(Decimal("2.000"), 64, 48)


@pytest.mark.parametrize("kind", ["fragmented", "faststart", "quicktime"])
def test_every_shape_of_clip_is_archived_as_mp4(archive, s3, bucket, clips, kind):
    stored = archive.put_clip(KEY, source(clips[kind], length=None), METADATA)

    assert object_state(s3, bucket)[0] == clips[kind]
    assert stored.file.content_type == "video/mp4"
    assert stored.info.width == 64


def test_a_small_clip_costs_one_call(archive, calls, clips):
    archive.put_clip(KEY, source(clips["plain"]), METADATA)

    assert calls == ["PutObject"]


def test_a_clip_of_exactly_one_part_costs_one_call(s3, bucket, calls, clips):
    archive = Archive(s3, bucket, part_bytes=len(clips["plain"]))

    archive.put_clip(KEY, source(clips["plain"]), METADATA)

    assert calls == ["PutObject"]


@pytest.fixture
def sent(s3):
    """Of each PutObject and UploadPart the size, and whether Content-MD5 is right."""
    requests = []

    def note(request, **_):
        body = b"".join(iter(request.body.read, b""))
        request.body.seek(0)
        md5 = base64.b64encode(hashlib.md5(body).digest())
        requests.append((int(request.headers["Content-Length"]), request.headers["Content-MD5"] == md5))

    for operation in ("PutObject", "UploadPart"):
        s3.meta.events.register(f"before-send.s3.{operation}", note)
    return requests


def test_all_parts_but_the_last_are_of_one_size_and_carry_their_checksum(archive, sent, clips):
    clip = clips["long"] + (8 + 6 * MIB).to_bytes(4) + b"free" + bytes(6 * MIB)

    archive.put_clip(KEY, source(clip), METADATA)

    assert sorted(sent) == [(len(clip) - 10 * MIB, True), (5 * MIB, True), (5 * MIB, True)]


def test_a_small_clip_carries_its_checksum(archive, sent, clips):
    archive.put_clip(KEY, source(clips["plain"]), METADATA)

    assert sent == [(len(clips["plain"]), True)]


@BOTH_WAYS
def test_a_task_id_that_is_no_header_text_is_percent_encoded(archive, s3, bucket, clips, kind):
    archive.put_clip(KEY, source(clips[kind]), {**METADATA, "task-id": "tâche 1\r\nx-evil: 1"})

    assert object_state(s3, bucket)[1]["task-id"] == "t%C3%A2che 1%0D%0Ax-evil: 1"


def test_a_clip_of_many_parts_gets_by_with_a_single_buffer(s3, bucket, clips):
    archive = Archive(s3, bucket, buffers=1, part_bytes=5 * MIB)

    archive.put_clip(KEY, source(clips["long"]), METADATA)

    assert object_state(s3, bucket)[0] == clips["long"]


# Written once


@BOTH_WAYS
@pytest.mark.parametrize("again", ["the same", "other"])
def test_a_second_archive_changes_nothing_and_is_told_what_stands_there(archive, s3, bucket, clips, kind, again):
    first = archive.put_clip(KEY, source(clips[kind]), METADATA)
    before = object_state(s3, bucket)

    other = clips["other"] + clips["long"][len(clips["plain"]) :] if kind == "long" else clips["other"]
    second_clip = clips[kind] if again == "the same" else other
    second = archive.put_clip(KEY, source(second_clip), {**METADATA, "task-id": "task-8"})

    assert object_state(s3, bucket) == before
    assert second.file == first.file
    assert second.info == (first.info if again == "the same" else ClipInfo())
    assert open_uploads(s3, bucket) == []


def test_of_two_archives_side_by_side_the_first_to_finish_wins_and_nothing_stays_open(archive, s3, bucket, clips):
    def overtaken():
        chunks = list(in_chunks(clips["long"]))
        yield from chunks[:-1]
        archive.put_clip(KEY, source(clips["other"]), METADATA)
        yield chunks[-1]

    slow = archive.put_clip(KEY, ClipSource(overtaken(), None, None), METADATA)

    assert object_state(s3, bucket)[0] == clips["other"]
    assert slow.file.sha256 == sha256(clips["other"])
    assert open_uploads(s3, bucket) == []


def test_the_manifest_is_written_once(archive, s3, bucket):
    key = "jobs/2026/11/20/job_1/manifest.json"

    written = [archive.put_manifest(key, {"status": status}) for status in ("completed", "failed")]

    assert written == [True, False]
    assert archive.read_json(key) == {"status": "completed"}
    assert object_state(s3, bucket, key)[2] == "application/json"


def test_a_thumbnail_is_written_once(archive, s3, bucket):
    key = "jobs/2026/11/20/job_1/thumbnail.jpg"

    first = archive.put_bytes(key, b"\xff\xd8 one", "image/jpeg", METADATA)
    second = archive.put_bytes(key, b"\xff\xd8 another", "image/jpeg", METADATA)

    assert first == second == StoredFile(key, 6, sha256(b"\xff\xd8 one"), "image/jpeg")
    assert object_state(s3, bucket, key)[:2] == (b"\xff\xd8 one", {**METADATA, "sha256": first.sha256})


# Manifests together


FIRST, SECOND, THIRD = (f"jobs/2026/11/20/job_{number}/manifest.json" for number in (1, 2, 3))
MANIFEST = {"schema": "rushes.manifest/1", "job": {"prompt": "a red kite över 東京", "cost": None}, "files": []}


@pytest.fixture
def curl_archive(s3, bucket):
    """An archive with CurlPut."""
    return Archive(s3, bucket, curl_put=CurlPut(lambda: s3, Credentials("test", "test"), bucket))


def manifests(*keys, **fields):
    return [(key, {**MANIFEST, "key": key, **fields}) for key in keys]


def test_manifests_are_written_together_each_under_its_own_key(curl_archive, archive):
    assert curl_archive.put_manifests(manifests(FIRST, SECOND, THIRD)) == [True, True, True]

    assert [archive.read_json(key) for key in (FIRST, SECOND, THIRD)] == [
        manifest for _, manifest in manifests(FIRST, SECOND, THIRD)
    ]


def test_manifests_on_the_short_way_need_no_call_of_botos(curl_archive, calls):
    for _ in range(2):
        curl_archive.put_manifests(manifests(FIRST, SECOND))

    assert calls == []


def test_without_a_short_way_no_manifest_is_written_with_others(archive, calls):
    assert (archive.put_manifests(manifests(FIRST, SECOND, THIRD)), calls) == ([False, False, False], [])

    assert [archive.read_json(key) for key in (FIRST, SECOND, THIRD)] == [None, None, None]


def test_no_manifests_are_no_call(curl_archive, archive, calls):
    assert (curl_archive.put_manifests([]), archive.put_manifests([]), calls) == ([], [], [])


@pytest.mark.parametrize(
    "manifest", [MANIFEST, {}, {"half": "\ud83d"}, {"long": "x" * 200_000}], ids=["some", "", "odd", "long"]
)
def test_a_manifest_is_the_same_object_whether_it_is_written_with_others_or_alone(
    curl_archive, archive, s3, bucket, manifest
):
    curl_archive.put_manifests([(FIRST, manifest), (SECOND, {"another": 1})])
    archive.put_manifest(THIRD, manifest)

    body, metadata, content_type, etag, _ = object_state(s3, bucket, FIRST)
    assert (body, metadata, content_type, etag) == object_state(s3, bucket, THIRD)[:4]
    assert (metadata, content_type) == ({"sha256": sha256(body)}, "application/json")


@pytest.mark.parametrize("first", ["curl_archive", "archive"])
def test_a_manifest_that_stands_already_stays_and_that_is_clear(request, curl_archive, s3, bucket, first):
    request.getfixturevalue(first).put_manifest(SECOND, {"written": "first"})
    before = object_state(s3, bucket, SECOND)

    assert curl_archive.put_manifests(manifests(FIRST, SECOND, THIRD)) == [True, True, True]

    assert object_state(s3, bucket, SECOND) == before
    assert (curl_archive.read_json(FIRST)["key"], curl_archive.read_json(THIRD)["key"]) == (FIRST, THIRD)


def test_manifests_that_are_written_again_change_nothing(curl_archive, s3, bucket):
    curl_archive.put_manifests(manifests(FIRST, SECOND))
    before = [object_state(s3, bucket, key) for key in (FIRST, SECOND)]

    assert curl_archive.put_manifests(manifests(FIRST, SECOND, later=True)) == [True, True]
    assert [curl_archive.put_manifest(*manifest) for manifest in manifests(FIRST, SECOND, later=True)] == [False, False]

    assert [object_state(s3, bucket, key) for key in (FIRST, SECOND)] == before


def test_a_manifest_that_is_refused_alone_tells_why_and_keeps_no_other(archive, s3):
    def refuse(params, **_):
        if params["Key"] == FIRST:
            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "so it is"}}, "PutObject")

    s3.meta.events.register("provide-client-params.s3.PutObject", refuse)
    with pytest.raises(ArchiveUnavailable, match="credentials may not do this"):
        archive.put_manifest(FIRST, MANIFEST)

    assert archive.put_manifest(SECOND, MANIFEST)
    assert (archive.read_json(FIRST), archive.read_json(SECOND)) == (None, MANIFEST)


def test_a_conflict_on_a_manifest_alone_is_tried_once_more(archive, answers):
    answers("PutObject", 409, "ConditionalRequestConflict", times=1)

    assert archive.put_manifest(FIRST, MANIFEST)

    assert archive.read_json(FIRST) == MANIFEST


@pytest.mark.parametrize("way", ["direct", "boto"])
def test_what_keeps_manifests_is_unclear_together_and_told_alone(s3, way):
    direct = CurlPut(lambda: s3, Credentials("test", "test"), "nowhere-at-all") if way == "direct" else None
    nowhere = Archive(s3, "nowhere-at-all", curl_put=direct)

    assert nowhere.put_manifests(manifests(FIRST, SECOND)) == [False, False]
    with pytest.raises(ArchiveUnavailable, match="'nowhere-at-all' does not exist"):
        nowhere.put_manifest(FIRST, MANIFEST)


# Not whole


@BOTH_WAYS
@pytest.mark.parametrize("length_known", [True, False])
def test_a_truncated_clip_leaves_nothing(archive, s3, bucket, clips, kind, length_known):
    clip = clips[kind]
    length = len(clip) if length_known else None

    with pytest.raises(InvalidClip, match="ended after" if length_known else "breaks off"):
        archive.put_clip(KEY, source(clip[:-200], length=length), METADATA)

    assert is_empty(s3, bucket)


@BOTH_WAYS
def test_a_clip_longer_than_announced_leaves_nothing(archive, s3, bucket, clips, kind):
    with pytest.raises(InvalidClip, match="longer than"):
        archive.put_clip(KEY, source(clips[kind], length=len(clips[kind]) - 1), METADATA)

    assert is_empty(s3, bucket)


@pytest.mark.parametrize("page", [b"<html>gone</html>", b'{"error": "expired"}', b"{}", b""])
@pytest.mark.parametrize("length_known", [True, False])
def test_an_error_page_is_no_clip_whatever_it_calls_itself(archive, s3, bucket, calls, page, length_known):
    with pytest.raises(InvalidClip):
        archive.put_clip(KEY, source(page, length=-1 if length_known else None), METADATA)

    assert calls == []
    assert is_empty(s3, bucket)


def test_a_refusal_names_the_type_the_link_gave(archive):
    with pytest.raises(InvalidClip, match=r"html or xml page.*text/html"):
        archive.put_clip(KEY, source(b"<html>gone</html>", content_type="text/html"), METADATA)


@pytest.mark.parametrize("kind", ["plain", "long"])
def test_a_source_that_dies_leaves_nothing_and_gives_its_buffers_back(s3, bucket, clips, kind):
    archive = Archive(s3, bucket, buffers=1, part_bytes=5 * MIB)

    def dying():
        yield from list(in_chunks(clips[kind], 1000 if kind == "plain" else MIB))[:-1]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        archive.put_clip(KEY, ClipSource(dying(), len(clips[kind]), None), METADATA)

    assert is_empty(s3, bucket)
    assert archive.put_clip(KEY, source(clips[kind]), METADATA).file.size == len(clips[kind])


# A process that died


@pytest.fixture
def unstamped(archive, s3, clips):
    """A clip without sha256: its process was killed after the upload."""

    def die(**_):
        raise Killed

    s3.meta.events.register("before-call.s3.CopyObject", die)
    with pytest.raises(Killed):
        archive.put_clip(KEY, source(clips["long"]), METADATA)
    s3.meta.events.unregister("before-call.s3.CopyObject", die)


def test_a_clip_that_was_never_stamped_is_mended_by_the_next_run(archive, s3, bucket, clips, unstamped):
    assert "sha256" not in object_state(s3, bucket)[1]

    again = archive.put_clip(KEY, source(clips["long"]), METADATA)

    body, metadata, content_type, _, _ = object_state(s3, bucket)
    assert (body, metadata) == (clips["long"], {**METADATA, "sha256": sha256(clips["long"])})
    assert content_type == "video/mp4"
    assert again.file == StoredFile(KEY, len(clips["long"]), sha256(clips["long"]), "video/mp4")


def test_a_question_changes_nothing_and_asks_once(archive, s3, bucket, clips, unstamped, calls):
    file = archive.head(KEY)

    assert file == StoredFile(KEY, len(clips["long"]), "", "video/mp4")
    assert calls == ["HeadObject"]
    assert object_state(s3, bucket)[1] == METADATA


def test_a_clip_is_mended_from_what_stands_there_and_not_from_the_source(archive, s3, bucket, clips, unstamped):
    archive.put_clip(KEY, source(clips["other"]), {**METADATA, "task-id": "task-8"})

    assert object_state(s3, bucket)[:2] == (clips["long"], {**METADATA, "sha256": sha256(clips["long"])})


def test_only_the_object_that_was_read_is_stamped(archive, s3, bucket, clips, unstamped):
    copy_headers = []
    s3.meta.events.register(
        "before-send.s3.CopyObject", lambda request, **_: copy_headers.append(dict(request.headers))
    )
    etag = s3.head_object(Bucket=bucket, Key=KEY)["ETag"]

    archive.put_clip(KEY, source(clips["long"]), METADATA)

    # The store of these tests does not look at the condition, real ones do.
    assert [headers["x-amz-copy-source-if-match"].decode() for headers in copy_headers] == [etag]


def test_a_stamp_that_somebody_else_set_first_is_left_alone(archive, answers, clips):
    answers("CopyObject", 412, "PreconditionFailed")

    assert archive.put_clip(KEY, source(clips["long"]), METADATA).file.sha256 == sha256(clips["long"])


def test_uploads_left_open_are_aborted_when_old_and_ours(s3, bucket):
    archive = Archive(s3, bucket, prefix="ours/")
    for key in ("ours/jobs/a/video.mp4", "theirs/jobs/b/video.mp4"):
        s3.create_multipart_upload(Bucket=bucket, Key=key)
    begun_ms = int(s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"].timestamp() * 1000)

    young = archive.abort_stale_uploads(older_than_s=60, now_ms=begun_ms + 60_000)
    old = archive.abort_stale_uploads(older_than_s=60, now_ms=begun_ms + 60_001)

    assert (young, old) == (0, 1)
    assert open_uploads(s3, bucket) == ["theirs/jobs/b/video.mp4"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (501, "NotImplemented"),
        (501, "501"),
        (405, "MethodNotAllowed"),
        (400, "UnsupportedOperation"),
        (403, "AccessDenied"),
        (404, "NoSuchKey"),
    ],
)
def test_a_store_that_does_not_list_uploads_is_told_of_once(archive, answers, status, code):
    answers("ListMultipartUploads", status, code, times=2)

    with structlog.testing.capture_logs() as lines:
        found = [archive.abort_stale_uploads(0, 0) for _ in range(2)]

    assert found == [0, 0]
    (line,) = lines
    assert code in line["reason"]
    assert "lifecycle rule" in line["advice"]


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (403, "InvalidAccessKeyId"), (404, "NoSuchBucket")])
def test_a_bucket_in_trouble_is_not_taken_for_one_that_does_not_list_uploads(archive, answers, status, code):
    answers("ListMultipartUploads", status, code)

    with pytest.raises(ArchiveUnavailable, match=code):
        archive.abort_stale_uploads(0, 0)


# What S3 says


def test_a_conflict_on_put_is_tried_once_more(archive, s3, bucket, answers, clips):
    answers("PutObject", 409, "ConditionalRequestConflict", times=1)

    archive.put_clip(KEY, source(clips["plain"]), METADATA)

    assert object_state(s3, bucket)[0] == clips["plain"]


def test_a_second_conflict_on_put_is_for_later(archive, s3, bucket, answers, clips):
    answers("PutObject", 409, "ConditionalRequestConflict", times=2)

    with pytest.raises(ArchiveUnavailable):
        archive.put_clip(KEY, source(clips["plain"]), METADATA)

    assert is_empty(s3, bucket)


@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
@pytest.mark.parametrize(("status", "code"), [(409, "ConditionalRequestConflict"), (503, "SlowDown")])
def test_a_refusal_on_the_way_is_for_later_and_leaves_nothing(
    archive, s3, bucket, answers, clips, operation, status, code
):
    answers(operation, status, code)

    with pytest.raises(ArchiveUnavailable, match=code):
        archive.put_clip(KEY, source(clips["long"]), METADATA)

    assert is_empty(s3, bucket)


def test_a_lost_complete_that_boto_repeats_is_ours_after_all(archive, s3, bucket, clips, answers):
    complete = s3.complete_multipart_upload

    def loses_its_answer(**parameters):
        complete(**parameters)
        answers("CompleteMultipartUpload", 404, "NoSuchUpload")
        return complete(**parameters)

    s3.complete_multipart_upload = loses_its_answer
    stored = archive.put_clip(KEY, source(clips["long"]), METADATA)

    assert stored.file.sha256 == sha256(clips["long"])
    assert object_state(s3, bucket)[1] == {**METADATA, "sha256": sha256(clips["long"])}


DOORS = {
    "put_clip": lambda archive, clip: archive.put_clip(KEY, source(clip), METADATA),
    "put_bytes": lambda archive, clip: archive.put_bytes(KEY, b"jpeg", "image/jpeg"),
    "put_manifest": lambda archive, clip: archive.put_manifest(KEY, {}),
    "read_json": lambda archive, clip: archive.read_json(KEY),
    "check": lambda archive, clip: archive.check(),
    "abort_stale_uploads": lambda archive, clip: archive.abort_stale_uploads(0, 0),
}


@pytest.mark.parametrize("kind", ["plain", "long"])
def test_a_bucket_that_does_not_exist_is_named(s3, clips, kind):
    with pytest.raises(ArchiveUnavailable, match="'nowhere-at-all' does not exist"):
        Archive(s3, "nowhere-at-all", part_bytes=5 * MIB).put_clip(KEY, source(clips[kind]), METADATA)


@pytest.mark.parametrize("door", DOORS)
def test_every_door_says_that_the_bucket_is_missing(s3, clips, door):
    with pytest.raises(ArchiveUnavailable, match="'nowhere-at-all' does not exist"):
        DOORS[door](Archive(s3, "nowhere-at-all"), clips["plain"])


@pytest.mark.parametrize("door", ["put_clip", "put_bytes", "put_manifest"])
def test_every_write_says_that_the_credentials_are_not_enough(archive, answers, clips, door):
    answers("*", 403, "AccessDenied", times=9)

    with pytest.raises(ArchiveUnavailable, match="credentials may not"):
        DOORS[door](archive, clips["plain"])


def test_credentials_that_may_not_list_see_nothing_where_nothing_need_stand(archive, answers):
    answers("*", 403, "AccessDenied", times=9)

    assert (archive.head(KEY), archive.read_json(KEY), archive.abort_stale_uploads(0, 0)) == (None, None, 0)
    archive.check()


@pytest.mark.parametrize("door", ["read_json", "check", "head"])
@pytest.mark.parametrize(
    "code", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "RequestTimeTooSkewed"]
)
def test_wrong_credentials_are_never_taken_for_a_key_at_which_nothing_stands(archive, answers, clips, door, code):
    answers("*", 403, code, times=9)  # a HEAD is answered without a body: its code is 403

    with pytest.raises(ArchiveUnavailable, match=code):
        {**DOORS, "head": lambda archive, clip: archive.head(KEY)}[door](archive, clips["plain"])


def test_what_stands_there_and_may_not_be_read_is_told_as_that(archive, answers, clips):
    archive.put_clip(KEY, source(clips["plain"]), METADATA)
    answers("HeadObject", 403, "AccessDenied")
    answers("GetObject", 403, "AccessDenied")

    with pytest.raises(ArchiveUnavailable, match="credentials may not"):
        archive.put_clip(KEY, source(clips["plain"]), METADATA)


def test_the_journal_that_may_not_be_listed_is_not_taken_for_an_empty_one(archive, answers):
    answers("ListObjectsV2", 403, "AccessDenied")

    with pytest.raises(ArchiveUnavailable, match="s3:ListBucket"):
        list(archive.journal_names(""))


@pytest.mark.parametrize("door", [*DOORS, "head"])
def test_every_door_says_soon_that_s3_is_out_of_reach(clips, door):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        archive = Archive(connect(f"http://127.0.0.1:{closed.getsockname()[1]}"), "clips")
        began = time.monotonic()

        with pytest.raises(ArchiveUnavailable, match="not reached"):
            {**DOORS, "head": lambda archive, clip: archive.head(KEY)}[door](archive, clips["plain"])

    assert time.monotonic() - began < 20  # a busy machine adds less, and who waits for an answer waits a minute


def test_what_is_not_there_is_none(archive):
    assert (archive.head(KEY), archive.read_json(KEY)) == (None, None)


def test_a_bucket_that_is_there_passes_the_check(archive, calls):
    archive.check()
    assert calls == ["HeadBucket"]


# Around it


@pytest.mark.parametrize(
    ("created_at_ms", "day"),
    [(1767225599999, "2025/12/31"), (1767225600000, "2026/01/01"), (1709164800000, "2024/02/29")],
)
def test_a_folder_is_named_after_the_utc_day(s3, created_at_ms, day):
    assert Archive(s3, "clips", "p/").folder("job_1", created_at_ms) == f"p/jobs/{day}/job_1/"
    assert Archive(s3, "clips").folder("job_1", created_at_ms) == f"jobs/{day}/job_1/"


def test_a_presigned_address_opens_without_a_key(archive, clips):
    archive.put_clip(KEY, source(clips["plain"]), METADATA)

    with urllib.request.urlopen(archive.presign(KEY, 60), timeout=PATIENCE_S) as answer:
        assert answer.read() == clips["plain"]
        assert answer.headers["Content-Type"] == "video/mp4"


def test_a_probe_finds_a_good_bucket_good_and_leaves_nothing(s3, bucket):
    assert probe_bucket(Bucket(lambda: s3, bucket), "") == ProbeResult(*[True] * 12)
    assert is_empty(s3, bucket)


@pytest.mark.parametrize(
    ("operation", "field"), [("PutObject", "conditional_put"), ("CompleteMultipartUpload", "conditional_complete")]
)
def test_a_probe_sees_that_a_store_ignores_the_condition(s3, bucket, operation, field):
    def forget(request, **_):
        del request.headers["If-None-Match"]

    s3.meta.events.register(f"before-sign.s3.{operation}", forget)

    result = probe_bucket(Bucket(lambda: s3, bucket), "")

    assert not getattr(result, field)
    assert result.writes
    assert result.deletes
    assert is_empty(s3, bucket)


def test_a_probe_says_what_is_not_allowed(s3, bucket, answers):
    answers("DeleteObject", 403, "AccessDenied")

    result = probe_bucket(Bucket(lambda: s3, bucket), "")

    assert (result.reads, result.deletes) == (True, False)
    assert "credentials may not" in (result.problem or "")


def test_a_probe_of_a_missing_bucket_stops_at_once(s3):
    result = probe_bucket(Bucket(lambda: s3, "nowhere-at-all"), "")

    assert result == ProbeResult(problem=result.problem)
    assert "does not exist" in (result.problem or "")


class ForgetfulS3(BaseHTTPRequestHandler):
    """Accepts everything and stores nothing, so only the archive uses memory."""

    protocol_version = "HTTP/1.1"
    UPLOAD = b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
    COMPLETE = b'<CompleteMultipartUploadResult><ETag>"c"</ETag></CompleteMultipartUploadResult>'

    def answer(self) -> None:
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        body = b"" if self.command != "POST" else self.UPLOAD if "uploads" in self.path else self.COMPLETE
        body = b"<CopyObjectResult/>" if "x-amz-copy-source" in self.headers else body
        self.send_response(200)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("way", ["direct", "boto"])
def test_sixteen_long_clips_at_once_stay_under_64_mib(clips, way):
    server = ThreadingHTTPServer(("127.0.0.1", 0), ForgetfulS3)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    script = Path(__file__).with_name("measure_memory.py")

    command = [sys.executable, str(script), f"http://127.0.0.1:{server.server_address[1]}", way, "16", "16"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    weighed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env).stdout)
    server.shutdown()

    assert weighed["archived"] == 16
    assert weighed["peak_mib"] < 64
