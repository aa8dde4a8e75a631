"""The user's bucket through boto3: writes each object once, reads without changing anything, translates errors.

Every object is written with `If-None-Match: *` and with the arguments of RUSHES_S3_EXTRA_ARGS.
"""

from __future__ import annotations

import hashlib
import re
import string
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote

from rushes.shared.storage import extra_args
from rushes.shared.storage.clip_check import BLOCK_BYTES, UploadPart
from rushes.shared.storage.errors import AlreadyExists, ArchiveUnavailable, Conflict, Denied, Missing, translate_errors
from rushes.shared.storage.extra_args import ExtraArgs

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

T = TypeVar("T")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Bucket:
    """One bucket. Safe to share between threads; every method raises ArchiveUnavailable if S3 fails."""

    def __init__(self, client: Callable[[], S3Client], name: str, extra: ExtraArgs | None = None) -> None:
        """`client` returns boto's client for the bucket's region, or for the configured one while that is unknown."""
        self._client, self.name = client, name
        self.extra = extra or {}

    @property
    def s3(self) -> S3Client:
        """Return boto's client for this bucket."""
        return self._client()

    # --- writing

    def put(self, key: str, body: bytes | UploadPart, content_type: str, metadata: Mapping[str, str]) -> bool:
        """Put one object; False, and nothing is changed, if there is one already."""
        with suppress(AlreadyExists):
            self._write(
                "put_object", key, **_body_arguments(body), **_object_arguments(content_type, metadata), IfNoneMatch="*"
            )
            return True
        return False

    def put_file(self, key: str, file: BinaryIO, md5: str, content_type: str, metadata: Mapping[str, str]) -> None:
        """Put one object from a file, under a unique key; `md5` is its base64 MD5."""
        arguments = {**_object_arguments(content_type, metadata), "ContentMD5": md5, "IfNoneMatch": "*"}
        with suppress(AlreadyExists):  # boto repeated the call after a lost response
            self._write("put_object", key, Body=file, **arguments)

    def begin_upload(self, key: str, content_type: str, metadata: Mapping[str, str]) -> str:
        """Start a multipart upload; returns its id."""
        upload_id: str = self._write("create_multipart_upload", key, **_object_arguments(content_type, metadata))[
            "UploadId"
        ]
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, part: UploadPart) -> CompletedPartTypeDef:
        """Send one part; returns its entry for `complete_upload`."""
        response = self._write("upload_part", key, UploadId=upload_id, PartNumber=number, **_body_arguments(part))
        names = [name for name in response if name.startswith("Checksum") and name != "ChecksumType"]
        completed: Any = {"PartNumber": number, "ETag": response["ETag"], **{name: response[name] for name in names}}
        return completed  # type: ignore[no-any-return]

    def complete_upload(self, key: str, upload_id: str, parts: list[CompletedPartTypeDef]) -> str | None:
        """Complete a multipart upload; returns its ETag, or None if there is an object already."""
        arguments: dict[str, Any] = {"UploadId": upload_id, "MultipartUpload": {"Parts": parts}, "IfNoneMatch": "*"}
        with suppress(AlreadyExists):
            etag: str = self._write("complete_multipart_upload", key, **arguments)["ETag"]
            return etag
        return None

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort a multipart upload."""
        self._write("abort_multipart_upload", key, UploadId=upload_id)

    def replace_metadata(self, key: str, etag: str, content_type: str, metadata: Mapping[str, str]) -> None:
        """Replace the metadata of the object with this ETag, by a server-side copy onto itself."""
        source = {"CopySource": {"Bucket": self.name, "Key": key}, "CopySourceIfMatch": etag}
        arguments = {**_object_arguments(content_type, metadata), "MetadataDirective": "REPLACE"}
        with suppress(AlreadyExists):  # the ETag changed: another process has replaced them meanwhile
            self._write("copy_object", key, **source, **arguments)

    def delete(self, key: str) -> bool:
        """Delete an object; True if S3 did."""
        return bool(self.call(self.s3.delete_object, Key=key))

    def overwrite(self, key: str, body: bytes, content_type: str, metadata: Mapping[str, str], etag: str = "") -> bool:
        """Put one object over another; False, and nothing is changed, if that one has not this ETag any more.

        A store that knows no If-Match on a put ignores it, or refuses it as not implemented: then it is put without.
        """
        arguments = {**_body_arguments(body), **_object_arguments(content_type, metadata)}
        try:
            self._write("put_object", key, **arguments, **({"IfMatch": etag} if etag else {}))
        except (AlreadyExists, Conflict):
            return False
        except ArchiveUnavailable as refusal:
            if not etag or refusal.transient:
                raise
            self._write("put_object", key, **arguments)
        return True

    def delete_all(self, key: str) -> bool:
        """Delete an object and its older versions; False if versions may remain, which the credentials may not see."""
        versions = self._versions(key)
        for version, _ in versions or ():
            self.call(self.s3.delete_object, Key=key, VersionId=version)
        if not versions:
            self.delete(key)
        return versions is not None

    def delete_older(self, key: str) -> bool:
        """Delete the versions of an object that are not its newest; False as above."""
        versions = self._versions(key)
        for version, is_newest in versions or ():
            if not is_newest:
                self.call(self.s3.delete_object, Key=key, VersionId=version)
        return versions is not None

    def _versions(self, key: str) -> list[tuple[str, bool]] | None:
        """Each version and delete marker of an object, and whether it is the newest; None if they may not be listed."""
        pages = self.s3.get_paginator("list_object_versions")
        try:
            with translate_errors(self.name):
                return [
                    (entry["VersionId"], entry["IsLatest"])
                    for page in pages.paginate(Bucket=self.name, Prefix=key)
                    for entry in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
                    if entry["Key"] == key
                ]
        except ArchiveUnavailable as refusal:  # a store without versions may not know the call
            if refusal.transient and not isinstance(refusal, Denied):
                raise
            return None

    # --- reading

    def stat(self, key: str) -> Mapping[str, Any]:
        """Return S3's response to HEAD of an object; raises Missing, or Denied, which may mean the same."""
        try:
            return self.call(self.s3.head_object, Key=key)
        except Denied:  # only the body of a GET tells a missing right from wrong credentials
            with self.open(key) as response:
                return response

    @contextmanager
    def open(self, key: str) -> Iterator[GetObjectOutputTypeDef]:
        """Open an object for reading; yields S3's response."""
        with translate_errors(self.name):
            response = self.s3.get_object(Bucket=self.name, Key=key)
            with closing(response["Body"]):
                yield response

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys with a prefix that sort after `after`, sorted."""
        pages = self.s3.get_paginator("list_objects_v2")
        with translate_errors(self.name):
            for page in pages.paginate(Bucket=self.name, Prefix=prefix, StartAfter=after):
                yield from (entry["Key"] for entry in page.get("Contents", ()))

    def uploads(self, prefix: str) -> list[Any]:
        """Return the unfinished multipart uploads with a prefix."""
        pages = self.s3.get_paginator("list_multipart_uploads")
        with translate_errors(self.name):
            return [
                upload for page in pages.paginate(Bucket=self.name, Prefix=prefix) for upload in page.get("Uploads", ())
            ]

    def check(self, key: str) -> None:
        """Return if the bucket exists and may be used, as far as reads can tell; `key` need not exist."""
        try:
            self.call(self.s3.head_bucket)
        except Denied:  # s3:ListBucket is missing, or the credentials are wrong: only the body of a GET tells
            with suppress(Missing, Denied), self.open(key):
                pass

    def call(self, operation: Callable[..., T], **parameters: Any) -> T:
        """Make one call of boto's client on this bucket."""
        with translate_errors(self.name):
            return operation(Bucket=self.name, **parameters)

    def _write(self, method: str, key: str, **parameters: Any) -> Any:
        s3, extra = self.s3, {}
        if self.extra:
            extra = extra_args.for_operation(self.extra, s3, s3.meta.method_to_api_mapping[method])
        return self.call(getattr(s3, method), Key=key, **extra, **parameters)


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Percent-encode what is not printable ASCII, such as in a gateway's task id: metadata are sent as headers."""
    return {name: _printable_ascii(value) for name, value in metadata.items()}


