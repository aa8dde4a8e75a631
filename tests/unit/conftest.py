"""A gateway behind TLS, for the tests of the client."""

from __future__ import annotations

import socket
import ssl

import certifi
import pytest
from certificates import self_signed
from fault_server import FakeResolver


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    return self_signed("gateway.test", tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(certificate: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The server's TLS context; `gateway.test` and `other.test` are this machine and the authority is trusted."""
    authorities, context = certificate
    monkeypatch.setattr(certifi, "where", lambda: authorities)
    names = FakeResolver(gateway_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    return context
