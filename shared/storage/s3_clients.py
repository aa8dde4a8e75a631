"""S3 by the user's AWS configuration: boto clients, and what a bucket reveals about itself.

The user's settings, in the environment or in a profile, win; Rushes' defaults apply only where there are none. A custom
endpoint is addressed in path style unless configured otherwise: boto's own rule.
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
from rushes.shared.storage import model_files

CONNECTIONS = 32
CONNECT_S = 5.0
# By boto's name of the option: the variable that also sets it, and Rushes' default. boto's newer default checksums
# broke R2, older MinIO and other stores (boto3#4392, 2026).
DEFAULTS: Mapping[str, tuple[str, Any]] = {
    "request_checksum_calculation": ("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"),
    "response_checksum_validation": ("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required"),
}
# Which setting causes an error; botocore's texts do not always name it.
SETTING_BY_ERROR: Mapping[type[Exception], str] = {
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


class S3ClientFactory:
    """Creates boto clients from one AWS configuration."""

    def __init__(self, ca_file: str | None = None) -> None:
        """`ca_file` holds certificate authorities to trust in addition to boto's."""
        self.session = session = botocore.session.Session()
        session.lazy_register_component(
            "data_loader", lambda: model_files.loader(session.get_config_variable("data_path"))
        )
        self._ca_file = ca_file

    def client(self, region: str | None = None, timeout_s: float = 30, max_attempts: int | None = None) -> Any:
        """Create a client for a region, or for the configured one; each attempt waits `timeout_s` for a response.

        Raises SettingsError if the AWS configuration is invalid.
        """
        try:
            return self.session.create_client(
                "s3",
                region_name=region or self._region(),
                verify=self.authorities if self._ca_file else None,
                config=self._config(timeout_s, max_attempts),
            )
        except (BotoCoreError, ValueError) as error:
            raise SettingsError(f"settings: {setting_of(error)}: {' '.join(str(error).split())}") from None

    @cached_property
    def authorities(self) -> str:
        """The path of a file with all trusted authorities: boto's and those of `ca_file`.

        boto's are AWS_CA_BUNDLE's or the profile's, else REQUESTS_CA_BUNDLE's, else certifi's. Raises SettingsError.
        """
        bundle = self.session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE") or ""
        try:
            return certificate_bundle({"bundle": str(bundle)}, self._ca_file, ["bundle"])
        except OSError as error:
            raise SettingsError(f"settings: AWS_CA_BUNDLE: {error.strerror}: {error.filename}") from None

    def allows_curl_put(self) -> bool:
        """Whether the configuration allows what CurlPut sends: no extra checksum, and Signature Version 4."""
        checksums = self._configured("request_checksum_calculation", DEFAULTS["request_checksum_calculation"][0])
        version = self._configured_for_s3("signature_version")
        return checksums in (None, "when_required") and version in (None, "s3v4")

    def is_aws_region(self, region: str) -> bool:
        """Whether AWS has a region of this name."""
        try:
            return bool(self.session.get_partition_for_region(region))
        except UnknownRegionError:
            return False

    def _region(self) -> str | None:
        """AWS_REGION, which boto ignores and every other AWS program reads; None if boto has a region by itself."""
        return None if os.environ.get("AWS_DEFAULT_REGION") else os.environ.get("AWS_REGION") or None

    def _config(self, timeout_s: float, max_attempts: int | None) -> Config:
        options: dict[str, Any] = {
            name: value for name, (variable, value) in DEFAULTS.items() if self._configured(name, variable) is None
        }
        if self._configured("defaults_mode", "AWS_DEFAULTS_MODE") is None:
            options["connect_timeout"] = min(CONNECT_S, timeout_s)
        if self._configured_for_s3("signature_version") is None:
            options["signature_version"] = "s3v4"  # else boto signs links by Version 2, which most regions refuse
        retries: dict[str, Any] = {
            "mode": None if self._configured("retry_mode", "AWS_RETRY_MODE") else "standard",
            "total_max_attempts": max_attempts or (None if self._configured("max_attempts", "AWS_MAX_ATTEMPTS") else 3),
        }
        options["retries"] = {name: value for name, value in retries.items() if value is not None}
        return Config(read_timeout=timeout_s, max_pool_connections=CONNECTIONS, **options)

    def _configured(self, name: str, variable: str) -> Any:
        return os.environ.get(variable) or self.session.get_scoped_config().get(name)

    def _configured_for_s3(self, name: str) -> Any:
        section = self.session.get_scoped_config().get("s3")
        return section.get(name) if isinstance(section, dict) else None


