"""A call as it is said: checked and put into bytes before a connection is thought of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from shared.domain import wire
from shared.http import urls
from shared.http.errors import NotSent
from shared.http.urls import Origin

# What goes along to another origin; any other header may hold a key, whatever its name.
TRAVELLERS = frozenset({"accept", "if-none-match", "if-range", "range"})
# What is the client's to say, whatever the caller gives.
OURS = frozenset({"accept-encoding", "connection", "content-length", "expect", "transfer-encoding"})
# libcurl would add these; a header without a value takes them away.
UNWANTED = {"accept": b"Accept:", "content-type": b"Content-Type:", "expect": b"Expect:"}
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A line end in a value would begin a header of its own: libcurl passes it on.
VALUE = re.compile(r"[^\r\n\0]*")
METHOD = re.compile(r"[A-Z]+")
# A call that may be sent twice: libcurl does so where a kept connection dies under it.
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class AwsSigV4:
    """Whose signature a request carries; of `x-amz-content-sha256` libcurl takes the request's own."""

    region: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    service: str = "s3"


@dataclass(frozen=True, slots=True)
class Call:
    """One request in the bytes that are sent."""

    method: str
    origin: Origin
    target: str
    headers: Sequence[bytes] = field(repr=False)
    body: bytes | memoryview | None = field(repr=False)
    fresh: bool
    sign: AwsSigV4 | None

    @property
    def once(self) -> bool:
        """Whether it must not be sent a second time, whatever becomes of the first."""
        return self.fresh or self.method not in REPEATABLE


def spoken(request: wire.Request, fresh: bool = False, sign: AwsSigV4 | None = None) -> Call:
    """A request as a call; raises Forbidden where its URL leads nowhere, NotSent where it cannot be said."""
    origin = urls.origin(request.url)
    try:
        body = request.body()
        headers = _headers(request, fresh, sign)
    except ValueError as error:
        raise NotSent(f"{origin}: {type(error).__name__}") from None
    return Call(request.method, origin, urls.target(request.url), headers, body, fresh, sign)


def _headers(request: wire.Request, fresh: bool, sign: AwsSigV4 | None) -> list[bytes]:
    if not METHOD.fullmatch(request.method):
        raise ValueError
    names = {name.lower(): name for name in request.headers}
    lines = [line for name, line in UNWANTED.items() if name not in names or name in OURS]
    if request.json is not None and "content-type" not in names:
        lines[lines.index(UNWANTED["content-type"])] = b"Content-Type: application/json"
    lines += [_line(name, value) for name, value in request.headers.items() if name.lower() not in OURS]
    if sign and sign.session_token:
        lines.append(_line("x-amz-security-token", sign.session_token))
    return [*lines, b"Accept-Encoding: identity", *([b"Connection: close"] if fresh else [])]


def _line(name: str, value: str) -> bytes:
    if not NAME.fullmatch(name) or not VALUE.fullmatch(value):
        raise ValueError
    return f"{name}: {value}".encode("latin-1") if value.strip() else f"{name};".encode("latin-1")


def next_hop(request: wire.Request, status: int, location: str | None) -> wire.Request | None:
    """The request that a redirect leads to, which another origin gets without keys; None where it is an answer.

    Raises Forbidden where it leads to what is no URL.
    """
    if status not in REDIRECTS or request.method not in ("GET", "HEAD") or location is None:
        return None
    url = urls.redirected(request.url, location)
    if urls.origin(url) == urls.origin(request.url):
        return replace(request, url=url)
    headers = {name: value for name, value in request.headers.items() if name.lower() in TRAVELLERS}
    return replace(request, url=url, headers=headers)
