"""gunicorn's threaded worker, but a client that sends nothing, or half a header, blocks no thread and no shutdown."""

from __future__ import annotations

import errno
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from rushes.webhook_receiver.shutdown import STOPPING

# For each piece of a header; a body has its own limit (request_body.py).
STALL_S = 5.0
# How long the unread rest of a body is waited for; then the connection is closed.
DRAIN_S = 0.2
# No header is longer (deploy/gunicorn_config.py).
HEADER_BYTES = 1 << 16
HEADER_END = b"\r\n\r\n"
# A stopping process waits for the rest of a body for this share of its graceful time, then answers 400.
BODY_WAIT_SHARE = 0.25
# A stopping process checks its connections this often.
CHECK_S = 0.5


class Connection(TConn):  # type: ignore[misc]
    """A connection whose reads time out, and which gets a thread only for a whole header."""

    _peeked = 0

    def init(self) -> None:
        """Called before each request of the connection; the first call makes the parser."""
        first = not self.initialized
        super().init()
        self.sock.settimeout(STALL_S)
        if first:
            self.parser.finish_body = partial(self._finish_body, self.parser.finish_body)

    def is_ready(self) -> bool:
        """Whether a whole header has arrived, or nothing more will come.

        Otherwise the poller wakes the worker when more bytes have arrived: SO_RCVLOWAT is one more than there are now.
        """
        try:
            received = self.sock.recv(HEADER_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return True
        before, self._peeked = self._peeked, len(received)
        if HEADER_END in received or len(received) in (0, before, HEADER_BYTES):
            self._peeked = 0
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(received) + 1)
        return False

    def has_request(self) -> bool:
        """Whether a whole header waits to be read."""
        try:
            return HEADER_END in self.sock.recv(HEADER_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return False

    def stop_reading_body(self) -> None:
        """End the body for the thread that reads it; the response can still be sent."""
        with suppress(OSError):  # the socket is closed already
            self.sock.shutdown(socket.SHUT_RD)

    def _finish_body(self, drain: Callable[[], None]) -> None:
        self.sock.settimeout(DRAIN_S)
        try:
            drain()
        except TimeoutError:
            raise StopIteration from None  # gunicorn closes the connection and logs nothing
        finally:
            self.sock.settimeout(STALL_S)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Gives a connection a thread once it has sent something; gthread gives it one at once (25.0.3).

    After SIGTERM gthread waits for idle connections as long as for requests; this worker waits for requests only.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answering: set[Connection] = set()
        self._stopping_at: float | None = None

    def accept(self, listener: socket.socket) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        connection = Connection(self.cfg, sock, client, listener.getsockname())
        connection.set_timeout()
        self.keepalived_conns.append(connection)
        self.poller.register(sock, selectors.EVENT_READ, partial(self.on_client_socket_readable, connection))

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        if conn.is_ready():
            super().on_client_socket_readable(conn, client)

    def handle(self, conn: TConn) -> bool:
        """Answer every request that the connection has sent.

        gthread forgets a request that arrived in one piece with the body before it: it hands the connection back to
        wait for more, and closes it without a response after `keepalive` (25.0.3 and 27.0.1).
        """
        keep_alive = bool(super().handle(conn))
        while keep_alive and conn.parser.unreader.buf.getvalue():
            keep_alive = bool(super().handle(conn))
        return keep_alive

    def enqueue_req(self, conn: Connection) -> None:
        self._answering.add(conn)
        super().enqueue_req(conn)

    def finish_request(self, conn: Connection, future: Any) -> None:
        self._answering.discard(conn)
        super().finish_request(conn, future)

    def handle_exit(self, sig: int, frame: object) -> None:
        STOPPING.set()
        super().handle_exit(sig, frame)

    def is_parent_alive(self) -> bool:
        if super().is_parent_alive():
            return True
        self.alive = False
        STOPPING.set()
        return False

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, CHECK_S))

    def murder_keepalived(self) -> None:
        """Called after each round of the poller, also while the last requests are answered."""
        super().murder_keepalived()
        if self.alive:
            return
        if self._stopping_at is None:
            self._stopping_at = time.monotonic()
            self._close_listeners()
        self._close_idle()
        if time.monotonic() - self._stopping_at > self.cfg.graceful_timeout * BODY_WAIT_SHARE:
            for conn in self._answering:
                conn.stop_reading_body()

    def _close_listeners(self) -> None:
        """Accept what connected before, and refuse new connections: gthread leaves both without a response (25.0.3)."""
        self.set_accept_enabled(False)
        for listener in self.sockets:
            before = -1
            while self.nr_conns != before:
                before = self.nr_conns
                self.accept(listener)
            listener.close()

    def _close_idle(self) -> None:
        """Close idle connections; a request that has arrived whole by now is still answered."""
        for conn in [*self.keepalived_conns]:
            if conn.has_request():
                super().on_client_socket_readable(conn, conn.sock)
                continue
            self.keepalived_conns.remove(conn)
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
