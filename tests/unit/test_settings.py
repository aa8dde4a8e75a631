"""Settings are read once and whole: what is missing or malformed is told at once, each by its name."""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import certifi
import pytest

from rushes.shared import settings
from rushes.shared.domain.schedule import Policy
from rushes.shared.gateway_settings import single
from rushes.shared.http import Proxy
from rushes.shared.providers import PROVIDERS
from rushes.shared.trusted_proxies import TrustedProxies

LEAST = {
    "REDIS_URL": "redis://localhost:6379/0",
    "RUSHES_S3_BUCKET": "clips",
    "RUSHES_SECRET_KEY": "secret",
    "RUSHES_API_KEYS": "acme:key-of-acme",
}


def loaded(**changes: str) -> settings.Settings:
    return settings.load({**LEAST, **changes})


def problem(environ: dict[str, str]) -> str:
    """The one line that is told of an environment."""
    with pytest.raises(settings.SettingsError) as told:
        settings.load(environ)
    line = str(told.value)
    assert "\n" not in line
    return line


# --- what is missing


def test_everything_that_is_missing_is_told_in_one_line() -> None:
    line = problem({})

    assert [name for name in LEAST if name not in line] == []
    assert line.startswith("settings: ")


@pytest.mark.parametrize("name", LEAST)
@pytest.mark.parametrize("value", [None, "", "   "])
def test_each_required_setting_is_missed_alone(name: str, value: str | None) -> None:
    environ = {n: v for n, v in {**LEAST, name: value}.items() if v is not None}

    line = problem(environ)

    assert [n for n in LEAST if n in line] == [name]


def test_the_least_that_is_given_is_enough_and_the_rest_is_the_contracts() -> None:
    held = loaded()

    assert held.policy == Policy(15, 120, 180, 86_400, 86_400, 604_800, resubmit_unconfirmed=False)
    assert (held.prefix, held.public_url, held.prices_file, held.daily_budget_usd) == ("", None, None, None)
    assert (held.egress_allow, dict(held.gateways), dict(held.webhook_secrets)) == ((), {}, {})
    assert (held.callback_confirm, held.port, held.broker_url) == (True, 8000, LEAST["REDIS_URL"])
    assert (held.secret_keys, held.api_keys) == (("secret",), (("acme", "key-of-acme"),))


def test_a_setting_that_is_left_empty_is_unset() -> None:
    assert loaded(RUSHES_PUBLIC_URL="", RUSHES_POLL_FIRST_S=" ", EVOLINK_API_KEY="", PORT="") == loaded()


def test_what_is_not_ours_is_not_looked_at() -> None:
    assert loaded(PATH="/bin", RUSHES_UNHEARD_OF="1", EVOLINK_COLOUR="red", HOME="\ud800") == loaded()


# --- what is malformed

