"""The archive: streams a clip into the bucket in constant memory, and writes every object once.

An object in the bucket is never overwritten; a second writer gets the object that is there. A clip of more than one
part is a multipart upload. S3 takes its metadata before the first byte, and its sha256 is known after the last. So the
finished object is copied onto itself once, on the server, with the sha256 added to its metadata. If the process dies in
between, the clip is whole but has no sha256; the next archiving of that clip reads it back and adds it. Reads never
write: a store that loses or renames metadata would make each read rewrite the object.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import structlog

from rushes.shared.compact_json import compact
from rushes.shared.storage import extra_args
from rushes.shared.storage.bucket import Bucket, encode_metadata, hash_body, metadata_of, sha256_of
from rushes.shared.storage.clip_check import (
    BLOCK_BYTES,
    BufferPool,
    ClipInfo,
    ClipReader,
    ClipSource,
    InvalidClip,
    UploadPart,
)
from rushes.shared.storage.curl_put import CurlPut
from rushes.shared.storage.errors import ArchiveUnavailable, Conflict, Denied, Missing, NotOffered, translate_errors
from rushes.shared.storage.extra_args import ExtraArgs
from rushes.shared.storage.presigned_links import PresignedLinks

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

__all__ = [
    "VIDEO",
    "Archive",
    "ArchiveUnavailable",
    "ArchivedClip",
    "ClipInfo",
    "ClipSource",
    "InvalidClip",
    "StoredFile",
]

log = structlog.get_logger()

MIB = 1024 * 1024
MAX_CONCURRENT_PARTS = 2  # parts of one clip that are uploaded while its next part is read
VIDEO = "video/mp4"  # for every container: consumers look for one type under one name


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object in the bucket; size in bytes, sha256 in hex, empty if the store does not return it."""

    key: str
    size: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True)
class ArchivedClip:
    """A clip in the bucket with what its header says; `format` is its container."""

    file: StoredFile
    info: ClipInfo
    format: str = ""


