"""`RUSHES_S3_EXTRA_ARGS`: arguments for every object that is written, by the names of boto's ExtraArgs."""

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
# Requests with these need a checksum header, which only boto sends.
ONLY_BOTO = frozenset({"ChecksumAlgorithm", "ObjectLockLegalHoldStatus", "ObjectLockMode", "ObjectLockRetainUntilDate"})
PRINTABLE = re.compile(r"[!-~]([ -~]*[!-~])?")
# boto needs another library (awscrt) for the others, which is not installed.
CHECKSUMS = frozenset({"CRC32", "SHA1", "SHA256"})
# Storage classes whose objects cannot be read at once. Rushes must: for links, for a clip that is there already, and
# after a lost Redis.
ARCHIVED_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def parse(text: str) -> dict[str, Any]:
    """Parse and check the arguments in a JSON object; raises ValueError with the name of a bad one."""
    try:
        arguments = json.loads(text)
    except ValueError:
        raise ValueError('not JSON; give an object such as {"ServerSideEncryption": "aws:kms"}') from None
    if not isinstance(arguments, dict):
        raise ValueError('give a JSON object such as {"ServerSideEncryption": "aws:kms"}')
    return {name: _check(name, value) for name, value in arguments.items()}


def _check(name: str, value: Any) -> Any:
    if name not in HEADERS:
        raise ValueError(f"{name} cannot be given here; these can: {', '.join(HEADERS)}")
    check: Callable[[str, Any], Any] = CHECKS.get(name, _check_text)
    return check(name, value)


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not PRINTABLE.fullmatch(value):
        raise ValueError(f"{name}: give a text of printable ASCII characters")
    return value


def _check_boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name}: give true or false")
    return value


def _check_time(name: str, value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: give a moment such as 2030-01-01T00:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _check_tags(name: str, value: Any) -> str:
    text = _check_text(name, value)
    try:
        parse_qsl(text, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise ValueError(f"{name}: give tags as key=value&key=value") from None
    return text


def _check_checksum(name: str, value: Any) -> str:
    if value not in CHECKSUMS:
        raise ValueError(f"{name}: one of {', '.join(sorted(CHECKSUMS))}")
    return str(value)


def _check_storage_class(name: str, value: Any) -> str:
    if value in ARCHIVED_CLASSES:
        raise ValueError(
            f"{name}: objects in {value} cannot be read at once; give a class that can, or a lifecycle rule"
        )
    return _check_text(name, value)


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "BucketKeyEnabled": _check_boolean,
    "ChecksumAlgorithm": _check_checksum,
    "Expires": _check_time,
    "ObjectLockRetainUntilDate": _check_time,
    "StorageClass": _check_storage_class,
    "Tagging": _check_tags,
}


def for_operation(extra: ExtraArgs, s3: Any, operation: str) -> dict[str, Any]:
    """Return the arguments that this operation of boto's client accepts."""
    if not extra:
        return {}
    accepted = s3.meta.service_model.operation_model(operation).input_shape.members
    arguments = {name: value for name, value in extra.items() if name in accepted}
    if operation == "CopyObject" and "Tagging" in arguments:
        arguments["TaggingDirective"] = "REPLACE"
    return arguments


def headers(arguments: ExtraArgs) -> dict[str, str]:
    """Return the arguments as HTTP headers."""
    return {HEADERS[name]: _header_value(value) for name, value in arguments.items()}


def _header_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return format_datetime(value.astimezone(UTC), usegmt=True)
    return str(value)
