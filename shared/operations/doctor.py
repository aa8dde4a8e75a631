"""`rushes doctor`: finds what is wrong with a setup before it costs a job or money. It shows no secret."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import structlog

from rushes.shared.credentials import HASHED, webhook_secret
from rushes.shared.domain.http_messages import Request
from rushes.shared.http import AnswerLost, HttpClient, NotSent
from rushes.shared.ledger import server_info
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.server_info import Server
from rushes.shared.operations import gateway_checks
from rushes.shared.operations.doctor_trials import try_broker, try_ledger
from rushes.shared.operations.finding import BAD as BAD
from rushes.shared.operations.finding import OK as OK
from rushes.shared.operations.finding import WARN as WARN
from rushes.shared.operations.finding import Finding as Finding
from rushes.shared.services import clock, http_client, load_prices
from rushes.shared.settings import ADMIN, Settings, SettingsError, load
from rushes.shared.storage.bucket import Bucket
from rushes.shared.storage.bucket_probe import ProbeResult, probe_bucket
from rushes.shared.storage.curl_put import ANY_ADDRESS
from rushes.shared.storage.presigned_links import PresignedLinks
from rushes.shared.storage.s3_clients import BucketInfo, BucketRegions, S3ClientFactory, read_bucket_info

log = structlog.get_logger()

REDIS_LEAST = (6, 2)
KEY_CHARS, SECRET_CHARS = 24, 32
WEBHOOK_BYTES = range(24, 65)
# S3 refuses a request whose clock is 15 minutes off; presigned links are dated too.
SKEW_WARN_S, SKEW_BAD_S = 30, 300
# Values of examples, and what a shell leaves when a variable is not set.
PLACEHOLDER = re.compile(r"change[-_]?me|your[-_]|example|placeholder|xxxx|<|>|\$|…|\.\.\.|^(test|secret|key)$", re.I)
KEY_PREFIXES = {"evolink": "sk-", "newapi": "sk-"}
GATEWAY_KEY_CHARS = 16


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Check the settings, Redis and the bucket of an environment; raises nothing."""
    try:
        settings = load(environ)
        load_prices(settings)
    except SettingsError as error:
        problems = str(error).removeprefix("settings: ").split("; ")
        return [Finding(f"settings.{text.partition(':')[0]}", BAD, text, "see deploy/env.example") for text in problems]
    redis = server_info.server(settings.redis_url)
    trials = [] if redis.problem else [*try_ledger(settings.redis_url)]
    is_same = settings.broker_url == settings.redis_url
    broker = [] if is_same and redis.problem else [try_broker(environ)]
    gateways = check_gateways(settings, environ, has_redis=not redis.problem)
    return [*check_settings(settings), *check_redis(redis), *trials, *broker, *gateways, *check_bucket(settings)]


def warn_of_redis(settings: Settings) -> None:
    """Log a warning if the ledger's Redis may lose writes, or evict jobs to free memory."""
    findings = [finding for finding in check_redis(server_info.server(settings.redis_url)) if finding.verdict != OK]
    if problems := [finding.what for finding in findings if finding.name in DATA_LOSS]:
        log.warning("redis may lose jobs", why="; ".join(problems), advice="rushes doctor")


