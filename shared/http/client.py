"""The HTTP client: each call has a deadline and a size limit, and each failure says whether the request was sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import IPv4Network, IPv6Network
from weakref import WeakSet

import certifi

from rushes.shared.domain import http_messages
from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.curl_handle import CurlHandle, HandleOptions
from rushes.shared.http.errors import NotSent
from rushes.shared.http.handle_pool import TLS_WAIT_S, HandlePool
from rushes.shared.http.multi import WIDTH, MultiHandle, Outcome, RequestBatch
from rushes.shared.http.prepared_request import AwsSigV4, PreparedRequest, next_hop, prepare
from rushes.shared.http.proxy import Proxy
from rushes.shared.http.response_stream import ResponseStream
from rushes.shared.http.urls import origin

# Deadline of a name look-up in `check_host`.
CHECK_TIMEOUT_S = 10.0
MAX_REDIRECTS = 10
# Idle connections that a multi handle keeps: one for streams, which come one after the other, and one for batches.
STREAM_CONNECTIONS, BATCH_CONNECTIONS = 4, 64


class HttpClient:
    """Makes HTTP calls. Create one per process and share it between threads."""

    def __init__(
        self,
        allow: Sequence[IPv4Network | IPv6Network] = (),
        user_agent: str = "rushes",
        *,
        authorities: str | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """`allow` lists networks that may be reached although they are not public, through a `proxy` too.

        `authorities` is a file of trusted certificates in PEM.
        """
        self._guard = AddressGuard(allow)
        self._options = HandleOptions(user_agent, authorities or certifi.where(), proxy)
        self._handles: HandlePool[CurlHandle] = HandlePool()
        self._multis: HandlePool[MultiHandle] = HandlePool()
        CLIENTS.add(self)

    def send(
        self,
        request: http_messages.Request,
        *,
        deadline_s: float,
        max_bytes: int = 1 << 20,
        once: bool = False,
        redirects: int = 0,
        sign: AwsSigV4 | None = None,
    ) -> http_messages.Response:
        """Make one call and return its whole response, whatever its status, within `deadline_s`.

        `once` is for a paid call: it has a connection of its own and is never sent a second time. Any POST is sent so.
        A GET or HEAD follows at most `redirects` redirects; the next redirect is returned as the response. Raises
        NotSent, Forbidden, AnswerLost, Oversized; after a redirect the error is about the last hop.
        """
        ends_at = time.monotonic() + deadline_s
        for hops_left in range(redirects, -1, -1):
            response = self._exchange(prepare(request, once, sign), ends_at, max_bytes)
            redirect = hops_left and next_hop(request, response.status, response.headers.get("location"))
            if not redirect:
                break
            request = redirect
        return response

    @contextmanager
    def stream(
        self, request: http_messages.Request, *, deadline_s: float, stall_s: float = 30, redirects: int = MAX_REDIRECTS
    ) -> Iterator[ResponseStream]:
        """Make one call and yield its response with the body unread. The call ends after `deadline_s` in any case.

        It also ends after `stall_s` without a byte. Raises as `send` does, here and in `ResponseStream.chunks`.
        """
        ends_at = time.monotonic() + deadline_s
        call = prepare(request)
        with self._multi(STREAM_CONNECTIONS, [call]) as multi:
            for hops_left in range(redirects, -1, -1):
                with closing(ResponseStream(multi, self._guard, call, ends_at, stall_s)) as stream:
                    redirect = hops_left and next_hop(request, stream.status, stream.headers.get("location"))
                    if not redirect:
                        yield stream
                        return
                request, call = redirect, prepare(redirect)

    def send_all(
        self,
        requests: Sequence[http_messages.Request],
        *,
        deadline_s: float,
        max_bytes: int = 1 << 20,
        once: bool = False,
        may_send: Callable[[int], bool] | None = None,
        sign: AwsSigV4 | None = None,
        at_once: int = WIDTH,
    ) -> Iterator[list[tuple[int, Outcome]]]:
        """Make many calls at once in this thread. Yields groups of (index of the request, outcome) as they complete.

        The outcome is None if nothing was sent: `send` of that request alone says why. `once` is as for `send`; another
        request, but for a POST, may be sent twice if its connection breaks. `may_send` is asked for each request by its
        index, once its connection is open and before its first byte. `at_once` calls start first, more of them as
        answers come or fail to come for a while (RequestBatch).
        """
        calls = [self._prepare(request, once, sign) for request in requests]
        return self._perform_all(calls, time.monotonic() + deadline_s, max_bytes, may_send, at_once)

    def check_host(self, url: str) -> None:
        """Look up a URL's host. Raises Forbidden if it may not be reached, NotSent if it has no address."""
        self._guard.addresses(origin(url), CHECK_TIMEOUT_S)

    def check_url(self, url: str) -> None:
        """Check a URL as far as that works without looking up its host; raises Forbidden or NotSent."""
        self._guard.check_url(url)

    def close(self) -> None:
        """Close the idle connections; calls in progress continue."""
        self._handles.close()
        self._multis.close()

    def reset_after_fork(self) -> None:
        """Start without connections after a fork: the existing ones belong to the parent process."""
        self._guard.clear_cache()
        self._handles.start()
        self._multis.start()

    def _exchange(self, call: PreparedRequest, ends_at: float, max_bytes: int) -> http_messages.Response:
        # Invariant: a handle that held AWS credentials never serves an unsigned call. A call with `once` reuses no
        # connection, so its handle is pooled without an origin.
        key = (None if call.once else call.origin, call.sign is not None)
        handle = self._handles.take(key, _pool_wait_s([call])) or CurlHandle(self._options)
        handle.load(call, max_bytes)
        try:
            return handle.perform(self._guard, ends_at)
        finally:
            handle.clear()
            self._handles.give_back(key, handle)

    @staticmethod
    def _prepare(request: http_messages.Request, once: bool, sign: AwsSigV4 | None) -> PreparedRequest | None:
        try:
            return prepare(request, once, sign)
        except NotSent:
            return None

    def _perform_all(
        self,
        calls: Sequence[PreparedRequest | None],
        ends_at: float,
        max_bytes: int,
        may_send: Callable[[int], bool] | None,
        at_once: int,
    ) -> Iterator[list[tuple[int, Outcome]]]:
        with (
            self._multi(BATCH_CONNECTIONS, calls) as multi,
            closing(RequestBatch(multi, self._guard, ends_at)) as batch,
        ):
            batch.start(calls, max_bytes, may_send, at_once)
            if None in calls:
                yield [(index, None) for index, call in enumerate(calls) if call is None]
            yield from batch.responses()

    @contextmanager
    def _multi(self, max_idle: int, calls: Sequence[PreparedRequest | None]) -> Iterator[MultiHandle]:
        # Paid calls may take long; polls do not wait for their handles.
        key = (max_idle, any(call and call.once for call in calls))
        multi = self._multis.take(key, _pool_wait_s(calls)) or MultiHandle(self._options, max_idle)
        try:
            yield multi
        finally:
            self._multis.give_back(key, multi)


def _pool_wait_s(calls: Sequence[PreparedRequest | None]) -> float:
    """How long to wait for a handle that has a connection already."""
    return TLS_WAIT_S if any(call and call.origin.scheme == "https" for call in calls) else 0


CLIENTS: WeakSet[HttpClient] = WeakSet()


def _after_fork() -> None:
    for client in CLIENTS:
        client.reset_after_fork()


os.register_at_fork(after_in_child=_after_fork)
