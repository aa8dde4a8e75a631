"""The one way out: every HTTP call we make, with a deadline, a size, and an honest word on whether it was sent.

Whether a failed call was sent is told by a flag, set before its first byte is handed to the socket; never by the kind
of the error, for the same error comes with and without receipt. Nothing is ever tried again here.
Of requests only the adapter's pools are used: cookies, netrc, proxies and authorities from the environment, and
redirects that nobody checked all live in its Session, and half of the CPU of a call in its Request and Response.
"""

from __future__ import annotations

import http.client
import io
import logging
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidURL
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from shared import egress
from shared.domain import wire
from shared.egress import Forbidden, NotSent

__all__ = ["AnswerLost", "Forbidden", "NotSent", "Outside", "Oversized", "Stream"]

HOSTS_KEPT, KEPT_PER_HOST = 32, 64
PIECE_BYTES = 1 << 16

REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What goes along to another origin; any other header may hold a key, whatever its name.
TRAVELLERS = frozenset({"accept", "if-none-match", "if-range", "range"})
# What is ours to say, whatever the caller gives.
OURS = frozenset({"accept-encoding", "connection"})
# A URL that needs no quoting.
PLAIN = re.compile(r"https?://([!#$&-;=?-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})+", re.IGNORECASE)
# Any other coding is refused: the length and checksum of such a body would not be the file's.
CODINGS = {"content-encoding": {"", "identity"}, "transfer-encoding": {"", "chunked"}}

# At debug, and for odd headers at warning, urllib3 logs whole paths and queries; these may hold keys.
logging.getLogger("urllib3").setLevel(logging.ERROR)


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
        self._kept = _Adapter(self._tls, KEPT_PER_HOST)

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
        with call.told():
            url = _sendable(request.url)
            raw = self._pool(egress.origin(url), fresh).urlopen(
                request.method,
                _path(url),
                body=request.body(),
                headers=self._headers(request, fresh),
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
                timeout=call,
            )
            stream = Stream(raw, call)  # type: ignore[arg-type]
        if stream.is_coded():
            stream.close()
            raise AnswerLost(f"{call.origin}: the answer is compressed")
        return stream

    def _pool(self, origin: egress.Origin, fresh: bool) -> HTTPConnectionPool:
        if not fresh:
            kept: HTTPConnectionPool = self._kept.poolmanager.connection_from_host(*origin[1:], origin.scheme)
            return kept
        if origin.scheme == "http":
            return _Pool(origin.host, origin.port)
        return _TlsPool(origin.host, origin.port, ssl_context=self._tls)

    def _headers(self, request: wire.Request, fresh: bool) -> dict[str, str]:
        given = {name.lower() for name in request.headers}
        headers = {} if "user-agent" in given else {"User-Agent": self._user_agent}
        if request.json is not None and "content-type" not in given:
            headers["Content-Type"] = "application/json"
        headers.update((name, held) for name, held in request.headers.items() if name.lower() not in OURS)
        return {**headers, "Accept-Encoding": "identity", "Connection": "close" if fresh else "keep-alive"}


class Stream:
    """An answer whose body is still to be read; header names are lower case."""

    def __init__(self, raw: HTTPResponse, call: _Call) -> None:
        self._raw, self._call = raw, call
        self.status: int = raw.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in raw.headers.itermerged()}
        length = self.headers.get("content-length", "")
        self.length_bytes: int | None = int(length) if length.isdecimal() and not raw.chunked else None

    def chunks(self, size_bytes: int) -> Iterator[bytes]:
        """The body in pieces of exactly `size_bytes`, the last one shorter; raises AnswerLost if it is cut short."""
        while piece := self._read(size_bytes):
            yield piece

    def whole(self, max_bytes: int) -> bytes:
        """The body at once; raises Oversized as soon as it is known to be over `max_bytes`."""
        body = bytearray()
        while (self._raw.length_remaining or 0) + len(body) <= max_bytes:
            piece = self._read(PIECE_BYTES)
            if not piece:
                return bytes(body)
            body += piece
        raise Oversized(f"{self._call.origin}: the answer is over {max_bytes} bytes")

    def is_redirect(self, method: str) -> bool:
        return self.status in REDIRECTS and method in ("GET", "HEAD") and "location" in self.headers

    def is_coded(self) -> bool:
        has_body = self._raw.length_remaining != 0
        return has_body and any(self.headers.get(name, "").lower() not in CODINGS[name] for name in CODINGS)

    def close(self) -> None:
        """Close the connection, unless the body was read to its end and it is kept."""
        self._raw.close()
        self._raw.release_conn()

    def _read(self, size_bytes: int) -> bytes:
        with self._call.told():
            return self._raw.read(size_bytes, decode_content=False)