def setting_of(error: Exception) -> str:
    """Return the name of the setting that an error of boto is about."""
    if isinstance(error, ValueError) and not isinstance(error, BotoCoreError):
        return "AWS_ENDPOINT_URL" if "endpoint" in str(error).lower() else "AWS configuration"
    return next((name for kind, name in SETTING_BY_ERROR.items() if isinstance(error, kind)), "AWS configuration")


def s3_client(region: str | None = None, timeout_s: float = 30, max_attempts: int | None = None) -> Any:
    """Create a client from the AWS configuration as it is now."""
    return S3ClientFactory().client(region, timeout_s, max_attempts)


# An unknown region is asked for again after RETRY_AFTER_S; a caller waits at most TIMEOUT_S for S3.
RETRY_AFTER_S, TIMEOUT_S = 60.0, 3.0
MAX_BUCKETS = 1000
# Statuses of a response to a request that was signed for another region than the bucket's.
WRONG_REGION_STATUSES = frozenset({301, 307, 400})


class BucketRegions:
    """Finds each bucket's region: a link signed for another region does not work. Safe to share between threads."""

    def __init__(self, s3: S3ClientFactory) -> None:
        self._s3 = s3
        self._lock = threading.Lock()
        self._cache: dict[str, tuple[str | None, float]] = {}

    def region(self, bucket: str) -> str | None:
        """Return the region; None if the store does not say, or does not respond now: use the configured one then."""
        entry = self._cached_region(bucket)
        if entry is None:
            with self._lock:  # concurrent callers wait for the same response
                entry = self._cached_region(bucket) or self._learn(bucket)
        return entry[0]

    def _cached_region(self, bucket: str) -> tuple[str | None, float] | None:
        entry = self._cache.get(bucket)
        return entry if entry and time.monotonic() < entry[1] else None

    def _learn(self, bucket: str) -> tuple[str | None, float]:
        if len(self._cache) >= MAX_BUCKETS:
            self._cache.clear()
        region, is_final = self._ask_bucket(bucket)
        entry = (region, float("inf") if is_final else time.monotonic() + RETRY_AFTER_S)
        self._cache[bucket] = entry
        return entry

    def _ask_bucket(self, bucket: str) -> tuple[str | None, bool]:
        """The region, and whether that is final. HEAD of a bucket names it even without the right to read."""
        client, responses = self._s3.client(timeout_s=TIMEOUT_S, max_attempts=1), []

        def add_response(response: Any, **_: Any) -> None:
            if response:  # boto retries in the region that a refusal names; the last response may not name it
                responses.append((response[0].status_code, response[0].headers.get("x-amz-bucket-region")))

        client.meta.events.register_first("needs-retry.s3.HeadBucket", add_response)
        with suppress(ClientError, BotoCoreError):
            client.head_bucket(Bucket=bucket)
        region = next((region for _, region in reversed(responses) if region), None)
        # Some stores (OSS, COS) name a place that is no region to sign for. An unknown name counts only if the
        # configured region was refused.
        was_refused = any(status in WRONG_REGION_STATUSES for status, _ in responses)
        if region and (was_refused or self._s3.is_aws_region(region)):
            return region, True
        return None, bool(responses) and responses[-1][0] < 300


@dataclass(frozen=True, slots=True)
class BucketInfo:
    """What a bucket reveals besides its objects; None for what it does not."""

    date: str | None
    """S3's clock, as the Date header writes it."""
    aborts_uploads: bool | None
    """Whether a lifecycle rule removes unfinished multipart uploads."""


def read_bucket_info(s3: Any, bucket: str) -> BucketInfo:
    """Read the clock and the lifecycle rules of a bucket; raises nothing."""
    try:
        date = _headers(lambda: s3.head_bucket(Bucket=bucket)).get("date")
        return BucketInfo(date, _aborts_uploads(s3, bucket))
    except BotoCoreError:
        return BucketInfo(None, None)


def _headers(call: Callable[[], Any]) -> Mapping[str, str]:
    """The headers of a response, also of a refusal."""
    try:
        response = call()
    except ClientError as refusal:
        response = refusal.response
    headers: Mapping[str, str] = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers


def _aborts_uploads(s3: Any, bucket: str) -> bool | None:
    try:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", ())
    except ClientError as refusal:
        has_no_rules = refusal.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration"
        return False if has_no_rules else None
    enabled = [rule for rule in rules if rule.get("Status") == "Enabled"]
    return any("AbortIncompleteMultipartUpload" in rule for rule in enabled)
