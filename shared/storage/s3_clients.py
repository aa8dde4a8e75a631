"""S3 as the user's AWS configuration describes it: clients of boto, and what a bucket tells of itself.

What the user says, in the environment or in a profile, wins; what Rushes wants of boto holds only where they are
silent. An endpoint of their own is asked in path style unless they want it otherwise: boto's own rule.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    InvalidChecksumConfigError,
    InvalidConfigError,
    InvalidDefaultsMode,
    InvalidRegionError,
    InvalidRetryConfigurationError,
    InvalidS3AddressingStyleError,
    PartialCredentialsError,
    ProfileNotFound,
    UnknownRegionError,
)

from rushes.shared.http import certificate_bundle
from rushes.shared.settings_error import SettingsError

CONNECTIONS = 32
CONNECT_S = 5.0
# boto's own name of an option, the variable that sets it too, and what we want of it: newer default checksums broke R2,
# MinIO-era stores and others (boto3#4392, 2026).
WISHES: Mapping[str, tuple[str, Any]] = {
    "request_checksum_calculation": ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
    "response_checksum_validation": ("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required"),
}
# Which setting is to blame; botocore's texts do not always say.
BLAMED: Mapping[type[Exception], str] = {
    ProfileNotFound: "AWS_PROFILE",
    ConfigParseError: "AWS_CONFIG_FILE",
    InvalidRetryConfigurationError: "AWS_RETRY_MODE",
    InvalidChecksumConfigError: "AWS_REQUEST_CHECKSUM_CALCULATION",
    InvalidDefaultsMode: "AWS_DEFAULTS_MODE",
    InvalidRegionError: "AWS_REGION",
    InvalidS3AddressingStyleError: "addressing_style",
    InvalidConfigError: "AWS_CONFIG_FILE",
    PartialCredentialsError: "AWS_ACCESS_KEY_ID",
}


class S3:
    """Makes clients of one AWS configuration; every client raises SettingsError where that is none."""

    def __init__(self, ca_file: str | None = None) -> None:
        """`ca_file` holds authorities to believe beside those that boto does."""
        self.session = botocore.session.Session()
        self._ca_file = ca_file

    def client(self, region: str | None = None, patience_s: float = 30, tries: int | None = None) -> Any:
        """A client for one region, or for the user's own; each try waits so long for an answer."""
        try:
            return self.session.create_client(
                "s3",
                region_name=region or self._region(),
                verify=self.authorities if self._ca_file else None,
                config=self._config(patience_s, tries),
            )
        except (BotoCoreError, ValueError) as error:
            raise SettingsError(f"settings: {blamed(error)}: {' '.join(str(error).split())}") from None

    @cached_property
    def authorities(self) -> str:
        """The file with all authorities to believe: the user's own, beside those that boto finds.

        Those are AWS_CA_BUNDLE's or the profile's, else REQUESTS_CA_BUNDLE's, else certifi's. Raises SettingsError.
        """
        usual = self.session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or ""
        try:
            return certificate_bundle({"usual": str(usual)}, self._ca_file, ["usual"])
        except OSError as error:
            raise SettingsError(f"settings: AWS_CA_BUNDLE: {error.strerror}: {error.filename}") from None

    def signs_plainly(self) -> bool:
        """Whether an object is put as we put it: no checksum but our own, and Signature Version 4."""
        checksums = self._said("request_checksum_calculation", WISHES["request_checksum_calculation"][0])
        version = self._said_of_s3("signature_version")
        return checksums in (None, "when_required") and version in (None, "s3v4")

    def knows(self, region: str) -> bool:
        """Whether AWS has a region of this name."""
        try:
            return bool(self.session.get_partition_for_region(region))
        except UnknownRegionError:
            return False

    def _region(self) -> str | None:
        """boto reads AWS_DEFAULT_REGION and the profile; every other AWS program reads AWS_REGION too."""
        return None if os.environ.get("AWS_DEFAULT_REGION") else os.environ.get("AWS_REGION") or None

    def _config(self, patience_s: float, tries: int | None) -> Config:
        wishes: dict[str, Any] = {
            name: wish for name, (variable, wish) in WISHES.items() if self._said(name, variable) is None
        }
        if self._said("defaults_mode", "AWS_DEFAULTS_MODE") is None:
            wishes["connect_timeout"] = min(CONNECT_S, patience_s)
        if self._said_of_s3("signature_version") is None:
            wishes["signature_version"] = "s3v4"  # boto's links are of Version 2 otherwise, which most regions refuse
        retries: dict[str, Any] = {
            "mode": None if self._said("retry_mode", "AWS_RETRY_MODE") else "standard",
            "total_max_attempts": tries or (None if self._said("max_attempts", "AWS_MAX_ATTEMPTS") else 3),
        }
        wishes["retries"] = {name: value for name, value in retries.items() if value is not None}
        return Config(read_timeout=patience_s, max_pool_connections=CONNECTIONS, **wishes)

    def _said(self, name: str, variable: str) -> Any:
        return os.environ.get(variable) or self.session.get_scoped_config().get(name)

    def _said_of_s3(self, name: str) -> Any:
        section = self.session.get_scoped_config().get("s3")
        return section.get(name) if isinstance(section, dict) else None


