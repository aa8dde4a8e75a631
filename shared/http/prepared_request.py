"""A call as it is said: checked and put into bytes before a connection is thought of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from rushes.shared.domain import http_messages
from rushes.shared.http import urls
from rushes.shared.http.errors import NotSent
from rushes.shared.http.urls import Origin

# What goes along to another origin; any other header may hold a key, whatever its name.
TRAVELLERS = frozenset({"accept", "if-none-match", "if-range", "range"})
# What is the client's to say, whatever the caller gives.
OURS = frozenset({"accept-encoding", "connection", "content-length", "expect", "transfer-encoding"})
# libcurl would add these; a header without a value takes them away.
UNWANTED = {"accept": b"Accept:", "content-type": b"Content-Type:", "expect": b"Expect:"}
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# A line end in a value would begin a header of its own: libcurl passes it on.
VALUE = re.compile(r"[^\r\n\0]*")
# What may be sent twice: libcurl does so by itself where a kept connection dies under a call.
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
METHODS = REPEATABLE | {"POST", "PATCH"}
# Of what it signs itself libcurl resolves these: another key would be written.
DOTS = re.compile(r"/(\.|%2e){1,2}([/?]|$)", re.IGNORECASE)
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class AwsSigV4:
    """Whose signature a request carries; of `x-amz-content-sha256` libcurl takes the request's own."""

    region: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    service: str = "s3"


class Call(NamedTuple):
    """One request in the bytes that are sent."""

    method: str
    origin: Origin
    target: str
    headers: Sequence[bytes]
    body: bytes | memoryview | None
    once: bool
    """Whether it goes over a connection of its own, and is never sent a second time."""
    sign: AwsSigV4 | None


def spoken(request: http_messages.Request, once: bool = False, sign: AwsSigV4 | None = None) -> Call:
    """A request as a call; raises Forbidden where its URL leads nowhere, NotSent where it cannot be said."""
    method = request.method
    once = once or method not in REPEATABLE
    origin, target = urls.parsed(request.url)
    if method not in METHODS:
        raise NotSent(f"{origin}: not a method")
    if sign and DOTS.search(target):
        raise NotSent(f"{origin}: a path with . or .. is not signed")
    try:
        body = request.body()
        headers = (_headers if sign else _kept_headers)(
            tuple(request.headers.items()), request.json is not None, once, sign
        )
    except ValueError as error:
        raise NotSent(f"{origin}: {type(error).__name__}") from None
    return Call(method, origin, target, headers, body, once, sign)


def _headers(
    items: tuple[tuple[str, str], ...], is_json: bool, once: bool, sign: AwsSigV4 | None = None
) -> list[bytes]:
    names = {name.lower() for name, _ in items} - OURS
    lines = [_line(name, value) for name, value in items if name.lower() not in OURS]
    if is_json and "content-type" not in names:
        lines.append(b"Content-Type: application/json")
        names.add("content-type")
    lines += [line for name, line in UNWANTED.items() if name not in names]
    lines += [_line("x-amz-security-token", sign.session_token)] if sign and sign.session_token else []
    # Stores behind a front of their own (Google's) say this header anew, and what is signed must arrive as it is.
    lines += [] if sign else [b"Accept-Encoding: identity"]
    return [*lines, *([b"Connection: close"] if once else [])]


# Of a gateway they are the same for each task; what is signed is never the same, and not kept.
_kept_headers = lru_cache(maxsize=256)(_headers)


def _line(name: str, value: str) -> bytes:
    if not NAME.fullmatch(name) or not VALUE.fullmatch(value):
        raise ValueError
    return f"{name}: {value}".encode("latin-1") if value.strip() else f"{name};".encode("latin-1")


def next_hop(request: http_messages.Request, status: int, location: str | None) -> http_messages.Request | None:
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
