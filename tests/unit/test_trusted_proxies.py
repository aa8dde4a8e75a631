"""Whom a request came from, told by the proxies that are trusted, and by nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from rushes.shared.trusted_proxies import Client, TrustedProxies, client_network

OURS = TrustedProxies.parse("10.0.0.0/8, fd00::/8")

FORWARDED: list[tuple[str, str, str]] = [
    # peer, X-Forwarded-For, client
    ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),  # two proxies
    ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the left one is the client's own invention
    ("10.0.0.1", "10.9.9.9, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
    ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # no proxy of ours
    ("10.0.0.1", "", "10.0.0.1"),
    ("10.0.0.1", "10.0.0.7", "10.0.0.7"),  # a client inside
    ("10.0.0.1", "203.0.113.9:51234", "203.0.113.9"),
    ("10.0.0.1", "[2001:db8::9]:51234", "2001:db8::9"),
    ("10.0.0.1", "[2001:db8::9]", "2001:db8::9"),
    ("10.0.0.1", "2001:DB8::0009", "2001:db8::9"),
    ("fd00::1", "2001:db8::9, fd00::2%eth0", "2001:db8::9"),
    ("::ffff:10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
    ("10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"),  # nothing left of garbage is believed
    ("10.0.0.1", "198.51.100.1, <script>", "10.0.0.1"),
    ("10.0.0.1", ",,", "10.0.0.1"),
    ("10.0.0.1", "[2001:db8::9", "2001:db8::9"),
    ("", "203.0.113.9", ""),
]


@pytest.mark.parametrize(("peer", "forwarded_for", "client"), FORWARDED)
def test_the_rightmost_address_that_is_no_proxy_of_ours_is_the_client(
    peer: str, forwarded_for: str, client: str
) -> None:
    assert OURS.client(peer, forwarded_for, "").address == client


@pytest.mark.parametrize(
    ("count", "forwarded_for", "client"),
    [
        ("1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("2", "198.51.100.1, 203.0.113.9, 172.16.0.1", "203.0.113.9"),
        ("2", "203.0.113.9", "203.0.113.9"),  # it passed one of them only
        ("1", "", "192.0.2.1"),
        ("0", "203.0.113.9", "192.0.2.1"),
    ],
)
def test_a_count_of_proxies_is_taken_from_the_right(count: str, forwarded_for: str, client: str) -> None:
    assert TrustedProxies.parse(count).client("192.0.2.1", forwarded_for, "").address == client


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "proto", "scheme"),
    [
        ("10.0.0.1", "203.0.113.9", "https", "https"),
        ("10.0.0.1", "203.0.113.9", "HTTPS", "https"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "https, http", "https"),  # TLS ends at the outer one
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "http, https, http", "https"),  # the left one is the client's own
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "https", "https"),  # the inner one wrote over it
        ("10.0.0.1", "203.0.113.9", "gopher", None),
        ("10.0.0.1", "203.0.113.9", "", None),
        ("203.0.113.9", "", "https", None),  # no proxy of ours
    ],
)
def test_the_scheme_is_that_of_the_outermost_proxy_of_ours(
    peer: str, forwarded_for: str, proto: str, scheme: str | None
) -> None:
    assert OURS.client(peer, forwarded_for, proto).scheme == scheme


def test_none_is_trusted_unless_it_is_given() -> None:
    assert not TrustedProxies()
    assert not TrustedProxies.parse("0")
    assert TrustedProxies().client("127.0.0.1", "203.0.113.9", "https") == Client("127.0.0.1", None)


@pytest.mark.parametrize(
    "value", ["10.0.0.0/40", "proxy.internal", "1, 10.0.0.0/8", "*", "-1", "21", "999", "10.0.0.0/8 fd00::/8"]
)
def test_what_is_neither_a_count_nor_cidrs_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        TrustedProxies.parse(value)


@pytest.mark.parametrize(
    ("address", "counted_by"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::9", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("", ""),
    ],
)
def test_a_client_of_ipv6_is_counted_by_its_network(address: str, counted_by: str) -> None:
    assert client_network(address) == counted_by


def test_garbage_of_any_length_is_read_at_once() -> None:
    value: Any = "10.0.0.1," * 900
    assert OURS.client("10.0.0.1", value, value).address == "10.0.0.1"
