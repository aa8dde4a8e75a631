"""The one way out: every HTTP call we make, with a deadline, a size, and an honest word on whether it was sent.

Whether a failed call was sent is told by a flag, set before its first byte is handed to the socket; never by the kind
of the error, for the same error comes with and without receipt. Nothing is ever tried again here.
Of requests only the care for odd URLs and its certificate authorities are used: cookies, netrc, proxies from the
environment and redirects that nobody checked all live in its Session, and most of the CPU of a call below it.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from ipaddress import IPv4Network, IPv6Network
from math import inf
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest
from requests.exceptions import InvalidURL
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from shared import egress
from shared.domain import wire
from shared.egress import Forbidden, NotSent
from shared.http11 import PIECE_BYTES, Answer, Kept, Line, over_tls, spoken

__all__ = ["AnswerLost", "Forbidden", "NotSent", "Outside", "Oversized", "Stream"]

HOSTS_KEPT, KEPT_PER_HOST = 32, 64

REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What goes along to another origin; any other header may hold a key, whatever its name.
TRAVELLERS = frozenset({"accept", "if-none-match", "if-range", "range"})
# What is ours to say, whatever the caller gives.
OURS = frozenset({"accept-encoding", "connection"})
# A URL that needs no quoting.
PLAIN = re.compile(r"https?://([!#$&-;=?-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})+", re.IGNORECASE)
# Any other coding is refused: the length and checksum of such a body would not be the file's.
CODINGS = {"content-encoding": {"", "identity"}, "transfer-encoding": {"", "chunked"}}


class AnswerLost(Exception):
    """At least one byte of the request left; what became of it is unknown."""


class Oversized(AnswerLost):
    """The answer is larger than the caller would take."""


class Outside:
    """The one way out; shared by all threads, made once a process."""

    def __init__(self, allow: Sequence[IPv4Network | IPv6Network] = (), user_agent: str = "rushes") -> None:
        self._guard = egress.Guard(tuple(allow))
        self._user_agent = user_agent
        self._tls = ssl.create_default_context(cafile=DEFAULT_CA_BUNDLE_PATH)
        self._tls.set_alpn_protocols(["http/1.1"])
        self._kept = Kept(HOSTS_KEPT, KEPT_PER_HOST)

    def send(
        self,
        request: wire.Request,
        *,
        deadline_s: float,
        max_bytes: int = 1 << 20,
        fresh: bool = False,
        redirects: int = 0,
    ) -> wire.Response:
        """Make one call and read its whole answer within `deadline_s`; whatever its status, it is an answer.

        `fresh` never uses a kept-alive connection. A GET or HEAD follows at most `redirects` redirects, and one
        more is the answer. Raises NotSent, Forbidden, AnswerLost, Oversized; after a redirect, of the last hop.
        """
        call = _Call(self._guard, deadline_s)
        with closing(self._open(request, call, fresh, redirects)) as stream:
            return wire.Response(stream.status, stream.headers, stream.whole(max_bytes))

    @contextmanager
    def stream(
        self, request: wire.Request, *, deadline_s: float, stall_s: float = 30, redirects: int = 3
    ) -> Iterator[Stream]:
        """Make one call and give its answer, the body still to be read; it is over after `deadline_s` in any case.

        `stall_s` without a byte ends it too. Raises as `send` does, here and in `Stream.chunks`.
        """
        call = _Call(self._guard, deadline_s, stall_s)
        with closing(self._open(request, call, False, redirects)) as stream:
            yield stream

    def check(self, url: str) -> None:
        """Resolve a URL's host, no more; raises Forbidden if we may not reach it, NotSent if nobody knows it."""
        self._guard.addresses(egress.origin(url))

    def check_spelling(self, url: str) -> None:
        """What can be said of an address without looking a name up; raises Forbidden or NotSent."""
        self._guard.check_spelling(url)

    def close(self) -> None:
        """Drop the kept-alive connections; calls under way go on."""
        self._kept.close()

    def _open(self, request: wire.Request, call: _Call, fresh: bool, redirects: int) -> Stream:
        for _ in range(redirects):
            stream = self._ask(request, call, fresh)
            if not stream.is_redirect(request.method):
                return stream
            with closing(stream):
                request = _next_hop(request, stream.headers["location"])
        return self._ask(request, call, fresh)

    def _ask(self, request: wire.Request, call: _Call, fresh: bool) -> Stream:
        call.origin, call.begun = egress.origin(request.url), False
        with call:
            url, body = _sendable(request.url), request.body()
            target = call.origin if url is request.url else egress.origin(url)
            head = spoken(request.method, _path(url), target, self._headers(request, fresh), body)
            line = (None if fresh else self._kept.take(target)) or self._connected(target, call)
            try:
                line.send(head, body, call.sending)
                answer = Answer(line, request.method, call.read_wait_s)
            except BaseException:
                line.close()
                raise
        stream = Stream(answer, line, call, None if fresh else partial(self._kept.give, target))
        if stream.is_coded():
            stream.close()
            raise AnswerLost(f"{call.origin}: the answer is compressed")
        return stream

    def _connected(self, target: egress.Origin, call: _Call) -> Line:
        sock = self._guard.connect(target, call.wait_s)
        if target.scheme == "https":
            sock.settimeout(call.wait_s(egress.CONNECT_S))  # for the whole of the handshake
            sock = over_tls(sock, self._tls, target.host)
        return Line(sock)

    def _headers(self, request: wire.Request, fresh: bool) -> dict[str, str]:
        given = {name.lower() for name in request.headers}
        headers = {} if "user-agent" in given else {"User-Agent": self._user_agent}
        if request.json is not None and "content-type" not in given:
            headers["Content-Type"] = "application/json"
        headers.update((name, held) for name, held in request.headers.items() if name.lower() not in OURS)
        return {**headers, "Accept-Encoding": "identity", "Connection": "close" if fresh else "keep-alive"}


