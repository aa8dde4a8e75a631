"""URLs: the origin, the request target, and where a redirect leads."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from rushes.shared.http.errors import Forbidden

# Scheme, host and port of a URL.
ORIGIN_PART = re.compile(r"[a-z]+://[^/?#]*", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST_CHARACTERS = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")
# Characters that a request line cannot carry, or that strict servers refuse there. All others are sent unchanged: the
# URL may be signed.
UNSENDABLE = re.compile(r"[^!#$%&-;=?-Z\[\]_a-z~]")


class Origin(NamedTuple):
    """Scheme, host and port of a URL: the part without secrets."""

    scheme: str
    host: str
    port: int

    @property
    def url_host(self) -> str:
        """The host as a URL and a Host header write it: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.scheme}://{self.url_host}:{self.port}"


def origin(url: str) -> Origin:
    """Return the scheme, host and port of a URL; raises Forbidden if it is not a plain http(s) URL."""
    start = ORIGIN_PART.match(url)
    return _origin(start[0] if start else url)


def split(url: str) -> tuple[Origin, str]:
    """Split a URL into its origin and the request target (path and query); raises Forbidden as `origin` does."""
    start = ORIGIN_PART.match(url)
    if start is None:
        return _origin(url), "/"
    rest = url[start.end() :]
    if "#" in rest:
        rest = rest.partition("#")[0]
    return _origin(start[0]), quote_unsendable(rest if rest[:1] == "/" else f"/{rest}")


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
    if "@" in parts.netloc:
        raise Forbidden("the URL holds a user or a password")
    return Origin(scheme, _ascii_host(host), DEFAULT_PORTS[scheme] if port is None else port)


def _ascii_host(host: str) -> str:
    """The host in ASCII. IDNA (UTS 46) also maps other letters and digits, some of which spell an IP address."""
    name = host if host.isascii() else _encoded(host)
    if not HOST_CHARACTERS.fullmatch(name):
        raise Forbidden("not a host name")
    return name


def _encoded(host: str) -> str:
    """The host by IDNA, "" if it has no such form."""
    import idna  # its tables take 0.4 MiB, and few hosts need them

    try:
        return idna.encode(host, uts46=True).decode()
    except UnicodeError:
        return ""


def quote_unsendable(text: str) -> str:
    """Percent-encode what cannot be sent, as browsers do; what is encoded already stays unchanged."""
    return UNSENDABLE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogateescape")), text
    )


def redirect_target(url: str, location: str) -> str:
    """Return the URL that a `Location` header, decoded as latin-1, leads to; raises Forbidden if it is not a URL."""
    try:
        return urljoin(url, location.encode("latin-1").decode("utf-8", "surrogateescape"))
    except ValueError:
        raise Forbidden("redirected to something that is not a URL") from None
