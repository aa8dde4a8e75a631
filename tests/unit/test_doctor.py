"""The doctor: what is wrong is found and told with advice, and no secret is in what is told."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import certifi
import pytest
import redis
import structlog
from redis_server import RedisServer, running

from rushes.deploy.sandbox import s3
from rushes.deploy.sandbox.ports import free_ports
from rushes.shared.domain.counters import day_of
from rushes.shared.domain.events import Reason
from rushes.shared.domain.schedule import Policy
from rushes.shared.ledger import keys
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.server_info import Server, server
from rushes.shared.ledger.shared_clock import wall_clock
from rushes.shared.operations import doctor, storage_checks
from rushes.shared.operations.doctor import BAD, OK, WARN, Finding
from rushes.shared.settings import load
from rushes.shared.storage.s3_clients import BucketInfo

BUCKET = "doctors-clips"
SECRETS = {
    "RUSHES_SECRET_KEY": "0f" * 32,
    "RUSHES_API_KEYS": f"acme:{'1e' * 32},admin:{'2d' * 32}",
    "EVOLINK_API_KEY": "sk-evo-3c3c3c3c3c3c3c3c",
    "AWS_SECRET_ACCESS_KEY": "4b4b4b4b4b4b4b4b",
}
AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    with s3.running(BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def well(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis as deploy/redis.conf has it."""
    with running() as found, redis.Redis.from_url(found.url) as client:
        client.config_set("dir", str(tmp_path_factory.mktemp("redis")))
        client.config_set("appendonly", "yes")
        client.config_set("appendfsync", "always")
        yield found


def environment(redis_url: str, **changes: str) -> dict[str, str]:
    given = {"REDIS_URL": redis_url, "RUSHES_S3_BUCKET": BUCKET, "RUSHES_PUBLIC_URL": "https://rushes.acme.dev"}
    given["RUSHES_EGRESS_ALLOW"] = "127.0.0.0/8"
    return {**given, **SECRETS, **AWS, **changes}


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch, s3_url: str, well: RedisServer) -> Any:
    def examine(**changes: str) -> dict[str, Finding]:
        env = environment(well.url, **{"AWS_ENDPOINT_URL_S3": s3_url, "EVOLINK_BASE_URL": s3_url, **changes})
        for name, value in env.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        return {finding.name: finding for finding in doctor.examine(env)}

    return examine


def test_a_good_setup_is_good(examined: Any) -> None:
    found = examined()

    odd = {name: finding for name, finding in found.items() if finding.verdict != OK}
    assert set(odd) == {"s3.lifecycle"}  # moto's bucket has no rule
    assert {
        "redis.fsync",
        "s3.conditional_put",
        "s3.conditional_complete",
        "s3.links",
        "s3.clock",
        "s3.archive",
        "gateway.evolink",
        "gateway.evolink.reached",
    } < set(found)


def test_no_secret_is_told(examined: Any) -> None:
    told = str(examined(REDIS_URL="redis://user:hunter2@127.0.0.1:1/0"))

    assert "not reached" in told
    assert [value for value in (*SECRETS.values(), "1e1e", "hunter2") if value in told] == []


def test_every_setting_that_is_wrong_is_told(examined: Any) -> None:
    found = examined(REDIS_URL="http://x", PORT="eighty", RUSHES_TRUSTED_PROXIES="10.0.0.0/33")

    assert {name: finding.verdict for name, finding in found.items()} == {
        "settings.REDIS_URL": BAD,
        "settings.PORT": BAD,
        "settings.RUSHES_TRUSTED_PROXIES": BAD,
    }
    assert "/33' does not appear" in found["settings.RUSHES_TRUSTED_PROXIES"].what
    assert "; give CIDRs" in found["settings.RUSHES_TRUSTED_PROXIES"].what


