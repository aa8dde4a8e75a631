"""A gateway behind TLS, for the tests of the client."""

from __future__ import annotations

import socket
import ssl

import pytest
from certificates import self_signed
from fault_server import Names

from shared import http


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    return self_signed("gateway.test", tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(certificate: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The server's TLS context; `gateway.test` and `other.test` are this machine and the authority is trusted."""
    authorities, context = certificate
    monkeypatch.setattr(http, "DEFAULT_CA_BUNDLE_PATH", authorities)
    names = Names(gateway_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    monkeypatch.setattr(socket, "getaddrinfo", names)
    return context
