"""The one way to S3: streams a clip into the bucket in flat memory, and writes everything once.

Every object is written with `If-None-Match: *`: what stands in the bucket is never overwritten with other bytes, and
who comes second is told what stands there. A clip of more than one part goes up as a multipart upload. Its sha256 is
known behind its last byte, its metadata were due before the first, so the finished object is copied onto itself once,
on the server, with the sha256 added: it is stamped. A death between the two leaves a whole clip without a stamp;
whoever meets it next reads it back and stamps it.
"""

from __future__ import annotations

import hashlib
import json
import string
import uuid
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from shared.clip import BLOCK_BYTES, Buffers, ClipFacts, Intake, InvalidClip, Part, Source
from shared.direct import DirectPut
from shared.ledger.compact import compact

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

__all__ = ["Archive", "ArchiveUnavailable", "ArchivedClip", "ClipFacts", "InvalidClip", "Probe", "Source", "StoredFile"]

T = TypeVar("T")
MIB = 1024 * 1024
UPLOADS_AT_ONCE = 2  # of one clip, while its next part is read
VIDEO = "video/mp4"  # for every other container too: consumers look for one type under one name


class ArchiveUnavailable(Exception):
    """S3 did not do it: try again later; the text says whether bucket, credentials or the way there is at fault."""


class _Taken(ArchiveUnavailable):
    """Something stands at this key already."""


class _Conflict(ArchiveUnavailable):
    """Somebody is writing the same key at this moment."""


class _Missing(ArchiveUnavailable):
    """Nothing stands at this key."""


