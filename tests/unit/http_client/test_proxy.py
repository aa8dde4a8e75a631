"""Through the operator's proxy: addresses are checked as without one, and NotSent and AnswerLost stay correct."""

from __future__ import annotations

import base64
import selectors
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from certificates import self_signed
from client_steps import HEAD, HELLO, LONG_S, LOOPBACK, SHORT_S, Serve, all_of, closed_port, get, post
from fault_server import FakeResolver, FaultServer, Peer, Script, hanging, http_response, keeping, responding

from rushes.shared.http import AnswerLost, Forbidden, HttpClient, NotSent, Proxy, address_guard, certificate_bundle

PASSWORD = "pass:word/%"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NO_PROXY", "no_proxy")


def readable(*ends: socket.socket) -> list[Any]:
    """The sockets that have something to read; select(2) ends at file descriptor 1024."""
    with selectors.DefaultSelector() as selector:
        for end in ends:
            selector.register(end, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(LONG_S)]


def tunnelling(peer: Peer) -> None:
    """A proxy: every name is this machine, and bytes are passed on both ways."""
    _, port = peer.read_request().split(b" ")[1].rsplit(b":", 1)
    with socket.create_connection(("127.0.0.1", int(port))) as server:
        peer.send_bytes(b"HTTP/1.1 200 Connection established\r\nX-Proxy: y\r\n\r\n")
        while True:
            pending = isinstance(peer.sock, ssl.SSLSocket) and peer.sock.pending()
            for end in [peer.sock] if pending else readable(peer.sock, server):
                if not (data := end.recv(65536)):
                    return
                (server if end is peer.sock else peer.sock).sendall(data)


@pytest.fixture
def proxied(tls: ssl.SSLContext, tmp_path: Path) -> Iterator[Any]:
    """Start a proxy with these scripts, and a client that goes through it."""
    authorities, context = self_signed("localhost", tmp_path)
    with ExitStack() as opened:

        def start(*scripts: Script, over_tls: bool = False, user: str = "") -> tuple[FaultServer, HttpClient]:
            server = opened.enter_context(FaultServer(*scripts, tls=context if over_tls else None))
            proxy = Proxy.parse(f"http{'s' * over_tls}://{user}localhost:{server.port}")
            client = HttpClient(LOOPBACK, authorities=certificate_bundle({}, authorities), proxy=proxy)
            return server, opened.enter_context(closing(client))

        yield start


@pytest.mark.parametrize("over_tls", [False, True])
def test_all_goes_through_the_proxy_which_is_told_the_name(serve: Serve, proxied: Any, over_tls: bool) -> None:
    server = serve(keeping(HELLO))
    proxy, client = proxied(tunnelling, over_tls=over_tls)

    assert client.send(get(server.url), deadline_s=LONG_S).headers == {"content-length": "17"}
    assert client.send(post(server.url), deadline_s=LONG_S, once=True).status == 200
    with client.stream(get(server.url), deadline_s=LONG_S) as stream:
        assert b"".join(stream.chunks(100)) == b'{"hello":"world"}'
    assert len([result for group in client.send_all([get(server.url)] * 3, deadline_s=LONG_S) for result in group]) == 3

    assert {request.split(b"\r\n")[0].decode() for request in proxy.requests} == {
        f"CONNECT gateway.test:{server.port} HTTP/1.1"
    }
    assert len(server.requests) == 6
    assert proxy.connections == server.connections


def test_a_kept_tunnel_is_used_again(serve: Serve, proxied: Any) -> None:
    server = serve(keeping(HELLO))
    proxy, client = proxied(tunnelling)

    for _ in range(3):
        client.send(get(server.url), deadline_s=LONG_S)

    assert (proxy.connections, server.connections, len(server.requests)) == (1, 1, 3)


def test_the_proxy_hears_who_we_are_and_the_server_does_not(serve: Serve, proxied: Any) -> None:
    server = serve(keeping(HELLO))
    proxy, client = proxied(tunnelling, user="user:pass%3Aword%2F%25@")

    client.send(get(server.url, Authorization="Bearer key"), deadline_s=LONG_S)

    token = base64.b64encode(f"user:{PASSWORD}".encode())
    assert b"Proxy-Authorization: Basic " + token in proxy.requests[0]
    assert b"Bearer" not in proxy.requests[0]
    assert b"proxy-authorization" not in server.requests[0].lower()


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway", "403 Forbidden"])
def test_what_a_proxy_refuses_is_not_sent(serve: Serve, proxied: Any, status: str) -> None:
    server = serve(keeping(HELLO))
    _, client = proxied(responding(http_response(b"no", status=status)), user=f"user:{PASSWORD[:9]}@")

    with pytest.raises(NotSent) as caught:
        client.send(post(server.url), deadline_s=LONG_S, once=True)

    assert PASSWORD[:9] not in all_of(caught.value)
    assert server.requests == []


