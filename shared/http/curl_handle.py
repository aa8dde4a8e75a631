"""One easy handle of libcurl and the call that it makes; it knows whether a failed call was sent.

libcurl's prereq callback sets a flag once the connection is established and before the first byte of the request. Only
that flag decides between NotSent and AnswerLost: the same error occurs before and after the server got the call.
"""

from __future__ import annotations

import os
import re
import socket
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pycurl

from rushes.shared.domain import http_messages
from rushes.shared.http.address_guard import AddressGuard
from rushes.shared.http.authority_directory import directory_of
from rushes.shared.http.errors import AnswerLost, AnswerRefused, NotSent, Oversized
from rushes.shared.http.prepared_request import PreparedRequest
from rushes.shared.http.proxy import Proxy
from rushes.shared.http.urls import Origin

# TCP, TLS and the proxy's response to CONNECT together.
CONNECT_S = 10.0
# 1xx responses that may come before the final one. libcurl limits each head to 300 kB.
MAX_INTERIM_RESPONSES = 100
# A body up to this size is copied into libcurl at once; a larger one is read from where it lies.
MAX_COPIED_BYTES = 1 << 16
# A handle keeps the buffer from which it sent a body, also while it is idle. The first one is the least that libcurl
# takes. For a large body fewer pieces cost less CPU, but over TLS there is no gain above 32 KiB (200 kB, 2026-11).
SEND_BUFFER_BYTES = 1 << 14
UPLOAD_BUFFER_BYTES = {"http": 1 << 18, "https": 1 << 15}
PIECE_BYTES = 1 << 16
# Content codings that change the bytes, and how such bytes begin. A body is refused only if both agree: stores send
# `aws-chunked` and `identity` along with intact files.
COMPRESSIONS = {"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "bzip2", "xz", "lzma"}
GZIP, COMPRESS, ZSTD, BZIP2, XZ = b"\x1f\x8b", b"\x1f\x9d", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ"
COMPRESSED_STARTS = (
    GZIP,
    COMPRESS,
    ZSTD,
    BZIP2,
    XZ,
    *(b"\x78" + level for level in (b"\x01", b"\x5e", b"\x9c", b"\xda")),
)
INFLATABLE, MAX_INFLATED_BYTES = {"gzip", "x-gzip", "deflate"}, 1 << 20
MAX_LENGTH_DIGITS = 18
SEND, DO_NOT_SEND = int(pycurl.PREREQFUNC_OK), int(pycurl.PREREQFUNC_ABORT)
NO_SOCKET, REWOUND = int(pycurl.SOCKET_BAD), int(pycurl.SEEKFUNC_OK)
INTERIM_STATUS, NO_CONTENT = re.compile(rb"HTTP/\S+ +1"), re.compile(rb"HTTP/\S+ +204")
ANNOUNCES_BODY = re.compile(rb"content-length: *[1-9]|transfer-encoding:", re.IGNORECASE)
STATUS = re.compile(rb"[1-9]\d\d")
EMPTY_LINES = (b"\r\n", b"\n")
FIXED_OPTIONS: dict[int, Any] = {
    pycurl.NOSIGNAL: 1,
    pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,  # a refused stream of HTTP/2 is one more way to be sent twice
    pycurl.FOLLOWLOCATION: 0,
    pycurl.NETRC: pycurl.NETRC_IGNORED,
    pycurl.UPLOAD_BUFFERSIZE: SEND_BUFFER_BYTES,
    pycurl.CONNECTTIMEOUT_MS: int(CONNECT_S * 1000),
}

AUTHORITY_OPTIONS = ((pycurl.CAINFO, pycurl.CAPATH), (pycurl.PROXY_CAINFO, pycurl.PROXY_CAPATH))


@dataclass(frozen=True, slots=True)
class HandleOptions:
    """Options that all handles of a client share."""

    user_agent: str
    authorities: str
    proxy: Proxy | None = None


class CurlHandle:
    """Makes one call after the other and keeps its connection if it may. For one thread at a time."""

    def __init__(self, options: HandleOptions) -> None:
        self.curl = curl = pycurl.Curl()
        for option, value in FIXED_OPTIONS.items():
            curl.setopt(option, value)
        curl.setopt(pycurl.USERAGENT, options.user_agent)
        self._authorities, self._directory = options.authorities, directory_of(options.authorities)
        self._set_authorities()
        self._proxied = options.proxy is not None
        self._set_proxy(options)
        curl.setopt(pycurl.MAXCONNECTS, 1)
        curl.setopt(pycurl.RESOLVER_START_FUNCTION, self._start_lookup)
        curl.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        curl.setopt(pycurl.PREREQFUNCTION, self._allow_sending)
        curl.setopt(pycurl.HEADERFUNCTION, self._read_header_line)
        curl.setopt(pycurl.READFUNCTION, self._read_body)
        curl.setopt(pycurl.SEEKFUNCTION, self._rewind_body)
        self.pieces: deque[bytes | memoryview] = deque()
        curl.setopt(pycurl.WRITEFUNCTION, self.pieces.append)
        self._pinned_host: str | None = None
        self._origin: Origin | None = None
        self._method, self._was_used = "GET", False

    def load(self, call: PreparedRequest, max_bytes: int = 0, may_send: Callable[[], bool] | None = None) -> None:
        """Prepare a call. A response larger than `max_bytes` is not read to its end; 0 sets no limit.

        `may_send` is asked once the connection is open and before the first byte.
        """
        self.call, self.max_bytes, self._may_send = call, max_bytes, may_send
        self.may_be_sent = False
        """Whether a byte of the request may have left."""
        self.needs_host_check = False
        """Whether libcurl wanted to connect before the address guard had checked the host."""
        self.head_is_complete = False
        """Whether the whole head of the final response has come, not only those of 1xx responses."""
        self._checked_addresses: frozenset[str] = frozenset()
        self._head_lines: list[bytes] = []
        self._interim_responses = 0
        self._ends_after_head = False
        self._socket_error: OSError | None = None
        self._set_target(call)
        self._set_body(call.method, call.body)
        setopt = self.curl.setopt
        setopt(pycurl.HTTPHEADER, call.headers)
        # The Content-Length of a response to HEAD is not the length of its body.
        setopt(pycurl.MAXFILESIZE_LARGE, 0 if call.method == "HEAD" else max_bytes)
        setopt(pycurl.FRESH_CONNECT, call.once)
        setopt(pycurl.FORBID_REUSE, call.once)

    def check_host(self, guard: AddressGuard, wait_s: float) -> None:
        """Look up the call's host and let libcurl connect to its addresses only; raises Forbidden, NotSent."""
        origin = self.call.origin
        if self._directory and not self._directory.is_whole():
            self._directory = None
            self._set_authorities()
        addresses = guard.addresses(origin, wait_s)
        if addresses != [origin.host] and not self._proxied:
            host_and_port = f"{origin.host}:{origin.port}"
            removal = [f"-{self._pinned_host}"] if self._pinned_host else []
            self.curl.setopt(pycurl.RESOLVE, [*removal, f"{host_and_port}:{','.join(addresses)}"])
            self._pinned_host = host_and_port
        self._checked_addresses, self.needs_host_check = frozenset(addresses), False
        self._body_position = 0

    def perform(self, guard: AddressGuard, ends_at: float) -> http_messages.Response:
        """Make the call and read its whole response; raises NotSent, Forbidden, AnswerLost, Oversized."""
        # The first try may use an open connection, whose host was checked when it was opened. If libcurl wants to open
        # a new one, the host is checked and the call is made again.
        for is_host_checked in (self.call.once or not self._was_used, True):
            if is_host_checked:
                self.check_host(guard, self.remaining_s(ends_at))
            self.curl.setopt(pycurl.TIMEOUT_MS, max(1, int(1000 * self.remaining_s(ends_at))))
            try:
                self.curl.perform()
            except pycurl.error as error:
                if self.needs_host_check and not is_host_checked:
                    continue
                self.check_result(*error.args)
            break
        return self.response()

    def check_result(self, code: int, text: str) -> None:
        """Raise NotSent or AnswerLost if a call failed; some of libcurl's errors are no failure here."""
        if code == pycurl.E_OK or self._ends_after_head or self._ended_by_hang_up(code):
            return
        raise self.failure(code, text)

    def remaining_s(self, ends_at: float) -> float:
        """Return how long the call may still take; raises NotSent or AnswerLost past its end."""
        remaining_s = ends_at - time.monotonic()
        if remaining_s <= 0:
            raise self.failure(pycurl.E_OPERATION_TIMEDOUT, "")
        return remaining_s

    def response(self) -> http_messages.Response:
        """Return the whole response; raises AnswerLost if it is incomplete."""
        status, headers = self.head()
        body = b"".join(self.pieces)
        self.pieces.clear()
        if "content-encoding" in headers:
            body = self._inflated(headers, body)
            self.check_encoding(headers, body)
        return http_messages.Response(status, headers, body)

    def _inflated(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """The body without gzip or deflate, in which some servers send what nobody asked them to compress.

        The same bytes if they are not one whole body of that coding, or a larger one than the call allows.
        """
        codings = [coding.strip().lower() for coding in headers["content-encoding"].split(",")]
        if not set(codings) <= INFLATABLE or not (body.startswith(COMPRESSED_STARTS) or codings == ["deflate"]):
            return body
        inflated = body
        for coding in codings:
            # gzip or zlib, by the header; some servers send deflate without one.
            has_header = inflated.startswith(COMPRESSED_STARTS) or coding != "deflate"
            inflator = zlib.decompressobj(zlib.MAX_WBITS | 32 if has_header else -zlib.MAX_WBITS)
            with suppress(zlib.error):
                inflated = inflator.decompress(inflated, self.max_bytes or MAX_INFLATED_BYTES)
            if not inflator.eof:
                return body
        return inflated

    def head_line_count(self) -> int:
        """Return how many header lines and 1xx responses have come: it grows while the server sends."""
        return self._interim_responses + len(self._head_lines)

    def head(self) -> tuple[int, Mapping[str, str]]:
        """Return status and headers; names are lower case, repeated headers are joined. Raises AnswerLost."""
        if not self.head_is_complete:
            raise self.failure(0, "the head of the response was cut short")
        headers: dict[str, str] = {}
        for line in self._head_lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if len(headers.get("content-length", "").partition(",")[0]) > MAX_LENGTH_DIGITS:  # libcurl ignores it
            raise self.failure(0, "the response states an impossible length")
        return self._status(), headers

    def _status(self) -> int:
        """The status; raises AnswerLost if the first line has none, which libcurl accepts (`200OK`)."""
        words = self._head_lines[0].split(None, 2)
        if len(words) < 2 or not STATUS.fullmatch(words[1]):
            raise self.failure(0, "the response has no status")
        return int(words[1])

    def check_encoding(self, headers: Mapping[str, str], start: bytes | memoryview) -> None:
        """Raise AnswerRefused if a body is compressed: its length and checksum would not be the file's."""
        codings = {coding.strip() for coding in headers.get("content-encoding", "").lower().split(",")}
        if codings & COMPRESSIONS and bytes(start[:8]).startswith(COMPRESSED_STARTS):
            raise AnswerRefused(f"{self.call.origin}: the response is compressed")

    def failure(self, code: int, text: str) -> NotSent | AnswerLost:
        """Return the error for a call that failed with this code of libcurl."""
        origin = self.call.origin
        if code == pycurl.E_FILESIZE_EXCEEDED:
            return Oversized(f"{origin}: the response is larger than {self.max_bytes} bytes")
        # Invariant: NotSent only if no byte can have left; the caller sends a paid call again on NotSent.
        error = AnswerLost if self.may_be_sent else NotSent
        return error(f"{origin}: {self._reason(code, text)}")

    def clear(self) -> None:
        """Drop the call, its body and its credentials."""
        self.pieces.clear()
        self._body, self._was_used = memoryview(b""), True
        if self.call.sign:
            self.curl.unsetopt(pycurl.USERNAME)
            self.curl.unsetopt(pycurl.PASSWORD)
        del self.call, self._may_send

    def close(self) -> None:
        """Close the handle and its connection."""
        self.curl.close()

    def _ended_by_hang_up(self, code: int) -> bool:
        """Whether a body without length or chunks ended with its connection, but without TLS's close_notify.

        Many servers close like that. Whether such a body is whole is checked by its content.
        """
        if code != pycurl.E_RECV_ERROR or self.call.origin.scheme != "https" or self.curl.getinfo(pycurl.OS_ERRNO):
            return False
        return self.head_is_complete and not any(map(ANNOUNCES_BODY.match, self._head_lines))

    def _reason(self, code: int, text: str) -> str:
        if self._socket_error:
            return os.strerror(self._socket_error.errno or 0).lower()
        if code == pycurl.E_OPERATION_TIMEDOUT:  # libcurl's own text holds a count of milliseconds
            return "timed out"
        if code == pycurl.E_COULDNT_CONNECT and (number := self.curl.getinfo(pycurl.OS_ERRNO)):
            return os.strerror(number).lower()
        return text or f"libcurl error {code}"

    def _set_authorities(self) -> None:
        for file_option, directory_option in AUTHORITY_OPTIONS:
            if self._directory:
                self.curl.unsetopt(file_option)  # libcurl may have been built with a file
                self.curl.setopt(directory_option, self._directory.path)
            else:
                self.curl.unsetopt(directory_option)
                self.curl.setopt(file_option, self._authorities)

    def _set_proxy(self, options: HandleOptions) -> None:
        setopt, proxy = self.curl.setopt, options.proxy
        # Both are always set, or libcurl reads the environment's.
        setopt(pycurl.PROXY, proxy.url if proxy else "")
        setopt(pycurl.NOPROXY, "" if proxy else "*")
        if proxy is None:
            return
        # CONNECT by name: proxies allow by name. TLS proves that the host behind the proxy has that name.
        setopt(pycurl.HTTPPROXYTUNNEL, 1)
        if proxy.user is not None:
            setopt(pycurl.PROXYUSERNAME, proxy.user)
            setopt(pycurl.PROXYPASSWORD, proxy.password or "")

    def _set_target(self, call: PreparedRequest) -> None:
        setopt, sign = self.curl.setopt, call.sign
        if sign is None:
            # Not in the URL: there libcurl changes its spelling (`%2f`), and may put it into an error text.
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
        if self._method != "GET":  # of the previous call
            self.curl.unsetopt(pycurl.CUSTOMREQUEST)
            setopt(pycurl.UPLOAD_BUFFERSIZE, SEND_BUFFER_BYTES)
            setopt(pycurl.HTTPGET, 1)
        self._method, self._body, self._body_position = method, memoryview(b""), 0
        if method == "HEAD":
            setopt(pycurl.NOBODY, 1)
        elif method != "GET" or body is not None:
            self._method = "POST"
            self._set_upload(body or b"")
            setopt(pycurl.CUSTOMREQUEST, method)

    def _set_upload(self, body: bytes | memoryview) -> None:
        if len(body) <= MAX_COPIED_BYTES:
            self.curl.setopt(pycurl.POSTFIELDS, bytes(body))
            return
        self._body = memoryview(body)
        self.curl.setopt(pycurl.UPLOAD_BUFFERSIZE, UPLOAD_BUFFER_BYTES[self.call.origin.scheme])
        self.curl.setopt(pycurl.UPLOAD, 1)
        self.curl.setopt(pycurl.INFILESIZE_LARGE, len(body))

    # --- callbacks
    # Invariant: no callback raises. pycurl prints the exception with its secrets, and the call fails by another error.

    def _start_lookup(self) -> int:
        if self._checked_addresses:  # a checked host is pinned, so this is an IP address or the proxy's name
            return 0
        self.needs_host_check = True
        return 1

    def _open_socket(self, purpose: int, address: Any) -> int:
        # Invariant: no socket is opened to an address that the guard did not check.
        checked = self._checked_addresses
        is_checked = bool(checked) if self._proxied else address.addr[0].partition("%")[0] in checked
        if not is_checked:
            self.needs_host_check = True
            return NO_SOCKET
        try:
            return socket.socket(address.family, address.socktype, address.protocol).detach()
        except OSError as error:
            self._socket_error = error
            return NO_SOCKET

    def _allow_sending(self, *_: Any) -> int:
        # Invariant: a paid call is sent at most once. libcurl would send it again if its connection breaks.
        if self.may_be_sent and self.call.once:
            return DO_NOT_SEND
        if self._may_send:
            try:
                if not self._may_send():
                    return DO_NOT_SEND
            except Exception:
                return DO_NOT_SEND
        self.may_be_sent, self.head_is_complete, self._head_lines = True, False, []
        return SEND

    def _read_header_line(self, line: bytes) -> int | None:
        if self.head_is_complete:  # trailers
            return None
        if line not in EMPTY_LINES:
            self._head_lines.append(line)
            return None
        # libcurl accepts a response that is cut within its head, so the empty line is looked for here.
        if self.may_be_sent and not INTERIM_STATUS.match(self._head_lines[0]):
            self.head_is_complete = True
            # A 204 with a body: libcurl would keep the connection and read that body as the next call's response.
            is_204 = NO_CONTENT.match(self._head_lines[0]) is not None
            self._ends_after_head = is_204 and any(map(ANNOUNCES_BODY.match, self._head_lines))
            return -1 if self._ends_after_head else None
        self._head_lines = []  # those of a 1xx response, or of a proxy's response to CONNECT
        self._interim_responses += 1
        return None if self._interim_responses <= MAX_INTERIM_RESPONSES else -1

    def _read_body(self, max_bytes: int) -> memoryview:
        piece = self._body[self._body_position : self._body_position + max_bytes]
        self._body_position += len(piece)
        return piece

    def _rewind_body(self, offset: int, origin: int) -> int:
        self._body_position = offset
        return REWOUND
