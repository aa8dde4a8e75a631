"""Every clip sample into a real bucket: what players accept is stored byte for byte, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clip_samples import CUT, ODD, OTHER, WHOLE

from rushes.shared.storage.archive import ClipSource, InvalidClip

KEY = "jobs/2026/11/30/job_1/video.mp4"


def source(data: bytes, length: int | None) -> ClipSource:
    return ClipSource(in_chunks(data), length, "application/octet-stream")


def in_chunks(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


def is_empty(s3, bucket):
    uploads = s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return uploads == [] and "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("name", [*WHOLE, *ODD])
def test_what_players_take_lands_byte_for_byte_under_the_name_and_type_of_an_mp4(archive, s3, bucket, name):
    data = {**WHOLE, **ODD}[name]()

    stored = archive.put_clip(KEY, source(data, len(data)), {})

    response = s3.get_object(Bucket=bucket, Key=KEY)
    assert (response["Body"].read(), response["ContentType"]) == (data, "video/mp4")
    assert (stored.file.size, stored.file.content_type) == (len(data), "video/mp4")


@pytest.mark.parametrize("name", ["webm", "mpeg-ts", "fragments without an index", "media to the end"])
def test_what_cannot_prove_its_end_lands_where_the_source_does(archive, s3, bucket, name):
    data = {**WHOLE, **ODD}[name]()

    with pytest.raises(InvalidClip, match="not announced"):
        archive.put_clip(KEY, source(data, None), {})
    assert is_empty(s3, bucket)

    archive.put_clip(KEY, ClipSource(in_chunks(data), None, None, end_is_certain=True), {})
    assert s3.get_object(Bucket=bucket, Key=KEY)["Body"].read() == data


@pytest.mark.parametrize("name", ["webm", "quicktime", "header in front"])
def test_the_container_is_told_beside_the_clip(archive, name):
    data = {**WHOLE, **ODD}[name]()

    first, second = (archive.put_clip(KEY, source(data, len(data)), {}) for _ in range(2))

    expected = {"webm": "webm or mkv", "quicktime": "mov", "header in front": "mp4"}[name]
    assert (first.format, second.format) == (expected, expected)


@pytest.mark.parametrize("name", [*CUT, *OTHER])
def test_what_breaks_off_or_is_no_clip_leaves_nothing(archive, s3, bucket, calls, name):
    data = {**CUT, **OTHER}[name]()

    with pytest.raises(InvalidClip):
        archive.put_clip(KEY, source(data, len(data)), {})

    assert not {"PutObject", "CreateMultipartUpload"} & set(calls)
    assert is_empty(s3, bucket)
