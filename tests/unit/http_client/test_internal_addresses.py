"""No private address is reached, in any spelling, and not by a name that resolves differently a moment later."""

from __future__ import annotations

import socket

import certifi
import pycurl
import pytest
from client_steps import HELLO, LONG_S, LOOPBACK, SECOND_ONLY, SECRET, all_of, get
from fault_server import FakeResolver, FaultServer, keeping, responding

from rushes.shared.http import Forbidden, HttpClient, NotSent, address_guard
from rushes.shared.http.curl_handle import CurlHandle, HandleOptions
from rushes.shared.http.prepared_request import prepare

SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "0",
    "0.0.0.0",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "localhost",
    "LOCALHOST",
    "ｌｏｃａｌｈｏｓｔ",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::]",
    "[64:ff9b::7f00:1]",
    "10.0.0.1",
    "169.254.169.254",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "inside.test",
]


@pytest.fixture
def canary(monkeypatch):
    """A listener on this machine, on a port that the guard allows for public hosts."""
    with FaultServer(keeping(HELLO)) as server:
        monkeypatch.setattr(address_guard, "PUBLIC_PORTS", {server.port})
        monkeypatch.setattr(socket, "getaddrinfo", FakeResolver(inside_test=[["127.0.0.1"]]))
        yield server


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_an_inside_address_is_reached(canary, host):
    request = get(f"https://{host}:{canary.port}/")

    with pytest.raises(Forbidden):
        HttpClient().send(request, deadline_s=1)

    assert canary.connections == 0


def test_a_check_refuses_what_a_call_would_refuse_without_calling(canary):
    client = HttpClient()

    with pytest.raises(Forbidden):
        client.check_host(f"https://inside.test:{canary.port}/")
    with pytest.raises(NotSent):
        client.check_host("https://nobody.invalid/")
    HttpClient(LOOPBACK).check_host(f"http://inside.test:{canary.port}/")

    assert canary.connections == 0


def test_a_url_with_a_password_is_refused_and_not_quoted(canary):
    url = f"http://me:{SECRET}@127.0.0.1:{canary.port}/"

    with pytest.raises(Forbidden) as caught:
        HttpClient(LOOPBACK).send(get(url), deadline_s=LONG_S)

    assert SECRET not in all_of(caught.value)
    assert canary.connections == 0


def test_a_name_that_moves_after_the_check_is_reached_where_it_was_checked(monkeypatch):
    with FaultServer(keeping(HELLO), host="127.0.0.2") as checked, FaultServer(keeping(HELLO)) as canary:
        names = FakeResolver(moving_test=[["127.0.0.2"], ["127.0.0.1"]])
        monkeypatch.setattr(socket, "getaddrinfo", names)

        got = HttpClient(SECOND_ONLY).send(get(f"http://moving.test:{checked.port}/"), deadline_s=LONG_S)

        assert got.status == 200
        assert names.lookups == ["moving.test"]
        assert (checked.connections, canary.connections) == (1, 0)


def test_a_name_that_has_moved_inside_is_refused_at_the_next_connection(canary, monkeypatch):
    with FaultServer(responding(HELLO), host="127.0.0.2", port=canary.port) as checked:
        monkeypatch.setattr(address_guard, "CACHE_S", 0)
        names = FakeResolver(moving_test=[["127.0.0.2"], ["127.0.0.1"]])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        client = HttpClient(SECOND_ONLY)
        client.send(get(f"http://moving.test:{checked.port}/"), deadline_s=LONG_S, once=True)

        with pytest.raises(Forbidden):
            client.send(get(f"http://moving.test:{checked.port}/"), deadline_s=LONG_S, once=True)

    assert canary.connections == 0


def test_a_name_that_has_moved_inside_is_refused_where_a_kept_connection_is_gone(canary, monkeypatch):
    monkeypatch.setattr(address_guard, "CACHE_S", 0)
    with FaultServer(responding(HELLO), host="127.0.0.2", port=canary.port) as checked:
        monkeypatch.setattr(socket, "getaddrinfo", FakeResolver(moving_test=[["127.0.0.2"], ["127.0.0.1"]]))
        client = HttpClient(SECOND_ONLY)
        request = get(f"http://moving.test:{checked.port}/")
        client.send(request, deadline_s=LONG_S)
        with pytest.raises(Forbidden):
            client.send(request, deadline_s=LONG_S)

    assert (checked.connections, canary.connections) == (1, 0)


def test_only_an_address_that_was_judged_for_this_call_is_opened(canary):
    handle = CurlHandle(HandleOptions("rushes", certifi.where()))
    handle.load(prepare(get(f"http://127.0.0.1:{canary.port}/")))
    handle._checked_addresses = frozenset({"127.0.0.2"})  # as if libcurl went elsewhere than it was told

    with pytest.raises(pycurl.error):
        handle.curl.perform()
    assert (handle.may_be_sent, canary.connections) == (False, 0)


def test_the_next_address_is_tried_where_the_first_refuses(monkeypatch):
    with FaultServer(keeping(HELLO), host="127.0.0.2") as server:
        monkeypatch.setattr(socket, "getaddrinfo", FakeResolver(some_test=[["127.0.0.1", "127.0.0.2"]]))
        got = HttpClient(LOOPBACK).send(get(f"http://some.test:{server.port}/"), deadline_s=LONG_S, once=True)

    assert got.status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "localhost", "[::1]", "some.test."])
def test_what_is_allowed_is_reached_however_it_is_spelled(monkeypatch, host):
    monkeypatch.setattr(socket, "getaddrinfo", FakeResolver(some_test_=[["127.0.0.1"]]))
    with FaultServer(keeping(HELLO), host="::1" if host == "[::1]" else "127.0.0.1") as server:
        for once in (False, False, True):
            got = HttpClient(LOOPBACK).send(get(f"http://{host}:{server.port}/"), deadline_s=LONG_S, once=once)
            assert got.status == 200
        assert len(list(HttpClient(LOOPBACK).send_all([get(f"http://{host}:{server.port}/")], deadline_s=LONG_S))) == 1


def test_the_certificate_is_checked_against_the_name_at_a_pinned_address(tls):
    server_names = []
    tls.sni_callback = lambda sock, name, context: server_names.append(name)
    with FaultServer(keeping(HELLO), tls=tls) as server:
        got = HttpClient(LOOPBACK).send(get(f"https://gateway.test:{server.port}/"), deadline_s=LONG_S)
    tls.sni_callback = None

    assert got.status == 200
    assert server_names == ["gateway.test"]
    assert socket.getaddrinfo.lookups == ["gateway.test"]