class _Call(Timeout):
    """One call: when it must be over, and whether a byte of it has left.

    urllib3 hands its Timeout down to where a connection is used, so this travels as one.
    """

    def __init__(self, guard: egress.Guard, deadline_s: float, stall_s: float | None = None) -> None:
        super().__init__()
        self.guard, self.ends_at, self.stall_s = guard, time.monotonic() + deadline_s, stall_s
        self.origin: egress.Origin | None = None
        self.begun = False  # a byte of the request was handed to the socket
        self.ended = False  # the other side has closed its end

    def wait_s(self, at_most_s: float | None = None) -> float:
        """How long the socket may be waited for now; raises TimeoutError past the deadline."""
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s if at_most_s is None else min(left_s, at_most_s)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn any trouble into NotSent or AnswerLost, named by its kind; its text may quote what is secret."""
        try:
            yield
        except (OSError, ValueError, HTTPError, http.client.HTTPException) as error:
            verdict = AnswerLost if self.begun else NotSent
            raise verdict(f"{self.origin}: {_kind(error)}") from None

    def clone(self) -> _Call:
        return self  # urllib3 clones for each try; there is one

    def start_connect(self) -> float:
        return 0.0  # our clock runs from the start

    @property
    def connect_timeout(self) -> float:
        return self.wait_s()

    @property
    def read_timeout(self) -> float:
        return self.wait_s()


class _Wire(io.RawIOBase):
    """Reads from a socket; what is left of the deadline is set before each read, so no trickle outlives it."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, call: _Call) -> None:
        self._sock, self._raw, self._call = sock, raw, call

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._call.wait_s(self._call.stall_s))
        size_bytes = self._raw.readinto(buffer)
        self._call.ended = size_bytes == 0
        return size_bytes

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that is whole, or an error.

    `http.client` takes the end of the connection for the end of the headers, or of a chunk's size. A line that is
    whole never makes it read on, so a connection that has ended by then proves the cut.
    """

    def __init__(self, call: _Call, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self._call = call
        self.fp = io.BufferedReader(_Wire(sock, self.fp.detach(), call))

    def begin(self) -> None:
        super().begin()
        if self._call.ended:
            raise http.client.IncompleteRead(b"")

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        is_interim = 100 <= status < 200 and status != 101  # 103 Early Hints: the answer is still to come
        return version, http.client.CONTINUE if is_interim else status, reason

    def _read_next_chunk_size(self) -> int:
        size_bytes: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size_bytes < 0 or self._call.ended:  # a negative size would read all there is, at once
            raise ValueError
        return size_bytes


class _Connection(HTTPConnection):
    """A connection to a checked address only, which tells its call when the first byte leaves."""

    scheme = "http"
    call: _Call

    def carry(self, call: _Call) -> None:
        """Work for this call from now on, whether new or kept alive."""
        self.call = call
        self.response_class = partial(_Answer, call)  # type: ignore[assignment]

    def send(self, data: bytes) -> None:  # type: ignore[override]
        if self.sock is None:
            self.connect()
        for start in range(0, len(data), PIECE_BYTES):
            self.sock.settimeout(self.call.wait_s())
            self.call.begun = True
            super().send(data[start : start + PIECE_BYTES])

    def _new_conn(self) -> socket.socket:
        target = egress.Origin(self.scheme, self._dns_host, self.port)
        sock = self.call.guard.connect(target, self.call.wait_s)
        sock.settimeout(self.call.wait_s(egress.CONNECT_S))  # for the whole of a TLS handshake
        return sock


class _TlsConnection(_Connection, HTTPSConnection):
    scheme = "https"


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection

    def _make_request(self, conn: Any, *args: Any, **options: Any) -> Any:
        conn.carry(options["timeout"])
        return super()._make_request(conn, *args, **options)


class _TlsPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Connections kept by origin, all under one set of authorities: loading it costs more than a handshake."""

    def __init__(self, tls: ssl.SSLContext, kept_per_host: int) -> None:
        self._tls = tls
        super().__init__(pool_connections=HOSTS_KEPT, pool_maxsize=kept_per_host, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options, ssl_context=self._tls)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


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
    """The innermost error's name. Its neighbours in the chain may be the caller's, so only wrappers are opened."""
    reason = getattr(error, "reason", None)
    for inner in (*error.args, reason):
        if isinstance(inner, BaseException):
            return _kind(inner)
    return f"{type(error).__name__} {reason}" if isinstance(error, ssl.SSLError) else type(error).__name__
