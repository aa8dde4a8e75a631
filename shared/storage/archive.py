"""The archive: streams a clip into the bucket in flat memory, and writes everything once.

What stands in the bucket is never overwritten with other bytes, and who comes second is told what stands there. A clip
of more than one part goes up as a multipart upload. Its sha256 is known behind its last byte, its metadata were due
before the first, so the finished object is copied onto itself once, on the server, with the sha256 added: it is
stamped. A death between the two leaves a whole clip without a stamp; the next archiving of it reads it back and stamps
it. A question changes nothing: a store that loses or renames metadata would have it change them for ever.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import structlog

from rushes.shared.compact_json import compact
from rushes.shared.storage import extra_args
from rushes.shared.storage.bucket import Bucket, metadata_of, plain, read_back, sha256_of
from rushes.shared.storage.clip_check import BLOCK_BYTES, Buffers, ClipFacts, Intake, InvalidClip, Part, Source
from rushes.shared.storage.curl_put import CurlPut
from rushes.shared.storage.errors import ArchiveUnavailable, Conflict, Denied, Missing, translated
from rushes.shared.storage.extra_args import ExtraArgs
from rushes.shared.storage.presigned_links import Links

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

__all__ = ["Archive", "ArchiveUnavailable", "ArchivedClip", "ClipFacts", "InvalidClip", "Source", "StoredFile"]

log = structlog.get_logger()

MIB = 1024 * 1024
UPLOADS_AT_ONCE = 2  # of one clip, while its next part is read
VIDEO = "video/mp4"  # for every other container too: consumers look for one type under one name


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object as it stands in the bucket; size in bytes, sha256 in hex, empty where the store does not tell it."""

    key: str
    size: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True)
class ArchivedClip:
    """A clip that stands in the bucket, and what it says of itself; `format` is the container that it came in."""

    file: StoredFile
    facts: ClipFacts
    format: str = ""