SETTINGS: list[tuple[str, str, str, str]] = [
    ("RUSHES_PUBLIC_URL", "", "public_url", WARN),
    ("RUSHES_PUBLIC_URL", "http://rushes.acme.dev", "public_url", WARN),
    ("RUSHES_PUBLIC_URL", "https://10.0.0.5", "public_url", BAD),
    ("RUSHES_PUBLIC_URL", "https://localhost:8000", "public_url", BAD),
    ("RUSHES_PUBLIC_URL", "https://rushes.acme.dev/?a=b", "public_url", BAD),
    ("RUSHES_SECRET_KEY", "short", "secret_key.1", WARN),
    ("RUSHES_SECRET_KEY", f"{'0f' * 32},change-me", "secret_key.2", BAD),
    ("RUSHES_API_KEYS", f"acme:{'1e' * 32}", "keys.admin", WARN),
    ("RUSHES_API_KEYS", "acme:change-me,admin:k", "keys.acme", BAD),
    ("RUSHES_API_KEYS", "acme:k,admin:l", "keys.acme", WARN),
    ("RUSHES_WEBHOOK_SECRETS", "acme:whsec_c2hvcnQ=", "webhook_secrets.acme", WARN),
    ("EVOLINK_API_KEY", "your-key-here", "gateway.evolink", BAD),
    ("EVOLINK_API_KEY", "3c3c3c3c3c3c3c3c3c3c", "gateway.evolink", WARN),
    ("EVOLINK_API_KEY", "", "gateways", BAD),
    ("RUSHES_EGRESS_ALLOW", "0.0.0.0/0", "egress", BAD),
    ("RUSHES_TRUSTED_PROXIES", "10.0.0.0/8,::/0", "trusted_proxies", BAD),
]


@pytest.mark.parametrize(("name", "value", "finding", "verdict"), SETTINGS)
def test_a_setting_that_is_no_good_is_told_with_advice(name: str, value: str, finding: str, verdict: str) -> None:
    found = {
        finding.name: finding for finding in doctor.check_settings(load(environment("redis://x", **{name: value})))
    }

    assert found[finding].verdict == verdict
    assert found[finding].advice


def test_the_way_out_is_told_without_its_password() -> None:
    settings = environment(
        "redis://x", RUSHES_EGRESS_PROXY="http://me:hush@proxy.acme.dev:3128", RUSHES_CA_FILE=certifi.where()
    )
    found = {finding.name: finding for finding in doctor.check_settings(load(settings))}

    assert found["egress.proxy"].what == "all outgoing calls use http://proxy.acme.dev:3128, with a login"
    assert certifi.where() in found["egress.authorities"].what


# --- Redis


@pytest.fixture
def ill(own_redis: RedisServer) -> Any:
    """What is told of a Redis that is set so."""

    def told(*commands: str) -> dict[str, Finding]:
        with redis.Redis.from_url(own_redis.url) as client:
            for command in commands:
                client.execute_command(*command.split())
        return {finding.name: finding for finding in doctor.check_redis(server(own_redis.url))}

    return told


@pytest.mark.parametrize(
    ("command", "finding", "verdict"),
    [
        ("CONFIG SET appendonly no", "redis.persistence", BAD),
        ("CONFIG SET appendfsync everysec", "redis.fsync", WARN),
        ("CONFIG SET appendfsync no", "redis.fsync", BAD),
        ("CONFIG SET maxmemory-policy allkeys-lru", "redis.eviction", WARN),
        ("REPLICAOF 127.0.0.1 1", "redis.role", BAD),
        ("CONFIG SET zset-max-ziplist-entries 64", "redis.packing", WARN),
        ("CONFIG SET zset-max-ziplist-value 32", "redis.packing", WARN),
    ],
)
def test_a_redis_that_is_set_badly_is_told_with_advice(ill: Any, command: str, finding: str, verdict: str) -> None:
    found = ill(command)[finding]

    assert found.verdict == verdict
    assert found.advice


def test_a_full_redis_that_forgets_is_bad(ill: Any) -> None:
    found = ill("CONFIG SET maxmemory 3mb", "CONFIG SET maxmemory-policy volatile-lru")

    assert found["redis.eviction"].verdict == BAD


def test_what_managed_redis_does_not_tell_is_a_warning(ill: Any) -> None:
    found = ill("ACL SETUSER default on nopass ~* +@all -config")

    assert (found["redis.fsync"].verdict, "could not be read" in found["redis.fsync"].what) == (WARN, True)
    assert found["redis.eviction"].verdict == OK  # INFO tells
    found = {finding.name: finding for finding in doctor.check_redis(Server())}
    assert {finding.verdict for finding in found.values()} == {OK, WARN}


