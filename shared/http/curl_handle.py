"""One easy handle of libcurl, the call that it makes, and an honest word on whether that was sent.

Whether a failed call was sent is told by a flag that libcurl's prereq callback sets: after the connection stands and
before the first byte of the request. Never by the kind of the error, for the same error comes with and without receipt.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pycurl

from rushes.shared.domain import http_messages
from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.errors import AnswerLost, AnswerRefused, NotSent, Oversized
from rushes.shared.http.prepared_request import Call
from rushes.shared.http.proxy import Proxy
from rushes.shared.http.urls import Origin

# TCP, TLS and a proxy's answer together.
CONNECT_S = 10.0
# Hints that may come before the answer; of each head libcurl takes 300 kB at the most.
HINTS = 100
# A body up to this size is handed over at once, which copies it.
COPIED_BYTES = 1 << 16
UPLOADED_BYTES = 1 << 18
PIECE_BYTES = 1 << 16
# Codings that change the bytes, and how such bytes begin. Of all others, and of bytes that begin otherwise, the file's
# own bytes decide what it is: stores send `aws-chunked` and `identity` along with intact files.
CODINGS = {"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "bzip2", "xz", "lzma"}
GZIP, COMPRESS, ZSTD, BZIP2, XZ = b"\x1f\x8b", b"\x1f\x9d", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ"
CODED = (GZIP, COMPRESS, ZSTD, BZIP2, XZ, *(b"\x78" + level for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")))
LENGTH_DIGITS = 18
SEND, DO_NOT_SEND = int(pycurl.PREREQFUNC_OK), int(pycurl.PREREQFUNC_ABORT)
NO_SOCKET, REWOUND = int(pycurl.SOCKET_BAD), int(pycurl.SEEKFUNC_OK)
HINT, NO_CONTENT = re.compile(rb"HTTP/\S+ +1"), re.compile(rb"HTTP/\S+ +204")
BODY = re.compile(rb"content-length: *[1-9]|transfer-encoding:", re.IGNORECASE)
STATUS = re.compile(rb"[1-9]\d\d")
HEAD_ENDS = (b"\r\n", b"\n")
STATIC: dict[int, Any] = {
    pycurl.NOSIGNAL: 1,
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,  # a refused stream of HTTP/2 is one more way to be sent twice
    pycurl.FOLLOWLOCATION: 0,
    pycurl.NETRC: pycurl.NETRC_IGNORED,
    pycurl.CONNECTTIMEOUT_MS: int(CONNECT_S * 1000),
}


@dataclass(frozen=True, slots=True)
class Transport:
    """What all handles of a client have in common."""

    user_agent: str
    authorities: str
    proxy: Proxy | None = None


class Handle:
    """Used by one thread at a time; serves one call after the other, over a connection that it keeps if it may."""

    def __init__(self, transport: Transport) -> None:
        self.curl = curl = pycurl.Curl()
        for option, value in STATIC.items():
            curl.setopt(option, value)
        curl.setopt(pycurl.USERAGENT, transport.user_agent)
        curl.setopt(pycurl.CAINFO, transport.authorities)
        self._proxied = transport.proxy is not None
        self._set_proxy(transport)
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
        self._origin: Origin | None = None
        self._method, self._used = "GET", False

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
        self._hints = 0
        self._ends_early = False
        self._trouble: OSError | None = None
        self._set_target(call)
        self._set_body(call.method, call.body)
        setopt = self.curl.setopt
        setopt(pycurl.HTTPHEADER, call.headers)
        # Of an answer without a body the length says nothing.
        setopt(pycurl.MAXFILESIZE_LARGE, 0 if call.method == "HEAD" else max_bytes)
        setopt(pycurl.FRESH_CONNECT, call.once)
        setopt(pycurl.FORBID_REUSE, call.once)

    def judge(self, guard: AddressGuard, wait_s: float) -> None:
        """Look the call's host up and let libcurl connect there; raises Forbidden, NotSent."""
        origin = self.call.origin
        addresses = guard.addresses(origin, wait_s)
        if addresses != [origin.host] and not self._proxied:
            place = f"{origin.host}:{origin.port}"
            forgotten = [f"-{self._pinned}"] if self._pinned else []
            self.curl.setopt(pycurl.RESOLVE, [*forgotten, f"{place}:{','.join(addresses)}"])
            self._pinned = place
        self._judged, self.unjudged = frozenset(addresses), False
        self._body_at = 0

    def perform(self, guard: AddressGuard, ends_at: float) -> http_messages.Response:
        """Make the call and read its whole answer; raises NotSent, Forbidden, AnswerLost, Oversized."""
        for judged in (self.call.once or not self._used, True):
            if judged:
                self.judge(guard, self.left_s(ends_at))
            self.curl.setopt(pycurl.TIMEOUT_MS, max(1, int(1000 * self.left_s(ends_at))))
            try:
                self.curl.perform()
            except pycurl.error as error:
                if self.unjudged and not judged:
                    continue
                self.check_end(*error.args)
            break
        return self.response()

    def check_end(self, code: int, text: str) -> None:
        """Raises NotSent, AnswerLost where a call did not end well, whatever libcurl makes of it."""
        if code == pycurl.E_OK or self._ends_early or self._was_hung_up(code):
            return
        raise self.failure(code, text)

    def left_s(self, ends_at: float) -> float:
        """How long the call may still take; raises NotSent or AnswerLost past its end."""
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            raise self.failure(pycurl.E_OPERATION_TIMEDOUT, "")
        return left_s

    def response(self) -> http_messages.Response:
        """The whole answer; raises AnswerLost where it is not whole."""
        status, headers = self.head()
        body = b"".join(self.pieces)
        self.pieces.clear()
        if "content-encoding" in headers:
            self.check_coding(headers, body)
        return http_messages.Response(status, headers, body)

    def head_lines(self) -> int:
        """How much of the heads has come."""
        return self._hints + len(self._lines)

    def head(self) -> tuple[int, Mapping[str, str]]:
        """Status and headers, whose names are lower case, those that came twice joined; raises AnswerLost."""
        if not self.head_over:
            raise self.failure(0, "the head of the answer was cut short")
        headers: dict[str, str] = {}
        for line in self._lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if len(headers.get("content-length", "").partition(",")[0]) > LENGTH_DIGITS:  # libcurl passes it over
            raise self.failure(0, "the length of the answer is beyond all measure")
        return self._status(), headers

    def _status(self) -> int:
        """The status; raises AnswerLost where the first line holds none: libcurl reads on behind `200OK`."""
        words = self._lines[0].split(None, 2)
        if len(words) < 2 or not STATUS.fullmatch(words[1]):
            raise self.failure(0, "the answer has no status")
        return int(words[1])

    def check_coding(self, headers: Mapping[str, str], begin: bytes | memoryview) -> None:
        """Raises AnswerRefused where a body is compressed: its length and checksum would not be the file's."""
        words = {word.strip() for word in headers.get("content-encoding", "").lower().split(",")}
        if words & CODINGS and bytes(begin[:8]).startswith(CODED):
            raise AnswerRefused(f"{self.call.origin}: the answer is compressed")

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
        del self.call

    def close(self) -> None:
        """End its connection."""
        self.curl.close()

    def _was_hung_up(self, code: int) -> bool:
        """Whether a body that ends with its connection did so without the farewell that TLS asks for.

        Many servers hang up like that, and what has neither length nor chunks shows itself whether it is whole.
        """
        if code != pycurl.E_RECV_ERROR or self.call.origin.scheme != "https" or self.curl.getinfo(pycurl.OS_ERRNO):
            return False
        return self.head_over and not any(map(BODY.match, self._lines))

    def _reason(self, code: int, text: str) -> str:
        if self._trouble:
            return os.strerror(self._trouble.errno or 0).lower()
        if code == pycurl.E_OPERATION_TIMEDOUT:  # libcurl's own text counts milliseconds
            return "timed out"
        if code == pycurl.E_COULDNT_CONNECT and (number := self.curl.getinfo(pycurl.OS_ERRNO)):
            return os.strerror(number).lower()
        return text or f"error {code} of libcurl"

    def _set_proxy(self, transport: Transport) -> None:
        setopt, proxy = self.curl.setopt, transport.proxy
        # Both are said in any case, or the environment speaks.
        setopt(pycurl.PROXY, proxy.url if proxy else "")
        setopt(pycurl.NOPROXY, "" if proxy else "*")
        if proxy is None:
            return
        # By name, so that a proxy may judge names; TLS holds whoever answers to that name.
        setopt(pycurl.HTTPPROXYTUNNEL, 1)
        setopt(pycurl.PROXY_CAINFO, transport.authorities)
        if proxy.user is not None:
            setopt(pycurl.PROXYUSERNAME, proxy.user)
            setopt(pycurl.PROXYPASSWORD, proxy.password or "")

    def _set_target(self, call: Call) -> None:
        setopt, sign = self.curl.setopt, call.sign
        if sign is None:
            # Not as a part of the URL, where libcurl would spell it anew, and could quote it in an error.
            setopt(pycurl.REQUEST_TARGET, call.target)
            if self._origin != call.origin:
                setopt(pycurl.URL, str(call.origin))
                self._origin = call.origin
            return
        setopt(pycurl.URL, f"{call.origin}{call.target}")
        setopt(pycurl.AWS_SIGV4, f"aws:amz:{sign.region}:{sign.service}")
        setopt(pycurl.USERNAME, sign.access_key)
        setopt(pycurl.PASSWORD, sign.secret_key)

    def _set_body(self, method: str, body: bytes | memoryview | None) -> None:
        setopt = self.curl.setopt
        if self._method != "GET":  # the last call's
            self.curl.unsetopt(pycurl.CUSTOMREQUEST)
            setopt(pycurl.UPLOAD_BUFFERSIZE, COPIED_BYTES)
            setopt(pycurl.HTTPGET, 1)
        self._method, self._body, self._body_at = method, memoryview(b""), 0
        if method == "HEAD":
            setopt(pycurl.NOBODY, 1)
        elif method != "GET" or body is not None:
            self._method = "POST"
            self._set_upload(body or b"")
            setopt(pycurl.CUSTOMREQUEST, method)

    def _set_upload(self, body: bytes | memoryview) -> None:
        if len(body) <= COPIED_BYTES:
            self.curl.setopt(pycurl.POSTFIELDS, bytes(body))
            return
        self._body = memoryview(body)
        self.curl.setopt(pycurl.UPLOAD_BUFFERSIZE, UPLOADED_BYTES)
        self.curl.setopt(pycurl.UPLOAD, 1)
        self.curl.setopt(pycurl.INFILESIZE_LARGE, len(body))

    # --- callbacks: an exception in one is printed by pycurl, with what is secret in it, so none may leave

    def _start_lookup(self) -> int:
        if self._judged:  # an address in digits, or the proxy's name: a host that was judged is pinned
            return 0
        self.unjudged = True
        return 1

    def _open_socket(self, purpose: int, address: Any) -> int:
        judged = bool(self._judged) if self._proxied else address.addr[0].partition("%")[0] in self._judged
        if not judged:
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
        if self.head_over:  # trailers
            return None
        if line not in HEAD_ENDS:
            self._lines.append(line)
            return None
        # An answer that is cut within its head libcurl takes for a whole one.
        if self.begun and not HINT.match(self._lines[0]):
            self.head_over = True
            # libcurl would keep the connection, and take the body that comes for the next call's answer.
            self._ends_early = NO_CONTENT.match(self._lines[0]) is not None and any(map(BODY.match, self._lines))
            return -1 if self._ends_early else None
        self._lines = []  # of a hint, or what a proxy said to CONNECT
        self._hints += 1
        return None if self._hints <= HINTS else -1

    def _give_body(self, most: int) -> memoryview:
        piece = self._body[self._body_at : self._body_at + most]
        self._body_at += len(piece)
        return piece

    def _rewind_body(self, offset: int, origin: int) -> int:
        self._body_at = offset
        return REWOUND