# --- settings


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Check the values of settings."""
    yield _public(settings.public_url)
    yield from (_secret(number, key) for number, key in enumerate(settings.secret_keys, 1))
    yield from (_api_key(name, key) for name, key in settings.api_keys)
    if ADMIN not in {name for name, _ in settings.api_keys}:
        yield Finding(
            "keys.admin",
            WARN,
            "there is no admin key",
            "add admin:… to RUSHES_API_KEYS: only an admin can end a gateway's pause",
        )
    for tenant, secrets in settings.webhook_secrets.items():
        yield from (_webhook(tenant, secret) for secret in secrets)
    yield from (_gateway_key(name, gateway.key) for name, gateway in settings.gateways.items())
    if not settings.gateways:
        yield Finding("gateways", BAD, "no gateway is enabled", "set the key of a gateway, such as EVOLINK_API_KEY")
    if any(network.prefixlen == 0 for network in settings.egress_allow):
        yield Finding(
            "egress", BAD, "RUSHES_EGRESS_ALLOW allows every address", "list only the networks that must be reached"
        )
    if any(network.prefixlen == 0 for network in settings.trusted_proxies.networks):
        advice = "list only the networks of your proxies: now every client can choose its own address"
        yield Finding("trusted_proxies", BAD, "RUSHES_TRUSTED_PROXIES believes every address", advice)
    if proxy := settings.egress_proxy:
        yield Finding(
            "egress.proxy", OK, f"all outgoing calls use {proxy.url}" + (", with a login" if proxy.user else "")
        )
    if settings.ca_file:
        yield Finding("egress.authorities", OK, f"the certificates in {settings.ca_file} are trusted too")


def _public(url: str | None) -> Finding:
    name = "public_url"
    if url is None:
        return Finding(
            name, WARN, "not set: jobs are polled", "set RUSHES_PUBLIC_URL to get callbacks as soon as jobs end"
        )
    parts = urlsplit(url)
    if _is_internal(parts.hostname or "") or parts.query or parts.fragment or "@" in parts.netloc:
        return Finding(name, BAD, "no gateway can reach it", "use a public host name, without user or query")
    if parts.scheme != "https":
        return Finding(name, WARN, "not https: callback tokens are sent in the clear", "put the receiver behind TLS")
    return Finding(name, OK, url)


def _is_internal(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def _secret(number: int, key: str) -> Finding:
    name = f"secret_key.{number}"
    if PLACEHOLDER.search(key):
        return Finding(name, BAD, "it is an example", "RUSHES_SECRET_KEY=$(openssl rand -hex 32)")
    if len(key) < SECRET_CHARS:
        return Finding(
            name, WARN, f"shorter than {SECRET_CHARS} characters", "RUSHES_SECRET_KEY=$(openssl rand -hex 32)"
        )
    return Finding(name, OK, "long enough")


def _api_key(tenant: str, key: str) -> Finding:
    name = f"keys.{tenant}"
    if key.startswith(HASHED):
        return Finding(name, OK, "given as its hash")
    if PLACEHOLDER.search(key):
        return Finding(name, BAD, "it is an example", "openssl rand -hex 32")
    if len(key) < KEY_CHARS:
        return Finding(name, WARN, f"shorter than {KEY_CHARS} characters", "openssl rand -hex 32")
    return Finding(name, OK, "long enough")


def _webhook(tenant: str, secret: str) -> Finding:
    size = len(webhook_secret(secret))
    if size in WEBHOOK_BYTES:
        return Finding(f"webhook_secrets.{tenant}", OK, f"{size} bytes")
    return Finding(
        f"webhook_secrets.{tenant}",
        WARN,
        f"{size} bytes",
        "Standard Webhooks requires 24 to 64 bytes, in base64 after whsec_",
    )


def _gateway_key(gateway: str, key: str) -> Finding:
    name, prefix = f"gateway.{gateway}", KEY_PREFIXES.get(gateway, "")
    if PLACEHOLDER.search(key):
        return Finding(name, BAD, "the key is an example", f"copy the key from {gateway}'s own page")
    if len(key) < GATEWAY_KEY_CHARS or not key.startswith(prefix):
        shape = f"begins with {prefix}" if prefix else f"has {GATEWAY_KEY_CHARS} characters or more"
        return Finding(name, WARN, f"the key looks wrong: a key usually {shape}", "check that all of it was copied")
    return Finding(name, OK, "the key looks right")


# --- Redis


def check_redis(server: Server) -> Iterator[Finding]:
    """Check that Redis keeps what is written."""
    if server.problem:
        yield Finding("redis", BAD, f"not reached: {server.problem}", "check REDIS_URL and the network")
        return
    yield Finding("redis", OK, "reached")
    for check in (_version, _role, _appends, _fsync, _policy, _health):
        yield check(server)
    if server.is_cluster:
        yield Finding("redis.cluster", OK, "the ledger is in one shard of a cluster")
    if server.has_old_names:
        advice = "end all processes of the earlier version before one of this version starts"
        yield Finding("redis.key_names", WARN, "a ledger of an earlier version, which the next start moves", advice)


DATA_LOSS = ("redis.persistence", "redis.fsync", "redis.eviction", "redis.role", "redis.health")
UNKNOWN = "could not be read, as is usual with managed Redis"


def _version(server: Server) -> Finding:
    version = str(server.info.get("redis_version", ""))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not numbers:
        return Finding("redis.version", WARN, UNKNOWN, "Redis 6.2 or later is needed")
    verdict = OK if numbers >= REDIS_LEAST else BAD
    return Finding("redis.version", verdict, version, "" if verdict == OK else "Redis 6.2 or later is needed")


def _role(server: Server) -> Finding:
    role = str(server.info.get("role", "master"))
    if role == "master":
        return Finding("redis.role", OK, "it takes writes")
    return Finding("redis.role", BAD, "it is a replica and takes no writes", "use the address of the primary")


def _appends(server: Server) -> Finding:
    if not server.info:
        return Finding("redis.persistence", WARN, f"appendonly {UNKNOWN}", "make sure that AOF is on")
    if server.appends:
        return Finding("redis.persistence", OK, "appendonly yes")
    return Finding("redis.persistence", BAD, "appendonly no: a crash loses jobs that were paid for", "appendonly yes")


FSYNC = {
    "always": (OK, "appendfsync always", ""),
    "everysec": (WARN, "appendfsync everysec: a crash loses up to a second", "appendfsync always"),
    "no": (BAD, "appendfsync no: a crash loses what the operating system had not written yet", "appendfsync always"),
}


def _fsync(server: Server) -> Finding:
    unknown = (WARN, f"appendfsync {UNKNOWN}", "set `always`, or accept that a crash may lose a second")
    return Finding("redis.fsync", *FSYNC.get(server.config.get("appendfsync", ""), unknown))


def _policy(server: Server) -> Finding:
    policy, advice = server.policy, "maxmemory-policy noeviction"
    if policy is None:
        return Finding("redis.eviction", WARN, f"maxmemory-policy {UNKNOWN}", advice)
    if policy == "noeviction":
        return Finding("redis.eviction", OK, "noeviction")
    verdict = BAD if int(server.info.get("maxmemory", 0)) else WARN  # without maxmemory nothing is evicted
    return Finding("redis.eviction", verdict, f"{policy}: a full Redis evicts jobs", advice)


def _health(server: Server) -> Finding:
    if (
        server.info.get("aof_last_write_status", "ok") != "ok"
        or server.info.get("rdb_last_bgsave_status", "ok") != "ok"
    ):
        return Finding("redis.health", BAD, "its last write to disk failed", "check its disk")
    if int(server.info.get("evicted_keys", 0)):
        return Finding(
            "redis.health",
            BAD,
            f"it has evicted {server.info['evicted_keys']} keys",
            "run rushes audit and look for lost jobs",
        )
    used, limit = int(server.info.get("used_memory", 0)), int(server.info.get("maxmemory", 0))
    if limit and used > 0.7 * limit:
        return Finding("redis.health", WARN, f"its memory is {used / limit:.0%} full", "raise maxmemory")
    return Finding("redis.health", OK, "it writes without errors")


# --- gateways


def check_gateways(settings: Settings, environ: Mapping[str, str], has_redis: bool) -> Iterator[Finding]:
    """Report pauses, and ask each gateway that tells it for the balance."""
    ledger = Ledger(RedisStore(connect(settings.redis_url, timeout_s=2)), settings.policy) if has_redis else None
    if ledger:
        yield from gateway_checks.check_pauses(settings, ledger, clock())
    yield from gateway_checks.check_balances(settings, http_client(environ, settings), ledger, clock())


# --- the bucket


def check_bucket(settings: Settings) -> Iterator[Finding]:
    """Check that archiving works, by operations on an object of this check."""
    s3 = S3ClientFactory(settings.ca_file)
    try:
        client: Any = s3.client(timeout_s=5, max_attempts=1)  # a person waits for it
    except SettingsError as error:
        yield Finding("s3.problem", BAD, str(error).removeprefix("settings: "), "see deploy/env.example")
        return
    region = BucketRegions(s3).region(settings.bucket)
    regional: Any = s3.client(region, timeout_s=5, max_attempts=1)
    bucket = Bucket(lambda: regional, settings.bucket, settings.s3_extra_args)
    results = probe_bucket(
        bucket, settings.prefix, lambda key: _is_fetchable(PresignedLinks(regional).presign(bucket.name, key, 60), s3)
    )
    yield from _trials(results, settings)
    if results.writes:
        facts = read_bucket_info(regional, settings.bucket)
        yield _region(region, client.meta.region_name)
        yield _clock(facts, clock())
        yield _leftovers(facts)


def _is_fetchable(link: str, s3: S3ClientFactory) -> bool:
    """Whether a presigned link works without credentials."""
    request = Request("GET", link)
    with suppress(NotSent, AnswerLost):
        return HttpClient(ANY_ADDRESS, authorities=s3.authorities).send(request, deadline_s=10).status == 200
    return False


def _trials(results: ProbeResult, settings: Settings) -> Iterator[Finding]:
    """The operations that were tried; none follows a write that failed."""
    for name, (operation, need, advice) in TRIALS.items():
        if getattr(results, name):
            yield Finding(f"s3.{name}", OK, f"can {operation}")
        else:
            verdict = BAD if name == "lists" and settings.journal else need
            yield Finding(f"s3.{name}", verdict, f"cannot {operation}", advice)
        if name == "writes" and settings.s3_extra_args:
            yield Finding("s3.extra_args", OK, f"objects are written with {', '.join(settings.s3_extra_args)}")
        if not results.writes:
            yield Finding("s3.problem", BAD, results.problem or "S3 gives no reason", "deploy/iam-policy.json")
            return


POLICY = "grant the rights in deploy/iam-policy.json"
OVERWRITES = "a late archive could overwrite an earlier one: use a store that supports If-None-Match"
TRIALS: Mapping[str, tuple[str, str, str]] = {
    "writes": ("write an object", BAD, POLICY),
    "conditional_put": ("refuse a second write of the same object", BAD, OVERWRITES),
    "conditional_complete": ("complete an upload in parts, and refuse a second one", BAD, OVERWRITES),
    "copies": ("copy it onto itself", WARN, f"{POLICY}: otherwise long clips have no sha256 in their metadata"),
    "reads": ("read it back", BAD, POLICY),
    "metadata": ("read its metadata back", WARN, "without metadata a clip that is archived again is read back whole"),
    "links": (
        "fetch it by a presigned link",
        WARN,
        "callers fetch clips by such links, and gateways fetch inputs: check the bucket's address",
    ),
    "lists": (
        "list objects",
        WARN,
        "grant s3:ListBucket: without it the journal cannot be compared with the ledger, and submits are held at a"
        " first start, after Redis was lost and after it was restarted",
    ),
    "lists_uploads": (
        "list unfinished uploads",
        WARN,
        "grant s3:ListBucketMultipartUploads: otherwise they stay, and cost money, until a lifecycle rule aborts them",
    ),
    "tells_missing": (
        "tell a missing object from one that may not be read",
        WARN,
        "grant s3:ListBucket: otherwise an object that may not be read counts as missing, and is written again",
    ),
    "deletes": ("delete it", WARN, "only this check deletes objects; without the right its object stays in the bucket"),
}


def _region(region: str | None, configured: str | None) -> Finding:
    if region in (None, configured):
        return Finding("s3.region", OK, f"links are signed for {configured}")
    what = f"the bucket is in {region}, not in {configured}: links are signed for {region}"
    return Finding("s3.region", WARN, what, f"set AWS_REGION={region}, and no process has to ask for it at its start")


def _clock(facts: BucketInfo, now: int) -> Finding:
    if not facts.date:
        return Finding("s3.clock", WARN, "S3 does not give its time", "synchronize the clock by NTP")
    skew_s = abs(now / 1000 - parsedate_to_datetime(facts.date).timestamp())
    verdict = BAD if skew_s > SKEW_BAD_S else WARN if skew_s > SKEW_WARN_S else OK
    return Finding(
        "s3.clock",
        verdict,
        f"our clock is {skew_s:.0f} s off S3's",
        "" if verdict == OK else "synchronize it by NTP",
    )


def _leftovers(facts: BucketInfo) -> Finding:
    if facts.aborts_uploads:
        return Finding("s3.lifecycle", OK, "a rule aborts unfinished uploads")
    what = "no rule aborts unfinished uploads" if facts.aborts_uploads is False else f"lifecycle {UNKNOWN}"
    return Finding("s3.lifecycle", WARN, what, "add a rule with AbortIncompleteMultipartUpload after one day")


def format_finding(finding: Finding) -> str:
    """A finding as text, with its advice on a second line."""
    advice = f"\n     → {finding.advice}" if finding.advice else ""
    return f"{finding.verdict:5}{finding.name}: {finding.what}{advice}"


def worst(findings: list[Finding]) -> str:
    """The worst verdict."""
    severity: Callable[[str], int] = (OK, WARN, BAD).index
    return max((finding.verdict for finding in findings), key=severity, default=OK)
