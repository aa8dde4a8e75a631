"""URLs: where one points, what is asked there, and where a redirect leads."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import idna

from rushes.shared.http.errors import Forbidden

# All of a URL that says where it points.
HEAD = re.compile(r"[a-z]+://[^/?#]*", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]*:[0-9a-f:.]*")
# What a request line cannot carry, or what strict servers refuse there. All else is sent as given: it may be signed.
UNSENDABLE = re.compile(r"[^!#$%&-;=?-Z\[\]_a-z~]")


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


def origin(url: str) -> Origin:
    """The scheme, host and port of a URL; raises Forbidden where it is no plain http(s) URL."""
    head = HEAD.match(url)
    return _origin(head[0] if head else url)


def parsed(url: str) -> tuple[Origin, str]:
    """Where a URL points, and the path and query to ask for there; raises Forbidden as `origin` does."""
    head = HEAD.match(url)
    if head is None:
        return _origin(url), "/"
    rest = url[head.end() :]
    if "#" in rest:
        rest = rest.partition("#")[0]
    return _origin(head[0]), quoted(rest if rest[:1] == "/" else f"/{rest}")


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
    return Origin(scheme, _ascii(host), DEFAULT_PORTS[scheme] if port is None else port)


def _ascii(host: str) -> str:
    """The host as it is looked up and asked; what some clients would decode into an address is decoded here too."""
    try:
        plain = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        plain = ""
    if not HOST.fullmatch(plain):
        raise Forbidden("not a host name")
    return plain


def quoted(text: str) -> str:
    """What cannot be sent is percent-encoded, as browsers do; what is encoded already stays."""
    return UNSENDABLE.sub(
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape")), text
    )


def redirected(url: str, location: str) -> str:
    """Where a `Location` header leads, whose bytes are given as latin-1; raises Forbidden where that is no URL."""
    try:
        return urljoin(url, location.encode("latin-1").decode("utf-8", "surrogateescape"))
    except ValueError:
        raise Forbidden("redirected to what is no URL") from None