KINDS = {
    "PreconditionFailed": _Taken,
    "NoSuchUpload": _Taken,  # a Complete whose answer was lost, and boto asked again
    "ConditionalRequestConflict": _Conflict,
    "NoSuchKey": _Missing,
    "404": _Missing,  # HEAD has no body to tell more
}
REASONS = {
    "AccessDenied": "the credentials may not do this in bucket {bucket!r}",
    "403": "the credentials may not do this in bucket {bucket!r}",
    "NoSuchBucket": "bucket {bucket!r} does not exist",
    "404": "bucket {bucket!r} does not exist, or not this object in it",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object as it stands in the bucket; size in bytes, sha256 in hex."""

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


@dataclass(frozen=True, slots=True)
class Probe:
    """What the bucket let us do, and the first refusal in words.

    A store that ignores one of the two conditions lets a late archive overwrite an earlier one, silently.
    """

    writes: bool = False
    conditional_put: bool = False
    conditional_complete: bool = False
    reads: bool = False
    deletes: bool = False
    problem: str | None = None


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
        direct: DirectPut | None = None,
    ) -> None:
        self._s3 = s3
        self._direct = direct
        self._bucket = bucket
        self._prefix = prefix
        self._buffers = Buffers(buffers, part_bytes)

    @property
    def bucket(self) -> str:
        """The user's bucket."""
        return self._bucket

    def folder(self, job_id: str, created_at_ms: int) -> str:
        """Where a job's objects go, by the UTC day of its creation; ends with a slash."""
        day = datetime.fromtimestamp(created_at_ms // 1000, UTC)
        return f"{self._prefix}jobs/{day:%Y/%m/%d}/{job_id}/"

    def put_clip(self, key: str, source: Source, metadata: Mapping[str, str]) -> ArchivedClip:
        """Stream a clip to `key`, its sha256 added to the metadata; what stands there already stays and is returned.

        Raises InvalidClip where the source is not one whole clip, and whatever the source raises; then nothing is left.
        """
        intake = Intake(source)
        with ExitStack() as held:  # whatever happens, every buffer goes back
            parts = self._parts(intake, held)
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
        wish = {"ContentType": content_type, "Metadata": {"sha256": sha256}, "IfNoneMatch": "*"}
        with suppress(_Taken):  # boto asked again after a lost answer: no two uploads have one key
            self._ask(self._s3.put_object, Key=key, Body=file, ContentMD5=md5, **wish)
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
        if self._direct is None:
            return [False] * len(manifests)
        objects = [(key, *_json(manifest)) for key, manifest in manifests]
        puts = [(key, body, _headers(content_type, metadata)) for key, body, content_type, metadata in objects]
        return [written is not None for written in self._direct.put_all(puts)]

    def read_json(self, key: str) -> Any | None:
        """What the JSON object at `key` says, None where there is none; raises ValueError where it is not JSON."""
        with suppress(_Missing), self._opened(key) as there:
            return json.loads(there["Body"].read())
        return None

    def head(self, key: str) -> StoredFile | None:
        """What stands at `key`, or None; a clip that was never stamped is read back and stamped first."""
        try:
            there = self._ask(self._s3.head_object, Key=key)
        except _Missing:
            return None
        sha256 = there["Metadata"].get("sha256") or self._mend(key)
        return StoredFile(key, there["ContentLength"], sha256, there["ContentType"])

    def put_journal(self, name: str, text: str) -> None:
        """Store a piece of the journal under a name that nobody else has."""
        self._put_once(f"{self._prefix}journal/{name}", text.encode(), "application/x-ndjson", {})

    def journal(self, since: str, until: str | None = None) -> Iterator[str]:
        """The names of the journal's pieces behind one name and before another, in their order."""
        root = f"{self._prefix}journal/"
        pages = self._s3.get_paginator("list_objects_v2")
        with self._translated():
            for page in pages.paginate(Bucket=self._bucket, Prefix=root, StartAfter=root + since):
                for there in page.get("Contents", ()):
                    name = there["Key"].removeprefix(root)
                    if until is not None and name > until:
                        return
                    yield name

    def read_journal(self, name: str) -> str:
        """One piece of the journal."""
        with self._opened(f"{self._prefix}journal/{name}") as there:
            return there["Body"].read().decode(errors="replace")

    def presign(self, key: str, expires_s: int = 3600) -> str:
        """An address at which anybody can read the object for so long; S3 is not asked."""
        with self._translated():
            target = {"Bucket": self._bucket, "Key": key}
            return self._s3.generate_presigned_url("get_object", Params=target, ExpiresIn=expires_s)

    def check(self) -> None:
        """Return if the bucket is there and ours to use."""
        self._ask(self._s3.head_bucket)

    def probe(self) -> Probe:
        """Try all that archiving needs on an object of its own; raises nothing, the answer tells."""
        # Under jobs/, which the credentials must reach, and where abort_stale_uploads looks.
        key = f"{self._prefix}jobs/.probe-{uuid.uuid4().hex}"
        steps: dict[str, Callable[[], bool]] = {
            "writes": lambda: self._put_once(key, b"1", "text/plain", {}),
            "conditional_put": lambda: not self._put_once(key, b"2", "text/plain", {}),
            "conditional_complete": lambda: not self._overwrites_by_parts(key),
            "reads": lambda: self.head(key) is not None,  # and stamps: it has no sha256 yet
            "deletes": lambda: bool(self._ask(self._s3.delete_object, Key=key)),
        }
        seen: dict[str, Any] = {}
        for name, step in steps.items():
            try:
                seen[name] = step()
            except ArchiveUnavailable as refusal:
                seen.setdefault("problem", str(refusal))
            if not seen.get("writes"):
                break
        return Probe(**seen)

    def abort_stale_uploads(self, older_than_s: float, now_ms: int) -> int:
        """Abort what processes that died left half uploaded under our prefix, if older than that; returns how many."""
        begun_before = datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(seconds=older_than_s)
        pages = self._s3.get_paginator("list_multipart_uploads")
        with self._translated():
            found = [
                upload
                for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}jobs/")
                for upload in page.get("Uploads", ())
            ]
        stale = [upload for upload in found if upload["Initiated"] < begun_before]
        for upload in stale:
            self._abort({"Key": upload["Key"], "UploadId": upload["UploadId"]})
        return len(stale)

    def _parts(self, intake: Intake, held: ExitStack) -> Iterator[Part]:
        """The clip in parts. A filled one can always be sent without waiting for another buffer: no deadlock."""
        while intake.more():  # first the bytes, then the buffer: a link that is slow to begin holds none
            part = held.enter_context(Part(self._buffers))
            while part.room_bytes and intake.more():
                part.add(intake.take(part.room_bytes))
            yield part

    def _put_once(self, key: str, body: bytes | Part, content_type: str, metadata: Mapping[str, str]) -> bool:
        """One PutObject; False, and nothing is changed, where something stands already."""
        with suppress(_Conflict):
            return self._put(key, body, content_type, metadata)
        return self._put(key, body, content_type, metadata)  # by now it is settled who was first

    def _put(self, key: str, body: bytes | Part, content_type: str, metadata: Mapping[str, str]) -> bool:
        if self._direct:
            written = self._direct.put(key, _bytes(body), _headers(content_type, metadata))
            if written is not None:
                return written
        wish = {"ContentType": content_type, "Metadata": _plain(metadata), "IfNoneMatch": "*"}
        try:
            self._ask(self._s3.put_object, Key=key, **_body(body), **wish)
        except _Taken:
            return False
        return True

    def _put_long(self, key: str, parts: Iterable[Part], intake: Intake, metadata: Mapping[str, str]) -> bool:
        etag = self._put_parts(key, parts, metadata)
        if etag is None:
            return False
        self._stamp(key, etag, VIDEO, {**metadata, "sha256": intake.sha256})
        return True

    def _put_parts(self, key: str, parts: Iterable[Part], metadata: Mapping[str, str]) -> str | None:
        """One multipart upload; its ETag, or None, and nothing is changed, where something stands already."""
        begun = self._ask(self._s3.create_multipart_upload, Key=key, ContentType=VIDEO, Metadata=_plain(metadata))
        upload = {"Key": key, "UploadId": begun["UploadId"]}
        etag = None
        try:
            etag = self._complete(upload, self._send(upload, parts))
        finally:
            if etag is None:  # a Complete that is refused leaves the upload open too
                self._abort(upload)
        return etag

    def _send(self, upload: Mapping[str, str], parts: Iterable[Part]) -> list[CompletedPartTypeDef]:
        """Upload parts while the next one is read; none is under way any more when this returns or raises."""
        sent: list[CompletedPartTypeDef] = []
        under_way: deque[Future[CompletedPartTypeDef]] = deque()
        with ThreadPoolExecutor(UPLOADS_AT_ONCE, thread_name_prefix="archive-part") as pool:
            for number, part in enumerate(parts, 1):
                if len(under_way) == UPLOADS_AT_ONCE:
                    sent.append(under_way.popleft().result())
                under_way.append(pool.submit(self._send_part, upload, number, part))
            sent.extend(future.result() for future in under_way)
        return sent

    def _send_part(self, upload: Mapping[str, str], number: int, part: Part) -> CompletedPartTypeDef:
        with part:
            etag = self._put_part(upload, number, part)
            if etag is None:
                etag = self._ask(self._s3.upload_part, **upload, PartNumber=number, **_body(part))["ETag"]
        return {"PartNumber": number, "ETag": etag}

    def _put_part(self, upload: Mapping[str, str], number: int, part: Part) -> str | None:
        return self._direct.put_part(upload["Key"], upload["UploadId"], number, part.filled()) if self._direct else None

    def _complete(self, upload: Mapping[str, str], sent: list[CompletedPartTypeDef]) -> str | None:
        complete = self._s3.complete_multipart_upload
        try:
            return self._ask(complete, **upload, MultipartUpload={"Parts": sent}, IfNoneMatch="*")["ETag"]
        except _Taken:
            return None

    def _abort(self, upload: Mapping[str, str]) -> None:
        with suppress(ArchiveUnavailable):  # abort_stale_uploads takes what is left
            self._ask(self._s3.abort_multipart_upload, **upload)

    def _stamp(self, key: str, etag: str, content_type: str, metadata: Mapping[str, str]) -> None:
        """Write the metadata anew on the object with this ETag; its bytes stay where they are."""
        wish = {"ContentType": content_type, "Metadata": _plain(metadata), "MetadataDirective": "REPLACE"}
        origin = {"Bucket": self._bucket, "Key": key}
        with suppress(_Taken):  # another ETag: somebody else has stamped it meanwhile
            self._ask(self._s3.copy_object, Key=key, CopySource=origin, CopySourceIfMatch=etag, **wish)

    def _mend(self, key: str) -> str:
        """The sha256 of an object that was never stamped, read back from S3; now it is stamped."""
        digest = hashlib.sha256()
        with self._opened(key) as there:
            for block in there["Body"].iter_chunks(BLOCK_BYTES):
                digest.update(block)
        metadata = {**there["Metadata"], "sha256": digest.hexdigest()}
        self._stamp(key, there["ETag"], there["ContentType"], metadata)
        return digest.hexdigest()

    def _standing(self, key: str) -> StoredFile:
        """What somebody else wrote there first."""
        file = self.head(key)
        if file is None:
            raise ArchiveUnavailable(f"{key} was written by somebody else and is gone again")
        return file

    def _overwrites_by_parts(self, key: str) -> bool:
        with Part(self._buffers) as part:
            part.add(b"3")
            return self._put_parts(key, [part], {}) is not None

    @contextmanager
    def _opened(self, key: str) -> Iterator[GetObjectOutputTypeDef]:
        with self._translated():
            answer = self._s3.get_object(Bucket=self._bucket, Key=key)
            with closing(answer["Body"]):
                yield answer

    def _ask(self, call: Callable[..., T], **parameters: Any) -> T:
        with self._translated():
            return call(Bucket=self._bucket, **parameters)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """What boto raises, in our words."""
        try:
            yield
        except ClientError as refusal:
            code = refusal.response.get("Error", {}).get("Code", "")
            reason = REASONS.get(code, "S3 refused").format(bucket=self._bucket)
            raise KINDS.get(code, ArchiveUnavailable)(f"{reason} ({refusal})") from refusal
        except BotoCoreError as failure:
            raise ArchiveUnavailable(f"S3 was not reached ({failure})") from failure


def _body(data: bytes | Part) -> dict[str, Any]:
    """The arguments that send these bytes, with a checksum for S3 to hold them against.

    Content-MD5 is the one every store knows: x-amz-checksum-* is an error at some (B2: cyberduck #16107, 2024; OVH:
    icechunk #2115, 2026). The sha256 is in the metadata.
    """
    if isinstance(data, Part):
        data.seek(0)  # a second try begins anew
    md5 = hashlib.md5(_bytes(data), usedforsecurity=False).digest()
    return {"Body": data, "ContentMD5": b64encode(md5).decode()}


def _json(manifest: Mapping[str, Any]) -> tuple[bytes, str, dict[str, str]]:
    """A manifest as an object: its bytes, content type and metadata."""
    body = compact(manifest).encode()
    return body, "application/json", {"sha256": hashlib.sha256(body).hexdigest()}


def _headers(content_type: str, metadata: Mapping[str, str]) -> dict[str, str]:
    told = {f"x-amz-meta-{name}": value for name, value in _plain(metadata).items()}
    return {"Content-Type": content_type, **told}


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


def _plain(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata travel as headers: what is not printable ASCII, say in the task id of a gateway, is percent-encoded."""
    return {name: quote(value, safe=string.punctuation + " ") for name, value in metadata.items()}
