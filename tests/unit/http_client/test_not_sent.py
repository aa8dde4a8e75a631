"""A request that surely was not sent is NotSent: it may be sent again, even if it is paid for."""

from __future__ import annotations

import socket

import pytest
from client_steps import HELLO, LONG_S, LOOPBACK, SECRET, SHORT_S, all_of, closed_port, full_backlog, post
from fault_server import FakeResolver, FaultServer, hanging, keeping

from rushes.shared.domain.http_messages import Request
from rushes.shared.http import HttpClient, NotSent, certificate_bundle


def test_an_unknown_name_is_not_sent(client):
    with pytest.raises(NotSent, match=r"nobody\.invalid"):
        client.send(post("https://nobody.invalid/v1"), deadline_s=LONG_S)


def test_a_refused_connection_is_not_sent(client):
    with pytest.raises(NotSent, match="connection refused"):
        client.send(post(f"http://127.0.0.1:{closed_port()}/v1"), deadline_s=LONG_S)


def test_a_connection_nobody_accepts_is_not_sent(client):
    with full_backlog() as port, pytest.raises(NotSent, match="timed out"):
        client.send(post(f"http://127.0.0.1:{port}/v1"), deadline_s=SHORT_S)


def test_a_failed_handshake_is_not_sent(client):
    no_tls = FaultServer(lambda peer: peer.send_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n"))

    with no_tls as server, pytest.raises(NotSent, match="wrong version number"):
        client.send(post(f"https://127.0.0.1:{server.port}/v1"), deadline_s=LONG_S)


def test_a_handshake_that_never_comes_is_not_sent(client):
    with FaultServer(hanging()) as server, pytest.raises(NotSent):
        client.send(post(f"https://127.0.0.1:{server.port}/v1"), deadline_s=SHORT_S)


@pytest.mark.parametrize("name", ["other.test", "127.0.0.1"])
def test_a_certificate_for_another_name_is_not_sent(tls, name):
    with FaultServer(keeping(HELLO), tls=tls) as server, pytest.raises(NotSent, match="subject name"):
        HttpClient(LOOPBACK).send(post(f"https://{name}:{server.port}/v1"), deadline_s=LONG_S)
    assert server.requests == []


def test_a_certificate_nobody_vouches_for_is_not_sent(tls, monkeypatch):
    usual = certificate_bundle({}, names=())
    monkeypatch.undo()
    monkeypatch.setattr(socket, "getaddrinfo", FakeResolver(gateway_test=[["127.0.0.1"]]))
    assert certificate_bundle({}, names=()) != usual
    with FaultServer(keeping(HELLO), tls=tls) as server, pytest.raises(NotSent, match="self-signed certificate"):
        HttpClient(LOOPBACK).send(post(f"https://gateway.test:{server.port}/v1"), deadline_s=LONG_S)
    assert server.requests == []


def test_a_header_that_cannot_be_sent_is_not_sent_and_not_quoted(serve, client):
    server = serve(keeping(HELLO))

    with pytest.raises(NotSent) as caught:
        client.send(post(server.url, Authorization=f"Bearer {SECRET}\r\nX: y"), deadline_s=LONG_S)

    assert SECRET not in all_of(caught.value)
    assert server.requests == []


def test_a_text_that_cannot_be_written_is_not_sent(serve, client):
    server = serve(keeping(HELLO))

    with pytest.raises(NotSent):
        client.send(Request("POST", server.url, {}, {"prompt": "\ud83d"}), deadline_s=LONG_S)

    assert server.requests == []
