"""Many answers in one thread: libcurl's multi interface under `select.poll`.

Driven by `socket_action`; the multi's own `select` is select(2), which above file 1023 spins at full CPU.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence

import pycurl

from rushes.shared.domain import http_messages
from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.curl_handle import PIECE_BYTES, Handle, Transport
from rushes.shared.http.errors import AnswerLost, NotSent
from rushes.shared.http.prepared_request import Call
from rushes.shared.http.urls import Origin

# Answers are waited for a moment longer, for each group of them costs whoever takes it a call to the ledger.
GROUP_S = 0.004
# While a name is looked up the other answers wait.
LOOKUP_S = 1.0
WANTS = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: select.POLLIN,
    pycurl.POLL_OUT: select.POLLOUT,
    pycurl.POLL_INOUT: select.POLLIN | select.POLLOUT,
}


class Multi:
    """Makes any number of calls at a time, all of them in the thread that turns it."""

    def __init__(self, transport: Transport, keeps: int) -> None:
        """`keeps` connections stand at the most when their calls are over."""
        self._transport, self._keeps = transport, keeps
        self._poll = select.poll()
        self._due_at: float | None = None
        self._running: dict[pycurl.Curl, Handle] = {}
        self._idle: dict[bool, list[Handle]] = {True: [], False: []}  # those that sign apart
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, keeps)

    def handle(self, signs: bool) -> Handle:
        """A handle for one call; it is given back by `stop`."""
        if self._idle[signs]:
            return self._idle[signs].pop()
        handle = Handle(self._transport)
        handle.curl.setopt(pycurl.BUFFERSIZE, PIECE_BYTES)
        return handle

    def start(self, handle: Handle) -> None:
        """Begin the call that the handle was loaded with."""
        self._running[handle.curl] = handle
        self._multi.add_handle(handle.curl)

    def turn(self, wait_s: float) -> list[tuple[Handle, int, str]]:
        """Wait for news and deal with it: the calls that ended, each with libcurl's error, which is 0 for none."""
        if self._due_at is not None:
            wait_s = min(wait_s, self._due_at - time.monotonic())
        for file, events in self._poll.poll(max(0.0, wait_s) * 1000):
            self._multi.socket_action(file, pycurl.CSELECT_IN if events == select.POLLIN else _action(events))
        if self._due_at is not None and self._due_at <= time.monotonic():
            self._due_at = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._ended()

    def judge_and_restart(self, handle: Handle, guard: AddressGuard, wait_s: float) -> None:
        """Begin a call again that needs a connection; raises Forbidden, NotSent."""
        handle.judge(guard, wait_s)
        self._multi.remove_handle(handle.curl)
        self._multi.add_handle(handle.curl)

    def stop(self, handle: Handle) -> None:
        """End a call; where its answer was not read to the end, its connection is closed."""
        if self._running.pop(handle.curl, None):
            self._multi.remove_handle(handle.curl)
        idle = self._idle[handle.call.sign is not None]
        handle.clear()
        idle.append(handle) if len(idle) < self._keeps else handle.close()

    def close(self) -> None:
        """End all connections."""
        self._multi.close()

    def _ended(self) -> list[tuple[Handle, int, str]]:
        found: list[tuple[Handle, int, str]] = []
        left = 1
        while left:
            left, whole, broken = self._multi.info_read()
            found += [(self._running[curl], 0, "") for curl in whole]
            found += [(self._running[curl], code, text) for curl, code, text in broken]
        return found

    # --- callbacks

    def _watch(self, what: int, file: int, multi: object, data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self._poll.unregister(file)
        else:
            self._poll.register(file, WANTS[what])

    def _set_timer(self, wait_ms: int) -> None:
        self._due_at = None if wait_ms < 0 else time.monotonic() + wait_ms / 1000


def _action(events: int) -> int:
    reads, writes = events & ~select.POLLOUT, events & select.POLLOUT  # what is broken is read too
    return (pycurl.CSELECT_IN if reads else 0) | (pycurl.CSELECT_OUT if writes else 0)


Outcome = http_messages.Response | AnswerLost | None


class Batch:
    """Many calls at once, and what comes of them."""

    def __init__(self, multi: Multi, guard: AddressGuard, ends_at: float) -> None:
        self._multi, self._guard, self._ends_at = multi, guard, ends_at
        self._waiting: dict[Handle, int] = {}
        self._unreached: set[Origin] = set()

    def start(self, calls: Sequence[Call | None], max_bytes: int) -> None:
        """Begin all that can be said."""
        for number, call in enumerate(calls):
            if call:
                handle = self._multi.handle(call.sign is not None)
                handle.load(call, max_bytes)
                self._waiting[handle] = number
                self._multi.start(handle)

    def answers(self) -> Iterator[list[tuple[int, Outcome]]]:
        """What comes, in groups, each with its call's number; what has not come in time is lost."""
        while self._waiting and (left_s := self._ends_at - time.monotonic()) > 0:
            if group := self._come(left_s):
                yield group
        sent = any(handle.begun for handle in self._waiting)
        if sent and (group := self._come(0)):  # what came while the groups before it were dealt with
            yield group
        if self._waiting:
            yield [self._outcome(handle, pycurl.E_OPERATION_TIMEDOUT, "") for handle in [*self._waiting]]

    def close(self) -> None:
        """End what is under way."""
        for handle in self._waiting:
            self._multi.stop(handle)

    def _come(self, wait_s: float) -> list[tuple[int, Outcome]]:
        ended = self._multi.turn(wait_s)
        if ended and len(ended) < len(self._waiting):
            time.sleep(GROUP_S)
            ended += self._multi.turn(0)
        return [self._outcome(*one) for one in ended if not self._restarted(one[0])]

    def _restarted(self, handle: Handle) -> bool:
        origin = handle.call.origin
        if not handle.unjudged or origin in self._unreached:
            return False
        try:
            self._multi.judge_and_restart(handle, self._guard, min(LOOKUP_S, handle.left_s(self._ends_at)))
        except (NotSent, AnswerLost):
            self._unreached.add(origin)
            return False
        return True

    def _outcome(self, handle: Handle, code: int, text: str) -> tuple[int, Outcome]:
        number = self._waiting.pop(handle)
        try:
            handle.check_end(code, text)
            return number, handle.response()
        except AnswerLost as lost:
            return number, lost
        except NotSent:
            return number, None
        finally:
            self._multi.stop(handle)
