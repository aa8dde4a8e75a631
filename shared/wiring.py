"""The only place that joins the parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared import __version__, logs, spans, tokens
from shared.archive import Archive
from shared.direct import DirectPut
from shared.domain.job import Attempt, Job
from shared.http import Outside, certificate_bundle
from shared.inputs import InputLinks
from shared.intake import Intake
from shared.journal import Journal
from shared.ledger.connection import connect
from shared.ledger.ledger import Ledger
from shared.ledger.redis_store import RedisStore
from shared.providers import PROVIDERS
from shared.providers.base import Access
from shared.providers.prices import PriceTable
from shared.settings import Settings, SettingsError, load

# A request in the receiver fails sooner than the gateway that calls would give up (10 s, PROVIDERS.md): a call to a
# ledger that does not answer is made three times, so it is given up within two seconds.
RECEIVER_TIMEOUT_S, WORKER_TIMEOUT_S = 0.6, 5.0
S3_CONNECTIONS = 32
# Of 5 MiB each, for the clips on their way through all workers of a machine: 16 clips at once stay below 64 MiB.
BUFFERS = 10


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a step or a view needs."""

    settings: Settings
    ledger: Ledger
    outside: Outside
    archive: Archive
    prices: PriceTable
    intake: Intake
    fetchable: Callable[[str], str]
    """An input's address as a gateway can fetch it."""
    now: Callable[[], int]
    """The moment, in ms since the epoch."""
    journal: Journal

    def access(self, provider: str, attempt: Attempt | None = None) -> Access:
        """Where a gateway is and its key; for an attempt as they were when it was made."""
        gateway = self.settings.gateways.get(provider)
        key = gateway.key if gateway else os.environ.get(attempt.key_name if attempt else "", "")
        base_url = attempt.base_url if attempt else (gateway.base_url if gateway else "")
        return Access(base_url, key)

    def callback_url(self, job: Job, provider: str, attempt: int) -> str | None:
        """The address at which this attempt's gateway may call back; None where it does not, or nobody could."""
        if self.settings.public_url is None or not PROVIDERS[provider].calls_back:
            return None
        token = tokens.make(self.settings.secret_keys, provider, job.id, attempt)
        return f"{self.settings.public_url}/callbacks/{provider}/{job.id}/{token}"


def build(environ: Mapping[str, str], ledger_timeout_s: float = WORKER_TIMEOUT_S) -> Services:
    """Join everything; raises SettingsError with one line."""
    settings = load(environ)
    prices = load_prices(settings)
    ledger = Ledger(
        RedisStore(connect(settings.redis_url, ledger_timeout_s)), settings.pace, spans.observed(environ, logs.moved)
    )
    outside = http_client(environ, settings)
    s3 = s3_client()
    buffers = max(2, BUFFERS // settings.worker_processes)
    archive = Archive(s3, settings.bucket, settings.prefix, buffers=buffers, direct=direct_put(s3, settings.bucket))
    links = InputLinks(s3, s3_client, lambda bucket: bucket_region(s3, bucket))
    journal = Journal(archive, settings.journal)
    intake = Intake(settings, ledger, prices, outside, journal.empty)
    return Services(settings, ledger, outside, archive, prices, intake, links, clock, journal)


def http_client(environ: Mapping[str, str], settings: Settings) -> Outside:
    """The way out to gateways, inputs and callers."""
    authorities = certificate_bundle(environ, settings.ca_file)
    return Outside(settings.egress_allow, f"rushes/{__version__}", authorities=authorities, proxy=settings.egress_proxy)


def clock() -> int:
    """The wall clock, in ms since the epoch."""
    return time.time_ns() // 1_000_000


def load_prices(settings: Settings) -> PriceTable:
    """The price table with the user's laid over it."""
    try:
        overlay = Path(settings.prices_file).read_text() if settings.prices_file else None
        return PriceTable.load(overlay)
    except (OSError, ValueError) as error:
        raise SettingsError(f"settings: RUSHES_PRICES_FILE: {error}") from None


def s3_client(region: str | None = None, patience_s: float = 30, tries: int = 3) -> Any:
    """A client that works with AWS and with the stores that speak like it; each try waits so long for an answer."""
    config = Config(
        # Newer default checksums broke R2, MinIO-era stores and others (boto3#4392, 2026).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=patience_s,
        retries={"mode": "standard", "total_max_attempts": tries},
        max_pool_connections=S3_CONNECTIONS,
        s3={"addressing_style": "path"} if os.environ.get("AWS_ENDPOINT_URL_S3") else None,
    )
    return boto3.client("s3", region_name=region, config=config)


def direct_put(s3: Any, bucket: str) -> DirectPut | None:
    """The short way for small objects, where there are credentials to sign with."""
    credentials = boto3.session.Session().get_credentials()
    return DirectPut(s3, credentials, bucket) if credentials else None


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
        date = s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"].get("date")
    except (ClientError, BotoCoreError):
        return BucketFacts(None, None)
    try:
        rules = s3.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", ())
    except ClientError as refusal:
        none = refusal.response.get("Error", {}).get("Code") == "NoSuchLifecycleConfiguration"
        return BucketFacts(date, False if none else None)
    except BotoCoreError:
        return BucketFacts(date, None)
    enabled = [rule for rule in rules if rule.get("Status") == "Enabled"]
    return BucketFacts(date, any("AbortIncompleteMultipartUpload" in rule for rule in enabled))


def bucket_region(s3: Any, bucket: str) -> str | None:
    """Where a bucket lies; S3 tells it even to those who may not enter. None where the store does not say."""
    try:
        answer = s3.head_bucket(Bucket=bucket)
    except ClientError as refusal:
        answer = refusal.response
    except BotoCoreError:
        return None
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region: str | None = headers.get("x-amz-bucket-region")
    return region
