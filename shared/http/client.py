"""The one way out: every HTTP call we make, with a deadline, a size, and an honest word on whether it was sent."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import IPv4Network, IPv6Network
from weakref import WeakSet

import certifi

from rushes.shared.domain import http_messages
from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.curl_handle import Handle, Transport
from rushes.shared.http.errors import NotSent
from rushes.shared.http.handle_pool import TLS_WAIT_S, Pool
from rushes.shared.http.multi import Batch, Multi, Outcome
from rushes.shared.http.prepared_request import AwsSigV4, Call, next_hop, spoken
from rushes.shared.http.proxy import Proxy
from rushes.shared.http.response_stream import Stream
from rushes.shared.http.urls import origin

# For the look-up of a name where no call is made.
CHECK_S = 10.0
REDIRECTS = 10
# Connections that a multi keeps: of one that serves a stream after the other, and of one for many calls at once.
STREAMS, BATCHES = 4, 64


class HttpClient:
    """The one way out; shared by all threads, made once a process."""

    def __init__(
        self,
        allow: Sequence[IPv4Network | IPv6Network] = (),
        user_agent: str = "rushes",
        *,
        authorities: str | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """`authorities` is a file of certificates; what may be reached is the same through a `proxy`."""
        self._guard = AddressGuard(allow)
        self._transport = Transport(user_agent, authorities or certifi.where(), proxy)
        self._handles: Pool[Handle] = Pool()
        self._multis: Pool[Multi] = Pool()
        CLIENTS.add(self)

    def send(
        self,
        request: http_messages.Request,
        *,
        deadline_s: float,
        max_bytes: int = 1 << 20,
        fresh: bool = False,
        redirects: int = 0,
        sign: AwsSigV4 | None = None,
    ) -> http_messages.Response:
        """Make one call and read its whole answer within `deadline_s`; whatever its status, it is an answer.

        `fresh` is for a call that is paid for: over a connection of its own, never sent a second time; so is any POST.
        A GET or HEAD follows at most `redirects` redirects, and one more is the answer. Raises NotSent, Forbidden,
        AnswerLost, Oversized; after a redirect, of the last hop.
        """
        ends_at = time.monotonic() + deadline_s
        for hops_left in range(redirects, -1, -1):
            response = self._exchange(spoken(request, fresh, sign), ends_at, max_bytes)
            hop = hops_left and next_hop(request, response.status, response.headers.get("location"))
            if not hop:
                break
            request = hop
        return response

    @contextmanager
    def stream(
        self, request: http_messages.Request, *, deadline_s: float, stall_s: float = 30, redirects: int = REDIRECTS
    ) -> Iterator[Stream]:
        """Make one call and give its answer, the body still to be read; it is over after `deadline_s` in any case.

        `stall_s` without a byte ends it too. Raises as `send` does, here and in `Stream.chunks`.
        """
        ends_at = time.monotonic() + deadline_s
        call = spoken(request)
        with self._multi(STREAMS, [call]) as multi:
            for hops_left in range(redirects, -1, -1):
                with closing(Stream(multi, self._guard, call, ends_at, stall_s)) as stream:
                    hop = hops_left and next_hop(request, stream.status, stream.headers.get("location"))
                    if not hop:
                        yield stream
                        return
                request, call = hop, spoken(hop)

    def send_all(
        self,
        requests: Sequence[http_messages.Request],
        *,
        deadline_s: float,
        max_bytes: int = 1 << 20,
        sign: AwsSigV4 | None = None,
    ) -> Iterator[list[tuple[int, Outcome]]]:
        """Make many calls at once in this thread: the answers in groups as they come, each with its request's number.

        None where nothing was sent: that one is to be sent alone, which says why. One whose connection breaks may be
        sent twice, so this is for what may be asked twice.
        """
        calls = [self._call(request, sign) for request in requests]
        return self._answers(calls, time.monotonic() + deadline_s, max_bytes)

    def check(self, url: str) -> None:
        """Look a URL's host up, no more; raises Forbidden if we may not reach it, NotSent if nobody knows it."""
        self._guard.addresses(origin(url), CHECK_S)

    def check_spelling(self, url: str) -> None:
        """What can be said of an address without looking a name up; raises Forbidden or NotSent."""
        self._guard.check_spelling(url)

    def close(self) -> None:
        """Drop the kept-alive connections; calls under way go on."""
        self._handles.close()
        self._multis.close()

    def start_anew(self) -> None:
        """Leave all to the parent process that was begun before a fork."""
        self._guard.forget()
        self._handles.start()
        self._multis.start()

    def _exchange(self, call: Call, ends_at: float, max_bytes: int) -> http_messages.Response:
        # A call that is sent once has no use for a connection; what signs is kept apart from what does not.
        key = (None if call.once else call.origin, call.sign is not None)
        handle = self._handles.take(key, _wait_s([call])) or Handle(self._transport)
        handle.load(call, max_bytes)
        try:
            return handle.perform(self._guard, ends_at)
        finally:
            handle.clear()
            self._handles.give(key, handle)

    @staticmethod
    def _call(request: http_messages.Request, sign: AwsSigV4 | None) -> Call | None:
        try:
            return spoken(request, sign=sign)
        except NotSent:
            return None

    def _answers(
        self, calls: Sequence[Call | None], ends_at: float, max_bytes: int
    ) -> Iterator[list[tuple[int, Outcome]]]:
        with self._multi(BATCHES, calls) as multi, closing(Batch(multi, self._guard, ends_at)) as batch:
            batch.start(calls, max_bytes)
            if None in calls:
                yield [(number, None) for number, call in enumerate(calls) if call is None]
            yield from batch.answers()

    @contextmanager
    def _multi(self, keeps: int, calls: Sequence[Call | None]) -> Iterator[Multi]:
        multi = self._multis.take(keeps, _wait_s(calls)) or Multi(self._transport, keeps)
        try:
            yield multi
        finally:
            self._multis.give(keeps, multi)


def _wait_s(calls: Sequence[Call | None]) -> float:
    """How long to wait for one that keeps its authorities already."""
    return TLS_WAIT_S if any(call and call.origin.scheme == "https" for call in calls) else 0


CLIENTS: WeakSet[HttpClient] = WeakSet()


def _after_fork() -> None:
    for client in CLIENTS:
        client.start_anew()


os.register_at_fork(after_in_child=_after_fork)
