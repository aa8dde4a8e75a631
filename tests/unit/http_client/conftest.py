"""A client, and fault servers over http and https."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest
from client_steps import HELLO, LOOPBACK, Serve
from fault_server import FakeResolver, FaultServer, Script, keeping

from rushes.shared.http import HttpClient, address_guard


@pytest.fixture(params=["http", "https"])
def serve(request: pytest.FixtureRequest, tls: ssl.SSLContext) -> Iterator[Serve]:
    """Start a fault server of either kind; its `url` is what to ask."""
    with contextlib.ExitStack() as servers:

        def start(*scripts: Script) -> FaultServer:
            context = tls if request.param == "https" else None
            server = servers.enter_context(FaultServer(*scripts, tls=context))
            server.url = f"{request.param}://gateway.test:{server.port}"
            return server

        yield start


@pytest.fixture
def client(tls: ssl.SSLContext) -> Iterator[HttpClient]:
    with contextlib.closing(HttpClient(LOOPBACK)) as client:
        yield client


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A listener on this machine, on a port that the guard allows for public hosts."""
    with FaultServer(keeping(HELLO)) as server:
        monkeypatch.setattr(address_guard, "PUBLIC_PORTS", {server.port})
        monkeypatch.setattr(socket, "getaddrinfo", FakeResolver(inside_test=[["127.0.0.1"]]))
        yield server
