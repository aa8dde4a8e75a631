"""Tries every call that archiving needs on probe objects, for `rushes doctor`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from rushes.shared.storage.bucket import Bucket, sha256_of
from rushes.shared.storage.clip_check import BufferPool, UploadPart
from rushes.shared.storage.errors import ArchiveUnavailable, Denied, Missing

SHA256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
"""The sha256 of the probe object, a `1`."""
METADATA = {"sha256": SHA256}
# What the probe object holds after the writes, where the store ignores conditions too.
WRITTEN = (b"1", b"2", b"3")


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Which calls succeeded, and the text of the first refusal.

    A store that ignores one of the two conditions lets a late archive overwrite an earlier one without an error.
    """

    writes: bool = False
    conditional_put: bool = False
    parts: bool = False
    conditional_complete: bool = False
    copies: bool = False
    reads: bool = False
    metadata: bool = False
    links: bool = False
    lists: bool = False
    lists_uploads: bool = False
    tells_missing: bool = False
    deletes: bool = False
    problem: str | None = None
    refusals: Mapping[str, ArchiveUnavailable] = field(default_factory=dict, compare=False)
    """What S3 answered to a call that failed, by the field; none where it answered something wrong."""
    writes_without_condition: bool = False
    """Whether only the condition is refused; tried where `writes` fails."""


def probe_bucket(bucket: Bucket, prefix: str, links_work: Callable[[str], bool] = lambda key: True) -> ProbeResult:
    """Try the calls on probe objects; raises nothing. `links_work` fetches a key by a presigned link."""
    # Under jobs/: the credentials must reach it, and abort_stale_uploads cleans up there.
    key = f"{prefix}jobs/.probe-{uuid.uuid4().hex}"
    steps: Mapping[str, Callable[[], bool]] = {
        "writes": lambda: bucket.put(key, b"1", "text/plain", METADATA),
        "conditional_put": lambda: not bucket.put(key, b"2", "text/plain", METADATA),
        "parts": lambda: _writes_in_parts(bucket, f"{key}-parts"),
        "conditional_complete": lambda: not _writes_in_parts(bucket, key),
        "copies": lambda: _copies(bucket, key),
        "reads": lambda: _reads(bucket, key),
        "metadata": lambda: sha256_of(bucket.stat(key)) == SHA256,
        "links": lambda: links_work(key),
        "lists": lambda: any(True for _ in bucket.keys(f"{prefix}journal/")) or True,
        "lists_uploads": lambda: bucket.uploads(f"{prefix}jobs/.probe-") is not None,
        "tells_missing": lambda: _is_missing(bucket, f"{key}-none"),
        "deletes": lambda: bucket.delete(f"{key}-parts") and bucket.delete(key),
    }
    results: dict[str, bool] = {}
    refusals: dict[str, ArchiveUnavailable] = {}
    for name, step in steps.items():
        try:
            results[name] = step()
        except ArchiveUnavailable as refusal:
            refusals[name] = refusal
        if not results.get("writes"):
            break
    problem = next((str(refusal) for refusal in refusals.values()), None)
    plain = not results.get("writes") and _writes_without_condition(bucket, key)
    return ProbeResult(**results, problem=problem, refusals=refusals, writes_without_condition=plain)


def _writes_without_condition(bucket: Bucket, key: str) -> bool:
    with suppress(ArchiveUnavailable):
        bucket.call(bucket.s3.put_object, Key=key, Body=b"1")
        with suppress(ArchiveUnavailable):
            bucket.delete(key)
        return True
    return False


def _writes_in_parts(bucket: Bucket, key: str) -> bool:
    """Whether an upload in parts is completed; False if the store refuses because there is an object."""
    buffers = BufferPool(1, 5 << 20)
    upload_id, etag = bucket.begin_upload(key, "text/plain", METADATA), None
    try:
        with UploadPart(buffers) as part:
            part.add(b"3")
            etag = bucket.complete_upload(key, upload_id, [bucket.put_part(key, upload_id, 1, part)])
    finally:
        if etag is None:
            with suppress(ArchiveUnavailable):
                bucket.abort_upload(key, upload_id)
    return etag is not None


def _copies(bucket: Bucket, key: str) -> bool:
    bucket.replace_metadata(key, bucket.stat(key)["ETag"], "text/plain", METADATA)
    return True


def _reads(bucket: Bucket, key: str) -> bool:
    with bucket.open(key) as response:
        return response["Body"].read(2) in WRITTEN


def _is_missing(bucket: Bucket, key: str) -> bool:
    """Whether the store tells that there is no such object; raises Denied where it answers 403."""
    denied: Denied | None = None
    for call in (bucket.stat, lambda key: _reads(bucket, key)):
        try:
            call(key)
        except Missing:
            continue
        except Denied as refusal:
            denied = refusal
        else:
            return False
    if denied:
        raise denied
    return True
