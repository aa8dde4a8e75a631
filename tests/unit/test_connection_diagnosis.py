"""Why a server is not reached: told by its cause, whatever the libraries make of it."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import self_signed
from redis_server import RedisServer

from rushes.deploy.sandbox.ports import free_ports
from rushes.shared.operations.connection_diagnosis import Cause, Endpoint, diagnose, endpoints, tls_context
from rushes.shared.operations.doctor_trials import diagnose_server

Served = Callable[[ssl.SSLContext | None], int]


@pytest.fixture
def served() -> Iterator[Served]:
    """served(context): the port of a server that shakes hands, and says nothing else."""
    listeners: list[socket.socket] = []

    def answer(connection: socket.socket, context: ssl.SSLContext | None) -> None:
        with suppress(OSError), connection:
            connection.settimeout(5)
            if context is None:
                connection.sendall(b"-ERR I speak no TLS\r\n")
                connection.recv(1000)
                return
            with context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1)

    def serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0], context), daemon=True).start()

    def start(context: ssl.SSLContext | None) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, context), daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def cause(port: int, **options: Any) -> Cause | None:
    found = diagnose(Endpoint("localhost", port, tls_context(options)), {})
    return found.cause if found else None


def test_a_certificate_is_judged_by_authority_name_and_date(served: Served, tmp_path: Path) -> None:
    for folder in ("good", "other", "old"):
        (tmp_path / folder).mkdir()
    good, context = self_signed("localhost", tmp_path / "good")
    port = served(context)
    other, other_context = self_signed("redis.example", tmp_path / "other")
    old, old_context = self_signed("localhost", tmp_path / "old", days=-1)

    assert cause(port, ssl_ca_certs=good) is None
    assert cause(port) is Cause.AUTHORITY
    assert cause(port, ssl_cert_reqs="none") is None
    assert cause(served(other_context), ssl_ca_certs=other) is Cause.WRONG_NAME
    assert cause(served(other_context), ssl_ca_certs=other, ssl_check_hostname=False) is None
    assert cause(served(old_context), ssl_ca_certs=old) is Cause.EXPIRED


@pytest.mark.parametrize(
    ("version", "told"),
    [(ssl.TLSVersion.TLSv1_2, Cause.HANDSHAKE), (ssl.TLSVersion.TLSv1_3, Cause.CLIENT_CERTIFICATE)],
)
def test_a_certificate_of_the_client_that_is_missing_is_told(
    served: Served, tmp_path: Path, version: ssl.TLSVersion, told: Cause
) -> None:
    authority, context = self_signed("localhost", tmp_path)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    pair = str(tmp_path / "both.pem")
    port = served(context)

    assert cause(port, ssl_ca_certs=authority) is told
    assert cause(port, ssl_ca_certs=authority, ssl_certfile=pair, ssl_keyfile=pair) is None


def test_versions_that_do_not_meet_are_told(served: Served, tmp_path: Path) -> None:
    authority, context = self_signed("localhost", tmp_path)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client = tls_context({"ssl_ca_certs": authority})
    client.minimum_version = ssl.TLSVersion.TLSv1_3

    found = diagnose(Endpoint("localhost", served(context), client), {})

    assert found
    assert found.cause is Cause.PROTOCOL


def test_tls_on_one_side_only_is_told_from_either_side(served: Served, tmp_path: Path, own_redis: RedisServer) -> None:
    _, context = self_signed("localhost", tmp_path)

    called_plainly = diagnose_server(f"redis://:hush@localhost:{served(context)}/0")
    called_with_tls = diagnose_server(f"rediss://:hush@localhost:{own_redis.port}/0")

    assert called_plainly
    assert (called_plainly.cause, "rediss://" in called_plainly.advice) == (Cause.NEEDS_TLS, True)
    assert called_with_tls
    assert called_with_tls.cause is Cause.NO_TLS
    assert "hush" not in f"{called_plainly} {called_with_tls}"
    assert cause(served(None)) is Cause.NO_TLS
    assert diagnose_server(own_redis.url) is None


def test_what_is_not_there_is_told() -> None:
    (port,) = free_ports(1)

    assert cause(port) is Cause.REFUSED
    found = diagnose_server(f"amqp://u:p@no-such-host.invalid:{port}//", "RUSHES_BROKER_URL")
    assert found
    assert (found.cause, found.advice) == (Cause.NAME, "check RUSHES_BROKER_URL and the network")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://h", [("h", 6379, False)]),
        ("rediss://u:p@h:1/0", [("h", 1, True)]),
        ("sentinel://a:1,b/main", [("a", 1, False), ("b", 26379, False)]),
        ("rediss+sentinel://a/main", [("a", 26379, True)]),
        ("unix:///run/redis.sock", []),
        ("amqp://u:p@h//", [("h", 5672, False)]),
        ("amqps://a;amqps://b:7", [("a", 5671, True), ("b", 7, True)]),
        ("https://[::1]:9/path", [("::1", 9, True)]),
        ("sqs://", []),
    ],
)
def test_an_address_is_a_list_of_servers(url: str, found: list[tuple[str, int, bool]]) -> None:
    assert [(each.host, each.port, each.tls is not None) for each in endpoints(url)] == found