class Archive:
    """The user's bucket. Safe to share between threads; every door raises ArchiveUnavailable when S3 does not do it.

    All clips on their way share `buffers` buffers of `part_bytes` (5 MiB or more, says S3), so any number of archives
    at once stays below their sum; a clip of up to `part_bytes` costs one PutObject. With the defaults two processes
    with 16 long clips between them rise by 48 to 58 MiB together (2026-11).
    """

    def __init__(
        self,
        s3: S3Client,
        bucket: str,
        prefix: str = "",
        *,
        buffers: int = 5,
        part_bytes: int = 5 * MIB,
        curl_put: CurlPut | None = None,
        links: Links | None = None,
        extra: ExtraArgs | None = None,
    ) -> None:
        self._links = links or Links(s3)
        self._bucket = Bucket(lambda: self._links.client(bucket), bucket, extra)
        self._curl_put = curl_put
        self._prefix = prefix
        # Where the short way is taken there is none among them that it cannot say.
        self._headers = extra_args.headers(extra_args.for_operation(self._bucket.extra, s3, "PutObject"))
        self._part_headers = extra_args.headers(extra_args.for_operation(self._bucket.extra, s3, "UploadPart"))
        self._buffers = Buffers(buffers, part_bytes)

    @property
    def bucket(self) -> str:
        """The user's bucket."""
        return self._bucket.name

    def folder(self, job_id: str, created_at_ms: int) -> str:
        """Where a job's objects go, by the UTC day of its creation; ends with a slash."""
        day = datetime.fromtimestamp(created_at_ms // 1000, UTC)
        return f"{self._prefix}jobs/{day:%Y/%m/%d}/{job_id}/"

    def put_clip(self, key: str, source: Source, metadata: Mapping[str, str]) -> ArchivedClip:
        """Stream a clip to `key`, its sha256 added to the metadata; what stands there already stays and is returned.

        Raises InvalidClip where the source is not one whole clip, and whatever the source raises; then nothing is left.
        """
        intake = Intake(source)
        with ExitStack() as buffers:  # whatever happens, every buffer goes back
            parts = self._parts(intake, buffers)
            first = next(parts)
            if intake.more():
                written = self._put_long(key, chain([first], parts), intake, metadata)
            else:
                written = self._put_once(key, first, VIDEO, {**metadata, "sha256": intake.sha256})
        ours = StoredFile(key, intake.size, intake.sha256, VIDEO)
        file = ours if written else self._standing(key)
        is_ours = file.sha256 == ours.sha256
        return ArchivedClip(file, intake.facts if is_ours else ClipFacts(), intake.format if is_ours else "")

    def put_bytes(
        self, key: str, body: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> StoredFile:
        """Write a small object once, its sha256 in the metadata; what stands there already stays and is returned."""
        ours = StoredFile(key, len(body), hashlib.sha256(body).hexdigest(), content_type)
        written = self._put_once(key, body, content_type, {**(metadata or {}), "sha256": ours.sha256})
        return ours if written else self._standing(key)

    def put_input(self, key: str, file: BinaryIO, content_type: str) -> StoredFile:
        """Write a picture or a clip that a user brought, once and from a file on disk: it is never whole in memory."""
        size_bytes, sums = _summed(file)
        md5, sha256 = (b64encode(sums[0].digest()).decode(), sums[1].hexdigest())
        file.seek(0)
        self._bucket.put_file(key, file, md5, content_type, {"sha256": sha256})
        return StoredFile(key, size_bytes, sha256, content_type)

    def input_folder(self, day: date) -> str:
        """Where what users bring on this UTC day is kept."""
        return f"{self._prefix}inputs/{day:%Y/%m/%d}/"

    def put_manifest(self, key: str, manifest: Mapping[str, Any]) -> bool:
        """Write the manifest once; True if this call wrote it, False if one stands there already."""
        return self._put_once(key, *_json(manifest))

    def put_manifests(self, manifests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[bool]:
        """Write small manifests together, each once as above: whether it is clear that it stands there now.

        Of one for which it is not, `put_manifest` finds out. Raises nothing.
        """
        if self._curl_put is None:
            return [False] * len(manifests)
        objects = [(key, *_json(manifest)) for key, manifest in manifests]
        puts = [(key, body, self._described(content_type, metadata)) for key, body, content_type, metadata in objects]
        return [written is not None for written in self._curl_put.put_all(puts)]

    def read_json(self, key: str) -> Any | None:
        """What the JSON object at `key` says; None where there is none, as far as we may see.

        Raises ValueError where it is not JSON.
        """
        with suppress(Missing, Denied), self._bucket.opened(key) as there:
            return json.loads(there["Body"].read())
        return None

    def head(self, key: str) -> StoredFile | None:
        """What stands at `key`; None where nothing does, as far as we may see. Nothing is changed."""
        try:
            return _stored(key, self._bucket.stat(key))
        except (Missing, Denied):
            return None

    def put_journal(self, name: str, text: str) -> None:
        """Store a piece of the journal under a name that nobody else has."""
        self._put_once(f"{self._prefix}journal/{name}", text.encode(), "application/x-ndjson", {})

    def journal(self, since: str, until: str | None = None) -> Iterator[str]:
        """The names of the journal's pieces behind one name and before another, in their order."""
        root = f"{self._prefix}journal/"
        try:
            for key in self._bucket.keys(root, root + since):
                name = key.removeprefix(root)
                if until is not None and name > until:
                    return
                yield name
        except Denied as denied:  # it may be full: what is not seen there may have been paid for
            raise ArchiveUnavailable(f"the journal cannot be listed, grant s3:ListBucket: {denied}") from denied

    def read_journal(self, name: str) -> str:
        """One piece of the journal."""
        with self._bucket.opened(f"{self._prefix}journal/{name}") as there:
            return there["Body"].read().decode(errors="replace")

    def presign(self, key: str, expires_s: int = 3600) -> str:
        """An address at which anybody can read the object for so long."""
        with translated(self.bucket):
            return self._links.link(self.bucket, key, expires_s)

    def check(self) -> None:
        """Return if the bucket is there and ours to use, as far as a question can tell."""
        self._bucket.check(f"{self._prefix}jobs/")

    def abort_stale_uploads(self, older_than_s: float, now_ms: int) -> int:
        """Abort what processes that died left half uploaded under our prefix, if older than that; returns how many.

        Credentials that may not list uploads see none.
        """
        begun_before = datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(seconds=older_than_s)
        found: list[Any] = []
        with suppress(Denied):
            found = self._bucket.uploads(f"{self._prefix}jobs/")
        stale = [upload for upload in found if upload["Initiated"] < begun_before]
        for upload in stale:
            self._abort(upload["Key"], upload["UploadId"])
        return len(stale)

    def _parts(self, intake: Intake, buffers: ExitStack) -> Iterator[Part]:
        """The clip in parts. A filled one can always be sent without waiting for another buffer: no deadlock."""
        while intake.more():  # first the bytes, then the buffer: a link that is slow to begin holds none
            part = buffers.enter_context(Part(self._buffers))
            while part.room_bytes and intake.more():
                part.add(intake.take(part.room_bytes))
            yield part

    def _put_once(self, key: str, body: bytes | Part, content_type: str, metadata: Mapping[str, str]) -> bool:
        """One PutObject; False, and nothing is changed, where something stands already."""
        with suppress(Conflict):
            return self._put(key, body, content_type, metadata)
        return self._put(key, body, content_type, metadata)  # by now it is settled who was first

    def _put(self, key: str, body: bytes | Part, content_type: str, metadata: Mapping[str, str]) -> bool:
        if self._curl_put:
            written = self._curl_put.put(key, _bytes(body), self._described(content_type, metadata))
            if written is not None:
                return written
        return self._bucket.put(key, body, content_type, metadata)

    def _described(self, content_type: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """The headers of an object that goes the short way."""
        named = {f"x-amz-meta-{name}": value for name, value in plain(metadata).items()}
        return {"Content-Type": content_type, **named, **self._headers}

    def _put_long(self, key: str, parts: Iterable[Part], intake: Intake, metadata: Mapping[str, str]) -> bool:
        etag = self._put_parts(key, parts, metadata)
        if etag is None:
            return False
        try:
            self._bucket.describe(key, etag, VIDEO, {**metadata, "sha256": intake.sha256})
        except ArchiveUnavailable as refused:
            if refused.transient:
                raise
            log.warning("clip not stamped", key=key, reason=str(refused))  # the manifest has its sha256 all the same
        return True

    def _put_parts(self, key: str, parts: Iterable[Part], metadata: Mapping[str, str]) -> str | None:
        """One multipart upload; its ETag, or None, and nothing is changed, where something stands already."""
        upload_id = self._bucket.begin_upload(key, VIDEO, metadata)
        etag = None
        try:
            etag = self._bucket.complete_upload(key, upload_id, self._send(key, upload_id, parts))
        finally:
            if etag is None:  # a Complete that is refused leaves the upload open too
                self._abort(key, upload_id)
        return etag

    def _send(self, key: str, upload_id: str, parts: Iterable[Part]) -> list[CompletedPartTypeDef]:
        """Upload parts while the next one is read; none is under way any more when this returns or raises."""
        sent: list[CompletedPartTypeDef] = []
        under_way: deque[Future[CompletedPartTypeDef]] = deque()
        with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="archive-part") as pool:
            for number, part in enumerate(parts, 1):
                if len(under_way) == UPLOADS_AT_ONCE:
                    sent.append(under_way.popleft().result())
                under_way.append(pool.submit(self._send_part, key, upload_id, number, part))
            sent.extend(future.result() for future in under_way)
        return sent

    def _send_part(self, key: str, upload_id: str, number: int, part: Part) -> CompletedPartTypeDef:
        with part:
            etag = (
                self._curl_put.put_part(key, upload_id, number, part.filled(), self._part_headers)
                if self._curl_put
                else None
            )
            if etag is None:
                return self._bucket.put_part(key, upload_id, number, part)
            return {"PartNumber": number, "ETag": etag}

    def _abort(self, key: str, upload_id: str) -> None:
        with suppress(ArchiveUnavailable):  # abort_stale_uploads takes what is left
            self._bucket.abort_upload(key, upload_id)

    def _standing(self, key: str) -> StoredFile:
        """What somebody else wrote there first, read back where the store does not tell its sha256."""
        try:
            file = _stored(key, self._bucket.stat(key))
        except Missing:
            raise ArchiveUnavailable(f"{key} was written by somebody else and is gone again") from None
        return file if file.sha256 else self._mended(file)

    def _mended(self, file: StoredFile) -> StoredFile:
        """A file that was never stamped, or lost its stamp: it is read back, and stamped if that can be had."""
        with self._bucket.opened(file.key) as there:
            sha256 = read_back(there)
        try:
            metadata = {**metadata_of(there), "sha256": sha256}
            self._bucket.describe(file.key, there["ETag"], file.content_type or VIDEO, metadata)
        except ArchiveUnavailable as refused:  # what is known of it is enough for its manifest
            log.warning("clip not stamped", key=file.key, reason=str(refused))
        return StoredFile(file.key, file.size, sha256, file.content_type)


def _json(manifest: Mapping[str, Any]) -> tuple[bytes, str, dict[str, str]]:
    """A manifest as an object: its bytes, content type and metadata."""
    body = compact(manifest).encode()
    return body, "application/json", {"sha256": hashlib.sha256(body).hexdigest()}


def _stored(key: str, there: Mapping[str, Any]) -> StoredFile:
    return StoredFile(key, there["ContentLength"], sha256_of(there) or "", there.get("ContentType", ""))


def _bytes(data: bytes | Part) -> bytes | memoryview:
    return data.filled() if isinstance(data, Part) else data


def _summed(file: BinaryIO) -> tuple[int, list[Any]]:
    """Size in bytes, MD5 and SHA-256 of a file."""
    size_bytes, sums = 0, [hashlib.md5(usedforsecurity=False), hashlib.sha256()]
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        size_bytes += len(block)
        for each in sums:
            each.update(block)
    return size_bytes, sums