@pytest.mark.parametrize(
    ("info", "finding"),
    [
        ({"redis_version": "5.0.7"}, "redis.version"),
        ({"aof_last_write_status": "err"}, "redis.health"),
        ({"evicted_keys": 3}, "redis.health"),
    ],
)
def test_what_a_redis_tells_of_itself_is_heeded(info: dict[str, Any], finding: str) -> None:
    assert {finding.name: finding.verdict for finding in doctor.check_redis(Server(info=info))}[finding] == BAD


def test_at_the_start_one_line_warns_of_a_redis_that_loses_jobs(own_redis: RedisServer, well: RedisServer) -> None:
    with structlog.testing.capture_logs() as lines:
        doctor.warn_of_redis(load(environment(own_redis.url)))
        doctor.warn_of_redis(load(environment(well.url)))
        doctor.warn_of_redis(load(environment(f"redis://127.0.0.1:{free_ports(1)[0]}")))  # /readyz tells that

    (line,) = lines
    assert (line["log_level"], line["event"]) == ("warning", "redis may lose jobs")
    assert "appendonly no" in line["why"]


# --- the bucket


def test_a_bucket_that_is_not_there_is_told(examined: Any) -> None:
    found = examined(RUSHES_S3_BUCKET="nobodys")

    assert (found["s3.writes"].verdict, found["s3.problem"].verdict) == (BAD, BAD)
    assert "nobodys" in found["s3.problem"].what


def test_a_store_that_overwrites_is_told(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        storage_checks.Bucket, "put", lambda *_, **__: True
    )  # takes every write, whatever its condition

    found = examined()

    assert (found["s3.writes"].verdict, found["s3.conditional_put"].verdict) == (OK, BAD)


@pytest.mark.parametrize(("late_s", "verdict"), [(0, OK), (60, WARN), (3600, BAD)])
def test_a_clock_that_is_off_is_told(late_s: int, verdict: str) -> None:
    facts = BucketInfo("Fri, 20 Nov 2026 19:00:00 GMT", None)
    now = 1_795_201_200_000 + late_s * 1000

    finding = storage_checks._clock(facts, now)
    assert (finding.verdict, f"{late_s} s" in finding.what) == (verdict, True)
    assert storage_checks._clock(BucketInfo("yesterday", None), now).verdict == WARN
    assert wall_clock() > 0


def test_uploads_that_are_left_are_a_hint(examined: Any) -> None:
    assert examined()["s3.lifecycle"].verdict == WARN
    assert storage_checks._leftovers(BucketInfo(None, True)).verdict == OK


# --- why a server is not reached


def test_tls_on_one_side_only_is_told_for_each_server(examined: Any, well: RedisServer, s3_url: str) -> None:
    found = examined(
        REDIS_URL=f"rediss://:hush@localhost:{well.port}/0",
        RUSHES_BROKER_URL=f"amqps://u:hush@localhost:{well.port}//",
        EVOLINK_BASE_URL=s3_url.replace("http://127.0.0.1", "https://localhost"),
        AWS_ENDPOINT_URL_S3=s3_url.replace("http://", "https://"),
    )

    told = {name: finding for name, finding in found.items() if "does not speak TLS on port" in finding.what}
    assert set(told) == {"redis", "broker", "gateway.evolink.reached", "s3.problem"}
    assert all(finding.advice for finding in told.values())
    assert "RUSHES_BROKER_URL" in told["broker"].advice
    assert "EVOLINK_BASE_URL" in told["gateway.evolink.reached"].advice
    assert "hush" not in str(found)


def test_a_password_that_is_wrong_is_no_trouble_of_the_network(examined: Any, well: RedisServer) -> None:
    finding = examined(REDIS_URL=f"redis://nobody:hush@127.0.0.1:{well.port}/0")["redis"]

    assert (finding.verdict, finding.advice) == (BAD, "check user and password in REDIS_URL")
    assert "hush" not in finding.what


