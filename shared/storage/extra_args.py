"""`RUSHES_S3_EXTRA_ARGS`: what is to be said of every object that is written, by the names of boto's ExtraArgs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl

ExtraArgs = Mapping[str, Any]
"""Names and values as boto takes them."""

HEADERS = {
    "ACL": "x-amz-acl",
    "BucketKeyEnabled": "x-amz-server-side-encryption-bucket-key-enabled",
    "CacheControl": "Cache-Control",
    "ChecksumAlgorithm": "x-amz-sdk-checksum-algorithm",
    "ContentDisposition": "Content-Disposition",
    "ContentLanguage": "Content-Language",
    "ExpectedBucketOwner": "x-amz-expected-bucket-owner",
    "Expires": "Expires",
    "GrantFullControl": "x-amz-grant-full-control",
    "GrantRead": "x-amz-grant-read",
    "GrantReadACP": "x-amz-grant-read-acp",
    "GrantWriteACP": "x-amz-grant-write-acp",
    "ObjectLockLegalHoldStatus": "x-amz-object-lock-legal-hold",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
}
# Requests with these need a checksum in a header of its own, which only boto makes.
ONLY_BOTO = frozenset({"ChecksumAlgorithm", "ObjectLockLegalHoldStatus", "ObjectLockMode", "ObjectLockRetainUntilDate"})
PRINTABLE = re.compile(r"[!-~]([ -~]*[!-~])?")
# boto makes the others with a library of its own that is not installed.
CHECKSUMS = frozenset({"CRC32", "SHA1", "SHA256"})
# What lies there is read at once: by links, by whoever meets a clip, and after a lost Redis.
ASLEEP = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def parse(text: str) -> dict[str, Any]:
    """The arguments in a JSON object; raises ValueError that names the one that cannot be taken."""
    try:
        pairs = json.loads(text)
    except ValueError:
        raise ValueError('not JSON; give an object such as {"ServerSideEncryption": "aws:kms"}') from None
    if not isinstance(pairs, dict):
        raise ValueError('give a JSON object such as {"ServerSideEncryption": "aws:kms"}')
    return {name: _value(name, value) for name, value in pairs.items()}


def _value(name: str, value: Any) -> Any:
    if name not in HEADERS:
        raise ValueError(f"{name} cannot be given here; these can: {', '.join(HEADERS)}")
    check: Callable[[str, Any], Any] = VALUES.get(name, _text)
    return check(name, value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not PRINTABLE.fullmatch(value):
        raise ValueError(f"{name}: give a text of printable ASCII characters")
    return value


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: give true or false")
    return value


def _moment(name: str, value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: give a moment such as 2030-01-01T00:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tags(name: str, value: Any) -> str:
    text = _text(name, value)
    try:
        parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ValueError(f"{name}: give tags as key=value&key=value") from None
    return text


def _checksum(name: str, value: Any) -> str:
    if value not in CHECKSUMS:
        raise ValueError(f"{name}: one of {', '.join(sorted(CHECKSUMS))}")
    return str(value)


def _storage_class(name: str, value: Any) -> str:
    if value in ASLEEP:
        raise ValueError(
            f"{name}: objects in {value} cannot be read at once; give a class that can, or a lifecycle rule"
        )
    return _text(name, value)


VALUES: Mapping[str, Callable[[str, Any], Any]] = {
    "BucketKeyEnabled": _switch,
    "ChecksumAlgorithm": _checksum,
    "Expires": _moment,
    "ObjectLockRetainUntilDate": _moment,
    "StorageClass": _storage_class,
    "Tagging": _tags,
}


def for_operation(extra: ExtraArgs, s3: Any, operation: str) -> dict[str, Any]:
    """Those of the arguments that an operation of boto's client takes."""
    if not extra:
        return {}
    takes = s3.meta.service_model.operation_model(operation).input_shape.members
    taken = {name: value for name, value in extra.items() if name in takes}
    if operation == "CopyObject" and "Tagging" in taken:
        taken["TaggingDirective"] = "REPLACE"
    return taken


def headers(arguments: ExtraArgs) -> dict[str, str]:
    """The same as they go over the wire."""
    return {HEADERS[name]: _spelled(value) for name, value in arguments.items()}


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return format_datetime(value.astimezone(UTC), usegmt=True)
    return str(value)
