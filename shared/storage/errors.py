"""The storage errors, and how boto's errors become them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

# A retry may succeed after these statuses; any other refusal will be repeated.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class ArchiveUnavailable(Exception):
    """S3 failed or refused: try again later. The text says whether bucket, credentials or network is at fault."""

    transient = True
    """False if S3 refused and will refuse again."""


class AlreadyExists(ArchiveUnavailable):
    """There is an object at this key already."""


class Conflict(ArchiveUnavailable):
    """Another writer is writing the same key at this moment."""


class Missing(ArchiveUnavailable):
    """There is no object at this key."""


class Denied(ArchiveUnavailable):
    """The credentials may not do this.

    Without the right to list the bucket, S3 gives the same answer for a key without an object. So where an object need
    not exist, Denied counts as "none that the credentials may see".
    """


class NotOffered(ArchiveUnavailable):
    """The store does not have this operation."""


KINDS: Mapping[str, type[ArchiveUnavailable]] = {
    "PreconditionFailed": AlreadyExists,
    "NoSuchUpload": AlreadyExists,  # boto repeated a CompleteMultipartUpload after a lost response
    "ConditionalRequestConflict": Conflict,
    "NoSuchKey": Missing,
    "404": Missing,  # from HEAD, which has no body with a code
    "AccessDenied": Denied,
    "403": Denied,  # from HEAD; it may mean wrong credentials too
}
# Stores name what they lack by different codes: NotImplemented, MethodNotAllowed, UnsupportedOperation and others.
NOT_OFFERED_STATUSES = frozenset({405, 501})
NOT_OFFERED_CODE = re.compile(r"NotImplemented|NotAllowed|NotSupported|Unsupported", re.I)
REASONS = {
    "AccessDenied": "the credentials may not do this in bucket {bucket!r}",
    "403": "the credentials may not do this in bucket {bucket!r}",
    "NoSuchBucket": "bucket {bucket!r} does not exist",
    "404": "bucket {bucket!r} does not exist, or not this object in it",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
}


@contextmanager
def translate_errors(bucket: str) -> Iterator[None]:
    """Turn boto's errors into ArchiveUnavailable and its subclasses."""
    try:
        yield
    except ClientError as refusal:
        raise _translate(refusal, bucket) from refusal
    except (BotoCoreError, ResponseParserError) as failure:
        raise ArchiveUnavailable(f"S3 was not reached ({failure})") from failure


def _translate(refusal: ClientError, bucket: str) -> ArchiveUnavailable:
    response: Mapping[str, Any] = refusal.response
    code = response.get("Error", {}).get("Code", "")
    reason = REASONS.get(code, "S3 refused").format(bucket=bucket)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
    is_lacking = status in NOT_OFFERED_STATUSES or NOT_OFFERED_CODE.search(code)
    error = KINDS.get(code, NotOffered if is_lacking else ArchiveUnavailable)(f"{reason} ({refusal})")
    error.transient = status in TRANSIENT
    return error
