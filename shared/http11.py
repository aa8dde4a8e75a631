"""HTTP/1.1 on a socket: what we say as bytes, and an answer that is whole, or an error.

Written here because a clip takes eight calls, and http.client under urllib3 took four times the CPU for each (measured
2026-11). The words are few: no pipelining, no upgrade, no compression, and nothing is ever tried again.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import BadStatusLine, IncompleteRead, LineTooLong, RemoteDisconnected
from math import inf
from typing import cast

from shared.egress import DEFAULT_PORTS, Origin

Wait = Callable[[], float]
"""For how long the socket may be waited for now; raises TimeoutError past the deadline."""

# What is read at a time, and what of a body travels together with its head.
PIECE_BYTES = 1 << 16
HEAD_BYTES, HEAD_LINES = 1 << 17, 101
RECORDS = 16  # of TLS, that a look takes in
LINE_BYTES = 1 << 12  # of a chunk's size, or of one trailer
HINTS = 100  # answers before the answer
SLACK = 1.02  # a call may take so much longer than it is given
PATIENCE = (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO)
TIMEVAL = struct.Struct("ll")

HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n\0]*")
TARGET = re.compile(r"[!-~]+")
STATUS = re.compile(rb"HTTP/1\.(\d)[ \t]+([1-9]\d\d)(?:[ \t].*)?")
HEAD_END = re.compile(rb"\r?\n\r?\n")
LENGTH = re.compile(r"[0-9]*")
SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
# Methods whose body, where there is none, is said to be empty.
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
SWITCHING, NO_CONTENT = 101, 204
BODILESS = frozenset({SWITCHING, NO_CONTENT, 304})


class Line:
    """One connection; closed by whoever holds it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._held, self._at = b"", 0  # read from the socket, and how much of it was taken
        self._told_s = dict.fromkeys(PATIENCE, -1.0)  # how long the socket waits, once it was told
        self._tls = isinstance(sock, ssl.SSLSocket)
        if not self._tls:
            sock.settimeout(None)

    def _patience(self, what: int, wait_s: Wait) -> None:
        """Let the socket wait so long, or a little more: each telling is a call to the system.

        By the system's own timeouts, under which a call is one call: with Python's it asks whether there is something
        first, and lets go of the interpreter's lock for each. OpenSSL does not know of them.
        """
        seconds = wait_s()
        if seconds <= self._told_s[what] <= seconds * SLACK:
            return
        self._told_s[what] = told_s = seconds * (1 + SLACK) / 2
        if self._tls:
            self._told_s = dict.fromkeys(PATIENCE, told_s)
            self._sock.settimeout(told_s)
        else:
            self._sock.setsockopt(socket.SOL_SOCKET, what, TIMEVAL.pack(int(told_s), 1 + int(told_s % 1 * 999_998)))

    def send(self, head: bytes, body: bytes | memoryview | None, wait_s: Wait) -> None:
        """Say it all; raises OSError. A server that closed while we spoke may have answered before."""
        whole = memoryview(body or b"")
        with suppress(BrokenPipeError):
            self._send(head + whole[:PIECE_BYTES], wait_s)
            self._send(whole[PIECE_BYTES:], wait_s)

    def _send(self, piece: bytes | memoryview, wait_s: Wait) -> None:
        """What the socket takes at once, again and again, each time after a look at the clock.

        Not by sendall, which over TLS gives each record of 16 KiB the whole of the time again.
        """
        rest = memoryview(piece)
        while rest:
            self._patience(socket.SO_SNDTIMEO, wait_s)
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                raise TimeoutError from None

    def some(self, most: int, wait_s: Wait) -> bytes:
        """The next bytes, at the most so many; none where the other side has closed."""
        if self._at < len(self._held):
            start, self._at = self._at, min(self._at + most, len(self._held))
            return self._held[start : self._at]
        return self._recv(most, wait_s)

    def _recv(self, most: int, wait_s: Wait) -> bytes:
        self._patience(socket.SO_RCVTIMEO, wait_s)
        try:
            return self._sock.recv(most)
        except BlockingIOError:
            raise TimeoutError from None

    def head(self, wait_s: Wait) -> bytes:
        """All up to the first empty line; raises RemoteDisconnected, IncompleteRead, LineTooLong."""
        searched = self._at
        while not (end := HEAD_END.search(self._held, searched)):
            unread = len(self._held) - self._at
            if unread > HEAD_BYTES:
                raise LineTooLong("head")
            self._more(wait_s)
            searched = max(0, unread - 3)  # its end may come in two; a trickle is not searched from its start each time
        start, self._at = self._at, end.end()
        return self._held[start : end.start()]

    def line(self, wait_s: Wait) -> bytes:
        """The next line, without its end; raises IncompleteRead, LineTooLong."""
        while (end := self._held.find(b"\n", self._at)) < 0:
            if len(self._held) - self._at > LINE_BYTES:
                raise LineTooLong("chunk")
            self._more(wait_s)
        start, self._at = self._at, end + 1
        return self._held[start:end].rstrip(b"\r")

    def _more(self, wait_s: Wait) -> None:
        read = self._recv(PIECE_BYTES, wait_s)
        if not read:
            raise IncompleteRead(self._held) if self._at < len(self._held) else RemoteDisconnected
        self._held, self._at = self._held[self._at :] + read, 0

    def look(self) -> bool:
        """Take in what has come, without waiting; False where the other side has closed. Raises OSError."""
        if self._tls:
            self._told_s = dict.fromkeys(PATIENCE, -1.0)
            self._sock.settimeout(0)
        for _ in range(RECORDS if self._tls else 1):  # over TLS each read gives one record
            try:
                read = self._sock.recv(PIECE_BYTES, 0 if self._tls else socket.MSG_DONTWAIT)
            except (BlockingIOError, ssl.SSLWantReadError):
                return True
            self._held, self._at = self._held[self._at :] + read, 0
            if not read:
                return False
        return True

    def unread(self) -> None:
        """Let all that was taken since the last look be taken again."""
        self._at = 0

    def fileno(self) -> int:
        """The socket's number, for `select`."""
        return self._sock.fileno()

    def idle(self) -> bool:
        """Whether nothing has come, and nobody has closed, since the last answer."""
        if self._at < len(self._held) or (self._tls and cast(ssl.SSLSocket, self._sock).pending()):
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """End the connection."""
        self._sock.close()


