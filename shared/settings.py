"""Reads the settings from the environment. All that are missing or malformed are reported at once, in one line."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from rushes.shared import alert_addresses, credentials, public_url
from rushes.shared.domain.schedule import Policy
from rushes.shared.gateway_settings import AccountKeys, single
from rushes.shared.gateway_settings import GatewaySettings as GatewaySettings
from rushes.shared.http import Proxy, check_certificates
from rushes.shared.ledger import connection
from rushes.shared.ledger.address import SCHEMES, SENTINELS
from rushes.shared.providers import PROVIDERS
from rushes.shared.settings_error import SettingsError as SettingsError
from rushes.shared.storage import extra_args
from rushes.shared.storage.extra_args import ExtraArgs
from rushes.shared.tenants import Tenants
from rushes.shared.trusted_proxies import TrustedProxies

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
ADMIN = "admin"
HASH = re.compile(r"sha256\$[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a process."""

    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    bucket: str
    prefix: str
    s3_extra_args: ExtraArgs
    public_url: str | None
    secret_keys: tuple[str, ...] = field(repr=False)
    api_keys: tuple[tuple[str, str], ...] = field(repr=False)
    trusted_proxies: TrustedProxies
    requests_per_minute: int
    worker_processes: int
    worker_runs_scheduler: bool
    gateways: Mapping[str, GatewaySettings]
    prices_file: str | None
    alert_urls: tuple[str, ...] = field(repr=False)
    egress_allow: tuple[Network, ...]
    egress_proxy: Proxy | None
    ca_file: str | None
    policy: Policy
    callback_confirm: bool
    daily_budget_usd: Decimal | None
    tenants: Tenants
    webhook_secrets: Mapping[str, tuple[str, ...]] = field(repr=False)
    journal: bool
    port: int


class NetworkList(fields.Field[tuple[Network, ...]]):
    """CIDRs, comma separated."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> tuple[Network, ...]:
        try:
            return tuple(ipaddress.ip_network(part, strict=False) for part in parts(value))
        except ValueError as error:
            raise ValidationError(f"{error}; give CIDRs such as 127.0.0.0/8") from None


class Parsed(fields.Field[Any]):
    """A value that a function reads; the text of its ValueError holds no secret."""

    def __init__(self, parse: Callable[[str], Any], **options: Any) -> None:
        super().__init__(**options)
        self._parse = parse

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> Any:
        try:
            return self._parse(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


def check_webhook_secret(value: str) -> None:
    """Check that a `whsec_…` holds a key."""
    try:
        is_key = bool(credentials.webhook_secret(value))
    except ValueError:
        is_key = False
    if not is_key:
        raise ValidationError("give whsec_ and then base64, as the gateway shows it")


def check_certificate_path(path: str) -> None:
    """Check that a file, or a folder of files, holds certificates."""
    try:
        check_certificates(path)
    except ValueError as error:
        raise ValidationError(f"{path} cannot be used: {error}") from None


class Pairs(fields.Field[tuple[tuple[str, str], ...]]):
    """`name:value` pairs, comma separated; the name is a tenant."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> tuple[tuple[str, str], ...]:
        pairs = tuple((name, text) for name, _, text in (part.partition(":") for part in parts(value)))
        if not pairs or not all(TENANT.fullmatch(name) and text for name, text in pairs):
            raise ValidationError("give name:value pairs, comma separated; a name has letters, digits, _ . -")
        return pairs


class Keys(Pairs):
    """`name:key` pairs; a key may be given as its hash.

    A value that only begins like a hash is refused: a shell that expands `$…` would leave `sha256` as the key.
    """

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> tuple[tuple[str, str], ...]:
        pairs = super()._deserialize(value, attr, data, **kwargs)
        if not all(HASH.fullmatch(key) for _, key in pairs if key.lower().startswith("sha256")):
            raise ValidationError("give a hashed key as sha256$ and 64 hex digits in small letters, in single quotes")
        owners: dict[str, str] = {}
        if any(owners.setdefault(credentials.hashed(key), name) != name for name, key in pairs):
            raise ValidationError("two names have the same key; give each its own")
        return pairs


