"""Builds the parts of a process from its settings and connects them; the only place that does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rushes.shared import __version__, logs, tracing
from rushes.shared import credentials as credentials_module
from rushes.shared.domain.job import Attempt, Job
from rushes.shared.gateway_settings import AccountMissing as AccountMissing
from rushes.shared.http import HttpClient, certificate_bundle
from rushes.shared.intake.intake import Intake
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.old_names import UpgradingStore
from rushes.shared.ledger.shared_clock import SharedClock
from rushes.shared.providers import PROVIDERS
from rushes.shared.providers.base import Access
from rushes.shared.providers.prices import PriceTable
from rushes.shared.settings import Settings, SettingsError, load
from rushes.shared.storage.archive import Archive
from rushes.shared.storage.curl_put import CurlPut
from rushes.shared.storage.extra_args import ONLY_BOTO
from rushes.shared.storage.journal import Journal
from rushes.shared.storage.presigned_links import PresignedLinks
from rushes.shared.storage.s3_clients import BucketRegions, S3ClientFactory

# A gateway's callback waits at most 10 s (PROVIDERS.md), so the receiver gives up sooner: it calls a ledger that does
# not answer three times, which takes under two seconds.
RECEIVER_TIMEOUT_S, WORKER_TIMEOUT_S = 0.6, 5.0
# Upload buffers of 5 MiB each, shared by all worker processes of a machine: 16 clips at once stay below 64 MiB, their
# connections over TLS included.
BUFFERS = 8


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that steps and views need."""

    settings: Settings
    ledger: Ledger
    http_client: HttpClient
    archive: Archive
    prices: PriceTable
    intake: Intake
    fetchable_url: Callable[[str], str]
    """The URL at which a gateway can fetch an input; an `s3://` address is presigned."""
    now: Callable[[], int]
    """The time, in ms since the epoch."""
    journal: Journal

    def access(self, provider: str, attempt: Attempt | None = None) -> Access:
        """An attempt's own address and key, which a changed setting does not change; raises AccountMissing.

        Without an attempt only the address: enough to read what the gateway says, and no call can be made with it.
        """
        gateway = self.settings.gateways.get(provider)
        if attempt is None:
            return Access(gateway.base_url, "", gateway.quota_per_usd) if gateway else Access("", "")
        if gateway is None:
            raise AccountMissing(provider, attempt.account)
        return gateway.access(gateway.account(attempt.account), attempt.base_url)

    def callback_url(self, job: Job, provider: str, attempt: int) -> str | None:
        """The address for this attempt's callbacks; None if the gateway makes none there, or we have no address."""
        if self.settings.public_url is None or not PROVIDERS[provider].can_call(self.settings.public_url):
            return None
        token = self.callback_token(job, provider, attempt)
        return f"{self.settings.public_url}/callbacks/{provider}/{job.id}/{token}"

    def callback_token(self, job: Job, provider: str, attempt: int) -> str:
        """What the callbacks of this attempt are known by; it stands at the end of their address."""
        return credentials_module.make_token(self.settings.secret_keys, provider, job.id, attempt)


def build(environ: Mapping[str, str], ledger_timeout_s: float = WORKER_TIMEOUT_S) -> Services:
    """Build everything; raises SettingsError with one line."""
    settings = load(environ)
    prices = load_prices(settings)
    ledger = Ledger(
        UpgradingStore(connect(settings.redis_url, ledger_timeout_s)),
        settings.policy,
        tracing.move_observer(environ, logs.log_move),
    )
    client = http_client(environ, settings)
    s3 = S3ClientFactory(settings.ca_file)
    links = PresignedLinks(s3.client(), s3.client, BucketRegions(s3).region)
    archive = archive_over(s3, links, settings)
    journal = Journal(archive, settings.journal)
    intake = Intake(settings, ledger, prices, client, journal.is_empty)
    now = SharedClock(ledger.store.time_ms).now
    return Services(settings, ledger, client, archive, prices, intake, links.fetchable_url, now, journal)


def archive_over(s3: S3ClientFactory, links: PresignedLinks, settings: Settings) -> Archive:
    """The archive for these settings."""
    extra = settings.s3_extra_args
    return Archive(
        links.default_client,
        settings.bucket,
        settings.prefix,
        buffers=max(2, BUFFERS // settings.worker_processes),
        curl_put=curl_put(s3, links, settings.bucket) if extra.keys().isdisjoint(ONLY_BOTO) else None,
        links=links,
        extra=extra,
    )


def curl_put(s3: S3ClientFactory, links: PresignedLinks, bucket: str) -> CurlPut | None:
    """Direct S3 puts for small objects and parts; None if the settings need boto3's way, or no credentials are set."""
    credentials = s3.session.get_credentials() if s3.allows_curl_put() else None
    return CurlPut(lambda: links.client(bucket), credentials, bucket, s3.authorities) if credentials else None


def http_client(environ: Mapping[str, str], settings: Settings) -> HttpClient:
    """The HTTP client for gateways, inputs and callbacks of callers."""
    authorities = certificate_bundle(environ, settings.ca_file)
    return HttpClient(
        settings.egress_allow, f"rushes/{__version__}", authorities=authorities, proxy=settings.egress_proxy
    )


def load_prices(settings: Settings) -> PriceTable:
    """The built-in price table with the user's overlay; raises SettingsError."""
    try:
        overlay = Path(settings.prices_file).read_text() if settings.prices_file else None
        return PriceTable.load(overlay)
    except (OSError, ValueError) as error:
        raise SettingsError(f"settings: RUSHES_PRICES_FILE: {error}") from None
