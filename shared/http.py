"""The one way out: every HTTP call we make, with a deadline, a size, and an honest word on whether it was sent.

Whether a failed call was sent is told by a flag, set before its first byte is handed to the socket; never by the kind
of the error, for the same error comes with and without receipt. Nothing is ever tried again here.
Of requests only the care for odd URLs and its certificate authorities are used: cookies, netrc, proxies from the
environment and redirects that nobody checked all live in its Session, and most of the CPU of a call below it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urljoin, urlsplit

from requests import PreparedRequest
from requests.exceptions import InvalidURL
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from shared import egress, together
from shared.domain import wire
from shared.egress import Forbidden, NotSent, Origin
from shared.http11 import Answer, Kept, Line, over_tls, spoken
from shared.stream import AnswerLost, AnswerRefused, Call, Oversized, Stream

__all__ = ["AnswerLost", "AnswerRefused", "Forbidden", "NotSent", "Outside", "Oversized", "Stream"]

HOSTS_KEPT, KEPT_PER_HOST = 32, 64

# What goes along to another origin; any other header may hold a key, whatever its name.
TRAVELLERS = frozenset({"accept", "if-none-match", "if-range", "range"})
# What is ours to say, whatever the caller gives.
OURS = frozenset({"accept-encoding", "connection"})
# A URL that needs no quoting.
PLAIN = re.compile(r"https?://([!#$&-;=?-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})+", re.IGNORECASE)


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
        call = Call(deadline_s)
        with closing(self._open(request, call, fresh, redirects)) as stream:
            return wire.Response(stream.status, stream.headers, stream.whole(max_bytes))

    @contextmanager
    def stream(
        self, request: wire.Request, *, deadline_s: float, stall_s: float = 30, redirects: int = 3
    ) -> Iterator[Stream]:
        """Make one call and give its answer, the body still to be read; it is over after `deadline_s` in any case.

        `stall_s` without a byte ends it too. Raises as `send` does, here and in `Stream.chunks`.
        """
        call = Call(deadline_s, stall_s)
        with closing(self._open(request, call, False, redirects)) as stream:
            yield stream

    def send_all(
        self, requests: Sequence[wire.Request], *, deadline_s: float, max_bytes: int = 1 << 20
    ) -> Iterator[list[tuple[int, wire.Response | AnswerLost | None]]]:
        """Make many calls at once in this thread, over connections that stand: the answers in groups as they come.

        Each with its request's number. None where no connection stood, or it broke, or the answer came in too many
        pieces: that one is to be sent alone, and may have been sent, so this is for what may be asked twice.
        """
        asked: list[together.Asked | None] = []
        try:
            asked.extend(self._put(request, together.Glance(deadline_s), max_bytes) for request in requests)
        except BaseException:
            for one in filter(None, asked):
                one.line.close()
            raise
        return together.answers(asked, deadline_s)

    def check(self, url: str) -> None:
        """Resolve a URL's host, no more; raises Forbidden if we may not reach it, NotSent if nobody knows it."""
        self._guard.addresses(egress.origin(url))

    def check_spelling(self, url: str) -> None:
        """What can be said of an address without looking a name up; raises Forbidden or NotSent."""
        self._guard.check_spelling(url)

    def close(self) -> None:
        """Drop the kept-alive connections; calls under way go on."""
        self._kept.close()

    def _open(self, request: wire.Request, call: Call, fresh: bool, redirects: int) -> Stream:
        for _ in range(redirects):
            stream = self._ask(request, call, fresh)
            if not stream.is_redirect(request.method):
                return stream
            with closing(stream):
                request = _next_hop(request, stream.headers["location"])
        return self._ask(request, call, fresh)

    def _ask(self, request: wire.Request, call: Call, fresh: bool) -> Stream:
        call.origin, call.begun = egress.origin(request.url), False
        with call:
            target, head, body = self._worded(request, fresh)
            line = (None if fresh else self._kept.take(target)) or self._connected(target, call)
            try:
                line.send(head, body, call.sending)
                answer = Answer(line, request.method, call.read_wait_s)
            except BaseException:
                line.close()
                raise
        return Stream(answer, line, call, None if fresh else partial(self._kept.give, target)).uncoded()

    def _put(self, request: wire.Request, call: Call, max_bytes: int) -> together.Asked | None:
        """Send a request over a connection that stands, if there is one that takes it."""
        with suppress(NotSent, AnswerLost):
            call.origin = egress.origin(request.url)
            with call:
                target, head, body = self._worded(request, fresh=False)
                line = self._kept.take(target)
                if line is None:
                    return None
                try:
                    line.send(head, body, call.sending)
                except BaseException:
                    line.close()
                    raise
                return together.Asked(request.method, line, call, partial(self._kept.give, target), max_bytes)
        return None

    def _worded(self, request: wire.Request, fresh: bool) -> tuple[Origin, bytes, bytes | None]:
        """Where a request goes, its head and its body; raises ValueError where it cannot be said."""
        url, body = _sendable(request.url), request.body()
        target = egress.origin(url)
        return target, spoken(request.method, _path(url), target, self._headers(request, fresh), body), body

    def _connected(self, target: egress.Origin, call: Call) -> Line:
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