class Archive:
    """The user's bucket. Safe to share between threads; every method raises ArchiveUnavailable if S3 fails.

    All clips in progress share `buffers` buffers of `part_bytes` (S3's minimum is 5 MiB): that bounds the memory of any
    number of them. A clip of up to `part_bytes` costs one PutObject. With the defaults two processes with 16 long clips
    between them grow by 48 to 58 MiB together (2026-11).
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
        links: PresignedLinks | None = None,
        extra: ExtraArgs | None = None,
    ) -> None:
        self._links = links or PresignedLinks(s3)
        self._bucket = Bucket(lambda: self._links.client(bucket), bucket, extra)
        self._curl_put = curl_put
        self._prefix = prefix
        # `curl_put` is given only if it can send all extra arguments (services.archive_over).
        self._headers = extra_args.headers(extra_args.for_operation(self._bucket.extra, s3, "PutObject"))
        self._part_headers = extra_args.headers(extra_args.for_operation(self._bucket.extra, s3, "UploadPart"))
        self._buffers = BufferPool(buffers, part_bytes)
        self._told_of_uploads = False

    @property
    def bucket(self) -> str:
        """The name of the user's bucket."""
        return self._bucket.name

    def folder(self, job_id: str, created_at_ms: int) -> str:
        """Return the key prefix of a job's objects, by the UTC day of its creation; it ends with a slash."""
        day = datetime.fromtimestamp(created_at_ms // 1000, UTC).date()
        return f"{self._prefix}jobs/{day.isoformat().replace('-', '/')}/{job_id}/"

    def put_clip(self, key: str, source: ClipSource, metadata: Mapping[str, str]) -> ArchivedClip:
        """Stream a clip to `key`, its sha256 in the metadata. An object that is there already stays, and is returned.

        Raises InvalidClip if the source is not one whole clip, and whatever the source raises; then nothing is stored.
        """
        reader = ClipReader(source)
        with ExitStack() as buffers:  # invariant: every buffer goes back, or all archiving would stop
            parts = self._parts(reader, buffers)
            first = next(parts)
            if reader.has_more():
                written = self._put_long(key, chain([first], parts), reader, metadata)
            else:
                written = self._put_once(key, first, VIDEO, {**metadata, "sha256": reader.sha256})
        new_file = StoredFile(key, reader.size, reader.sha256, VIDEO)
        file = new_file if written else self._existing_file(key)
        is_same_clip = file.sha256 == new_file.sha256
        return ArchivedClip(file, reader.info if is_same_clip else ClipInfo(), reader.format if is_same_clip else "")

    def put_bytes(
        self, key: str, body: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> StoredFile:
        """Write a small object with its sha256 in the metadata. One that is there already stays, and is returned."""
        new_file = StoredFile(key, len(body), hashlib.sha256(body).hexdigest(), content_type)
        written = self._put_once(key, body, content_type, {**(metadata or {}), "sha256": new_file.sha256})
        return new_file if written else self._existing_file(key)

    def put_input(self, key: str, file: BinaryIO, content_type: str) -> StoredFile:
        """Write an uploaded picture or clip from a file on disk, without reading it into memory at once."""
        size_bytes, digests = _size_and_digests(file)
        md5, sha256 = (b64encode(digests[0].digest()).decode(), digests[1].hexdigest())
        file.seek(0)
        self._bucket.put_file(key, file, md5, content_type, {"sha256": sha256})
        return StoredFile(key, size_bytes, sha256, content_type)

    def input_folder(self, day: date) -> str:
        """Return the key prefix of files that users upload on this UTC day; it ends with a slash."""
        return f"{self._prefix}inputs/{day:%Y/%m/%d}/"

    def put_manifest(self, key: str, manifest: Mapping[str, Any]) -> bool:
        """Write the manifest; True if this call wrote it, False if there is one already."""
        return self._put_once(key, *_manifest_object(manifest))

    def put_manifests(self, manifests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[bool]:
        """Write small manifests together. For each: True if it is certainly in the bucket now.

        If it is False, `put_manifest` finds out. Raises nothing.
        """
        written = self.put_all([(key, *_manifest_object(manifest)) for key, manifest in manifests])
        return [is_new is not None for is_new in written]

    def put_all(self, objects: Sequence[tuple[str, bytes, str, Mapping[str, str]]]) -> list[bool | None]:
        """Put small objects together: key, body, content type and metadata of each. Raises nothing.

        For each: True if it was written, False if there is one already, None if that is uncertain.
        """
        if self._curl_put is None:
            return [None] * len(objects)
        puts = [(key, body, self._put_headers(content_type, metadata)) for key, body, content_type, metadata in objects]
        return self._curl_put.put_all(puts)

    def replace_manifest(self, key: str, manifest: Mapping[str, Any]) -> bool:
        """Put the manifest of an erased job over the old one; False if older versions of it may remain."""
        self._bucket.overwrite(key, *_manifest_object(manifest))
        return self._bucket.delete_older(key)

    def erase(self, key: str) -> bool:
        """Delete an object, all its versions and its unfinished uploads; False if older versions may remain."""
        with suppress(Denied):
            for upload in self._bucket.uploads(key):
                self._abort(upload["Key"], upload["UploadId"])
        return self._bucket.delete_all(key)

    def read_json(self, key: str) -> Any | None:
        """Return the content of the JSON object at `key`; None if there is none, or the credentials may not see it.

        Raises ValueError if it is not JSON.
        """
        with suppress(Missing, Denied), self._bucket.open(key) as response:
            return json.loads(response["Body"].read())
        return None

    def head(self, key: str) -> StoredFile | None:
        """Return the object at `key`; None if there is none, or the credentials may not see it. Changes nothing."""
        try:
            return _stored_file(key, self._bucket.stat(key))
        except (Missing, Denied):
            return None

    def put_journal(self, name: str, text: str) -> None:
        """Store an object of the journal under a unique name."""
        self._put_once(f"{self._prefix}journal/{name}", text.encode(), "application/x-ndjson", {})

    def journal_names(self, since: str, until: str | None = None) -> Iterator[str]:
        """Yield the names of the journal's objects after `since` and up to `until`, sorted."""
        root = f"{self._prefix}journal/"
        try:
            for key in self._bucket.keys(root, root + since):
                name = key.removeprefix(root)
                if until is not None and name > until:
                    return
                yield name
        except Denied as denied:
            # Invariant: a journal that cannot be listed never counts as empty. It may hold paid calls.
            raise ArchiveUnavailable(f"the journal cannot be listed, grant s3:ListBucket: {denied}") from denied

    def read_journal(self, name: str) -> str:
        """Return the text of one object of the journal."""
        with self._bucket.open(f"{self._prefix}journal/{name}") as response:
            return response["Body"].read().decode(errors="replace")

    def rewrite_journal(self, name: str, edit: Callable[[str], str]) -> bool:
        """Edit the text of an object of the journal; False if older versions of it may remain.

        Two that edit the same object do not undo each other, where the store honours If-Match (see Bucket.overwrite).
        """
        key = f"{self._prefix}journal/{name}"
        while True:
            with self._bucket.open(key) as response:
                text, etag = response["Body"].read().decode(errors="replace"), response["ETag"]
            edited = edit(text)
            if edited == text:
                return True
            if self._bucket.overwrite(key, edited.encode(), "application/x-ndjson", {}, etag):
                return self._bucket.delete_older(key)

    def presign(self, key: str, expires_s: int = 3600) -> str:
        """Return a URL at which anybody can read the object for `expires_s`."""
        with translate_errors(self.bucket):
            return self._links.presign(self.bucket, key, expires_s)

    def check(self) -> None:
        """Return if the bucket exists and the credentials may use it, as far as reads can tell."""
        self._bucket.check(f"{self._prefix}jobs/")

    def abort_stale_uploads(self, older_than_s: float, now_ms: int) -> int:
        """Abort unfinished multipart uploads under the prefix that are older than that; returns how many.

        Processes that died leave them. It finds none, and logs that once, where the store does not list them.
        """
        started_before = datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(seconds=older_than_s)
        stale = [upload for upload in self._uploads() if upload["Initiated"] < started_before]
        for upload in stale:
            self._abort(upload["Key"], upload["UploadId"])
        return len(stale)

    def _uploads(self) -> list[Any]:
        try:
            return self._bucket.uploads(f"{self._prefix}jobs/")
        except (Denied, NotOffered, Missing) as refusal:  # it stays so: an error would end each audit for ever
            if not self._told_of_uploads:
                self._told_of_uploads = True
                advice = "add a lifecycle rule that aborts unfinished uploads, or they stay and cost money"
                log.warning("unfinished uploads cannot be listed", reason=str(refusal), advice=advice)
            return []

    def _parts(self, reader: ClipReader, buffers: ExitStack) -> Iterator[UploadPart]:
        """Yield the clip in parts. A filled part can be sent without another buffer, so archives cannot deadlock."""
        while reader.has_more():  # wait for bytes before taking a buffer: a slow link then holds none
            part = buffers.enter_context(UploadPart(self._buffers))
            while part.free_bytes and reader.has_more():
                part.add(reader.take(part.free_bytes))
            yield part

    def _put_once(self, key: str, body: bytes | UploadPart, content_type: str, metadata: Mapping[str, str]) -> bool:
        """Put one object; False, and nothing is changed, if there is one already."""
        with suppress(Conflict):
            return self._put(key, body, content_type, metadata)
        return self._put(key, body, content_type, metadata)  # the concurrent write has ended by now

    def _put(self, key: str, body: bytes | UploadPart, content_type: str, metadata: Mapping[str, str]) -> bool:
        if self._curl_put:
            written = self._curl_put.put(key, _bytes(body), self._put_headers(content_type, metadata))
            if written is not None:
                return written
        return self._bucket.put(key, body, content_type, metadata)

    def _put_headers(self, content_type: str, metadata: Mapping[str, str]) -> dict[str, str]:
        """The headers of an object that CurlPut sends."""
        metadata_headers = {f"x-amz-meta-{name}": value for name, value in encode_metadata(metadata).items()}
        return {"Content-Type": content_type, **metadata_headers, **self._headers}

    def _put_long(self, key: str, parts: Iterable[UploadPart], reader: ClipReader, metadata: Mapping[str, str]) -> bool:
        etag = self._put_parts(key, parts, metadata)
        if etag is None:
            return False
        try:
            self._bucket.replace_metadata(key, etag, VIDEO, {**metadata, "sha256": reader.sha256})
        except ArchiveUnavailable as refusal:
            if refusal.transient:
                raise
            log.warning("clip not stamped", key=key, reason=str(refusal))  # the manifest has its sha256
        return True

    def _put_parts(self, key: str, parts: Iterable[UploadPart], metadata: Mapping[str, str]) -> str | None:
        """Make one multipart upload; returns its ETag, or None if there is an object already."""
        upload_id = self._bucket.begin_upload(key, VIDEO, metadata)
        etag = None
        try:
            etag = self._bucket.complete_upload(key, upload_id, self._send(key, upload_id, parts))
        finally:
            if etag is None:  # a refused CompleteMultipartUpload leaves the upload open too
                self._abort(key, upload_id)
        return etag

    def _send(self, key: str, upload_id: str, parts: Iterable[UploadPart]) -> list[CompletedPartTypeDef]:
        """Upload parts while the next one is read; no upload is running any more when this returns or raises."""
        completed: list[CompletedPartTypeDef] = []
        running: deque[Future[CompletedPartTypeDef]] = deque()
        with ThreadPoolExecutor(MAX_CONCURRENT_PARTS, thread_name_prefix="archive-part") as pool:
            for number, part in enumerate(parts, 1):
                if len(running) == MAX_CONCURRENT_PARTS:
                    completed.append(running.popleft().result())
                running.append(pool.submit(self._send_part, key, upload_id, number, part))
            completed.extend(future.result() for future in running)
        return completed

    def _send_part(self, key: str, upload_id: str, number: int, part: UploadPart) -> CompletedPartTypeDef:
        with part:
            etag = (
                self._curl_put.put_part(key, upload_id, number, part.content(), self._part_headers)
                if self._curl_put
                else None
            )
            if etag is None:
                return self._bucket.put_part(key, upload_id, number, part)
            return {"PartNumber": number, "ETag": etag}

    def _abort(self, key: str, upload_id: str) -> None:
        with suppress(ArchiveUnavailable):  # abort_stale_uploads removes what remains
            self._bucket.abort_upload(key, upload_id)

    def _existing_file(self, key: str) -> StoredFile:
        """The object that another writer put there first, with its sha256, read back if need be."""
        try:
            file = _stored_file(key, self._bucket.stat(key))
        except Missing:
            raise ArchiveUnavailable(f"{key} was written by another process and is gone again") from None
        return file if file.sha256 else self._restore_sha256(file)

    def _restore_sha256(self, file: StoredFile) -> StoredFile:
        """Read an object without sha256 back, and add the sha256 to its metadata if the store allows it."""
        with self._bucket.open(file.key) as response:
            sha256 = hash_body(response)
        try:
            metadata = {**metadata_of(response), "sha256": sha256}
            self._bucket.replace_metadata(file.key, response["ETag"], file.content_type or VIDEO, metadata)
        except ArchiveUnavailable as refusal:  # the manifest gets the sha256 from here
            log.warning("clip not stamped", key=file.key, reason=str(refusal))
        return StoredFile(file.key, file.size, sha256, file.content_type)


def _manifest_object(manifest: Mapping[str, Any]) -> tuple[bytes, str, dict[str, str]]:
    """The bytes, content type and metadata of a manifest."""
    body = compact(manifest).encode()
    return body, "application/json", {"sha256": hashlib.sha256(body).hexdigest()}


def _stored_file(key: str, response: Mapping[str, Any]) -> StoredFile:
    return StoredFile(key, response["ContentLength"], sha256_of(response) or "", response.get("ContentType", ""))


def _bytes(data: bytes | UploadPart) -> bytes | memoryview:
    return data.content() if isinstance(data, UploadPart) else data


def _size_and_digests(file: BinaryIO) -> tuple[int, list[Any]]:
    """Size in bytes, MD5 and SHA-256 of a file."""
    size_bytes, digests = 0, [hashlib.md5(usedforsecurity=False), hashlib.sha256()]
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        size_bytes += len(block)
        for digest in digests:
            digest.update(block)
    return size_bytes, digests
