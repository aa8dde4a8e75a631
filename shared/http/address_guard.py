"""Which addresses we may reach. A name is looked up once, every address it has is judged, and only those are used."""

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
# Looking a name up for each paid call would cost more than the call.
KEPT_S, MOST_NAMES = 5.0, 1024
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


class AddressGuard:
    """Public addresses over https on the usual ports; within `allow` also http and any port. Safe between threads."""

    def __init__(self, allow: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._allow = tuple(allow)
        self.forget()

    def forget(self) -> None:
        """Look every name up anew: after a fork the threads that did so are gone."""
        self._lock, self._lookups = Lock(), dict[Origin, _Lookup]()

    def addresses(self, target: Origin, wait_s: float | None = None) -> list[str]:
        """The addresses of a host, all of which may be reached, in the order in which they are to be tried.

        Raises Forbidden if any of them may not be reached, NotSent if there is none, or none within `wait_s`.
        """
        found = [*_numeric(target)] or self._looked_up(target, wait_s)
        ips = [_ip(address) for address in found]
        if all(self._allowed(ip) for ip in ips):
            return found
        if not _usual(target):
            raise Forbidden(f"{target}: only https on port 443 or 8443")
        if not all(_public(ip) or self._allowed(ip) for ip in ips):
            raise Forbidden(f"{target}: not a public address")
        return found

    def check_spelling(self, url: str) -> None:
        """The part of the check that needs no name looked up; raises Forbidden. The rest is checked at each call."""
        target = origin(url)
        if _numeric(target) or target.host.rstrip(".").endswith(HOUSE_NAMES):
            self.addresses(target)
        elif not _usual(target) and not self._allow:
            raise Forbidden(f"{target}: only https on port 443 or 8443")

    def _allowed(self, ip: IPv4Address | IPv6Address) -> bool:
        return any(ip in network for network in self._allow)

    def _looked_up(self, target: Origin, wait_s: float | None) -> list[str]:
        """What the system's resolver says now, or said a moment ago; all who ask at a time wait for one thread."""
        with self._lock:
            lookup = self._lookups.get(target)
            if lookup is None or lookup.is_old():
                if len(self._lookups) >= MOST_NAMES:
                    self._lookups.clear()
                lookup = self._lookups[target] = _Lookup()
                # A thread of its own, for nothing else bounds the system's resolver.
                Thread(target=lookup.run, args=(target,), daemon=True).start()
        try:
            return lookup.answer.result(wait_s)
        except TimeoutError:
            raise NotSent(f"{target}: the name was not looked up in time") from None
        except socket.gaierror as error:
            raise NotSent(f"{target}: {error.strerror}") from None
        except (ValueError, OverflowError):  # a label too long or empty, a port past 65535
            raise Forbidden(f"{target}: not a host name") from None


class _Lookup:
    def __init__(self) -> None:
        self.answer: Future[list[str]] = Future()
        self._ended_at: float | None = None

    def is_old(self) -> bool:
        return self._ended_at is not None and time.monotonic() - self._ended_at >= KEPT_S

    def run(self, target: Origin) -> None:
        try:
            found = _getaddrinfo(target)
        except BaseException as error:
            self._ended_at = -inf  # the next who asks looks again
            self.answer.set_exception(error)
        else:
            self._ended_at = time.monotonic()
            self.answer.set_result(found)


def _usual(target: Origin) -> bool:
    return target.scheme == "https" and target.port in PUBLIC_PORTS


@lru_cache(maxsize=MOST_NAMES)
def _ip(address: str) -> IPv4Address | IPv6Address:
    return ip_address(address.partition("%")[0])


@lru_cache(maxsize=MOST_NAMES)
def _public(ip: IPv4Address | IPv6Address) -> bool:
    return not any(ip in network for network in INSIDE)


@lru_cache(maxsize=MOST_NAMES)
def _numeric(target: Origin) -> tuple[str, ...]:
    """The address that a host stands for however it is spelled, without a look-up; empty for a name."""
    try:
        return tuple(_getaddrinfo(target, socket.AI_NUMERICHOST))
    except socket.gaierror:
        return ()
    except (ValueError, OverflowError):
        raise Forbidden(f"{target}: not a host name") from None


def _getaddrinfo(target: Origin, flags: int = 0) -> list[str]:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=flags)
    return [str(sockaddr[0]) for *_, sockaddr in found]
