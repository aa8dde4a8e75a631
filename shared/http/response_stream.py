"""An answer whose body is still to be read."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import pycurl

from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.errors import AnswerLost, NotSent
from rushes.shared.http.multi import Multi
from rushes.shared.http.prepared_request import Call

WHOLE = re.compile(r"bytes[ =]0-(\d+)/(\d+)", re.IGNORECASE)


class Answer(Protocol):
    """What has a status and headers."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def is_whole(answer: Answer) -> bool:
    """Whether this is all of a file: a 200, or a part that nobody asked for and that leaves nothing out."""
    if answer.status != 206:
        return answer.status == 200
    covered = WHOLE.fullmatch(answer.headers.get("content-range", ""))
    return covered is not None and int(covered[1]) + 1 == int(covered[2])


class Stream:
    """An answer whose body is still to be read; header names are lower case.

    Nothing is read ahead of whoever reads it: between two pieces libcurl stands still.
    """

    def __init__(self, multi: Multi, guard: AddressGuard, call: Call, ends_at: float, stall_s: float) -> None:
        """Make the call and read the head of its answer; raises NotSent, Forbidden, AnswerLost."""
        self._multi, self._guard = multi, guard
        self._ends_at, self._stall_s = ends_at, stall_s
        self._judged = self._over = self._closed = False
        self._failure: Exception | None = None
        self._handle = multi.handle(call.sign is not None)
        self._handle.load(call)
        self._pieces = self._handle.pieces
        try:
            multi.start(self._handle)
            self._wait()
            if self._failure and not self._handle.head_over:
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
        """The body in pieces of exactly `size_bytes`, the last one shorter; raises AnswerLost if it is cut short."""
        if self._more():
            self._handle.check_coding(self.headers, self._pieces[0])
        while self._more():
            yield b"".join(self._taken(size_bytes))

    def _taken(self, size_bytes: int) -> Iterator[bytes | memoryview]:
        missing = size_bytes
        while missing and self._more():
            piece = self._pieces.popleft()
            if len(piece) > missing:
                rest = memoryview(piece)
                self._pieces.appendleft(rest[missing:])
                piece = rest[:missing]
            missing -= len(piece)
            yield piece

    def close(self) -> None:
        """End the call; where the body was not read to its end, its connection is closed. Twice does no harm."""
        if not self._closed:
            self._closed = True
            self._multi.stop(self._handle)

    def _more(self) -> bool:
        """Whether there is a piece to take; waits for it."""
        if not (self._pieces or self._over):
            self._wait()
        if self._failure and not self._pieces:
            raise self._failure
        return bool(self._pieces)

    def _wait(self) -> None:
        """Until a piece of the body, or the end of the answer, or at first its head, has come."""
        handle, at_head = self._handle, not self._handle.head_over
        news_at, come = time.monotonic(), handle.head_lines()
        while not (self._over or self._pieces or (at_head and handle.head_over)):
            left_s = min(handle.left_s(self._ends_at), news_at + self._stall_s - time.monotonic())
            if left_s <= 0:
                raise handle.failure(pycurl.E_OPERATION_TIMEDOUT, "")
            for _, code, text in self._multi.turn(left_s):
                self._end(code, text)
            if come != handle.head_lines():
                news_at, come = time.monotonic(), handle.head_lines()

    def _end(self, code: int, text: str) -> None:
        handle = self._handle
        if handle.unjudged and not self._judged:
            self._judged = True
            self._multi.judge_and_restart(handle, self._guard, handle.left_s(self._ends_at))
            return
        self._over = True
        try:
            handle.check_end(code, text)
        except (NotSent, AnswerLost) as failure:  # what came of the body before it is still taken
            self._failure = failure