def over_tls(sock: socket.socket, tls: ssl.SSLContext, host: str) -> socket.socket:
    """Shake hands; raises OSError, and the socket is closed.

    An end that is not announced counts as one: many servers hang up so, and what has neither length nor chunks is JSON
    or a clip, which show themselves whether they are whole.
    """
    try:
        return tls.wrap_socket(sock, server_hostname=host.rstrip("."))
    except BaseException:
        sock.close()
        raise


def spoken(method: str, target: str, origin: Origin, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The head of a request; raises ValueError where something in it cannot be said."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    names = {name.lower() for name in headers}
    if "host" not in names:
        lines.insert(0, f"Host: {_authority(origin)}")
    if (body is not None or method in WITH_BODY) and "content-length" not in names:
        lines.append(f"Content-Length: {len(body or b'')}")
    if not TARGET.fullmatch(method + target) or not all(map(HEADER.fullmatch, lines)):
        raise ValueError
    return "\r\n".join([f"{method} {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def _authority(origin: Origin) -> str:
    usual = DEFAULT_PORTS[origin.scheme] == origin.port
    return origin.shown_host if usual else f"{origin.shown_host}:{origin.port}"


class Answer:
    """An answer whose head was read; the names of its headers are lower case, those that came twice are joined."""

    def __init__(self, line: Line, method: str, wait_s: Wait) -> None:
        """Read the head; hints that come before it are passed over. Raises OSError, ValueError, HTTPException."""
        self._line = line
        version, self.status, self.headers = _read_head(line, wait_s)
        self.chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self.length_bytes = None if self.chunked else _length(self.headers)
        # Of a body where there can be none we would take the bytes, once they come, for the next call's answer.
        announced = self.status == NO_CONTENT and (self.chunked or self.length_bytes)
        self._keeps = _keeps(version, self.headers) and not announced
        self._over = False
        self.left: float = 0 if self.chunked else inf if self.length_bytes is None else self.length_bytes
        """Bytes that are still to come, of the chunk that is being read or of all; inf where nobody knows."""
        if method == "HEAD" or self.status in BODILESS or (self.left == 0 and not self.chunked):
            self.left, self._over = 0, True

    @property
    def over(self) -> bool:
        """Whether the body was read to its end."""
        return self._over

    @property
    def keeps(self) -> bool:
        """Whether the connection may serve another call."""
        return self._over and self._keeps and self.status != SWITCHING and self._line.idle()

    def some(self, most: int, wait_s: Wait) -> bytes:
        """The next bytes of the body, none at its end; raises IncompleteRead where that is no true end."""
        if not self._over and self.left == 0:
            self._next_chunk(wait_s)
        if self._over:
            return b""
        read = self._line.some(int(min(most, self.left)), wait_s)
        self.left -= len(read)
        if not read:
            self._end_of_connection()
        elif self.left == 0:
            self._end_of_frame(wait_s)
        return read

    def _next_chunk(self, wait_s: Wait) -> None:
        size = self._line.line(wait_s).partition(b";")[0].strip()
        if not SIZE.fullmatch(size):
            raise ValueError
        self.left = int(size, 16)
        if self.left == 0:
            self._pass_trailers(wait_s)
            self._over = True

    def _pass_trailers(self, wait_s: Wait) -> None:
        for _ in range(HEAD_LINES):
            if not self._line.line(wait_s):
                return
        raise LineTooLong("trailers")

    def _end_of_frame(self, wait_s: Wait) -> None:
        if not self.chunked:
            self._over = True
        elif self._line.line(wait_s):
            raise ValueError

    def _end_of_connection(self) -> None:
        if self.left != inf:
            raise IncompleteRead(b"")
        self._over, self._keeps = True, False


def _read_head(line: Line, wait_s: Wait) -> tuple[int, int, dict[str, str]]:
    for _ in range(HINTS + 1):
        first, *lines = line.head(wait_s).split(b"\n")
        said = STATUS.fullmatch(first.rstrip(b"\r"))
        if not said or len(lines) > HEAD_LINES:
            raise BadStatusLine("" if not said else "too many headers")
        version, status = int(said[1]), int(said[2])
        if not 100 <= status < 200 or status == SWITCHING:
            return version, status, _headers(lines)
    raise BadStatusLine("too many hints")


def _headers(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in lines:
        text = line.decode("latin-1")
        if text[:1] in " \t":  # a folded line, as older servers send
            if name:
                headers[name] += f" {text.strip()}"
            continue
        name, colon, value = text.partition(":")
        name = name.strip().lower() if colon else ""
        if name:
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return headers


def _length(headers: Mapping[str, str]) -> int | None:
    """What Content-Length says, where it says something; raises ValueError where that is no one length."""
    told = {length.strip() for length in headers.get("content-length", "").split(",")}
    length = told.pop()
    if told or not LENGTH.fullmatch(length):
        raise ValueError
    return int(length) if length else None


def _keeps(version: int, headers: Mapping[str, str]) -> bool:
    told = headers.get("connection", "").lower()
    return "close" not in told and (version > 0 or "keep-alive" in told)


class Kept:
    """Connections that nobody uses, by origin; the one used last goes first. Safe to share between threads."""

    def __init__(self, most_origins: int, most_each: int) -> None:
        self._most_origins, self._most_each = most_origins, most_each
        self._idle: dict[Origin, list[Line]] = {}
        self._lock = threading.Lock()

    def take(self, origin: Origin) -> Line | None:
        """One that still stands."""
        while True:
            with self._lock:
                lines = self._idle.get(origin)
                line = lines.pop() if lines else None
            if line is None or line.idle():
                return line
            line.close()

    def give(self, origin: Origin, line: Line) -> None:
        """Keep it for the next call; where there are too many, one that was not used for long is closed."""
        with self._lock:
            lines = self._idle.pop(origin, [])
            self._idle[origin] = [*lines, line] if len(lines) < self._most_each else [*lines[1:], line]
            closed = lines[:1] if len(lines) >= self._most_each else []
            if len(self._idle) > self._most_origins:
                closed += self._idle.pop(next(iter(self._idle)))
        for one in closed:
            one.close()

    def close(self) -> None:
        """Close all."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for lines in idle.values():
            for line in lines:
                line.close()
