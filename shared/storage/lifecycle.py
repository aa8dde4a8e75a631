"""The lifecycle rules that the bucket should have: what no process of ours is there to clear away."""

from __future__ import annotations

from math import ceil
from typing import Any

# The auditor aborts uploads of clips after a day; this is for those that it may not list.
ABORT_DAYS = 2
# No recovery reads further back than a job can live, which is days.
JOURNAL_DAYS = 30
# A version that was replaced or deleted, where Rushes may not delete it itself.
NONCURRENT_DAYS = 1


def rules(prefix: str, erase_after_days: float | None) -> dict[str, Any]:
    """The configuration for `aws s3api put-bucket-lifecycle-configuration`.

    With `erase_after_days` all of a job expires a day later, its manifest too: also of jobs that had left Redis before
    that was set, which nothing else erases.
    """
    expire_days = None if erase_after_days is None else ceil(erase_after_days) + 1
    return {
        "Rules": [
            _rule("rushes-jobs", f"{prefix}jobs/", expire_days),
            _rule("rushes-inputs", f"{prefix}inputs/", expire_days),
            _rule("rushes-journal", f"{prefix}journal/", JOURNAL_DAYS),
        ]
    }


def _rule(name: str, prefix: str, expire_days: int | None) -> dict[str, Any]:
    # S3 takes away the delete marker that is left alone either in a rule with days, by itself, or in one without.
    expiration = {"ExpiredObjectDeleteMarker": True} if expire_days is None else {"Days": expire_days}
    return {
        "ID": name,
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": expiration,
        "NoncurrentVersionExpiration": {"NoncurrentDays": NONCURRENT_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS},
    }
