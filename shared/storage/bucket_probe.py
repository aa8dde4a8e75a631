"""Tries every call that archiving needs on a probe object, for `rushes doctor`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rushes.shared.storage.bucket import Bucket, sha256_of
from rushes.shared.storage.clip_check import BufferPool, UploadPart
from rushes.shared.storage.errors import ArchiveUnavailable, Missing

SHA256 = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
"""The sha256 of the probe object, a `1`."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Which calls succeeded, and the text of the first refusal.

    A store that ignores one of the two conditions lets a late archive overwrite an earlier one without an error.
    """

    writes: bool = False
    conditional_put: bool = False
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


def probe_bucket(bucket: Bucket, prefix: str, links_work: Callable[[str], bool] = lambda key: True) -> ProbeResult:
    """Try the calls on a probe object; raises nothing. `links_work` fetches a key by a presigned link."""
    # Under jobs/: the credentials must reach it, and abort_stale_uploads cleans up there.
    key = f"{prefix}jobs/.probe-{uuid.uuid4().hex}"
    steps: Mapping[str, Callable[[], bool]] = {
        "writes": lambda: bucket.put(key, b"1", "text/plain", {}),
        "conditional_put": lambda: not bucket.put(key, b"2", "text/plain", {}),
        "conditional_complete": lambda: not _overwrites_by_parts(bucket, key),
        "copies": lambda: _copies(bucket, key),
        "reads": lambda: bucket.stat(key)["ContentLength"] == 1,
        "metadata": lambda: sha256_of(bucket.stat(key)) == SHA256,
        "links": lambda: links_work(key),
        "lists": lambda: any(True for _ in bucket.keys(f"{prefix}journal/")) or True,
        "lists_uploads": lambda: bucket.uploads(f"{prefix}jobs/.probe-") is not None,
        "tells_missing": lambda: _tells_missing(bucket, f"{key}-none"),
        "deletes": lambda: bucket.delete(key),
    }
    results: dict[str, bool] = {}
    problem: str | None = None
    for name, step in steps.items():
        try:
            results[name] = step()
        except ArchiveUnavailable as refusal:
            problem = problem or str(refusal)
        if not results.get("writes"):
            break
    return ProbeResult(**results, problem=problem)


def _overwrites_by_parts(bucket: Bucket, key: str) -> bool:
    buffers = BufferPool(1, 5 << 20)
    upload_id, etag = bucket.begin_upload(key, "text/plain", {}), None
    try:
        with UploadPart(buffers) as part:
            part.add(b"3")
            etag = bucket.complete_upload(key, upload_id, [bucket.put_part(key, upload_id, 1, part)])
    finally:
        if etag is None:
            bucket.abort_upload(key, upload_id)
    return etag is not None


def _copies(bucket: Bucket, key: str) -> bool:
    bucket.replace_metadata(key, bucket.stat(key)["ETag"], "text/plain", {"sha256": SHA256})
    return True


def _tells_missing(bucket: Bucket, key: str) -> bool:
    try:
        bucket.stat(key)
    except Missing:
        return True
    return False
