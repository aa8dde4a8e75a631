"""What boto raises, in our words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

# Answers of these may be others a moment later; any other refusal stays what it is.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class ArchiveUnavailable(Exception):
    """S3 did not do it: try again later; the text says whether bucket, credentials or the way there is at fault."""

    transient = True
    """False where S3 answered, and will answer the same again."""


class Taken(ArchiveUnavailable):
    """Something stands at this key already."""


class Conflict(ArchiveUnavailable):
    """Somebody is writing the same key at this moment."""


class Missing(ArchiveUnavailable):
    """Nothing stands at this key."""


class Denied(ArchiveUnavailable):
    """The credentials may not do this.

    To those who may not list a bucket S3 says the same of a key at which nothing stands: where nothing need stand,
    it means that there is none, as far as we may see.
    """


KINDS: Mapping[str, type[ArchiveUnavailable]] = {
    "PreconditionFailed": Taken,
    "NoSuchUpload": Taken,  # a Complete whose answer was lost, and boto asked again
    "ConditionalRequestConflict": Conflict,
    "NoSuchKey": Missing,
    "404": Missing,  # HEAD has no body to tell more
    "AccessDenied": Denied,
    "403": Denied,  # or wrong credentials: HEAD has no body to tell
}
REASONS = {
    "AccessDenied": "the credentials may not do this in bucket {bucket!r}",
    "403": "the credentials may not do this in bucket {bucket!r}",
    "NoSuchBucket": "bucket {bucket!r} does not exist",
    "404": "bucket {bucket!r} does not exist, or not this object in it",
    "InvalidAccessKeyId": "the access key is not known there",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
}


@contextmanager
def translated(bucket: str) -> Iterator[None]:
    """Turn what boto raises into ArchiveUnavailable."""
    try:
        yield
    except ClientError as refusal:
        raise _refused(refusal, bucket) from refusal
    except (BotoCoreError, ResponseParserError) as failure:
        raise ArchiveUnavailable(f"S3 was not reached ({failure})") from failure


def _refused(refusal: ClientError, bucket: str) -> ArchiveUnavailable:
    answer: Mapping[str, Any] = refusal.response
    code = answer.get("Error", {}).get("Code", "")
    reason = REASONS.get(code, "S3 refused").format(bucket=bucket)
    error = KINDS.get(code, ArchiveUnavailable)(f"{reason} ({refusal})")
    error.transient = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) in TRANSIENT
    return error