def _printable_ascii(text: str) -> str:
    return text if text.isascii() and text.isprintable() else quote(text, safe=string.punctuation + " ")


def metadata_of(response: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata in a response by lower-case name: some stores return the names in capitals."""
    return {name.lower(): value for name, value in response.get("Metadata", {}).items()}


def sha256_of(response: Mapping[str, Any]) -> str | None:
    """Return the sha256 that an object was written with; None if the store does not return it."""
    sha256 = metadata_of(response).get("sha256", "").strip().lower()
    return sha256 if SHA256.fullmatch(sha256) else None


def hash_body(response: GetObjectOutputTypeDef) -> str:
    """Read an object's bytes and return their sha256."""
    digest = hashlib.sha256()
    for block in response["Body"].iter_chunks(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _object_arguments(content_type: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    return {"ContentType": content_type, "Metadata": encode_metadata(metadata)}


def _body_arguments(data: bytes | UploadPart) -> dict[str, Any]:
    """The arguments that send these bytes, with a checksum for S3 to verify.

    Content-MD5 is the only checksum that every store accepts: x-amz-checksum-* is an error at some (B2: cyberduck
    #16107, 2024; OVH: icechunk #2115, 2026). The sha256 is in the metadata.
    """
    if isinstance(data, UploadPart):
        data.seek(0)  # boto may have read it in an earlier try
    md5 = hashlib.md5(data.content() if isinstance(data, UploadPart) else data, usedforsecurity=False).digest()
    return {"Body": data, "ContentMD5": b64encode(md5).decode()}
