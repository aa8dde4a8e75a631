"""The user's bucket through boto: writes once, asks without changing anything, and says in our words what went wrong.

Every object is written with `If-None-Match: *`, and with what the user wants said of every object.
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
from rushes.shared.storage.clip_check import BLOCK_BYTES, Part
from rushes.shared.storage.errors import Denied, Missing, Taken, translated
from rushes.shared.storage.extra_args import ExtraArgs

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef, GetObjectOutputTypeDef

T = TypeVar("T")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Bucket:
    """One bucket. Safe to share between threads; what it does not do raises ArchiveUnavailable."""

    def __init__(self, client: Callable[[], S3Client], name: str, extra: ExtraArgs | None = None) -> None:
        """`client` gives boto's client for the region of the bucket, as far as that is known by now."""
        self._client, self.name = client, name
        self.extra = extra or {}

    @property
    def s3(self) -> S3Client:
        """boto's client for this bucket."""
        return self._client()

    # --- writing

    def put(self, key: str, body: bytes | Part, content_type: str, metadata: Mapping[str, str]) -> bool:
        """One PutObject; False, and nothing is changed, where something stands already."""
        with suppress(Taken):
            self._write("put_object", key, **_body(body), **_described(content_type, metadata), IfNoneMatch="*")
            return True
        return False

    def put_file(self, key: str, file: BinaryIO, md5: str, content_type: str, metadata: Mapping[str, str]) -> None:
        """One PutObject from a file, under a key that nobody else has."""
        wish = {**_described(content_type, metadata), "ContentMD5": md5, "IfNoneMatch": "*"}
        with suppress(Taken):  # boto asked again after a lost answer
            self._write("put_object", key, Body=file, **wish)

    def begin_upload(self, key: str, content_type: str, metadata: Mapping[str, str]) -> str:
        """Open a multipart upload; its id."""
        upload_id: str = self._write("create_multipart_upload", key, **_described(content_type, metadata))["UploadId"]
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, part: Part) -> CompletedPartTypeDef:
        """Send one part; what the upload's completion has to say of it."""
        answer = self._write("upload_part", key, UploadId=upload_id, PartNumber=number, **_body(part))
        sums = {name: value for name, value in answer.items() if name.startswith("Checksum") and name != "ChecksumType"}
        completed: Any = {"PartNumber": number, "ETag": answer["ETag"], **sums}
        return completed  # type: ignore[no-any-return]

    def complete_upload(self, key: str, upload_id: str, parts: list[CompletedPartTypeDef]) -> str | None:
        """The ETag of the object; None, and nothing is changed, where something stands already."""
        whole: dict[str, Any] = {"UploadId": upload_id, "MultipartUpload": {"Parts": parts}, "IfNoneMatch": "*"}
        with suppress(Taken):
            etag: str = self._write("complete_multipart_upload", key, **whole)["ETag"]
            return etag
        return None

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Give a multipart upload up."""
        self._write("abort_multipart_upload", key, UploadId=upload_id)

    def describe(self, key: str, etag: str, content_type: str, metadata: Mapping[str, str]) -> None:
        """Write the metadata anew on the object with this ETag: a copy onto itself, its bytes stay where they are."""
        origin = {"CopySource": {"Bucket": self.name, "Key": key}, "CopySourceIfMatch": etag}
        wish = {**_described(content_type, metadata), "MetadataDirective": "REPLACE"}
        with suppress(Taken):  # another ETag: somebody else has described it meanwhile
            self._write("copy_object", key, **origin, **wish)

    def delete(self, key: str) -> bool:
        """Delete an object; True where S3 did."""
        return bool(self.ask(self.s3.delete_object, Key=key))

    # --- asking

    def stat(self, key: str) -> Mapping[str, Any]:
        """What HEAD tells of an object that is there; raises Missing, or Denied, which may mean the same."""
        try:
            return self.ask(self.s3.head_object, Key=key)
        except Denied:  # HEAD has no body: whether we may not look or the credentials are wrong, only GET tells
            with self.opened(key) as there:
                return there

    @contextmanager
    def opened(self, key: str) -> Iterator[GetObjectOutputTypeDef]:
        """An object, to be read."""
        with translated(self.name):
            answer = self.s3.get_object(Bucket=self.name, Key=key)
            with closing(answer["Body"]):
                yield answer

    def keys(self, prefix: str, after: str = "") -> Iterator[str]:
        """The keys below a prefix and behind a key, in their order."""
        pages = self.s3.get_paginator("list_objects_v2")
        with translated(self.name):
            for page in pages.paginate(Bucket=self.name, Prefix=prefix, StartAfter=after):
                yield from (there["Key"] for there in page.get("Contents", ()))

    def uploads(self, prefix: str) -> list[Any]:
        """The multipart uploads below a prefix that nobody completed."""
        pages = self.s3.get_paginator("list_multipart_uploads")
        with translated(self.name):
            return [
                there for page in pages.paginate(Bucket=self.name, Prefix=prefix) for there in page.get("Uploads", ())
            ]

    def check(self, key: str) -> None:
        """Return if the bucket is there and ours to use, as far as a question can tell; nothing need stand at `key`."""
        try:
            self.ask(self.s3.head_bucket)
        except Denied:  # without s3:ListBucket; wrong credentials are told by the body of a GET only
            with suppress(Missing, Denied), self.opened(key):
                pass

    def ask(self, call: Callable[..., T], **parameters: Any) -> T:
        """One call of boto's client on this bucket."""
        with translated(self.name):
            return call(Bucket=self.name, **parameters)

    def _write(self, call: str, key: str, **parameters: Any) -> Any:
        s3, extra = self.s3, {}
        if self.extra:
            extra = extra_args.for_operation(self.extra, s3, s3.meta.method_to_api_mapping[call])
        return self.ask(getattr(s3, call), Key=key, **extra, **parameters)


def plain(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata travel as headers: what is not printable ASCII, say in the task id of a gateway, is percent-encoded."""
    return {name: quote(value, safe=string.punctuation + " ") for name, value in metadata.items()}


def metadata_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """The metadata in an answer by their names in small letters: some stores give them back in capitals."""
    return {name.lower(): value for name, value in answer.get("Metadata", {}).items()}


def sha256_of(answer: Mapping[str, Any]) -> str | None:
    """The sha256 that an object was written with; None where the store does not give it back."""
    sha256 = metadata_of(answer).get("sha256", "").strip().lower()
    return sha256 if SHA256.fullmatch(sha256) else None


def read_back(there: GetObjectOutputTypeDef) -> str:
    """The sha256 of an object's bytes."""
    digest = hashlib.sha256()
    for block in there["Body"].iter_chunks(BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _described(content_type: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    return {"ContentType": content_type, "Metadata": plain(metadata)}


def _body(data: bytes | Part) -> dict[str, Any]:
    """The arguments that send these bytes, with a checksum for S3 to hold them against.

    Content-MD5 is the one every store knows: x-amz-checksum-* is an error at some (B2: cyberduck #16107, 2024; OVH:
    icechunk #2115, 2026). The sha256 is in the metadata.
    """
    if isinstance(data, Part):
        data.seek(0)  # a second try begins anew
    md5 = hashlib.md5(data.filled() if isinstance(data, Part) else data, usedforsecurity=False).digest()
    return {"Body": data, "ContentMD5": b64encode(md5).decode()}
