"""What is erased in a bucket with versions: every one of them, as far as the rights allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from factories import NOW, attempt, job_in
from test_journal import PAID, objects

from rushes.shared.domain import events
from rushes.shared.domain.job import State
from rushes.shared.storage.archive import Archive
from rushes.shared.storage.journal import Intent, Journal, Outcome

MANIFEST = {"schema": "rushes.manifest/1", "job": {"id": "job_1"}, "files": []}


@pytest.fixture
def journal(archive: Archive) -> Iterator[Journal]:
    journal_under_test = Journal(archive)
    yield journal_under_test
    journal_under_test.flush()


@pytest.fixture
def versioned(s3: Any, bucket: str) -> str:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def versions(s3: Any, bucket: str) -> list[str]:
    told = s3.list_object_versions(Bucket=bucket)
    return [entry["Key"] for entry in (*told.get("Versions", ()), *told.get("DeleteMarkers", ()))]


def test_no_version_of_a_clip_is_left(archive: Archive, s3: Any, versioned: str) -> None:
    for body in (b"first", b"second"):
        s3.put_object(Bucket=versioned, Key="jobs/a/video.mp4", Body=body)
    s3.delete_object(Bucket=versioned, Key="jobs/a/video.mp4")
    s3.put_object(Bucket=versioned, Key="jobs/a/video.mp4.other", Body=b"not this one")
    s3.create_multipart_upload(Bucket=versioned, Key="jobs/a/video.mp4")

    assert archive.erase("jobs/a/video.mp4") is True
    assert versions(s3, versioned) == ["jobs/a/video.mp4.other"]
    assert not s3.list_multipart_uploads(Bucket=versioned).get("Uploads")
    assert archive.erase("jobs/a/video.mp4") is True


def test_only_the_new_manifest_is_left(archive: Archive, s3: Any, versioned: str) -> None:
    archive.put_manifest("jobs/a/manifest.json", {"prompt": "a kite"})

    assert archive.replace_manifest("jobs/a/manifest.json", MANIFEST) is True
    assert (versions(s3, versioned), archive.read_json("jobs/a/manifest.json")) == (["jobs/a/manifest.json"], MANIFEST)


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (501, "NotImplemented")])
def test_versions_that_may_not_be_listed_are_told_of(
    archive: Archive, s3: Any, bucket: str, answers: Callable[..., list[str]], status: int, code: str
) -> None:
    s3.put_object(Bucket=bucket, Key="jobs/a/video.mp4", Body=b"clip")
    answers("ListObjectVersions", status, code)

    assert archive.erase("jobs/a/video.mp4") is False
    assert objects(s3, bucket) == {}


def test_a_job_is_erased_in_the_journal_and_its_neighbours_stay(
    archive: Archive,
    journal: Journal,
    s3: Any,
    bucket: str,
) -> None:
    mine, other = job_in(State.SUBMITTING), job_in(State.SUBMITTING)
    journal.record_intents([(mine, PAID), (other, PAID)], NOW)
    for job in (mine, other):
        journal.record_outcome(job, events.Lost("a kite was lost"), "HTTP 500 a kite", NOW)
    journal.flush()
    before = {line.job.id: line for line in journal.read(NOW) if isinstance(line, Intent)}

    assert journal.erase(mine.id, NOW - 5000, NOW + 60_000, NOW) is True
    lines = list(journal.read(NOW))
    intents = {line.job.id: line for line in lines if isinstance(line, Intent)}
    outcomes = {line.job_id: line for line in lines if isinstance(line, Outcome)}
    assert intents[other.id] == before[other.id]
    assert outcomes[other.id].text == "HTTP 500 a kite"
    assert (intents[mine.id].sent, intents[mine.id].job.request.get("prompt")) == ({}, None)
    assert intents[mine.id].job.erase_asked_at == NOW
    assert intents[mine.id].job.current == attempt(submitted_at=NOW)
    assert (outcomes[mine.id].text, outcomes[mine.id].event) == (None, events.Lost("", attempt=1))
    assert not [
        text for text in objects(s3, bucket).values() for line in text.split("\n") if mine.id in line and "kite" in line
    ]


def test_two_that_erase_in_one_object_do_not_undo_each_other(
    archive: Archive,
    journal: Journal,
    s3: Any,
    bucket: str,
) -> None:
    mine, other = job_in(State.SUBMITTING), job_in(State.SUBMITTING)
    journal.record_intents([(mine, PAID), (other, PAID)], NOW)
    (name,) = archive.journal_names("")
    meanwhile = [lambda: journal.erase(other.id, NOW - 5000, NOW + 60_000, NOW)]

    def edit(text: str) -> str:
        if meanwhile:
            meanwhile.pop()()
        return text.replace(mine.id, "mine")

    archive.rewrite_journal(name, edit)
    (text,) = objects(s3, bucket).values()
    assert (mine.id in text, "kite" in text.split("\n")[1]) == (False, False)
