from __future__ import annotations

import socket
from ipaddress import ip_address, ip_network

import pytest
from fault_server import FaultServer, Names, keeping
from hypothesis import given
from hypothesis import strategies as st

from shared import egress
from shared.egress import Forbidden, Guard, NotSent, Origin

INSIDE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "100::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001:80b::200e"]
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def names(monkeypatch):
    def resolve(*ips):
        names = Names(some_test=[list(ips)])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        return Origin("https", "some.test", 443)

    return resolve


@pytest.mark.parametrize("ip", INSIDE)
def test_an_inside_address_is_refused(ip):
    with pytest.raises(Forbidden, match="not a public address"):
        Guard().addresses(Origin("https", ip, 443))


@pytest.mark.parametrize("ip", PUBLIC)
def test_a_public_address_is_reached(ip):
    (found,) = Guard().addresses(Origin("https", ip, 443))

    assert str(found.ip()) == ip


@given(st.ip_addresses())
def test_what_python_does_not_call_global_is_never_public(ip):
    assert ip.is_global or not egress._public(ip)


@pytest.mark.parametrize("order", [1, -1])
def test_one_inside_address_among_public_ones_refuses_the_name(names, order):
    target = names(*["8.8.8.8", "10.0.0.1"][::order])

    with pytest.raises(Forbidden):
        Guard().addresses(target)


def test_a_name_is_resolved_once_and_all_its_addresses_are_given(names):
    target = names("8.8.8.8", "2606:4700::1111")

    found = Guard().addresses(target)

    assert [str(address.ip()) for address in found] == ["8.8.8.8", "2606:4700::1111"]
    assert socket.getaddrinfo.asked == ["some.test"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://8.8.8.8/", "only https"),
        ("http://8.8.8.8:443/", "only https"),
        ("http://8.8.8.8:8443/", "only https"),
        ("https://8.8.8.8:80/", "only https on port"),
        ("https://8.8.8.8:22/", "only https on port"),
        ("https://8.8.8.8:0/", "only https on port"),
        ("ftp://8.8.8.8/", "neither https nor http"),
        ("file:///etc/passwd", "neither https nor http"),
        ("//8.8.8.8/", "neither https nor http"),
        ("https:///path", "no host"),
        ("https://:443/", "no host"),
        ("https://user:word@8.8.8.8/", "a user or a password"),
        ("https://@8.8.8.8/", "a user or a password"),
        ("https://8.8.8.8\\@127.0.0.1/", "a user or a password"),
        ("https://[::1/", "not a URL"),
        ("https://8.8.8.8:99999/", "not a URL"),
        ("https://a..b/", "not a host name"),
        ("https://" + "a" * 64 + ".test/", "not a host name"),
    ],
)
def test_a_url_that_is_no_plain_public_one_is_refused(url, why):
    with pytest.raises(NotSent, match=why):
        Guard().addresses(egress.origin(url))


@pytest.mark.parametrize("url", ["https://8.8.8.8/", "https://8.8.8.8:443/", "https://8.8.8.8:8443/x?y=z"])
def test_https_on_the_usual_ports_passes(url):
    assert Guard().addresses(egress.origin(url))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "[::ffff:7f00:1]", "localhost", "a..b"])
def test_a_spelling_of_an_inside_address_is_refused(host):
    with pytest.raises(Forbidden):
        Guard().check_spelling(f"https://{host}/")


def test_a_spelling_says_nothing_of_a_name_nobody_has_looked_up(monkeypatch):
    asked, real = [], socket.getaddrinfo

    def noted(host, *rest, flags=0, **options):
        asked.append((host, bool(flags & socket.AI_NUMERICHOST)))
        return real(host, *rest, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    Guard().check_spelling("https://nobody.invalid/")

    assert asked == [("nobody.invalid", True)]


def test_within_an_allowed_network_http_and_any_port_pass():
    assert Guard(LOOPBACK).addresses(egress.origin("http://127.0.0.1:9000/"))


def test_outside_the_allowed_network_nothing_is_loosened():
    with pytest.raises(Forbidden):
        Guard(LOOPBACK).addresses(egress.origin("http://8.8.8.8:9000/"))


def test_a_name_half_allowed_and_half_public_may_only_be_reached_by_https(names):
    target = names("127.0.0.1", "8.8.8.8")

    assert Guard(LOOPBACK).addresses(target)
    with pytest.raises(Forbidden, match="only https"):
        Guard(LOOPBACK).addresses(target._replace(scheme="http", port=80))


def test_an_allowed_network_does_not_allow_its_mapped_twin():
    with pytest.raises(Forbidden):
        Guard(LOOPBACK).addresses(Origin("https", "::ffff:127.0.0.1", 443))


def test_a_zone_does_not_hide_an_address():
    assert egress.Address(socket.AF_INET6, ("fe80::1%eth0", 443, 0, 2)).ip() == ip_address("fe80::1")


def test_an_unknown_name_is_not_sent_but_not_forbidden():
    with pytest.raises(NotSent) as caught:
        Guard().addresses(egress.origin("https://nobody.invalid/"))

    assert not isinstance(caught.value, Forbidden)
    assert str(caught.value).startswith("https://nobody.invalid:443: ")


def test_an_origin_says_nothing_but_scheme_host_and_port():
    assert str(egress.origin("HTTPS://Some.Test/token?key=word#part")) == "https://some.test:443"
    assert str(egress.origin("http://[::1]:8080/token")) == "http://[::1]:8080"


def test_the_next_address_is_tried_when_the_first_refuses(names):
    with FaultServer(keeping(b""), host="127.0.0.2") as server:
        target = names("127.0.0.1", "127.0.0.2")._replace(scheme="http", port=server.port)
        with Guard(LOOPBACK).connect(target, lambda at_most_s: at_most_s) as sock:
            assert sock.getpeername() == ("127.0.0.2", server.port)


def test_the_connect_time_is_shared_by_the_addresses(names):
    waits = []
    target = names(*["127.0.0.1"] * 4)._replace(scheme="http", port=_closed_port())

    def wait_s(at_most_s):
        waits.append(at_most_s)
        return at_most_s

    with pytest.raises(ConnectionRefusedError):
        Guard(LOOPBACK).connect(target, wait_s)

    assert waits == [egress.CONNECT_S / 4] * 4


def _closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]
