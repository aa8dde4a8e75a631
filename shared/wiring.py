"""The only place that joins the parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from shared import __version__, tokens
from shared.archive import Archive
from shared.domain.job import Attempt, Job
from shared.http import Outside
from shared.intake import Intake
from shared.ledger.ledger import Ledger
from shared.ledger.redis_store import RedisStore, connect
from shared.providers import PROVIDERS
from shared.providers.base import Access
from shared.providers.prices import PriceTable
from shared.settings import Settings, SettingsError, load

# A request in the receiver fails sooner than the gateway that calls would give up (10 s, PROVIDERS.md).
RECEIVER_TIMEOUT_S, WORKER_TIMEOUT_S = 1.5, 5.0
S3_CONNECTIONS = 32
# SigV4 links live at most seven days; a gateway may take a day before it fetches.
INPUT_LIFE_S = 86_400


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a step or a view needs."""

    settings: Settings
    ledger: Ledger
    outside: Outside
    archive: Archive
    prices: PriceTable
    intake: Intake
    now: Callable[[], int]
    """The moment, in ms since the epoch."""

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

    def presign_input(self, url: str) -> str:
        """An input as a gateway can fetch it: an `s3://` one becomes a presigned link that outlives the job's wait."""
        if not url.startswith("s3://"):
            return url
        parts = urlsplit(url)
        return self.archive.presign_other(parts.netloc, url.removeprefix(f"s3://{parts.netloc}/"), INPUT_LIFE_S)


def build(environ: Mapping[str, str], ledger_timeout_s: float = WORKER_TIMEOUT_S) -> Services:
    """Join everything; raises SettingsError with one line."""
    settings = load(environ)
    prices = load_prices(settings)
    ledger = Ledger(RedisStore(connect(settings.redis_url, ledger_timeout_s)), settings.pace)
    outside = Outside(settings.egress_allow, f"rushes/{__version__}")
    archive = Archive(s3_client(), settings.bucket, settings.prefix)
    return Services(settings, ledger, outside, archive, prices, Intake(settings, ledger, prices, outside), clock)


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


def s3_client() -> Any:
    """A client that works with AWS and with the stores that speak like it."""
    config = Config(
        # Newer default checksums broke R2, MinIO-era stores and others (boto3#4392, 2026).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=S3_CONNECTIONS,
        s3={"addressing_style": "path"} if os.environ.get("AWS_ENDPOINT_URL_S3") else None,
    )
    return boto3.client("s3", config=config)
