"""Each spelling of a Redis address: the ledger and Celery both log in, against real servers and real Sentinels."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import real_server
import redis
import redis_server
from celery import Celery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from factories import POLICY, job
from patience import PATIENCE_S, wait_until
from receiver_steps import AWS, KEYS, TEXT, environment
from redis_server import Certificates, RedisServer

from rushes.shared import settings
from rushes.shared.domain.job import Job
from rushes.shared.ledger.connection import connect
from rushes.shared.ledger.ledger import Ledger
from rushes.shared.ledger.redis_store import RedisStore
from rushes.shared.ledger.store import LedgerUnavailable
from rushes.worker import broker

PASSWORD, SENTINELS_PASSWORD = "p@ss/w#d?;,", "another:one"
ENCODED, SENTINELS_ENCODED = "p%40ss%2Fw%23d%3F%3B%2C", "another%3Aone"
LEAST = {"RUSHES_S3_BUCKET": "clips", "RUSHES_SECRET_KEY": "secret", "RUSHES_API_KEYS": "acme:key"}


def both_log_in(url: str) -> None:
    """The ledger keeps a job there, and a message and a result go through Celery there and back."""
    values = settings.load({**LEAST, "REDIS_URL": url})
    broker.check(values)
    with connect(url, PATIENCE_S) as client:
        ledger, subject = Ledger(RedisStore(client), POLICY), job()
        ledger.create(subject)
        assert ledger.get(subject.id) == subject
        client.flushdb()
    app = Celery("addresses", set_as_current=False)
    app.conf.update(broker.options(values))
    with app.connection() as connection, connection.SimpleQueue("hints") as queue:
        queue.put({"job": subject.id})
        assert queue.get(timeout=PATIENCE_S).payload == {"job": subject.id}
    if app.conf.result_backend != "rpc://":
        app.backend.store_result("a task", 42, "SUCCESS")
        assert app.AsyncResult("a task").result == 42


# --- one server


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server with a password, a user, and a socket beside the port."""
    socket = str(tmp_path_factory.mktemp("redis") / "redis.sock")
    options = ["--requirepass", PASSWORD, "--bind", "127.0.0.1", "::1", "--unixsocket", socket]

    def client(port: int) -> redis.Redis:
        return redis.Redis(port=port, password=PASSWORD)

    with redis_server.running(*options, client=client) as server, client(server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "service", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        server.socket = socket  # type: ignore[attr-defined]
        yield server


@pytest.mark.parametrize(
    "url",
    [
        "redis://:{password}@127.0.0.1:{port}/0",
        "redis://service:{password}@127.0.0.1:{port}/3",
        "redis://127.0.0.1:{port}/3?password={password}&username=service",
        "redis://:{password}@[::1]:{port}?db=2",
        "redis://:{password}@localhost:{port}/0?socket_timeout=3&health_check_interval=5&client_name=ours",
        "unix://{socket}?db=1&password={password}",
        "unix://service:{password}@{socket}",
        "redis+socket://:{password}@{socket}?virtual_host=1",
    ],
)
def test_a_server_is_reached_by_each_spelling(locked: RedisServer, url: str) -> None:
    both_log_in(url.format(password=ENCODED, port=locked.port, socket=locked.socket))  # type: ignore[attr-defined]


def test_without_a_password_an_empty_one_does_no_harm(own_redis: RedisServer) -> None:
    both_log_in(f"redis://:@127.0.0.1:{own_redis.port}/0")
    both_log_in(f"redis://default:@127.0.0.1:{own_redis.port}")


# --- Sentinels


@pytest.fixture(scope="module")
def sentinel(locked: RedisServer) -> Iterator[RedisServer]:
    with redis_server.watching(locked, f'sentinel auth-pass mymaster "{PASSWORD}"') as found:
        yield found


@pytest.fixture(scope="module")
def locked_sentinel(locked: RedisServer) -> Iterator[RedisServer]:
    lines = (
        f'sentinel auth-pass mymaster "{PASSWORD}"',
        f'user watcher on ">{SENTINELS_PASSWORD}" ~* &* +@all',
        f'requirepass "{SENTINELS_PASSWORD}"',
    )
    client = lambda port: redis.Redis(port=port, password=SENTINELS_PASSWORD)  # noqa: E731
    with redis_server.watching(locked, *lines, client=client) as found:
        yield found


@pytest.mark.parametrize(
    "url",
    [
        "sentinel://:{password}@127.0.0.1:{port}/mymaster/0",
        "sentinel://service:{password}@127.0.0.1:1,127.0.0.1:{port}/mymaster/2",
        "redis+sentinel://:{password}@127.0.0.1:{port}/mymaster",
        "redis-sentinel://:{password}@127.0.0.1:{port}?sentinelMasterId=mymaster",
        "sentinel://:{password}@127.0.0.1:{port}/0?service=mymaster",
        "sentinel://:{password}@127.0.0.1:{port};sentinel://:{password}@127.0.0.1:1/1?master_name=mymaster",
        "sentinel://[::1]:1,127.0.0.1:{port}/mymaster?password={password}",
    ],
)
def test_the_server_is_found_through_sentinels_by_each_spelling(sentinel: RedisServer, url: str) -> None:
    both_log_in(url.format(password=ENCODED, port=sentinel.port))


@pytest.mark.parametrize("own", ["sentinel_password={own}", "sentinel_username=watcher&sentinel_password={own}"])
def test_the_sentinels_have_a_password_of_their_own(locked_sentinel: RedisServer, own: str) -> None:
    query = own.format(own=SENTINELS_ENCODED)
    both_log_in(f"sentinel://:{ENCODED}@127.0.0.1:{locked_sentinel.port}/mymaster/0?{query}")


def test_a_worker_takes_what_another_service_sends_through_its_own_sentinel_settings(
    locked_sentinel: RedisServer, tmp_path: Path
) -> None:
    own = f"sentinel_password={SENTINELS_ENCODED}"
    url = f"sentinel://service:{ENCODED}@127.0.0.1:1,127.0.0.1:{locked_sentinel.port}/mymaster/4?{own}"
    service = Celery("somebody-elses", broker=f"sentinel://service:{ENCODED}@127.0.0.1:{locked_sentinel.port}/4")
    service.conf.result_backend = "rpc://"
    service.conf.broker_transport_options = {
        "master_name": "mymaster",
        "sentinel_kwargs": {"password": SENTINELS_PASSWORD},
    }
    env = {**AWS, **environment(REDIS_URL=url), "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}
    with real_server.running("worker", env, tmp_path / "log"):
        sent = service.send_task("rushes.enqueue", kwargs={"job": TEXT, "api_key": KEYS["acme"]}, queue="enqueue")
        document = sent.get(timeout=PATIENCE_S)
    service.close()
    with connect(url, PATIENCE_S) as client:
        assert Ledger(RedisStore(client), POLICY).get(document["id"]) is not None


def test_the_ledger_follows_a_failover(own_redis: RedisServer) -> None:
    with (
        redis_server.running("--replicaof", "127.0.0.1", str(own_redis.port)) as replica,
        redis_server.watching(own_redis) as sentinel,
        redis.Redis(port=sentinel.port) as asking,
        redis.Redis(port=replica.port) as copy,
        connect(f"sentinel://127.0.0.1:{sentinel.port}/mymaster", PATIENCE_S) as client,
    ):
        ledger, before, after = Ledger(RedisStore(client), POLICY), job(), job()
        ledger.create(before)
        wait_until(lambda: bool(asking.sentinel_slaves("mymaster")), "a replica")
        wait_until(lambda: bool(copy.dbsize() and copy.info("replication")["master_link_status"] == "up"), "its copy")
        wait_until(lambda: is_failing_over(asking), "a replica that the Sentinel finds fit")
        wait_until(lambda: asking.sentinel_master("mymaster")["port"] == replica.port, "another master")
        wait_until(lambda: created(ledger, after), "a master that takes writes")
        assert [ledger.get(each.id) for each in (before, after)] == [before, after]


def is_failing_over(sentinel: redis.Redis) -> bool:
    """Ask for a failover; a Sentinel that has not heard enough of the replica yet refuses."""
    try:
        sentinel.sentinel_failover("mymaster")
    except redis.ResponseError as refusal:
        if "NOGOODSLAVE" not in str(refusal):
            raise
        return False
    return True


def created(ledger: Ledger, subject: Job) -> bool:
    try:
        ledger.create(subject)
    except LedgerUnavailable:  # the old master takes no writes any more
        return False
    return True


# --- TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if not redis_server.speaks_tls():
        pytest.skip("the redis-server that is found was built without TLS")
    key, folder = ec.generate_private_key(ec.SECP256R1()), tmp_path_factory.mktemp("tls")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "public.pem", folder / "private.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificates(public, private)


def tls_client(certificates: Certificates) -> Any:
    files = {"ssl_certfile": str(certificates.public), "ssl_keyfile": str(certificates.private)}
    return lambda port: redis.Redis(port=port, ssl=True, ssl_cert_reqs="none", **files)


@pytest.fixture(scope="module")
def secure(certificates: Certificates) -> Iterator[RedisServer]:
    """A server that lets in whom it knows by a certificate."""
    with redis_server.running(client=tls_client(certificates), tls=certificates) as server:
        yield server


@pytest.fixture(scope="module")
def secure_sentinel(secure: RedisServer, certificates: Certificates) -> Iterator[RedisServer]:
    with redis_server.watching(secure, client=tls_client(certificates), tls=certificates) as server:
        yield server


CLIENT_FILES = "ssl_certfile={public}&ssl_keyfile={private}"


@pytest.mark.parametrize(
    "url",
    [
        *[
            f"rediss://localhost:{{port}}/0?ssl_cert_reqs={word}&" + CLIENT_FILES
            for word in ("CERT_NONE", "none", "optional&ssl_ca_certs={public}", "CERT_OPTIONAL&ssl_ca_certs={public}")
        ],
        "rediss://127.0.0.1:{port}?ssl_cert_reqs=required&ssl_ca_certs={public}&" + CLIENT_FILES,
        "redis://127.0.0.1:{port}/1?ssl=true&ssl_ca_certs={public}&" + CLIENT_FILES,
    ],
)
def test_a_server_is_reached_over_tls(secure: RedisServer, certificates: Certificates, url: str) -> None:
    both_log_in(url.format(port=secure.port, public=certificates.public, private=certificates.private))


@pytest.mark.parametrize(
    "url",
    [
        "rediss+sentinel://127.0.0.1:{port}/mymaster/0?ssl_ca_certs={public}&" + CLIENT_FILES,
        "sentinel://127.0.0.1:{port}/mymaster?ssl=true&ssl_cert_reqs=CERT_NONE&" + CLIENT_FILES,
    ],
)
def test_sentinels_and_their_server_are_reached_over_tls(
    secure_sentinel: RedisServer, certificates: Certificates, url: str
) -> None:
    both_log_in(url.format(port=secure_sentinel.port, public=certificates.public, private=certificates.private))


def test_a_server_that_nobody_vouches_for_is_not_believed(secure: RedisServer, certificates: Certificates) -> None:
    files = CLIENT_FILES.format(public=certificates.public, private=certificates.private)
    url = f"rediss://localhost:{secure.port}/0?{files}"
    with connect(url, PATIENCE_S) as client, pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        client.ping()
    app = Celery("addresses")
    app.conf.update(**broker.options(settings.load({**LEAST, "REDIS_URL": url})))
    with app.connection() as kombu, pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
        kombu.connect()