def test_a_check_that_breaks_is_a_finding_without_a_secret(examined: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("hush")

    monkeypatch.setattr(doctor, "check_bucket", broken)
    found = examined()

    assert (found["s3.check"].verdict, "RuntimeError" in found["s3.check"].what) == (BAD, True)
    assert "hush" not in str(found)
    assert found["redis"].verdict == OK


# --- from a shell


def test_the_command_tells_all_in_lines_or_json_and_ends_with_1_where_something_is_bad(
    s3_url: str, well: RedisServer
) -> None:
    program = Path(sys.executable).with_name("rushes")
    good = environment(well.url, AWS_ENDPOINT_URL_S3=s3_url, EVOLINK_BASE_URL=s3_url, PATH="/usr/bin:/bin")

    ran = subprocess.run([program, "doctor"], env=good, capture_output=True, text=True, check=False)
    assert (ran.returncode, "ok   redis: reached" in ran.stdout) == (0, True), ran.stderr
    bad = {**good, "REDIS_URL": "redis://127.0.0.1:1/0"}
    ran = subprocess.run([program, "doctor", "--json"], env=bad, capture_output=True, text=True, check=False)
    assert (ran.returncode, '"verdict": "bad"' in ran.stdout) == (1, True), ran.stderr


def test_a_paused_gateway_is_told_with_what_to_do(examined: Any, well: RedisServer) -> None:
    ledger = Ledger(RedisStore(connect(well.url, 5)), Policy())
    ledger.gateways.strike("evolink", Reason.MOVED, None, wall_clock())
    found = examined()["gateway.evolink.pause"]
    ledger.gateways.resume("evolink", ["evolink"])

    assert (found.verdict, found.what) == (BAD, "paused: address_moved")
    assert "EVOLINK_BASE_URL" in found.advice
    assert "gateway.evolink.pause" not in examined()


# --- balances


class Account(BaseHTTPRequestHandler):
    """apimart, asked for the balance of an account."""

    answer: ClassVar[tuple[int, bytes]] = (200, b"{}")
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        status, body = self.answer
        self.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def account() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Account) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        Account.asked.clear()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


BALANCES = [
    (200, b'{"success": true, "remain_balance": 12.5}', OK, "12.5 USD"),
    (200, b'{"success": true, "remain_balance": 0}', BAD, "0 USD"),
    (200, b'{"success": true, "remain_balance": 0, "unlimited_quota": true}', OK, "unlimited"),
    (200, b"{}", WARN, "could not be read: the answer names no balance"),
    (401, b'{"error": {"message": "no such key"}}', WARN, "could not be read: HTTP 401: no such key"),
    (502, b"<html>", WARN, "could not be read: HTTP 502, not JSON"),
]


@pytest.mark.parametrize("redis_url", [None, "redis://127.0.0.1:1/0"])
@pytest.mark.parametrize(("status", "body", "verdict", "what"), BALANCES)
def test_a_balance_is_asked_for(
    examined: Any, account: str, status: int, body: bytes, verdict: str, what: str, redis_url: str | None
) -> None:
    Account.answer = status, body
    key, away = "apimart-key-0123456789", {"REDIS_URL": redis_url} if redis_url else {}
    found = examined(APIMART_API_KEY=key, APIMART_BASE_URL=account, RUSHES_EGRESS_ALLOW="127.0.0.0/8", **away)

    finding = found["gateway.apimart.balance"]
    assert (finding.verdict, finding.what) == (verdict, what)
    assert Account.asked == [("/", None), ("/v1/balance", f"Bearer {key}")]  # its address is called without the key
    assert "gateway.evolink.balance" not in found


def test_a_balance_that_does_not_last_is_a_warning(examined: Any, account: str, well: RedisServer) -> None:
    Account.answer = 200, b'{"success": true, "remain_balance": 1}'
    ledger = Ledger(RedisStore(connect(well.url, 5)), Policy())
    field = {"acme|apimart|actual": 7 * 10**8}
    ledger.store.increase(keys.usage(day_of(wall_clock())), field)
    found = examined(
        APIMART_API_KEY="apimart-key-0123456789", APIMART_BASE_URL=account, RUSHES_EGRESS_ALLOW="127.0.0.0/8"
    )
    ledger.store.forget(keys.usage(day_of(wall_clock())), list(field))

    finding = found["gateway.apimart.balance"]
    assert (finding.verdict, finding.what) == (WARN, "1 USD, for 1 day at this week's rate")
    assert "top it up" in finding.advice


def test_a_gateway_that_is_out_of_reach_is_told(examined: Any) -> None:
    found = examined(
        APIMART_API_KEY="apimart-key-0123456789",
        APIMART_BASE_URL=f"http://127.0.0.1:{free_ports(1)[0]}",
        RUSHES_EGRESS_ALLOW="127.0.0.0/8",
    )
    assert found["gateway.apimart.balance"].verdict == WARN
    assert "not reached" in found["gateway.apimart.balance"].what