class Secrets(Pairs):
    """`tenant:whsec_…` pairs. A secret that cannot sign is refused here: otherwise only the caller would notice."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> tuple[tuple[str, str], ...]:
        pairs = super()._deserialize(value, attr, data, **kwargs)
        try:
            is_valid = all(credentials.webhook_secret(secret) for _, secret in pairs)
        except ValueError:
            is_valid = False
        if not is_valid:
            raise ValidationError("give tenant:whsec_… pairs, comma separated; base64 follows whsec_")
        return pairs


class Texts(fields.Field[tuple[str, ...]]):
    """Values, comma separated."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **kwargs: Any) -> tuple[str, ...]:
        values = parts(value)
        if not values:
            raise ValidationError("give a value, or several, comma separated")
        return values


def parts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def url_check(*schemes: str) -> Any:
    """A check that a value is an address with one of the schemes."""

    def check(value: str) -> None:
        if value.partition("://")[0] not in schemes or not _has_host(value):
            raise ValidationError(f"give an address that begins with {' or '.join(s + '://' for s in schemes)}")

    return check


def _has_host(value: str) -> bool:
    try:
        address = urlsplit(value)
        return address.port != 0 and bool(address.hostname)
    except ValueError:  # malformed brackets or port
        return False


def check_public_url(value: str) -> None:
    url_check("https", "http")(value)
    try:
        public_url.check_path(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


def check_redis_address(value: str) -> None:
    """Check that redis-py accepts an address; no connection is made."""
    try:
        connection.check(value)
    except ValueError as error:
        raise ValidationError(str(error)) from None


# The transports of kombu 5.6; more may follow after a plus.
BROKER_PATTERN = (
    "(amqps?|pyamqp|librabbitmq|(confluent)?kafka|rediss?|sentinel|unix|sqs|SQS|gcpubsub|azurestoragequeues"
    "|azureservicebus|slmq|SLMQ|mongodb|sqla|sqlalchemy|pgmq|zookeeper|consul|etcd|qpid|pyro|filesystem|memory)"
    r"(\+[\w.+-]+)?://"
)
check_celery_broker = validate.Regexp(
    BROKER_PATTERN, error="give an address that Celery knows, such as amqp://… or redis://…"
)


def check_broker_address(value: str) -> None:
    """Check a Redis address as the ledger's is checked, and another broker's for a transport of kombu."""
    if value.partition("://")[0] in SCHEMES and (";" not in value or value.partition("://")[0] in SENTINELS):
        check_redis_address(value)
    else:
        check_celery_broker(value)


HEADER_SAFE = validate.Regexp(r"[!-~]+$", error="holds a space or another character that cannot be in a key")


POSITIVE = validate.Range(min=0, min_inclusive=False)


def seconds(default: float, name: str) -> fields.Float:
    return fields.Float(load_default=default, data_key=name, validate=POSITIVE)


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Environment(Schema):
    """The variables of CONTRACT.md, each under its own name."""

    class Meta:
        unknown = EXCLUDE

    redis_url = fields.String(required=True, data_key="REDIS_URL", validate=check_redis_address)
    broker_url = fields.String(load_default=None, data_key="RUSHES_BROKER_URL", validate=check_broker_address)
    bucket = fields.String(
        required=True,
        data_key="RUSHES_S3_BUCKET",
        validate=validate.Regexp(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$", error="not a valid bucket name"),
    )
    prefix = fields.String(load_default="", data_key="RUSHES_S3_PREFIX")
    s3_extra_args = Parsed(extra_args.parse, load_default=dict, data_key="RUSHES_S3_EXTRA_ARGS")
    public_url = fields.String(load_default=None, data_key="RUSHES_PUBLIC_URL", validate=check_public_url)
    secret_keys = Texts(required=True, data_key="RUSHES_SECRET_KEY")
    api_keys = Keys(required=True, data_key="RUSHES_API_KEYS")
    trusted_proxies = Parsed(TrustedProxies.parse, load_default=TrustedProxies(), data_key="RUSHES_TRUSTED_PROXIES")
    requests_per_minute = fields.Integer(
        load_default=6000, data_key="RUSHES_REQUESTS_PER_MINUTE", validate=validate.Range(min=1)
    )
    worker_processes = fields.Integer(
        load_default=cores, data_key="RUSHES_WORKER_PROCESSES", validate=validate.Range(min=1)
    )
    worker_runs_scheduler = fields.Boolean(load_default=False, data_key="RUSHES_WORKER_RUNS_SCHEDULER")
    prices_file = fields.String(load_default=None, data_key="RUSHES_PRICES_FILE")
    alert_urls = Texts(load_default=(), data_key="RUSHES_ALERT_URLS")
    egress_allow = NetworkList(load_default=(), data_key="RUSHES_EGRESS_ALLOW")
    egress_proxy = Parsed(Proxy.parse, load_default=None, data_key="RUSHES_EGRESS_PROXY")
    ca_file = fields.String(load_default=None, data_key="RUSHES_CA_FILE", validate=check_certificate_path)
    # Libraries read these themselves. They are checked here, so that a wrong path is found at start and not by a call.
    ssl_cert_file = fields.String(load_default=None, data_key="SSL_CERT_FILE", validate=check_certificate_path)
    requests_ca_bundle = fields.String(
        load_default=None, data_key="REQUESTS_CA_BUNDLE", validate=check_certificate_path
    )
    aws_ca_bundle = fields.String(load_default=None, data_key="AWS_CA_BUNDLE", validate=check_certificate_path)
    poll_first_s = seconds(15, "RUSHES_POLL_FIRST_S")
    poll_max_s = seconds(120, "RUSHES_POLL_MAX_S")
    callback_grace_s = seconds(180, "RUSHES_CALLBACK_GRACE_S")
    job_timeout_s = seconds(86_400, "RUSHES_JOB_TIMEOUT_S")
    result_ttl_s = seconds(86_400, "RUSHES_RESULT_TTL_S")
    retention_s = seconds(604_800, "RUSHES_RETENTION_S")
    erase_after_days = fields.Float(load_default=None, data_key="RUSHES_ERASE_AFTER_DAYS", validate=POSITIVE)
    wait_for_cheapest_s = fields.Float(
        load_default=30, data_key="RUSHES_WAIT_FOR_CHEAPEST_S", validate=validate.Range(min=0)
    )
    callback_confirm = fields.Boolean(load_default=True, data_key="RUSHES_CALLBACK_CONFIRM")
    unconfirmed = fields.String(
        load_default="hold", data_key="RUSHES_UNCONFIRMED", validate=validate.OneOf(["hold", "resubmit"])
    )
    daily_budget_usd = fields.Decimal(load_default=None, data_key="RUSHES_DAILY_BUDGET_USD", validate=POSITIVE)
    tenants_file = fields.String(load_default=None, data_key="RUSHES_TENANTS_FILE")
    webhook_secrets = Secrets(load_default=(), data_key="RUSHES_WEBHOOK_SECRETS")
    journal = fields.Boolean(load_default=True, data_key="RUSHES_JOURNAL")
    s3_endpoint = fields.String(load_default=None, data_key="AWS_ENDPOINT_URL_S3", validate=url_check("https", "http"))
    port = fields.Integer(load_default=8000, data_key="PORT", validate=validate.Range(0, 65535))


# Checked here, and read by boto3 and the HTTP client.
READ_BY_LIBRARIES = ("s3_endpoint", "ssl_cert_file", "requests_ca_bundle", "aws_ca_bundle")


class GatewayEnvironment(Schema):
    """The variables of one gateway, without their prefix."""

    class Meta:
        unknown = EXCLUDE

    key = fields.String(load_default=None, data_key="API_KEY", validate=HEADER_SAFE)
    accounts = AccountKeys(load_default=None, data_key="API_KEYS")
    base_url = fields.String(load_default=None, data_key="BASE_URL", validate=url_check("https", "http"))
    max_in_flight = fields.Integer(load_default=20, data_key="MAX_IN_FLIGHT", validate=validate.Range(min=1))
    submits_per_minute = fields.Integer(load_default=60, data_key="SUBMITS_PER_MINUTE", validate=validate.Range(min=1))
    webhook_secret = fields.String(load_default=None, data_key="WEBHOOK_SECRET", validate=check_webhook_secret)
    quota_per_usd = fields.Decimal(load_default=Decimal(500_000), data_key="QUOTA_PER_USD", validate=POSITIVE)


def load(environ: Mapping[str, str]) -> Settings:
    """The settings of an environment; raises SettingsError. An empty variable counts as unset."""
    variables = {name: value.strip() for name, value in environ.items() if value.strip()}
    problems: dict[str, Any] = {}
    values = _load_schema(Environment(), variables, "", problems)
    gateways = _gateways(variables, problems)
    values["tenants"] = _tenants(values, problems)
    problems.update(
        alert_addresses.problems(values.get("alert_urls", ()), values["tenants"], values.get("egress_allow", ()))
    )
    if problems:
        text = "; ".join(f"{name}: {_line(problem)}" for name, problem in sorted(problems.items()))
        raise SettingsError(f"settings: {text}")
    return _settings(values, gateways)


def _load_schema(schema: Schema, variables: Mapping[str, str], prefix: str, problems: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(schema.load({k.removeprefix(prefix): v for k, v in variables.items() if k.startswith(prefix)}))
    except ValidationError as error:
        problems.update({prefix + str(name): problem for name, problem in dict(error.messages_dict).items()})
        return {}


def _line(problem: Any) -> str:
    return " ".join(map(str, problem)) if isinstance(problem, list) else str(problem)


def _gateways(variables: Mapping[str, str], problems: dict[str, Any]) -> dict[str, GatewaySettings]:
    gateways = {}
    for name, provider in PROVIDERS.items():
        prefix = f"{name.upper()}_"
        values = _load_schema(GatewayEnvironment(), variables, prefix, problems)
        key, accounts = values.get("key"), values.get("accounts")
        if key is None and accounts is None:
            continue
        if key is not None and accounts is not None:
            problems[f"{prefix}API_KEYS"] = f"give this or {prefix}API_KEY, not both"
            continue
        base_url = values["base_url"] or provider.address
        if base_url is None:
            problems[f"{prefix}BASE_URL"] = "required with a key: this gateway has no documented address"
            continue
        secret = values["webhook_secret"] if provider.signs else None
        gateways[name] = GatewaySettings(
            name,
            accounts or single(str(key)),
            base_url,
            values["max_in_flight"],
            values["submits_per_minute"],
            secret,
            values["quota_per_usd"],
            provider.key_name if accounts is None else f"{prefix}API_KEYS",
        )
    return gateways


def _tenants(values: dict[str, Any], problems: dict[str, Any]) -> Tenants:
    path = values.pop("tenants_file", None)
    try:
        return Tenants.load(path, values.get("daily_budget_usd"))
    except (OSError, ValueError) as error:
        problems["RUSHES_TENANTS_FILE"] = str(error) if isinstance(error, OSError) else f"{path}: {error}"
        return Tenants({})


def _settings(values: dict[str, Any], gateways: dict[str, GatewaySettings]) -> Settings:
    names = (
        *("poll_first_s", "poll_max_s", "callback_grace_s", "job_timeout_s", "result_ttl_s", "retention_s"),
        "wait_for_cheapest_s",
    )
    durations_s = {name: values.pop(name) for name in names}
    resubmits, erase_days = values.pop("unconfirmed") == "resubmit", values.pop("erase_after_days")
    policy = Policy(**durations_s, resubmit_unconfirmed=resubmits, erase_after_s=erase_days and erase_days * 86_400)
    secrets: dict[str, tuple[str, ...]] = {}
    for tenant, secret in values.pop("webhook_secrets"):
        secrets[tenant] = (*secrets.get(tenant, ()), secret)
    for name in READ_BY_LIBRARIES:
        del values[name]
    values["broker_url"] = values["broker_url"] or values["redis_url"]
    values["public_url"] = (values["public_url"] or "").rstrip("/") or None
    return Settings(**values, policy=policy, gateways=gateways, webhook_secrets=secrets)
