"""An answer whose body is still to be read, and the call that it belongs to."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from math import inf
from types import TracebackType
from typing import Self

from shared import egress
from shared.egress import NotSent
from shared.http11 import PIECE_BYTES, Answer, Line

REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Any other coding is refused: the length and checksum of such a body would not be the file's.
CODINGS = {"content-encoding": {"", "identity"}, "transfer-encoding": {"", "chunked"}}


class AnswerLost(Exception):
    """At least one byte of the request left; what became of it is unknown."""


class AnswerRefused(AnswerLost):
    """An answer that we ourselves do not take; the same call would bring the same."""


class Oversized(AnswerLost):
    """The answer is larger than the caller would take."""


class Stream:
    """An answer whose body is still to be read; header names are lower case."""

    def __init__(self, answer: Answer, line: Line, call: Call, keep: Callable[[Line], None] | None) -> None:
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

    def uncoded(self) -> Self:
        """Itself; raises AnswerRefused, and is closed, where its body is compressed."""
        coded = (name for name in CODINGS if self.headers.get(name, "").lower() not in CODINGS[name])
        if not self._answer.over and any(coded):
            self.close()
            raise AnswerRefused(f"{self._call.origin}: the answer is compressed")
        return self

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


class Call:
    """One call: when it must be over, and whether a byte of it has left.

    As a context it turns any trouble into NotSent or AnswerLost, named by its kind; its text may quote what is secret.
    """

    def __init__(self, deadline_s: float, stall_s: float | None = None) -> None:
        self.ends_at, self.stall_s = time.monotonic() + deadline_s, stall_s
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


def _kind(error: BaseException) -> str:
    """The error's name, and of TLS its reason: other texts may hold what is secret."""
    return f"{type(error).__name__} {error.reason}" if isinstance(error, ssl.SSLError) else type(error).__name__
