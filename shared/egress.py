"""Which addresses we may reach. A name is resolved once, every address it has is checked, and only those are used."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# All of a URL that says where it points.
HEAD = re.compile(r"[a-z]+://[^/?#]*", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
PUBLIC_PORTS = frozenset({443, 8443})
CONNECT_S = 5.0  # for all addresses of a name together, as long as each still gets a second

HOUSE_NAMES = ("localhost", ".local", ".internal")

# Our own table: what `ipaddress` calls global differs between patch releases of Python (cpython#113171).
INSIDE = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT; some clouds keep their metadata here
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent, on an address that looks public
        "169.254.0.0/16",  # link-local; cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        # Only 2000::/3 is given out to the public. The first line also holds what carries an IPv4 address
        # inside: ::a.b.c.d, ::ffff:0:0/96, and NAT64 with 64:ff9b::/96 and 64:ff9b:1::/48.
        "::/3",
        "4000::/2",  # segment routing and what nobody has yet
        "8000::/1",  # unique local, link-local, site-local, multicast
        "2001::/23",  # protocol assignments; Teredo carries an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 carries an IPv4 address
        "3fff::/20",  # documentation
    )
)


class NotSent(Exception):
    """Surely no byte of the request left this machine; the reason is the text."""


class Forbidden(NotSent):
    """The address is not one we may reach; asking again will not help."""


class Origin(NamedTuple):
    """Where a URL points, without what may be secret in it."""

    scheme: str
    host: str
    port: int

    @property
    def shown_host(self) -> str:
        """The host as a URL and a Host header write it."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.scheme}://{self.shown_host}:{self.port}"


class Address(NamedTuple):
    """One resolved and checked address, as `socket.connect` takes it."""

    family: int
    sockaddr: tuple[Any, ...]

    def ip(self) -> IPv4Address | IPv6Address:
        return ip_address(self.sockaddr[0].partition("%")[0])


def origin(url: str) -> Origin:
    """The scheme, host and port of a URL; raises Forbidden where it is no plain http(s) URL."""
    head = HEAD.match(url)
    return _origin(head[0] if head else url)


@lru_cache(maxsize=1024)
def _origin(url: str) -> Origin:
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise Forbidden("not a URL") from None
    if scheme not in DEFAULT_PORTS:
        raise Forbidden("the URL is neither https nor http")
    if not host:
        raise Forbidden("the URL has no host")
    if "%" in host and ":" not in host:  # an address in disguise: some decode it
        raise Forbidden("not a host name")
    if "@" in parts.netloc:
        raise Forbidden("the URL holds a user or a password")
    return Origin(scheme, host, DEFAULT_PORTS[scheme] if port is None else port)


@dataclass(frozen=True, slots=True)
class Guard:
    """Public addresses over https on the usual ports; within `allow` also http and any port."""

    allow: tuple[IPv4Network | IPv6Network, ...] = ()

    def addresses(self, target: Origin) -> list[Address]:
        """Resolve once; raises Forbidden if any address may not be reached, NotSent if there is none.

        Takes as long as the system's resolver does: resolv.conf bounds it, no deadline of ours can.
        """
        found = _resolve(target)
        ips = [address.ip() for address in found]
        if all(self._allowed(ip) for ip in ips):
            return found
        if target.scheme != "https" or target.port not in PUBLIC_PORTS:
            raise Forbidden(f"{target}: only https on port 443 or 8443")
        if not all(_public(ip) or self._allowed(ip) for ip in ips):
            raise Forbidden(f"{target}: not a public address")
        return found

    def check_spelling(self, url: str) -> None:
        """The part of the check that needs no name looked up; raises Forbidden. The rest is checked at each call."""
        target = origin(url)
        try:
            socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            public = target.scheme == "https" and target.port in PUBLIC_PORTS
            if not target.host.rstrip(".").endswith(HOUSE_NAMES) and (public or self.allow):
                return
            if not public and not self.allow:
                raise Forbidden(f"{target}: only https on port 443 or 8443") from None
        except (ValueError, OverflowError):
            raise Forbidden(f"{target}: not a host name") from None
        self.addresses(target)

    def connect(self, target: Origin, wait_s: Callable[[float], float]) -> socket.socket:
        """Connect to the first checked address that answers; raises as `addresses` does, and OSError if none does.

        `wait_s` says how long may be waited now, at most what it is given.
        """
        found = self.addresses(target)
        each_s = max(1.0, CONNECT_S / len(found))
        failure = OSError("no address")
        for address in found:
            try:
                return _dial(address, wait_s(each_s))
            except OSError as error:
                failure = error
        raise failure

    def _allowed(self, ip: IPv4Address | IPv6Address) -> bool:
        return any(ip in network for network in self.allow)


def _public(ip: IPv4Address | IPv6Address) -> bool:
    return not any(ip in network for network in INSIDE)


def _resolve(target: Origin) -> list[Address]:
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise NotSent(f"{target}: {error.strerror}") from None
    except (ValueError, OverflowError):  # a label too long or empty, a NUL, a port past 65535
        raise Forbidden(f"{target}: not a host name") from None
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


def _dial(address: Address, timeout_s: float) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout_s)
        sock.connect(address.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock
