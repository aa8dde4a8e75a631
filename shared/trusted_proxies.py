"""Who sent a request that came through proxies: what the trusted ones wrote into X-Forwarded-For and -Proto.

Each proxy adds the address that it was called from at the right end. So the list is read from the right, and nothing to
the left of the first address that is no trusted proxy is believed: the client may have sent that itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
SCHEMES = ("http", "https")
MOST_PROXIES = 20
FORMS = "give CIDRs such as 10.0.0.0/8, comma separated, or how many proxies there are"
# A client of IPv6 usually has a whole network of this size.
CLIENT_PREFIX_BITS = 64


@dataclass(frozen=True, slots=True)
class Client:
    """The sender of a request; `scheme` is None if no trusted proxy tells it."""

    address: str
    scheme: str | None


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """Networks in which every address is a proxy of ours, or how many proxies each request passes; false if none is."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    count: int = 0

    @classmethod
    def parse(cls, value: str) -> TrustedProxies:
        """Parse CIDRs, comma separated, or a count; raises ValueError."""
        if value.isascii() and value.isdigit():
            if len(value) > 2 or int(value) > MOST_PROXIES:
                raise ValueError(f"a count is at most {MOST_PROXIES}")
            return cls(count=int(value))
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if any(part.isdigit() for part in parts):  # ip_network would read it as 0.0.0.x
            raise ValueError(FORMS)
        try:
            return cls(tuple(ip_network(part, strict=False) for part in parts))
        except ValueError as error:
            raise ValueError(f"{error}; {FORMS}") from None

    def __bool__(self) -> bool:
        return bool(self.networks or self.count)

    def client(self, peer: str, forwarded_for: str, forwarded_proto: str) -> Client:
        """Return who sent a request: `peer` is the connection's other end, the others are the headers' values.

        Where a proxy wrote no readable address, the client is the last one that is known: the proxy itself.
        """
        address, hops = parse_address(peer), 0
        remaining = forwarded_for.split(",")
        while self._is_proxy(address, hops) and remaining:
            hops += 1
            left = parse_address(remaining.pop())
            if left is None:
                break
            address = left
        return Client(str(address) if address else peer, _scheme(forwarded_proto, hops))

    def _is_proxy(self, address: Address | None, hops: int) -> bool:
        if self.count:
            return hops < self.count
        return address is not None and any(address in network for network in self.networks)


def parse_address(text: str) -> Address | None:
    """The address in an entry, which may be in brackets and have a port or a zone; None if there is none."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_network(address: str) -> str:
    """What attempts are counted by: an IPv4 address, or the network of an IPv6 address."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, CLIENT_PREFIX_BITS), strict=False))
    return str(parsed or address)


def _scheme(forwarded_proto: str, hops: int) -> str | None:
    """The scheme that the outermost trusted proxy was called by.

    Each proxy either adds a value at the right end or writes its own over the others.
    """
    if not hops:
        return None
    values = [value.strip().lower() for value in forwarded_proto.split(",")]
    scheme = values[-min(hops, len(values))]
    return scheme if scheme in SCHEMES else None
