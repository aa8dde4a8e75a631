"""One easy handle of libcurl, the call that it makes, and an honest word on whether that was sent.

Whether a failed call was sent is told by a flag that libcurl's prereq callback sets: after the connection stands and
before the first byte of the request. Never by the kind of the error, for the same error comes with and without receipt.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pycurl

from shared.domain import wire
from shared.http.address_guard import AddressGuard
from shared.http.call import Call
from shared.http.errors import AnswerLost, NotSent, Oversized

# TCP, TLS and a proxy's answer together.
CONNECT_S = 10.0
# Of all heads of an answer, those that come before the answer too.
HEAD_BYTES = 1 << 17
# A body up to this size is handed over at once, which copies it.
COPIED_BYTES = 1 << 16
PIECE_BYTES = 1 << 16
# Codings that change the bytes, and how such bytes begin. Of all others, and of bytes that begin otherwise, the file's
# own bytes decide what it is: stores send `aws-chunked` and `identity` along with intact files.
CODINGS = {"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "bzip2", "xz", "lzma"}
CODED = (
    b"\x1f\x8b",
    b"\x1f\x9d",
    b"\x28\xb5\x2f\xfd",
    b"BZh",
    b"\xfd7zXZ",
    b"\x78\x01",
    b"\x78\x5e",
    b"\x78\x9c",
    b"\x78\xda",
)
SEND, DO_NOT_SEND = int(pycurl.PREREQFUNC_OK), int(pycurl.PREREQFUNC_ABORT)
NO_SOCKET, REWOUND = int(pycurl.SOCKET_BAD), int(pycurl.SEEKFUNC_OK)
STATIC: dict[int, Any] = {
    pycurl.NOSIGNAL: 1,
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,  # a refused stream of HTTP/2 is one more way to be sent twice
    pycurl.FOLLOWLOCATION: 0,
    pycurl.CONNECTTIMEOUT_MS: int(CONNECT_S * 1000),
}


@dataclass(frozen=True, slots=True)
class Transport:
    """What all handles of a client have in common."""

    user_agent: str
    authorities: str


class Handle:
    """Used by one thread at a time; serves one call after the other, over a connection that it keeps if it may."""

    def __init__(self, transport: Transport) -> None:
        self.curl = curl = pycurl.Curl()
        for option, value in STATIC.items():
            curl.setopt(option, value)
        curl.setopt(pycurl.USERAGENT, transport.user_agent)
        curl.setopt(pycurl.CAINFO, transport.authorities)
        curl.setopt(pycurl.PROXY, "")  # or the environment speaks
        curl.setopt(pycurl.NOPROXY, "*")
        curl.setopt(pycurl.MAXCONNECTS, 1)
        curl.setopt(pycurl.RESOLVER_START_FUNCTION, self._start_lookup)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, self._begin)
        curl.setopt(pycurl.HEADERFUNCTION, self._take_header)
        curl.setopt(pycurl.READFUNCTION, self._give_body)
        curl.setopt(pycurl.SEEKFUNCTION, self._rewind_body)
        self.pieces: deque[bytes | memoryview] = deque()
        curl.setopt(pycurl.WRITEFUNCTION, self.pieces.append)
        self._pinned: str | None = None
        self._origin, self._method, self._used = "", "GET", False

    def load(self, call: Call, max_bytes: int = 0) -> None:
        """Prepare a call; an answer larger than `max_bytes` is not read to its end, 0 sets no bound."""
        self.call, self.max_bytes = call, max_bytes
        self.begun = False
        """Whether a byte of the request may have left."""
        self.unjudged = False
        """Whether libcurl wanted to connect where nobody had judged the address yet."""
        self.head_over = False
        """Whether the head of the answer, and not only of hints before it, came whole."""
        self._judged: frozenset[str] = frozenset()
        self._lines: list[bytes] = []
        self.head_bytes = 0
        self._trouble: Exception | None = None
        self._set_target(call)
        self._set_body(call.method, call.body)
        setopt = self.curl.setopt
        setopt(pycurl.HTTPHEADER, call.headers)
        # Of an answer without a body the length says nothing.
        setopt(pycurl.MAXFILESIZE_LARGE, 0 if call.method == "HEAD" else max_bytes)
        setopt(pycurl.FRESH_CONNECT, call.fresh)
        setopt(pycurl.FORBID_REUSE, call.fresh)

    def judge(self, guard: AddressGuard, wait_s: float) -> None:
        """Look the call's host up and let libcurl connect there; raises Forbidden, NotSent."""
        origin = self.call.origin
        addresses = guard.addresses(origin, wait_s)
        if addresses != [origin.host]:
            place = f"{origin.host}:{origin.port}"
            forgotten = [f"-{self._pinned}"] if self._pinned else []
            self.curl.setopt(pycurl.RESOLVE, [*forgotten, f"{place}:{','.join(addresses)}"])
            self._pinned = place
        self._judged, self.unjudged = frozenset(addresses), False

    def perform(self, guard: AddressGuard, ends_at: float) -> wire.Response:
        """Make the call and read its whole answer; raises NotSent, Forbidden, AnswerLost, Oversized."""
        for judged in (self.call.fresh or not self._used, True):
            if judged:
                self.judge(guard, self.left_s(ends_at))
            self.curl.setopt(pycurl.TIMEOUT_MS, max(1, int(1000 * self.left_s(ends_at))))
            try:
                self.curl.perform()
            except pycurl.error as error:
                if self.unjudged and not judged:
                    continue
                raise self.failure(*error.args) from None
            break
        return self.response()

    def left_s(self, ends_at: float) -> float:
        """How long the call may still take; raises NotSent or AnswerLost past its end."""
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            raise self.failure(pycurl.E_OPERATION_TIMEDOUT, "")
        return left_s

    def response(self) -> wire.Response:
        """The whole answer; raises AnswerLost where it is not whole."""
        status, headers = self.head()
        body = b"".join(self.pieces)
        self.pieces.clear()
        self.check_coding(headers, body)
        return wire.Response(status, headers, body)

    def head(self) -> tuple[int, Mapping[str, str]]:
        """Status and headers, whose names are lower case, those that came twice joined; raises AnswerLost."""
        if not self.head_over:
            raise self.failure(0, "the head of the answer was cut short")
        headers: dict[str, str] = {}
        for line in self._lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return int(self._lines[0].split(None, 2)[1]), headers

    def check_coding(self, headers: Mapping[str, str], begin: bytes | memoryview) -> None:
        """Raises AnswerLost where a body is compressed: its length and checksum would not be the file's."""
        words = headers.get("content-encoding")
        if (
            words
            and bytes(begin[:8]).startswith(CODED)
            and CODINGS & {word.strip() for word in words.lower().split(",")}
        ):
            raise self.failure(0, "the answer is compressed")

    def failure(self, code: int, text: str) -> NotSent | AnswerLost:
        """What a call comes to that libcurl gave up."""
        origin = self.call.origin
        if code == pycurl.E_FILESIZE_EXCEEDED:
            return Oversized(f"{origin}: the answer is over {self.max_bytes} bytes")
        verdict = AnswerLost if self.begun else NotSent
        return verdict(f"{origin}: {self._reason(code, text)}")

    def clear(self) -> None:
        """Forget the call; credentials do not stay."""
        self.pieces.clear()
        self._body, self._used = memoryview(b""), True
        if self.call.sign:
            self.curl.unsetopt(pycurl.USERNAME)
            self.curl.unsetopt(pycurl.PASSWORD)

    def close(self) -> None:
        """End its connection."""
        self.curl.close()

    def _reason(self, code: int, text: str) -> str:
        if self._trouble:
            return type(self._trouble).__name__
        if code == pycurl.E_OPERATION_TIMEDOUT:  # libcurl's own text counts milliseconds
            return "timed out"
        if code == pycurl.E_COULDNT_CONNECT and (number := self.curl.getinfo(pycurl.OS_ERRNO)):
            return os.strerror(number).lower()
        return text or f"error {code} of libcurl"

    def _set_target(self, call: Call) -> None:
        setopt, sign = self.curl.setopt, call.sign
        if sign is None:
            # Not as a part of the URL, where libcurl would spell it anew, and could quote it in an error.
            setopt(pycurl.REQUEST_TARGET, call.target)
            if self._origin != (origin := f"{call.origin}"):
                setopt(pycurl.URL, origin)
                self._origin = origin
            return
        setopt(pycurl.URL, f"{call.origin}{call.target}")
        setopt(pycurl.AWS_SIGV4, f"aws:amz:{sign.region}:{sign.service}")
        setopt(pycurl.USERNAME, sign.access_key)
        setopt(pycurl.PASSWORD, sign.secret_key)

    def _set_body(self, method: str, body: bytes | memoryview | None) -> None:
        setopt = self.curl.setopt
        if self._method != "GET":  # the last call's
            self.curl.unsetopt(pycurl.CUSTOMREQUEST)
            setopt(pycurl.HTTPGET, 1)
        self._method, self._body, self._body_at = method, memoryview(b""), 0
        if method == "HEAD":
            setopt(pycurl.NOBODY, 1)
        elif method != "GET" or body is not None:
            self._method = "POST"
            self._set_upload(body or b"")
            if method != "POST":
                setopt(pycurl.CUSTOMREQUEST, method)

    def _set_upload(self, body: bytes | memoryview) -> None:
        if len(body) <= COPIED_BYTES:
            self.curl.setopt(pycurl.POSTFIELDS, bytes(body))
            return
        self._body = memoryview(body)
        self.curl.setopt(pycurl.UPLOAD, 1)
        self.curl.setopt(pycurl.INFILESIZE_LARGE, len(body))

    # --- callbacks: an exception in one is printed by pycurl, with what is secret in it, so none may leave

    def _start_lookup(self) -> int:
        if self._judged:  # of an address in digits: a name that was judged is pinned
            return 0
        self.unjudged = True
        return 1

    def _open_socket(self, purpose: int, address: Any) -> int:
        if address.addr[0].partition("%")[0] not in self._judged:
            self.unjudged = True
            return NO_SOCKET
        try:
            return socket.socket(address.family, address.socktype, address.protocol).detach()
        except OSError as error:
            self._trouble = error
            return NO_SOCKET

    def _begin(self, *_: Any) -> int:
        if self.begun and self.call.once:  # libcurl would send it a second time where its connection died
            return DO_NOT_SEND
        self.begun, self.head_over, self._lines = True, False, []
        return SEND

    def _take_header(self, line: bytes) -> int | None:
        self.head_bytes += len(line)
        if self.head_bytes > HEAD_BYTES:
            return -1
        if self.head_over or not self.begun:  # trailers, or what a proxy said to CONNECT
            return None
        if line in (b"\r\n", b"\n"):
            # libcurl reads on after a hint; an answer that is cut within its head it takes for a whole one
            self.head_over = self._lines[0].split(None, 2)[1][:1] != b"1"
        elif line.startswith(b"HTTP/"):
            self._lines = [line]
        else:
            self._lines.append(line)
        return None

    def _give_body(self, most: int) -> memoryview:
        piece = self._body[self._body_at : self._body_at + most]
        self._body_at += len(piece)
        return piece

    def _rewind_body(self, offset: int, origin: int) -> int:
        self._body_at = offset
        return REWOUND
