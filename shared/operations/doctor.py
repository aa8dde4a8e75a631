"""`rushes doctor`: finds what is wrong with a setup before it costs a job or money. It shows no secret."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urlsplit

import structlog

from rushes.shared.credentials import HASHED, webhook_secret
from rushes.shared.gateway_settings import Account
from rushes.shared.http import certificate_bundle
from rushes.shared.ledger import server_info
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.server_info import Server
from rushes.shared.ledger.shared_clock import wall_clock
from rushes.shared.operations import gateway_checks
from rushes.shared.operations.connection_diagnosis import Diagnosis
from rushes.shared.operations.doctor_trials import diagnose_server, try_broker, try_ledger
from rushes.shared.operations.finding import BAD as BAD
from rushes.shared.operations.finding import OK as OK
from rushes.shared.operations.finding import WARN as WARN
from rushes.shared.operations.finding import Finding as Finding
from rushes.shared.operations.storage_checks import check_bucket
from rushes.shared.services import http_client, load_prices
from rushes.shared.settings import ADMIN, Settings, SettingsError, load

log = structlog.get_logger()

# Before each setting in the line of a SettingsError; a problem may hold a semicolon itself.
SETTING = re.compile(r"(?:^settings:|;) (?=[A-Z][A-Za-z0-9_ ]*: )")
REDIS_LEAST = (6, 2)
KEY_CHARS, SECRET_CHARS = 24, 32
WEBHOOK_BYTES = range(24, 65)
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
        return [
            Finding(f"settings.{name}", BAD, problem, "see deploy/env.example")
            for name, _, problem in (line.partition(": ") for line in SETTING.split(str(error))[1:])
        ]
    return [
        *_checked("settings", lambda: check_settings(settings)),
        *_checked("redis", lambda: _examine_redis(settings, environ)),
        *_checked("s3", lambda: check_bucket(settings)),
    ]


def _examine_redis(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What depends on Redis being reached: it, the broker, and what the ledger knows of the gateways."""
    redis = server_info.server(settings.redis_url)
    yield from check_redis(redis, diagnose_server(settings.redis_url) if redis.problem else None)
    if not redis.problem:
        yield from try_ledger(settings.redis_url)
    if settings.broker_url != settings.redis_url or not redis.problem:
        yield try_broker(environ, settings.broker_url)
    yield from _checked("gateways", lambda: check_gateways(settings, environ, has_redis=not redis.problem))


def _checked(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check. One that breaks is a finding itself, without the error's text: it may hold a secret."""
    try:
        yield from check()
    except Exception as error:
        advice = "report it as a bug of Rushes; what was not checked may be wrong"
        yield Finding(f"{name}.check", BAD, f"the check itself broke: {type(error).__name__}", advice)


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
    yield from _gateways(settings)
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


def _gateways(settings: Settings) -> Iterator[Finding]:
    for gateway in settings.gateways.values():
        yield from (_gateway_key(gateway.name, account) for account in gateway.accounts)
        if not gateway.open_accounts:
            advice = f"unset {gateway.key_name} once its last job has ended"
            yield Finding(f"gateway.{gateway.name}.drain", WARN, "takes no new jobs: each account is to go", advice)
    if not settings.gateways:
        yield Finding("gateways", BAD, "no gateway is enabled", "set the key of a gateway, such as EVOLINK_API_KEY")


def _gateway_key(gateway: str, account: Account) -> Finding:
    key, prefix = account.key, KEY_PREFIXES.get(gateway, "")
    name = gateway_checks.finding_name(gateway, account.name)
    if PLACEHOLDER.search(key):
        return Finding(name, BAD, "the key is an example", f"copy the key from {gateway}'s own page")
    if len(key) < GATEWAY_KEY_CHARS or not key.startswith(prefix):
        shape = f"begins with {prefix}" if prefix else f"has {GATEWAY_KEY_CHARS} characters or more"
        return Finding(name, WARN, f"the key looks wrong: a key usually {shape}", "check that all of it was copied")
    return Finding(name, OK, "the key looks right")


# --- Redis


def check_redis(server: Server, diagnosis: Diagnosis | None = None) -> Iterator[Finding]:
    """Check that Redis keeps what is written; `diagnosis` says why it was not reached."""
    if diagnosis:
        yield Finding("redis", BAD, f"not reached: {diagnosis.text}", diagnosis.advice)
        return
    if server.problem:
        is_login = server.problem.startswith(LOGIN_ERRORS)
        advice = "check user and password in REDIS_URL" if is_login else "check REDIS_URL and the network"
        yield Finding("redis", BAD, f"{'refuses' if is_login else 'not reached'}: {server.problem}", advice)
        return
    yield Finding("redis", OK, "reached")
    for check in (_version, _role, _appends, _fsync, _policy, _health, _packing):
        yield check(server)
    if server.is_cluster:
        yield Finding("redis.cluster", OK, "the ledger is in one shard of a cluster")
    if server.has_old_names:
        advice = "end all processes of the earlier version before one of this version starts"
        yield Finding("redis.key_names", WARN, "a ledger of an earlier version, which the next start moves", advice)


LOGIN_ERRORS = ("AuthenticationError", "NoPermissionError", "AuthorizationError")
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


def _packing(server: Server) -> Finding:
    if server.packs_leaves:
        return Finding("redis.packing", OK, "small sorted sets are kept packed")
    what = "small sorted sets are not kept packed: the list of ended jobs takes four times the memory"
    return Finding("redis.packing", WARN, what, "leave zset-max-listpack-entries at 128 and …-value at 64, or more")


# --- gateways


def check_gateways(settings: Settings, environ: Mapping[str, str], has_redis: bool) -> Iterator[Finding]:
    """Report pauses, and ask each gateway that tells it for the balance."""
    ledger = Ledger(RedisStore(connect(settings.redis_url, timeout_s=2)), settings.policy) if has_redis else None
    if ledger:
        yield from gateway_checks.check_pauses(settings, ledger, wall_clock())
        yield from gateway_checks.check_accounts(settings, ledger)
    client, authorities = http_client(environ, settings), certificate_bundle(environ, settings.ca_file)
    yield from gateway_checks.check_reach(settings, client, authorities)
    yield from gateway_checks.check_balances(settings, client, ledger, wall_clock())


def format_finding(finding: Finding) -> str:
    """A finding as text, with its advice on a second line."""
    advice = f"\n     → {finding.advice}" if finding.advice else ""
    return f"{finding.verdict:5}{finding.name}: {finding.what}{advice}"


def worst(findings: list[Finding]) -> str:
    """The worst verdict."""
    severity: Callable[[str], int] = (OK, WARN, BAD).index
    return max((finding.verdict for finding in findings), key=severity, default=OK)
