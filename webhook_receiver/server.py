"""gunicorn's threaded worker, save that who sends nothing, or half a header, holds no thread."""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable
from functools import partial

from gunicorn.workers.gthread import TConn, ThreadWorker

# For each piece of a header; a body has its own limit (body.py).
STALL_S = 5.0
# What is left of a body that nobody asked for is waited for this long; then the connection is closed.
DRAIN_S = 0.2
# No header is longer (gunicorn.conf.py).
HEADER_BYTES = 1 << 16


class Connection(TConn):  # type: ignore[misc]
    """A connection whose reads come to an end, and which is given a thread for a whole header only."""

    _peeked = 0

    def init(self) -> None:
        """Called before each request of the connection; the parser is made at the first."""
        first = not self.initialized
        super().init()
        self.sock.settimeout(STALL_S)
        if first:
            self.parser.finish_body = partial(self._finish_body, self.parser.finish_body)

    def is_ready(self) -> bool:
        """Whether a whole header has come, or nothing more will; where not, the poller wakes us when more has."""
        try:
            seen = self.sock.recv(HEADER_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return True
        known, self._peeked = self._peeked, len(seen)
        if b"\r\n\r\n" in seen or len(seen) in (0, known, HEADER_BYTES):
            self._peeked = 0
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(seen) + 1)
        return False

    def _finish_body(self, drain: Callable[[], None]) -> None:
        self.sock.settimeout(DRAIN_S)
        try:
            drain()
        except TimeoutError:
            raise StopIteration from None  # gunicorn closes the connection, and says nothing of it
        finally:
            self.sock.settimeout(STALL_S)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Gives a connection a thread once it has sent something; gthread gives it one at once (25.0.3)."""

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        waiting = Connection(self.cfg, sock, client, listener.getsockname())
        waiting.set_timeout()
        self.keepalived_conns.append(waiting)
        self.poller.register(sock, selectors.EVENT_READ, partial(self.on_client_socket_readable, waiting))

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        if conn.is_ready():
            super().on_client_socket_readable(conn, client)

    def handle(self, conn: TConn) -> bool:
        """Answer all that the connection has sent; gthread forgets what came in one piece with the body before it.

        It hands the connection back to wait for more, and closes it unanswered after `keepalive` (25.0.3 and 27.0.1).
        """
        kept = bool(super().handle(conn))
        while kept and conn.parser.unreader.buf.getvalue():
            kept = bool(super().handle(conn))
        return kept