class Stream:
    """An answer whose body is still to be read; header names are lower case."""

    def __init__(self, answer: Answer, line: Line, call: _Call, keep: Callable[[Line], None] | None) -> None:
        self._answer, self._call, self._keep = answer, call, keep
        self._line: Line | None = line
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers
        self.length_bytes = answer.length_bytes

    def chunks(self, size_bytes: int) -> Iterator[bytes]:
        """The body in pieces of exactly `size_bytes`, the last one shorter; raises AnswerLost if it is cut short."""
        while piece := self._piece(size_bytes):
            yield piece

    def whole(self, max_bytes: int) -> bytes:
        """The body at once; raises Oversized as soon as it is known to be over `max_bytes`."""
        body = bytearray()
        while len(body) + self._to_come() <= max_bytes:
            piece = self._read(PIECE_BYTES)
            if not piece:
                return bytes(body)
            body += piece
        raise Oversized(f"{self._call.origin}: the answer is over {max_bytes} bytes")

    def is_redirect(self, method: str) -> bool:
        return self.status in REDIRECTS and method in ("GET", "HEAD") and "location" in self.headers

    def is_coded(self) -> bool:
        return not self._answer.over and any(
            self.headers.get(name, "").lower() not in CODINGS[name] for name in CODINGS
        )

    def close(self) -> None:
        """Close the connection, unless the body was read to its end and it is kept; a second time does nothing."""
        line, self._line = self._line, None
        if line is None:  # it may serve another call by now
            return
        if self._keep and self._answer.keeps:
            self._keep(line)
        else:
            line.close()

    def _to_come(self) -> float:
        return 0 if self._answer.left == inf else self._answer.left

    def _piece(self, size_bytes: int) -> bytes:
        first = self._read(size_bytes)
        if len(first) == size_bytes:
            return first
        piece = bytearray(first)
        while len(piece) < size_bytes and (more := self._read(size_bytes - len(piece))):
            piece += more
        return bytes(piece)

    def _read(self, size_bytes: int) -> bytes:
        with self._call:
            return self._answer.some(size_bytes, self._call.read_wait_s)


class _Call:
    """One call: when it must be over, and whether a byte of it has left.

    As a context it turns any trouble into NotSent or AnswerLost, named by its kind; its text may quote what is secret.
    """

    def __init__(self, guard: egress.Guard, deadline_s: float, stall_s: float | None = None) -> None:
        self.guard, self.ends_at, self.stall_s = guard, time.monotonic() + deadline_s, stall_s
        self.origin: egress.Origin | None = None
        self.begun = False  # a byte of the request was handed to the socket

    def wait_s(self, at_most_s: float | None = None) -> float:
        """How long the socket may be waited for now; raises TimeoutError past the deadline."""
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s if at_most_s is None else min(left_s, at_most_s)

    def sending(self) -> float:
        """The same before a piece of the request is handed to the socket: from the first on it may have left."""
        left_s = self.wait_s()
        self.begun = True
        return left_s

    def read_wait_s(self) -> float:
        """The same for what is read: a stall ends it too."""
        return self.wait_s(self.stall_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, OSError | ValueError | HTTPException):
            verdict = AnswerLost if self.begun else NotSent
            raise verdict(f"{self.origin}: {_kind(error)}") from None


def _sendable(url: str) -> str:
    """The URL as it was given, for it may be signed, unless it cannot be sent so."""
    if PLAIN.fullmatch(url):
        return url
    prepared = PreparedRequest()
    try:
        prepared.prepare_url(url, None)
    except InvalidURL:
        raise Forbidden("not a URL") from None
    return prepared.url or ""


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"


def _next_hop(request: wire.Request, location: str) -> wire.Request:
    try:
        url = urljoin(request.url, location)
    except ValueError:
        raise Forbidden("redirected to what is no URL") from None
    if egress.origin(url) == egress.origin(request.url):
        return replace(request, url=url)
    kept = {name: value for name, value in request.headers.items() if name.lower() in TRAVELLERS}
    return replace(request, url=url, headers=kept)


def _kind(error: BaseException) -> str:
    """The error's name, and of TLS its reason: other texts may hold what is secret."""
    return f"{type(error).__name__} {error.reason}" if isinstance(error, ssl.SSLError) else type(error).__name__