def test_a_proxy_that_is_away_hangs_or_breaks_off_sends_nothing(serve: Serve, proxied: Any) -> None:
    server = serve(keeping(HELLO))
    away = HttpClient(LOOPBACK, proxy=Proxy.parse(f"http://127.0.0.1:{closed_port()}"))
    _, hangs = proxied(hanging())
    _, breaks_off = proxied(responding(b""), responding(HEAD))

    for client, deadline_s in ((away, LONG_S), (hangs, SHORT_S), (breaks_off, LONG_S), (breaks_off, LONG_S)):
        with pytest.raises(NotSent):
            client.send(post(server.url), deadline_s=deadline_s, once=True)
    assert server.connections == 0


def test_what_is_lost_behind_the_proxy_is_lost(serve: Serve, proxied: Any) -> None:
    server = serve(responding(HEAD + b"Content-Le"))
    _, client = proxied(tunnelling)

    with pytest.raises(AnswerLost):
        client.send(post(server.url), deadline_s=LONG_S, once=True)
    assert len(server.requests) == 1


def test_a_question_lost_on_a_kept_tunnel_is_asked_again_through_another(serve: Serve, proxied: Any) -> None:
    server = serve(responding(HELLO, b""), keeping(HELLO))
    _, client = proxied(tunnelling)
    client.send(get(server.url), deadline_s=LONG_S)

    assert client.send(get(server.url), deadline_s=LONG_S).headers == {"content-length": "17"}


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.1/",
        "https://169.254.169.254/",
        "http://8.8.8.8/",
        "https://2130706433:9/",
        "https://inside.test/",
    ],
)
def test_the_proxy_is_not_asked_for_an_address_inside(proxied: Any, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", FakeResolver(inside_test=[["8.8.8.8", "10.0.0.1"]]))
    proxy, client = proxied(tunnelling)
    client._guard = address_guard.AddressGuard()

    with pytest.raises(Forbidden):
        client.send(get(url), deadline_s=LONG_S)
    assert list(client.send_all([get(url)], deadline_s=LONG_S)) == [[(0, None)]]
    with pytest.raises(Forbidden), client.stream(get(url), deadline_s=LONG_S):
        pass
    assert proxy.connections == 0


def test_a_name_that_nobody_knows_here_is_not_asked_for(proxied: Any) -> None:
    proxy, client = proxied(tunnelling)

    with pytest.raises(NotSent):
        client.send(get("https://nobody.invalid/"), deadline_s=LONG_S)
    assert proxy.connections == 0


def test_the_environments_proxies_stay_unread_beside_the_operators(
    serve: Serve, proxied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(keeping(HELLO))
    proxy, client = proxied(tunnelling)
    for name in PROXIES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "gateway.test,*")

    client.send(get(server.url), deadline_s=LONG_S)

    assert proxy.connections == 1


@pytest.mark.parametrize(
    ("value", "url", "user", "password"),
    [
        ("http://proxy.test:3128", "http://proxy.test:3128", None, None),
        ("https://me:a%40b@proxy.test:443/", "https://proxy.test:443", "me", "a@b"),
        ("http://me@[::1]:8080", "http://[::1]:8080", "me", None),
    ],
)
def test_a_proxy_is_read(value: str, url: str, user: str | None, password: str | None) -> None:
    proxy = Proxy.parse(value)

    assert (proxy.url, proxy.user, proxy.password) == (url, user, password)
    assert "a@b" not in repr(proxy)


@pytest.mark.parametrize(
    "value",
    [
        "proxy.test:3128",
        "socks5://proxy.test:1080",
        "http://proxy.test",
        "http://:3128",
        "http://me:hush@proxy.test:port",
        "http://me:hu/sh@proxy.test:3128",
        "http://me:hu#sh@proxy.test:3128",
        "http://proxy.test:3128/path",
        "http://[::1:3128",
    ],
)
def test_what_is_no_proxy_is_refused_and_not_quoted(value: str) -> None:
    with pytest.raises(ValueError, match=r"give|not an address") as caught:
        Proxy.parse(value)
    assert "hu" not in str(caught.value)