def blamed(error: Exception) -> str:
    """The setting that an error of boto's is about."""
    if isinstance(error, ValueError) and not isinstance(error, BotoCoreError):
        return "AWS_ENDPOINT_URL" if "endpoint" in str(error).lower() else "AWS configuration"
    return next((name for kind, name in BLAMED.items() if isinstance(error, kind)), "AWS configuration")


def s3_client(region: str | None = None, patience_s: float = 30, tries: int | None = None) -> Any:
    """A client of the user's AWS configuration, as it is now."""
    return S3().client(region, patience_s, tries)


# A region that could not be learned is asked for again after so long; nobody waits longer than this for an answer.
ASKED_AGAIN_S, PATIENCE_S = 60.0, 3.0
BUCKETS = 1000
# What a request is answered that was signed for another region than the bucket's.
CORRECTIONS = frozenset({301, 307, 400})


class BucketRegions:
    """In which region each bucket lies: a link that is signed for another is dead. Safe to share between threads."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3
        self._lock = threading.Lock()
        self._known: dict[str, tuple[str | None, float]] = {}

    def region(self, bucket: str) -> str | None:
        """The region; None where the store does not say, or cannot be asked now: then the configured one has to do."""
        known = self._current(bucket)
        if known is None:
            with self._lock:  # who comes meanwhile waits for the same answer
                known = self._current(bucket) or self._learn(bucket)
        return known[0]

    def _current(self, bucket: str) -> tuple[str | None, float] | None:
        known = self._known.get(bucket)
        return known if known and time.monotonic() < known[1] else None

    def _learn(self, bucket: str) -> tuple[str | None, float]:
        if len(self._known) >= BUCKETS:
            self._known.clear()
        region, lasts = self._asked(bucket)
        known = (region, float("inf") if lasts else time.monotonic() + ASKED_AGAIN_S)
        self._known[bucket] = known
        return known

    def _asked(self, bucket: str) -> tuple[str | None, bool]:
        """The region, for HEAD of a bucket tells it even to those who may not enter, and whether that lasts."""
        client, answers = self._s3.client(patience_s=PATIENCE_S, tries=1), []

        def note(response: Any, **_: Any) -> None:
            if response:  # boto asks again in the region that a refusal names; its last answer need not name it
                answers.append((response[0].status_code, response[0].headers.get("x-amz-bucket-region")))

        client.meta.events.register_first("needs-retry.s3.HeadBucket", note)
        with suppress(ClientError, BotoCoreError):
            client.head_bucket(Bucket=bucket)
        region = next((region for _, region in reversed(answers) if region), None)
        # Some stores name a place that is no region to sign for; it is believed where ours was refused.
        corrected = any(status in CORRECTIONS for status, _ in answers)
        if region and (corrected or self._s3.knows(region)):
            return region, True
        return None, bool(answers) and answers[-1][0] < 300


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """What a bucket tells beside its objects; None for what it does not."""

    date: str | None
    """S3's own time, as HTTP writes it."""
    aborts_uploads: bool | None
    """Whether a rule of its lifecycle does away with uploads that nobody completed."""


def bucket_facts(s3: Any, bucket: str) -> BucketFacts:
    """Ask a bucket; raises nothing."""
    try:
        date = _headers(lambda: s3.head_bucket(Bucket=bucket)).get("date")
        return BucketFacts(date, _aborts_uploads(s3, bucket))
    except BotoCoreError:
        return BucketFacts(None, None)


def _headers(call: Callable[[], Any]) -> Mapping[str, str]:
    """The headers of an answer, of a refusal too."""
    try:
        answer = call()
    except ClientError as refusal:
        answer = refusal.response
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _aborts_uploads(s3: Any, bucket: str) -> bool | None:
    try:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", ())
    except ClientError as refusal:
        none = refusal.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration"
        return False if none else None
    enabled = [rule for rule in rules if rule.get("Status") == "Enabled"]
    return any("AbortIncompleteMultipartUpload" in rule for rule in enabled)
