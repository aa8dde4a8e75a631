"""Which addresses may be reached."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_network

import pytest
from client_steps import LONG_S
from fault_server import FakeResolver
from hypothesis import given
from hypothesis import strategies as st
from patience import wait_until

from rushes.shared.http import Forbidden, NotSent, address_guard
from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.urls import Origin, origin

NON_PUBLIC = [
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
        names = FakeResolver(some_test=[list(ips)])
        monkeypatch.setattr(socket, "getaddrinfo", names)
        return Origin("https", "some.test", 443)

    return resolve


@pytest.mark.parametrize("ip", NON_PUBLIC)
def test_an_inside_address_is_refused(ip):
    with pytest.raises(Forbidden, match="not a public address"):
        AddressGuard().addresses(Origin("https", ip, 443))


@pytest.mark.parametrize("ip", PUBLIC)
def test_a_public_address_is_reached(ip):
    (addresses,) = AddressGuard().addresses(Origin("https", ip, 443))

    assert addresses == ip


@given(st.ip_addresses())
def test_what_python_does_not_call_global_is_never_public(ip):
    assert ip.is_global or not address_guard._is_public(ip)


@pytest.mark.parametrize("order", [1, -1])
def test_one_inside_address_among_public_ones_refuses_the_name(names, order):
    target = names(*["8.8.8.8", "10.0.0.1"][::order])

    with pytest.raises(Forbidden):
        AddressGuard().addresses(target)


def test_a_name_is_resolved_once_and_all_its_addresses_are_given(names):
    target = names("8.8.8.8", "2606:4700::1111")

    addresses = AddressGuard().addresses(target)

    assert addresses == ["8.8.8.8", "2606:4700::1111"]
    assert socket.getaddrinfo.lookups == ["some.test"]


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
        AddressGuard().addresses(origin(url))


@pytest.mark.parametrize("url", ["https://8.8.8.8/", "https://8.8.8.8:443/", "https://8.8.8.8:8443/x?y=z"])
def test_https_on_the_usual_ports_passes(url):
    assert AddressGuard().addresses(origin(url))


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "[::ffff:7f00:1]", "localhost", "a..b"])
def test_a_spelling_of_an_inside_address_is_refused(host):
    with pytest.raises(Forbidden):
        AddressGuard().check_url(f"https://{host}/")


def test_a_spelling_says_nothing_of_a_name_nobody_has_looked_up():
    AddressGuard().check_url("https://nobody.invalid/")


def test_within_an_allowed_network_http_and_any_port_pass():
    assert AddressGuard(LOOPBACK).addresses(origin("http://127.0.0.1:9000/"))


def test_outside_the_allowed_network_nothing_is_loosened():
    with pytest.raises(Forbidden):
        AddressGuard(LOOPBACK).addresses(origin("http://8.8.8.8:9000/"))


def test_a_name_half_allowed_and_half_public_may_only_be_reached_by_https(names):
    target = names("127.0.0.1", "8.8.8.8")

    assert AddressGuard(LOOPBACK).addresses(target)
    with pytest.raises(Forbidden, match="only https"):
        AddressGuard(LOOPBACK).addresses(target._replace(scheme="http", port=80))


def test_an_allowed_network_does_not_allow_its_mapped_twin():
    with pytest.raises(Forbidden):
        AddressGuard(LOOPBACK).addresses(Origin("https", "::ffff:127.0.0.1", 443))


@pytest.mark.parametrize("host", ["[fe80::1%eth0]", "[fe80::1%25eth0]", "[::1%1]"])
def test_a_zone_does_not_hide_an_address(host):
    with pytest.raises(Forbidden):
        AddressGuard().check_url(f"https://{host}/")


def test_a_name_with_an_address_in_a_zone_is_refused(names):
    target = names("fe80::1%lo")

    with pytest.raises(Forbidden):
        AddressGuard().addresses(target)


def test_an_unknown_name_is_not_sent_but_not_forbidden():
    with pytest.raises(NotSent) as caught:
        AddressGuard().addresses(origin("https://nobody.invalid/"))

    assert not isinstance(caught.value, Forbidden)
    assert str(caught.value).startswith("https://nobody.invalid:443: ")


def test_an_origin_says_nothing_but_scheme_host_and_port():
    assert str(origin("HTTPS://Some.Test/token?key=word#part")) == "https://some.test:443"
    assert str(origin("http://[::1]:8080/token")) == "http://[::1]:8080"


# Look-ups


class Resolver:
    """Replaces the system's resolver; hangs until `answers` is set."""

    def __init__(self, monkeypatch):
        self.answers, self.lookups, self.address = threading.Event(), [], "8.8.8.8"
        self._real = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host, port, *args, flags=0, **kwargs):
        if flags or not str(host).endswith(".test"):  # or a thread that another test left
            return self._real(host, port, *args, flags=flags, **kwargs)
        self.lookups.append(host)
        self.answers.wait(LONG_S)
        return self._real(self.address, port, type=socket.SOCK_STREAM)


@pytest.fixture
def resolver(monkeypatch):
    resolver = Resolver(monkeypatch)
    yield resolver
    resolver.answers.set()


HERE = Origin("https", "some.test", 443)


def test_a_look_up_that_hangs_is_given_up_and_shared_by_all_who_ask(resolver):
    guard = AddressGuard()

    for _ in range(3):
        with pytest.raises(NotSent, match="not looked up in time"):
            guard.addresses(HERE, 0.05)
    wait_until(lambda: resolver.lookups == ["some.test"], "the one look-up")

    resolver.answers.set()
    assert guard.addresses(HERE, LONG_S) == ["8.8.8.8"]
    assert resolver.lookups == ["some.test"]


def test_what_was_looked_up_a_moment_ago_is_not_looked_up_again(resolver, monkeypatch):
    guard = AddressGuard()
    resolver.answers.set()
    for _ in range(3):
        guard.addresses(HERE, LONG_S)
    assert resolver.lookups == ["some.test"]

    monkeypatch.setattr(address_guard, "CACHE_S", 0)
    resolver.address = "10.0.0.1"
    with pytest.raises(Forbidden):
        guard.addresses(HERE, LONG_S)
    assert resolver.lookups == ["some.test"] * 2


def test_a_name_that_was_not_found_is_looked_up_again(names):
    guard = AddressGuard()
    target = names()._replace(host="nobody.invalid")
    for _ in range(2):
        with pytest.raises(NotSent):
            guard.addresses(target, LONG_S)

    assert socket.getaddrinfo.lookups == ["nobody.invalid"] * 2


def test_after_a_fork_a_look_up_under_way_is_begun_anew(resolver):
    guard = AddressGuard()
    with pytest.raises(NotSent):
        guard.addresses(HERE, 0.05)
    guard.clear_cache()

    resolver.answers.set()
    assert guard.addresses(HERE, LONG_S) == ["8.8.8.8"]
    assert resolver.lookups == ["some.test"] * 2


def test_names_without_end_are_not_kept_without_end(resolver, monkeypatch):
    monkeypatch.setattr(address_guard, "MAX_CACHED_NAMES", 8)
    guard = AddressGuard()
    resolver.answers.set()
    for number in range(100):
        guard.addresses(HERE._replace(host=f"{number}.test"), LONG_S)

    assert len(guard._lookups) <= 8
