"""Which addresses may be reached. A name is looked up once, all its addresses are checked, and only those are used."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import inf
from threading import Lock, Thread

from rushes.shared.http.errors import Forbidden, NotSent
from rushes.shared.http.urls import Origin, origin

PUBLIC_PORTS = frozenset({443, 8443})
# A look-up for each paid call would cost more than the call itself.
CACHE_S, MAX_CACHED_NAMES = 5.0, 1024
INTERNAL_NAMES = ("localhost", ".local", ".internal")

# A table of our own: what `ipaddress` calls global differs between patch releases of Python (cpython#113171).
NON_PUBLIC_NETWORKS = tuple(
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
        # Only 2000::/3 is assigned for public use. The first line also covers networks that embed an IPv4 address:
        # ::a.b.c.d, ::ffff:0:0/96, and NAT64 with 64:ff9b::/96 and 64:ff9b:1::/48.
        "::/3",
        "4000::/2",  # segment routing and unassigned networks
        "8000::/1",  # unique local, link-local, site-local, multicast
        "2001::/23",  # protocol assignments; Teredo embeds an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4 embeds an IPv4 address
        "3fff::/20",  # documentation
    )
)


class AddressGuard:
    """Allows public addresses over https on ports 443 and 8443, and any scheme and port within `allow`. Thread-safe."""

    def __init__(self, allow: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._allow = tuple(allow)
        self.clear_cache()

    def clear_cache(self) -> None:
        """Forget all look-ups: after a fork the threads that ran them do not exist."""
        self._lock, self._lookups = Lock(), dict[Origin, _Lookup]()

    def addresses(self, target: Origin, wait_s: float | None = None) -> list[str]:
        """Return the addresses of a host in the order in which to try them; all of them may be reached.

        Raises Forbidden if any of them may not be reached, NotSent if there is none, or none within `wait_s`.
        """
        addresses = [*_numeric_addresses(target)] or self._look_up(target, wait_s)
        ips = [_parse_ip(address) for address in addresses]
        if all(self._is_allowed(ip) for ip in ips):
            return addresses
        if not _is_https_on_public_port(target):
            raise Forbidden(f"{target}: only https on port 443 or 8443")
        # Invariant: one address that may not be reached forbids the whole name, or libcurl could fall back to it.
        if not all(_is_public(ip) or self._is_allowed(ip) for ip in ips):
            raise Forbidden(f"{target}: not a public address")
        return addresses

    def check_url(self, url: str) -> None:
        """Check what needs no look-up; raises Forbidden. The addresses of a name are checked at each call."""
        target = origin(url)
        if _numeric_addresses(target) or target.host.rstrip(".").endswith(INTERNAL_NAMES):
            self.addresses(target)
        elif not _is_https_on_public_port(target) and not self._allow:
            raise Forbidden(f"{target}: only https on port 443 or 8443")

    def _is_allowed(self, ip: IPv4Address | IPv6Address) -> bool:
        return any(ip in network for network in self._allow)

    def _look_up(self, target: Origin, wait_s: float | None) -> list[str]:
        """Ask the system's resolver, or reuse its result of the last CACHE_S. Concurrent callers share one thread."""
        with self._lock:
            lookup = self._lookups.get(target)
            if lookup is None or lookup.is_old():
                if len(self._lookups) >= MAX_CACHED_NAMES:
                    self._lookups.clear()
                lookup = self._lookups[target] = _Lookup()
                # In a thread of its own: the system's resolver has no timeout.
                Thread(target=lookup.run, args=(target,), daemon=True).start()
        try:
            return lookup.addresses.result(wait_s)
        except TimeoutError:
            raise NotSent(f"{target}: the name was not looked up in time") from None
        except socket.gaierror as error:
            raise NotSent(f"{target}: {error.strerror}") from None
        except (ValueError, OverflowError):  # a label too long or empty, a port past 65535
            raise Forbidden(f"{target}: not a host name") from None


class _Lookup:
    def __init__(self) -> None:
        self.addresses: Future[list[str]] = Future()
        self._ended_at: float | None = None

    def is_old(self) -> bool:
        return self._ended_at is not None and time.monotonic() - self._ended_at >= CACHE_S

    def run(self, target: Origin) -> None:
        try:
            addresses = _getaddrinfo(target)
        except BaseException as error:
            self._ended_at = -inf  # a failure is not cached
            self.addresses.set_exception(error)
        else:
            self._ended_at = time.monotonic()
            self.addresses.set_result(addresses)


def _is_https_on_public_port(target: Origin) -> bool:
    return target.scheme == "https" and target.port in PUBLIC_PORTS


@lru_cache(maxsize=MAX_CACHED_NAMES)
def _parse_ip(address: str) -> IPv4Address | IPv6Address:
    return ip_address(address.partition("%")[0])


@lru_cache(maxsize=MAX_CACHED_NAMES)
def _is_public(ip: IPv4Address | IPv6Address) -> bool:
    return not any(ip in network for network in NON_PUBLIC_NETWORKS)


@lru_cache(maxsize=MAX_CACHED_NAMES)
def _numeric_addresses(target: Origin) -> tuple[str, ...]:
    """The address of a host that is an IP address in any spelling, without a look-up; empty for a name."""
    try:
        return tuple(_getaddrinfo(target, socket.AI_NUMERICHOST))
    except socket.gaierror:
        return ()
    except (ValueError, OverflowError):
        raise Forbidden(f"{target}: not a host name") from None


def _getaddrinfo(target: Origin, flags: int = 0) -> list[str]:
    entries = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)
    return [str(sockaddr[0]) for *_, sockaddr in entries]
