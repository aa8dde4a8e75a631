"""`rushes doctor`: what is wrong with a setup, before it costs a job or money. Nothing here tells a secret."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import structlog

from rushes.shared.credentials import HASHED, webhook_secret
from rushes.shared.domain import gateway_pauses
from rushes.shared.domain.events import Reason
from rushes.shared.domain.http_messages import Request
from rushes.shared.http import AnswerLost, HttpClient, NotSent
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.server_info import Server, server
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.shared.services import clock, load_prices
from rushes.shared.settings import ADMIN, Settings, SettingsError, load
from rushes.shared.storage.bucket import Bucket
from rushes.shared.storage.bucket_probe import ProbeResult, probe_bucket
from rushes.shared.storage.curl_put import ANY_ADDRESS
from rushes.shared.storage.presigned_links import PresignedLinks
from rushes.shared.storage.s3_clients import BucketInfo, BucketRegions, S3ClientFactory, read_bucket_info

log = structlog.get_logger()

OK, WARN, BAD = "ok", "warn", "bad"
REDIS_LEAST = (6, 2)
KEY_CHARS, SECRET_CHARS = 24, 32
WEBHOOK_BYTES = range(24, 65)
# S3 refuses a request whose clock is 15 minutes off; presigned links are dated too.
SKEW_WARN_S, SKEW_BAD_S = 30, 300
# What stands in examples, and what a shell leaves behind where a variable was not set.
PLACEHOLDER = re.compile(r"change[-_]?me|your[-_]|example|placeholder|xxxx|<|>|\$|…|\.\.\.|^(test|secret|key)$", re.I)
BEGINNINGS = {"evolink": "sk-", "newapi": "sk-"}
GATEWAY_KEY_CHARS = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` says what to do where it is not `ok`."""

    name: str
    verdict: str
    what: str
    advice: str = ""


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Look at the settings, Redis and the bucket of an environment; raises nothing."""
    try:
        settings = load(environ)
        load_prices(settings)
    except SettingsError as error:
        told = str(error).removeprefix("settings: ").split("; ")
        return [Finding(f"settings.{one.partition(':')[0]}", BAD, one, "see deploy/env.example") for one in told]
    redis = server(settings.redis_url)
    gateways = [] if redis.problem else of_gateways(settings)
    return [*of_settings(settings), *of_redis(redis), *gateways, *of_bucket(settings)]


def warn_of_redis(settings: Settings) -> None:
    """Log one line where the ledger's Redis would lose writes, or forget jobs to make room."""
    found = [one.what for one in of_redis(server(settings.redis_url)) if one.name in LOSES and one.verdict != OK]
    if found:
        log.warning("redis may lose jobs", why="; ".join(found), advice="rushes doctor")


# --- settings


def of_settings(settings: Settings) -> Iterator[Finding]:
    """Whether what was given is any good."""
    yield _public(settings.public_url)
    yield from (_secret(number, key) for number, key in enumerate(settings.secret_keys, 1))
    yield from (_api_key(name, key) for name, key in settings.api_keys)
    if ADMIN not in {name for name, _ in settings.api_keys}:
        yield Finding("keys.admin", WARN, "no admin key", "give admin:… too: only it ends a gateway's pause")
    for tenant, secrets in settings.webhook_secrets.items():
        yield from (_webhook(tenant, secret) for secret in secrets)
    yield from (_gateway_key(name, gateway.key) for name, gateway in settings.gateways.items())
    if not settings.gateways:
        yield Finding("gateways", BAD, "no gateway is enabled", "give the key of one, such as EVOLINK_API_KEY")
    if any(network.prefixlen == 0 for network in settings.egress_allow):
        yield Finding("egress", BAD, "RUSHES_EGRESS_ALLOW allows every address", "name only what must be reached")
    if proxy := settings.egress_proxy:
        yield Finding("egress.proxy", OK, f"all goes out through {proxy.url}" + (", as a user" if proxy.user else ""))
    if settings.ca_file:
        yield Finding("egress.authorities", OK, f"those of {settings.ca_file} are believed too")


def _public(url: str | None) -> Finding:
    name = "public_url"
    if url is None:
        return Finding(name, WARN, "not set: jobs are polled", "set RUSHES_PUBLIC_URL, and ends are heard of at once")
    parts = urlsplit(url)
    if _inside(parts.hostname or "") or parts.query or parts.fragment or "@" in parts.netloc:
        return Finding(name, BAD, "no gateway can call back to it", "give a public name, with no user or query in it")
    if parts.scheme != "https":
        return Finding(name, WARN, "not https: callback tokens are sent in the clear", "put the receiver behind TLS")
    return Finding(name, OK, url)


def _inside(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def _secret(number: int, key: str) -> Finding:
    name = f"secret_key.{number}"
    if PLACEHOLDER.search(key):
        return Finding(name, BAD, "an example's", "RUSHES_SECRET_KEY=$(openssl rand -hex 32)")
    if len(key) < SECRET_CHARS:
        return Finding(name, WARN, f"under {SECRET_CHARS} characters", "RUSHES_SECRET_KEY=$(openssl rand -hex 32)")
    return Finding(name, OK, "long enough")


def _api_key(tenant: str, key: str) -> Finding:
    name = f"keys.{tenant}"
    if key.startswith(HASHED):
        return Finding(name, OK, "held as its hash")
    if PLACEHOLDER.search(key):
        return Finding(name, BAD, "an example's", "openssl rand -hex 32")
    if len(key) < KEY_CHARS:
        return Finding(name, WARN, f"under {KEY_CHARS} characters", "openssl rand -hex 32")
    return Finding(name, OK, "long enough")


def _webhook(tenant: str, secret: str) -> Finding:
    size = len(webhook_secret(secret))
    if size in WEBHOOK_BYTES:
        return Finding(f"webhook_secrets.{tenant}", OK, f"{size} bytes")
    return Finding(f"webhook_secrets.{tenant}", WARN, f"{size} bytes", "Standard Webhooks wants 24 to 64: whsec_…")


def _gateway_key(gateway: str, key: str) -> Finding:
    name, begins = f"gateway.{gateway}", BEGINNINGS.get(gateway, "")
    if PLACEHOLDER.search(key):
        return Finding(name, BAD, "the key is an example's", f"copy the key from {gateway}'s own page")
    if len(key) < GATEWAY_KEY_CHARS or not key.startswith(begins):
        shape = f"begins with {begins}" if begins else f"has {GATEWAY_KEY_CHARS} characters or more"
        return Finding(name, WARN, f"the key looks odd: one usually {shape}", "was it copied whole?")
    return Finding(name, OK, "the key looks like one")


# --- Redis


def of_redis(found: Server) -> Iterator[Finding]:
    """Whether what is written there stays."""
    if found.problem:
        yield Finding("redis", BAD, f"not reached: {found.problem}", "is REDIS_URL right, and the way there open?")
        return
    yield Finding("redis", OK, "reached")
    for check in (_version, _role, _appends, _fsync, _policy, _health):
        yield check(found)


LOSES = ("redis.persistence", "redis.fsync", "redis.eviction", "redis.role", "redis.health")
UNREAD = "could not be read, as with managed Redis"


def _version(found: Server) -> Finding:
    version = str(found.info.get("redis_version", ""))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not numbers:
        return Finding("redis.version", WARN, UNREAD, "Redis 6.2 or later is needed")
    verdict = OK if numbers >= REDIS_LEAST else BAD
    return Finding("redis.version", verdict, version, "" if verdict == OK else "Redis 6.2 or later is needed")


def _role(found: Server) -> Finding:
    role = str(found.info.get("role", "master"))
    if role == "master":
        return Finding("redis.role", OK, "takes writes")
    return Finding("redis.role", BAD, "is a replica, and takes no writes", "give the address of the primary")


def _appends(found: Server) -> Finding:
    if not found.info:
        return Finding("redis.persistence", WARN, f"appendonly {UNREAD}", "make sure that AOF is on")
    if found.appends:
        return Finding("redis.persistence", OK, "appendonly yes")
    return Finding("redis.persistence", BAD, "appendonly no: a crash forgets jobs that were paid for", "appendonly yes")


FSYNC = {
    "always": (OK, "appendfsync always", ""),
    "everysec": (WARN, "appendfsync everysec: a crash loses up to a second", "appendfsync always"),
    "no": (BAD, "appendfsync no: a crash loses what the system had not written yet", "appendfsync always"),
}


def _fsync(found: Server) -> Finding:
    unread = (WARN, f"appendfsync {UNREAD}", "ask for `always`, or accept to lose a second")
    return Finding("redis.fsync", *FSYNC.get(found.config.get("appendfsync", ""), unread))


def _policy(found: Server) -> Finding:
    policy, advice = found.policy, "maxmemory-policy noeviction"
    if policy is None:
        return Finding("redis.eviction", WARN, f"maxmemory-policy {UNREAD}", advice)
    if policy == "noeviction":
        return Finding("redis.eviction", OK, "noeviction")
    verdict = BAD if int(found.info.get("maxmemory", 0)) else WARN  # without a limit there is nothing to make room for
    return Finding("redis.eviction", verdict, f"{policy}: a full Redis forgets jobs", advice)


def _health(found: Server) -> Finding:
    if found.info.get("aof_last_write_status", "ok") != "ok" or found.info.get("rdb_last_bgsave_status", "ok") != "ok":
        return Finding("redis.health", BAD, "its last write to disk failed", "is its disk full?")
    if int(found.info.get("evicted_keys", 0)):
        return Finding("redis.health", BAD, f"it has evicted {found.info['evicted_keys']} keys", "look for lost jobs")
    used, limit = int(found.info.get("used_memory", 0)), int(found.info.get("maxmemory", 0))
    if limit and used > 0.7 * limit:
        return Finding("redis.health", WARN, f"its memory is {used / limit:.0%} full", "raise maxmemory")
    return Finding("redis.health", OK, "writes well")


# --- gateways


def of_gateways(settings: Settings) -> Iterator[Finding]:
    """Which gateways are paused, why, and what to do about it."""
    ledger, now = Ledger(RedisStore(connect(settings.redis_url, timeout_s=2)), settings.policy), clock()
    for name in settings.gateways:
        known: Mapping[str, str] = {}
        with suppress(LedgerUnavailable):
            known = ledger.gateways.health(name)
        if int(known.get("paused_until", 0)) > now:
            why = known.get("why", "")
            verdict = BAD if why in MENDED_BY_HAND else WARN
            yield Finding(f"gateway.{name}.pause", verdict, f"paused: {why}", gateway_pauses.advice(name, why))


MENDED_BY_HAND = frozenset({Reason.KEY.value, Reason.BALANCE.value, Reason.MOVED.value})


# --- the bucket


def of_bucket(settings: Settings) -> Iterator[Finding]:
    """Whether archiving would work, tried on an object of its own."""
    s3 = S3ClientFactory(settings.ca_file)
    try:
        client: Any = s3.client(timeout_s=5, max_attempts=1)  # somebody is waiting
    except SettingsError as error:
        yield Finding("s3.problem", BAD, str(error).removeprefix("settings: "), "see deploy/env.example")
        return
    region = BucketRegions(s3).region(settings.bucket)
    there = s3.client(region, timeout_s=5, max_attempts=1)
    bucket = Bucket(lambda: there, settings.bucket, settings.s3_extra_args)
    found = probe_bucket(
        bucket, settings.prefix, lambda key: _opens(PresignedLinks(there).presign(bucket.name, key, 60), s3)
    )
    yield from _trials(found, settings)
    if found.writes:
        facts = read_bucket_info(there, settings.bucket)
        yield _region(region, client.meta.region_name)
        yield _clock(facts, clock())
        yield _leftovers(facts)


def _opens(link: str, s3: S3ClientFactory) -> bool:
    """Whether a link gives its object to somebody who has nothing but the link."""
    request = Request("GET", link)
    with suppress(NotSent, AnswerLost):
        return HttpClient(ANY_ADDRESS, authorities=s3.authorities).send(request, deadline_s=10).status == 200
    return False


def _trials(found: ProbeResult, settings: Settings) -> Iterator[Finding]:
    """What was tried, up to a write that did not come off."""
    for name, (did, need, advice) in TRIALS.items():
        verdict = BAD if name == "lists" and settings.journal else need
        finding = Finding(f"s3.{name}", OK, did)
        yield finding if getattr(found, name) else Finding(finding.name, verdict, f"not: {did}", advice)
        if name == "writes" and settings.s3_extra_args:
            yield Finding("s3.extra_args", OK, f"objects are written with {', '.join(settings.s3_extra_args)}")
        if not found.writes:
            yield Finding("s3.problem", BAD, found.problem or "it does not say why", "deploy/iam-policy.json")
            return


POLICY = "grant what deploy/iam-policy.json does"
OVERWRITES = "with this store a late archive could overwrite an earlier one: use one that knows If-None-Match"
TRIALS: Mapping[str, tuple[str, str, str]] = {
    "writes": ("an object is written", BAD, POLICY),
    "conditional_put": ("a second write of the same object is refused", BAD, OVERWRITES),
    "conditional_complete": ("an upload in parts is taken, and a second one refused", BAD, OVERWRITES),
    "copies": ("it is copied onto itself", WARN, f"{POLICY}: long clips stay without sha256 in their metadata"),
    "reads": ("it is read back", BAD, POLICY),
    "metadata": ("its metadata come back", WARN, "without them a clip that is met again is read back whole"),
    "links": (
        "a link to it is fetched",
        WARN,
        "callers read clips by such links, and gateways inputs: is the bucket's address right for them?",
    ),
    "lists": (
        "objects are listed",
        WARN,
        "grant s3:ListBucket: the journal cannot be held against the ledger without it, and until it was, submits are"
        " held at a first start, after a lost Redis and after a restart of it",
    ),
    "lists_uploads": (
        "uploads that were left are listed",
        WARN,
        "grant s3:ListBucketMultipartUploads: they stay, and cost money, until a lifecycle rule takes them",
    ),
    "tells_missing": (
        "an object that is missing is told from one that may not be read",
        WARN,
        "grant s3:ListBucket: what may not be read is taken for missing, and made again where that costs nothing",
    ),
    "deletes": ("it is deleted", WARN, "only this check deletes; without the right its object stays behind"),
}


def _region(region: str | None, configured: str | None) -> Finding:
    if region in (None, configured):
        return Finding("s3.region", OK, f"links are signed for {configured}")
    what = f"the bucket is in {region}, not in {configured}: links are signed for {region}"
    return Finding("s3.region", WARN, what, f"AWS_REGION={region} spares each process a question at its start")


def _clock(facts: BucketInfo, now: int) -> Finding:
    if not facts.date:
        return Finding("s3.clock", WARN, "S3 does not tell its time", "keep the clock by NTP")
    skew_s = abs(now / 1000 - parsedate_to_datetime(facts.date).timestamp())
    verdict = BAD if skew_s > SKEW_BAD_S else WARN if skew_s > SKEW_WARN_S else OK
    return Finding("s3.clock", verdict, f"{skew_s:.0f} s from S3's", "" if verdict == OK else "keep the clock by NTP")


def _leftovers(facts: BucketInfo) -> Finding:
    if facts.aborts_uploads:
        return Finding("s3.lifecycle", OK, "uploads that were left are aborted")
    what = "no rule aborts uploads that were left" if facts.aborts_uploads is False else f"lifecycle {UNREAD}"
    return Finding("s3.lifecycle", WARN, what, "add AbortIncompleteMultipartUpload after a day")


def line(one: Finding) -> str:
    """A finding for people; the advice, where there is one, stands below."""
    return f"{one.verdict:5}{one.name}: {one.what}" + (f"\n     → {one.advice}" if one.advice else "")


def worst(findings: list[Finding]) -> str:
    """The worst of the verdicts."""
    rank: Callable[[str], int] = (OK, WARN, BAD).index
    return max((one.verdict for one in findings), key=rank, default=OK)