HASH_OF_K = "sha256$" + hashlib.sha256(b"k").hexdigest()
MALFORMED: list[tuple[str, str]] = [
    *[("REDIS_URL", value) for value in ("localhost:6379", "http://localhost", "redis", "redis://", "amqp://x")],
    *[("REDIS_URL", value) for value in ("redis://h:port/0", "redis://h:99999/0", "redis://[::1/0", "REDIS://h")],
    *[("REDIS_URL", value) for value in ("sentinel:///main", "sentinel://h:1,:2/main", "sentinel://h:x/main")],
    *[
        (name, value)
        for name in ("REDIS_URL", "RUSHES_BROKER_URL")
        for value in (
            *("redis://:s3cr3t/x@h/0", "redis://:s3cr3t#x@h/0", "redis://:s3cr3t?x@h/0", "redis://:1?s3cr3t=@h/0"),
            *("redis://:1/s3cr3t@h/0", "redis://:1#s3cr3t@h/0", "sentinel://:s3cr3t/x@h/main", "redis://:s3cr3t@h:x"),
            *("redis://h:0", "redis://h:65536", "redis://h:-1", "redis://[::1", "redis://h]:1", "redis://:s3cr3t@"),
            *("redis://h/main", "redis://h?db=x", "redis://h?db=-1", "sentinel://h/main/x", "sentinel://h/0/main"),
            *("redis://h?family=0", "redis://h?tls", "redis://h?retry=3", "redis://h?max_connections=5"),
            *("redis://h?socket_timeout=0", "redis://h?socket_timeout=nan", "redis://h?socket_connect_timeout=soon"),
            *("redis://h?client_name=a%20b", "redis://h?health_check_interval=-1", "redis://h?ssl_cert_reqs=none"),
            *("rediss://h?ssl_cert_reqs=maybe", "rediss://h?ssl_ca_certs=/none", "rediss://h?ssl_min_version=one"),
            *("rediss://h?ssl_certfile=/none", "rediss://h?ssl_keyfile=/none", "rediss://h?ssl_ciphers=none-such"),
            *("sentinel://h/main?sentinel_db=x", "sentinel://h/main?sentinel_color=red", "sentinel://h/main?color=red"),
            *("unix://h", "unix://", "unix:///s?ssl=true", "unix:///s?db=x", "unix:///s?socket_keepalive=1"),
        )
    ],
    *[("RUSHES_BROKER_URL", value) for value in ("localhost", "amqp", "://x", "5672")],
    *[("RUSHES_S3_BUCKET", value) for value in ("ab", "x" * 256)],
    *[("RUSHES_PUBLIC_URL", value) for value in ("rushes.example", "//rushes.example", "ftp://x", "https://")],
    *[("RUSHES_PUBLIC_URL", value) for value in ("https://[", "https:///path", "https://x:y", "https://:443")],
    *[("RUSHES_PUBLIC_URL", value) for value in ("https://x/v1", "https://x/jobs/rushes/")],
    *[("RUSHES_TRUSTED_PROXIES", value) for value in ("proxy.internal", "1,10.0.0.0/8", "99", "10.0.0.0/33")],
    *[("AWS_ENDPOINT_URL_S3", value) for value in ("localhost:9000", "s3.example", "https://", "ftp://x", "http://[")],
    *[("RUSHES_SECRET_KEY", value) for value in (",", " , ,")],
    *[("RUSHES_API_KEYS", value) for value in ("key", ":", "acme:", ":key", "acme:k,other", "a b:k", "ä:k", ",")],
    ("RUSHES_API_KEYS", "x" * 65 + ":k"),
    ("RUSHES_API_KEYS", "a|b:k"),
    *[("RUSHES_API_KEYS", value) for value in ("a:k,b:k", f"a:k,b:{HASH_OF_K}", f"a:{HASH_OF_K},b:{HASH_OF_K}")],
    *[("RUSHES_BROKER_URL", value) for value in ("foo://x", "redis", "http://x", "amqp:x")],
    *[("RUSHES_EGRESS_ALLOW", value) for value in ("localhost", "127.0.0.1/33", "127/8", "::/129", "10.0.0.0-9")],
    *[
        (name, value)
        for name in (
            *("RUSHES_POLL_FIRST_S", "RUSHES_POLL_MAX_S", "RUSHES_CALLBACK_GRACE_S"),
            *("RUSHES_JOB_TIMEOUT_S", "RUSHES_RESULT_TTL_S", "RUSHES_RETENTION_S"),
        )
        for value in ("soon", "-1", "0", "nan", "inf", "1,5", "10s")
    ],
    *[("RUSHES_WAIT_FOR_CHEAPEST_S", value) for value in ("soon", "-1", "nan", "inf", "1,5", "10s")],
    *[("RUSHES_ALERT_URLS", value) for value in ("hooks.slack.com", "http://hooks.slack.com/s3cr3t", ",", "https://")],
    *[("RUSHES_ALERT_URLS", f"https://hooks.example/,https://{host}/") for host in ("127.0.0.1", "localhost", "[::1]")],
    *[
        ("RUSHES_ALERT_URLS", value)
        for value in ("https://169.254.169.254/", "https://h:8080/", "https://h/" + "x" * 2048)
    ],
    *[("RUSHES_CALLBACK_CONFIRM", value) for value in ("maybe", "2", "wahr")],
    ("RUSHES_WORKER_RUNS_SCHEDULER", "here"),
    *[("RUSHES_UNCONFIRMED", value) for value in ("Hold", "retry", "true")],
    *[("RUSHES_DAILY_BUDGET_USD", value) for value in ("0", "-5", "much", "NaN", "Infinity", "$5")],
    *[("RUSHES_WEBHOOK_SECRETS", value) for value in ("whsec_MTIz", "acme:", ":whsec_MTIz", ",")],
    *[
        ("RUSHES_EGRESS_PROXY", value)
        for value in ("proxy:3128", "socks5://p:1", "http://p", "http://p:1/path", "http://[")
    ],
    *[
        (name, value)
        for name in ("RUSHES_CA_FILE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
        for value in ("/nowhere.pem", __file__)
    ],
    *[("PORT", value) for value in ("eighty", "-1", "65536", "80.5", "0x50")],
    *[(f"{name.upper()}_MAX_IN_FLIGHT", value) for name in PROVIDERS for value in ("0", "-1", "many", "1.5")],
    *[(f"{name.upper()}_SUBMITS_PER_MINUTE", value) for name in PROVIDERS for value in ("0", "-1", "many")],
    *[(f"{name.upper()}_BASE_URL", value) for name in PROVIDERS for value in ("api.example", "ftp://x", "https://")],
]


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_what_is_malformed_is_told_by_its_name(name: str, value: str) -> None:
    line = problem({**LEAST, name: value})

    assert "s3cr3t" not in line
    assert re.findall(r"[A-Z][A-Z0-9_]{3,}(?=: )", line) == [name]


def test_missing_and_malformed_are_told_together() -> None:
    line = problem({"REDIS_URL": "x", "PORT": "y", "EVOLINK_MAX_IN_FLIGHT": "z", "NEWAPI_API_KEY": "k"})

    names = ["EVOLINK_MAX_IN_FLIGHT", "NEWAPI_BASE_URL", "PORT", "REDIS_URL", "RUSHES_API_KEYS", "RUSHES_S3_BUCKET"]
    assert re.findall(r"[A-Z][A-Z0-9_]{3,}(?=: )", line) == [*names, "RUSHES_SECRET_KEY"]


def test_no_secret_is_in_the_line_or_in_what_is_printed() -> None:
    wrong = {"RUSHES_API_KEYS": "a b:s3cr3t", "REDIS_URL": "x://:s3cr3t@h", "RUSHES_EGRESS_PROXY": "http://u:s3cr3t@h"}
    line = problem({**LEAST, **wrong, "PORT": "y"})
    held = loaded(
        REDIS_URL="redis://:s3cr3t@h:1/0",
        RUSHES_BROKER_URL="amqp://u:s3cr3t@h",
        RUSHES_SECRET_KEY="s3cr3t",
        RUSHES_API_KEYS="a:s3cr3t",
        EVOLINK_API_KEY="s3cr3t",
        RUSHES_WEBHOOK_SECRETS="a:whsec_s3cr3t++",
        RUSHES_EGRESS_PROXY="http://s3cr3t:s3cr3t@proxy.example:3128",
    )

    assert "s3cr3t" not in line
    assert "s3cr3t" not in repr(held)


# --- what is well formed

WELL_FORMED: list[tuple[str, str, str, Any]] = [
    *[
        ("REDIS_URL", value, "redis_url", value)
        for value in (
            "rediss://user:word@redis.example:6380/2",
            "sentinel://a.example:26379,b.example:26379/main/1",
            "sentinel://user:word@a.example:26379/main",
            "sentinel://a.example,[::1]:5/main",
            "redis://:p%40ss%2Fw%23d%3F@redis.example/0",
            "unix:///run/redis.sock?db=1",
            "redis://[::1]:6379/0",
            "redis:///0",
            "redis://redis.example//1/",
        )
    ],
    *[("RUSHES_BROKER_URL", value, "broker_url", value) for value in ("amqp://u:p@h//", "sqs://", "memory://")],
    *[
        ("RUSHES_BROKER_URL", value, "broker_url", value)
        for value in (
            "amqp://a;amqp://b",
            "redis://a/1;redis://b/1",
            "sentinel://a;sentinel://b/1",
            "redis+socket:///s",
        )
    ],
    ("RUSHES_S3_PREFIX", "video/", "prefix", "video/"),
    ("RUSHES_PUBLIC_URL", "https://rushes.example/", "public_url", "https://rushes.example"),
    ("RUSHES_PUBLIC_URL", "http://127.0.0.1:8000/in//", "public_url", "http://127.0.0.1:8000/in"),
    ("RUSHES_TRUSTED_PROXIES", "2", "trusted_proxies", TrustedProxies(count=2)),
    ("RUSHES_TRUSTED_PROXIES", "10.0.0.9/8", "trusted_proxies", TrustedProxies((ip_network("10.0.0.0/8"),))),
    ("RUSHES_SECRET_KEY", "new, old ,", "secret_keys", ("new", "old")),
    ("RUSHES_API_KEYS", "a:k1, a:k2,b-c_d.e:k:3", "api_keys", (("a", "k1"), ("a", "k2"), ("b-c_d.e", "k:3"))),
    ("RUSHES_EGRESS_ALLOW", "127.0.0.0/8, ::1", "egress_allow", (ip_network("127.0.0.0/8"), ip_network("::1/128"))),
    ("RUSHES_EGRESS_ALLOW", "10.0.0.9/8", "egress_allow", (ip_network("10.0.0.0/8"),)),
    ("RUSHES_EGRESS_PROXY", "https://u:a%40b@p:443", "egress_proxy", Proxy("https://p:443", "u", "a@b")),
    (
        "RUSHES_ALERT_URLS",
        "https://a.example/x, https://b.example:8443",
        "alert_urls",
        ("https://a.example/x", "https://b.example:8443"),
    ),
    ("RUSHES_CA_FILE", certifi.where(), "ca_file", certifi.where()),
    ("RUSHES_CALLBACK_CONFIRM", "false", "callback_confirm", False),
    ("RUSHES_CALLBACK_CONFIRM", "0", "callback_confirm", False),
    ("RUSHES_CALLBACK_CONFIRM", "true", "callback_confirm", True),
    ("RUSHES_WORKER_RUNS_SCHEDULER", "true", "worker_runs_scheduler", True),
    ("RUSHES_DAILY_BUDGET_USD", "12.50", "daily_budget_usd", Decimal("12.50")),
    ("RUSHES_WEBHOOK_SECRETS", "a:whsec_MTIz,a:whsec_NDU2", "webhook_secrets", {"a": ("whsec_MTIz", "whsec_NDU2")}),
    ("RUSHES_PRICES_FILE", "/etc/prices.toml", "prices_file", "/etc/prices.toml"),
    ("PORT", " 8080 ", "port", 8080),
]


@pytest.mark.parametrize(("name", "value", "field", "held"), WELL_FORMED)
def test_what_is_well_formed_is_held(name: str, value: str, field: str, held: Any) -> None:
    assert getattr(loaded(**{name: value}), field) == held


def test_a_mistake_in_the_file_of_tenants_names_file_and_field(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text("[tenant.acme]\nshares = 2")
    with pytest.raises(settings.SettingsError) as refused:
        loaded(RUSHES_TENANTS_FILE=str(path))
    assert str(refused.value).startswith(f"settings: RUSHES_TENANTS_FILE: {path}: tenant.acme.shares: ")
    with pytest.raises(settings.SettingsError, match=r"RUSHES_TENANTS_FILE: .*No such file"):
        loaded(RUSHES_TENANTS_FILE=str(tmp_path / "none.toml"))


def test_a_tenants_address_for_alerts_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text('[tenant.acme]\nalert_urls = ["https://127.0.0.1/s3cr3t"]')
    with pytest.raises(settings.SettingsError, match=r"RUSHES_TENANTS_FILE: tenant\.acme\.alert_urls: ") as refused:
        loaded(RUSHES_TENANTS_FILE=str(path))
    assert "s3cr3t" not in str(refused.value)


def test_an_alert_may_go_to_a_network_that_is_allowed() -> None:
    held = loaded(RUSHES_ALERT_URLS="http://127.0.0.1:9/", RUSHES_EGRESS_ALLOW="127.0.0.0/8")
    assert held.alert_urls == ("http://127.0.0.1:9/",)


def test_patience_is_given_in_seconds() -> None:
    held = loaded(RUSHES_POLL_FIRST_S="0.5", RUSHES_JOB_TIMEOUT_S="60", RUSHES_UNCONFIRMED="resubmit")

    assert (held.policy.poll_first_s, held.policy.job_timeout_s, held.policy.resubmit_unconfirmed) == (0.5, 60, True)
    assert held.policy.wait_for_cheapest_s == 30


def test_a_wait_for_the_cheapest_gateway_may_be_none() -> None:
    assert loaded(RUSHES_WAIT_FOR_CHEAPEST_S="0").policy.wait_for_cheapest_s == 0


# --- gateways


def test_a_gateway_is_enabled_by_its_key() -> None:
    held = loaded(EVOLINK_API_KEY="k", APIMART_MAX_IN_FLIGHT="5")

    assert list(held.gateways) == ["evolink"]
    gateway = held.gateways["evolink"]
    assert (gateway.accounts, gateway.base_url) == (single("k"), "https://api.evolink.ai")
    assert (gateway.max_in_flight, gateway.submits_per_minute) == (20, 60)


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_gateway_has_its_own_settings(name: str) -> None:
    before = name.upper()
    held = loaded(
        **{
            f"{before}_API_KEY": "k",
            f"{before}_BASE_URL": "http://127.0.0.1:9100/x",
            f"{before}_MAX_IN_FLIGHT": "3",
            f"{before}_SUBMITS_PER_MINUTE": "7",
        }
    )

    gateway = held.gateways[name]
    assert (gateway.name, gateway.accounts, gateway.base_url) == (name, single("k"), "http://127.0.0.1:9100/x")
    assert (gateway.max_in_flight, gateway.submits_per_minute) == (3, 7)


def test_a_gateway_without_an_address_of_its_own_needs_one() -> None:
    assert "NEWAPI_BASE_URL" in problem({**LEAST, "NEWAPI_API_KEY": "k"})
    assert list(loaded(NEWAPI_API_KEY="k", NEWAPI_BASE_URL="https://newapi.example").gateways) == ["newapi"]
