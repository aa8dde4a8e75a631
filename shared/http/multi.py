"""Many calls in one thread: libcurl's multi interface under `select.poll`.

It is driven by `socket_action`: libcurl's own wait uses select(2), which spins at full CPU above file descriptor 1023.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pycurl

from rushes.shared.domain import http_messages
from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.curl_handle import PIECE_BYTES, CurlHandle, HandleOptions
from rushes.shared.http.errors import AnswerLost, NotSent
from rushes.shared.http.prepared_request import PreparedRequest
from rushes.shared.http.urls import Origin

# After the first response of a group, more are gathered for this long: each group costs its caller a ledger call.
GATHER_S = 0.004
# A batch starts with so many calls. A quick server answers them soon, and the connection of each answer serves the next
# call. Whenever no answer comes for WIDEN_S, as many more are started: a slow server has 64 calls after 0.15 s. Over
# TLS a connection takes 130 KiB, and under a burst each of four batches had some 40.
WIDTH, WIDEN_S = 16, 0.05
# The longest look-up of a name in a batch: meanwhile the other responses wait.
LOOKUP_S = 1.0
POLL_EVENTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
}


class MultiHandle:
    """Makes any number of calls at a time, all in the thread that calls `turn`."""

    def __init__(self, options: HandleOptions, max_idle: int) -> None:
        """`max_idle` is how many connections are kept when their calls are over."""
        self._options, self._max_idle = options, max_idle
        self._poll = select.poll()
        self._due_at: float | None = None
        self._running: dict[pycurl.Curl, CurlHandle] = {}
        self._idle: dict[bool, list[CurlHandle]] = {True: [], False: []}  # by whether they sign
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_idle)

    def handle(self, signs: bool) -> CurlHandle:
        """Return a handle for one call; `stop` takes it back."""
        if self._idle[signs]:
            return self._idle[signs].pop()
        handle = CurlHandle(self._options)
        handle.curl.setopt(pycurl.BUFFERSIZE, PIECE_BYTES)
        # TLS sessions of its own: those of a multi handle, two for each server, would be new ones for all other calls.
        sessions = pycurl.CurlShare()
        sessions.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_SSL_SESSION)
        handle.curl.setopt(pycurl.SHARE, sessions)
        return handle

    def start(self, handle: CurlHandle) -> None:
        """Start the call that the handle was loaded with."""
        self._running[handle.curl] = handle
        self._multi.add_handle(handle.curl)

    def turn(self, wait_s: float) -> list[tuple[CurlHandle, int, str]]:
        """Wait for socket events and process them. Returns the ended calls with libcurl's error code (0: none)."""
        if self._due_at is not None:
            wait_s = min(wait_s, self._due_at - time.monotonic())
        for file, events in self._poll.poll(max(0.0, wait_s) * 1000):
            self._multi.socket_action(file, pycurl.CSELECT_IN if events == select.POLLIN else _action(events))
        if self._due_at is not None and self._due_at <= time.monotonic():
            self._due_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._finished_calls()

    def check_host_and_restart(self, handle: CurlHandle, guard: AddressGuard, wait_s: float) -> None:
        """Check the host of a call that needs a new connection, and start it again; raises Forbidden, NotSent."""
        handle.check_host(guard, wait_s)
        self._multi.remove_handle(handle.curl)
        self._multi.add_handle(handle.curl)

    def stop(self, handle: CurlHandle) -> None:
        """End a call; if its response was not read to the end, its connection is closed."""
        if self._running.pop(handle.curl, None):
            self._multi.remove_handle(handle.curl)
        idle = self._idle[handle.call.sign is not None]
        handle.clear()
        idle.append(handle) if len(idle) < self._max_idle else handle.close()

    def close(self) -> None:
        """Close all connections."""
        self._multi.close()

    def _finished_calls(self) -> list[tuple[CurlHandle, int, str]]:
        finished: list[tuple[CurlHandle, int, str]] = []
        queued = 1
        while queued:
            queued, succeeded, failed = self._multi.info_read()
            finished += [(self._running[curl], 0, "") for curl in succeeded]
            finished += [(self._running[curl], code, text) for curl, code, text in failed]
        return finished

    # --- callbacks

    def _watch_socket(self, what: int, file: int, multi: object, data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._poll.unregister(file)
        else:
            self._poll.register(file, POLL_EVENTS[what])

    def _set_timer(self, wait_ms: int) -> None:
        self._due_at = None if wait_ms < 0 else time.monotonic() + wait_ms / 1000


def _action(events: int) -> int:
    reads, writes = events & ~select.POLLOUT, events & select.POLLOUT  # errors and hang-ups count as readable
    return (pycurl.CSELECT_IN if reads else 0) | (pycurl.CSELECT_OUT if writes else 0)


Outcome = http_messages.Response | AnswerLost | None


class RequestBatch:
    """Many calls at once and their outcomes."""

    def __init__(self, multi: MultiHandle, guard: AddressGuard, ends_at: float) -> None:
        self._multi, self._guard, self._ends_at = multi, guard, ends_at
        self._waiting: dict[CurlHandle, int] = {}
        self._unreachable: set[Origin] = set()
        self._unstarted: deque[tuple[int, PreparedRequest]] = deque()
        self._widened_at = time.monotonic()

    def start(
        self,
        calls: Sequence[PreparedRequest | None],
        max_bytes: int,
        may_send: Callable[[int], bool] | None = None,
        at_once: int = WIDTH,
    ) -> None:
        """Start `at_once` of the calls that could be prepared; if one of them is paid, all of them."""
        self._max_bytes, self._may_send = max_bytes, may_send
        self._unstarted.extend((index, call) for index, call in enumerate(calls) if call)
        # A paid call has a connection of its own, and its lease ends soon.
        self._start(len(calls) if any(call.once for _, call in self._unstarted) else at_once)

    def _start(self, count: int) -> None:
        for _ in range(min(count, len(self._unstarted))):
            index, call = self._unstarted.popleft()
            handle = self._multi.handle(call.sign is not None)
            handle.load(call, self._max_bytes, partial(self._may_send, index) if self._may_send else None)
            self._waiting[handle] = index
            self._multi.start(handle)

    def responses(self) -> Iterator[list[tuple[int, Outcome]]]:
        """Yield groups of (index of the call, outcome) as they complete; calls past the deadline are AnswerLost."""
        while self._waiting and (remaining_s := self._ends_at - time.monotonic()) > 0:
            if group := self._next_group(remaining_s):
                yield group
        sent = any(handle.may_be_sent for handle in self._waiting)
        if sent and (group := self._next_group(0)):  # responses that came while the caller handled the last group
            yield group
        if self._waiting:
            yield [self._outcome(handle, pycurl.E_OPERATION_TIMEDOUT, "") for handle in [*self._waiting]]
        if self._unstarted:
            yield [(index, None) for index, _ in self._unstarted]

    def close(self) -> None:
        """End the calls in progress."""
        for handle in self._waiting:
            self._multi.stop(handle)

    def _next_group(self, wait_s: float) -> list[tuple[int, Outcome]]:
        ended = self._multi.turn(min(wait_s, WIDEN_S) if self._unstarted else wait_s)
        if ended and len(ended) < len(self._waiting):
            time.sleep(GATHER_S)
            ended += self._multi.turn(0)
        outcomes = [self._outcome(handle, code, text) for handle, code, text in ended if not self._restart(handle)]
        if self._unstarted:
            self._start_more(len(outcomes))
        return outcomes

    def _start_more(self, answers: int) -> None:
        """Start as many calls as were answered, or more of them if none is for some time."""
        now = time.monotonic()
        if answers or now - self._widened_at >= WIDEN_S:
            self._widened_at = now
            self._start(answers or WIDTH)

    def _restart(self, handle: CurlHandle) -> bool:
        """Start a call again if it only lacked a checked host; whether it was started."""
        origin = handle.call.origin
        if not handle.needs_host_check or origin in self._unreachable:
            return False
        try:
            self._multi.check_host_and_restart(handle, self._guard, min(LOOKUP_S, handle.remaining_s(self._ends_at)))
        except (NotSent, AnswerLost):
            self._unreachable.add(origin)
            return False
        return True

    def _outcome(self, handle: CurlHandle, code: int, text: str) -> tuple[int, Outcome]:
        index = self._waiting.pop(handle)
        try:
            handle.check_result(code, text)
            return index, handle.response()
        except AnswerLost as lost:
            return index, lost
        except NotSent:
            return index, None
        finally:
            self._multi.stop(handle)
