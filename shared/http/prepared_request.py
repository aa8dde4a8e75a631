"""A request in the bytes that are sent, checked before any connection is opened."""

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

# Headers that follow a redirect to another origin. Any other header may hold a key, whatever its name.
CROSS_ORIGIN_HEADERS = frozenset({"accept", "if-none-match", "if-range", "range"})
# Headers that only the client sets; the caller's are dropped.
CLIENT_HEADERS = frozenset({"accept-encoding", "connection", "content-length", "expect", "transfer-encoding"})
# libcurl adds these headers by itself; a line without a value suppresses them.
CURL_HEADERS = {"accept": b"Accept:", "content-type": b"Content-Type:", "expect": b"Expect:"}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Invariant: no value holds a line end. libcurl passes it on, so it would begin another header.
HEADER_VALUE = re.compile(r"[^\r\n\0]*")
# Methods that may be sent twice: libcurl repeats a request by itself if a reused connection breaks.
REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
METHODS = REPEATABLE | {"POST", "PATCH"}
# libcurl removes these segments from a path that it signs, so another object would be written.
DOT_SEGMENTS = re.compile(r"/(\.|%2e){1,2}([/?]|$)", re.IGNORECASE)
REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class AwsSigV4:
    """The credentials that sign a request. libcurl takes `x-amz-content-sha256` from the request's headers."""

    region: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    service: str = "s3"


class PreparedRequest(NamedTuple):
    """A request in the bytes that are sent."""

    method: str
    origin: Origin
    target: str
    headers: Sequence[bytes]
    body: bytes | memoryview | None
    once: bool
    """Whether it has a connection of its own and is never sent a second time."""
    sign: AwsSigV4 | None


def prepare(request: http_messages.Request, once: bool = False, sign: AwsSigV4 | None = None) -> PreparedRequest:
    """Check a request and put it into bytes; raises Forbidden for a bad URL, NotSent if HTTP cannot express it."""
    method = request.method
    # Invariant: a POST or PATCH goes out once. libcurl would repeat it on a new connection (curl #18417).
    once = once or method not in REPEATABLE
    origin, target = urls.split(request.url)
    if method not in METHODS:
        raise NotSent(f"{origin}: not a method")
    if sign and DOT_SEGMENTS.search(target):
        raise NotSent(f"{origin}: a path with a . or .. segment cannot be signed")
    try:
        body = request.body()
        headers = (_headers if sign else _cached_headers)(
            tuple(request.headers.items()), request.json is not None, once, sign
        )
    except ValueError as error:
        raise NotSent(f"{origin}: {type(error).__name__}") from None
    return PreparedRequest(method, origin, target, headers, body, once, sign)


def _headers(
    items: tuple[tuple[str, str], ...], is_json: bool, once: bool, sign: AwsSigV4 | None = None
) -> list[bytes]:
    lines, names = [], set()
    for name, value in items:
        if (lower_name := name.lower()) not in CLIENT_HEADERS:
            names.add(lower_name)
            lines.append(_line(name, value))
    if is_json and "content-type" not in names:
        lines.append(b"Content-Type: application/json")
        names.add("content-type")
    lines += [line for name, line in CURL_HEADERS.items() if name not in names]
    lines += [_line("x-amz-security-token", sign.session_token)] if sign and sign.session_token else []
    # libcurl signs all headers, and a store's front end (Google's) rewrites this one: the signature would not match.
    lines += [] if sign else [b"Accept-Encoding: identity"]
    return [*lines, *([b"Connection: close"] if once else [])]


# A gateway's headers are the same for each task. Those of signed requests always differ, so they are not cached.
_cached_headers = lru_cache(maxsize=256)(_headers)


def _line(name: str, value: str) -> bytes:
    if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
        raise ValueError
    return f"{name}: {value}".encode("latin-1") if value.strip() else f"{name};".encode("latin-1")


def next_hop(request: http_messages.Request, status: int, location: str | None) -> http_messages.Request | None:
    """Return the request that a redirect leads to; None if the response is not a redirect to follow.

    Raises Forbidden if the redirect does not lead to a URL.
    """
    if status not in REDIRECTS or request.method not in ("GET", "HEAD") or location is None:
        return None
    url = urls.redirect_target(request.url, location)
    if urls.origin(url) == urls.origin(request.url):
        return replace(request, url=url)
    # Invariant: another origin never gets a gateway's key (openclaw #103083).
    headers = {name: value for name, value in request.headers.items() if name.lower() in CROSS_ORIGIN_HEADERS}
    return replace(request, url=url, headers=headers)
