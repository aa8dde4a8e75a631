"""A response whose body is read in pieces."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import pycurl

from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.errors import AnswerLost, NotSent
from rushes.shared.http.multi import MultiHandle
from rushes.shared.http.prepared_request import PreparedRequest

UNKNOWN_TOTAL = re.compile(r"bytes[ =]0-\d+/\*", re.IGNORECASE)
WHOLE_RANGE = re.compile(r"bytes[ =]0-(\d+)/(\d+)", re.IGNORECASE)


class ResponseHead(Protocol):
    """Anything with a status and headers."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def is_whole(response: ResponseHead) -> bool:
    """Whether the body is a whole file: a 200, or a 206 whose range covers the file from start to end.

    Some stores answer 201 to what they have just made, and 203 is a 200 that a proxy passes on.
    """
    if response.status != 206:
        return response.status in (200, 201, 203)
    content_range = WHOLE_RANGE.fullmatch(response.headers.get("content-range", ""))
    return content_range is not None and int(content_range[1]) + 1 == int(content_range[2])


def may_be_whole(response: ResponseHead) -> bool:
    """Whether the body may be a whole file although its head does not prove it: a 206 that gives no total.

    No range was asked for.
    """
    content_range = response.headers.get("content-range", "")
    return response.status == 206 and (not content_range or UNKNOWN_TOTAL.fullmatch(content_range) is not None)


class ResponseStream:
    """A response whose body is still unread; header names are lower case.

    Nothing is read ahead: libcurl does no work until the caller asks for the next piece.
    """

    def __init__(
        self, multi: MultiHandle, guard: AddressGuard, call: PreparedRequest, ends_at: float, stall_s: float
    ) -> None:
        """Make the call and read the head of its response; raises NotSent, Forbidden, AnswerLost."""
        self._multi, self._guard = multi, guard
        self._ends_at, self._stall_s = ends_at, stall_s
        self._host_was_checked = self._is_complete = self._is_closed = False
        self._failure: Exception | None = None
        self._handle = multi.handle(call.sign is not None)
        self._handle.load(call)
        self._pieces = self._handle.pieces
        try:
            multi.start(self._handle)
            self._wait()
            if self._failure and not self._handle.head_is_complete:
                raise self._failure
            self.status, self.headers = self._handle.head()
        except BaseException:
            self.close()
            raise
        length = self.headers.get("content-length", "").partition(",")[0]
        self.length_bytes = (
            int(length) if length and "chunked" not in self.headers.get("transfer-encoding", "") else None
        )

    def chunks(self, size_bytes: int) -> Iterator[bytes]:
        """Yield the body in pieces of `size_bytes`, the last one shorter; raises AnswerLost if it is cut short."""
        if self._has_more():
            self._handle.check_encoding(self.headers, self._pieces[0])
        while self._has_more():
            yield b"".join(self._take_pieces(size_bytes))

    def _take_pieces(self, size_bytes: int) -> Iterator[bytes | memoryview]:
        missing = size_bytes
        while missing and self._has_more():
            piece = self._pieces.popleft()
            if len(piece) > missing:
                rest = memoryview(piece)
                self._pieces.appendleft(rest[missing:])
                piece = rest[:missing]
            missing -= len(piece)
            yield piece

    def close(self) -> None:
        """End the call; if the body was not read to its end, its connection is closed. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._multi.stop(self._handle)

    def _has_more(self) -> bool:
        """Wait for the next piece; False at the end of the body."""
        if not (self._pieces or self._is_complete):
            self._wait()
        if self._failure and not self._pieces:
            raise self._failure
        return bool(self._pieces)

    def _wait(self) -> None:
        """Wait for a piece of the body or the end of the response; at first, for the end of its head."""
        handle, at_head = self._handle, not self._handle.head_is_complete
        progress_at, line_count = time.monotonic(), handle.head_line_count()
        while not (self._is_complete or self._pieces or (at_head and handle.head_is_complete)):
            wait_s = min(handle.remaining_s(self._ends_at), progress_at + self._stall_s - time.monotonic())
            if wait_s <= 0:
                raise handle.failure(pycurl.E_OPERATION_TIMEDOUT, "")
            for _, code, text in self._multi.turn(wait_s):
                self._end(code, text)
            if line_count != handle.head_line_count():
                progress_at, line_count = time.monotonic(), handle.head_line_count()

    def _end(self, code: int, text: str) -> None:
        handle = self._handle
        if handle.needs_host_check and not self._host_was_checked:
            self._host_was_checked = True
            self._multi.check_host_and_restart(handle, self._guard, handle.remaining_s(self._ends_at))
            return
        self._is_complete = True
        try:
            handle.check_result(code, text)
        except (NotSent, AnswerLost) as failure:  # raised once the pieces before it are read
            self._failure = failure
