"""gunicorn's threaded worker, save that who sends nothing, or half a header, holds no thread and no shutdown."""

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

# For each piece of a header; a body has its own limit (body.py).
STALL_S = 5.0
# What is left of a body that nobody asked for is waited for this long; then the connection is closed.
DRAIN_S = 0.2
# No header is longer (deploy/gunicorn_config.py).
HEADER_BYTES = 1 << 16
HEADER_END = b"\r\n\r\n"
# A process that is to end waits for the rest of a body for this part of its graceful time, then answers 400.
LAST_BODIES = 0.25
# A process that is to end looks this often at what is left.
LOOK_S = 0.5


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
        if HEADER_END in seen or len(seen) in (0, known, HEADER_BYTES):
            self._peeked = 0
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, len(seen) + 1)
        return False

    def has_request(self) -> bool:
        """Whether a whole header waits to be read."""
        try:
            return HEADER_END in self.sock.recv(HEADER_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return False

    def hang_up_on_body(self) -> None:
        """Let the thread that reads a body see its end now; the answer can still be sent."""
        with suppress(OSError):  # it is closed already
            self.sock.shutdown(socket.SHUT_RD)

    def _finish_body(self, drain: Callable[[], None]) -> None:
        self.sock.settimeout(DRAIN_S)
        try:
            drain()
        except TimeoutError:
            raise StopIteration from None  # gunicorn closes the connection, and says nothing of it
        finally:
            self.sock.settimeout(STALL_S)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Gives a connection a thread once it has sent something; gthread gives it one at once (25.0.3).

    After SIGTERM gthread waits for idle connections as long as for requests; here only requests are waited for.
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
        super().wait_for_and_dispatch_events(timeout if self.alive else min(timeout, LOOK_S))

    def murder_keepalived(self) -> None:
        """Called after each look at the connections, also while the last requests are answered."""
        super().murder_keepalived()
        if self.alive:
            return
        if self._stopping_at is None:
            self._stopping_at = time.monotonic()
            self._close_doors()
        self._dismiss_idle()
        if time.monotonic() - self._stopping_at > self.cfg.graceful_timeout * LAST_BODIES:
            for conn in self._answering:
                conn.hang_up_on_body()

    def _close_doors(self) -> None:
        """Take in who connected before, and refuse who comes now: gthread lets them wait for nothing (25.0.3)."""
        self.set_accept_enabled(False)
        for listener in self.sockets:
            known = -1
            while self.nr_conns != known:
                known = self.nr_conns
                self.accept(listener)
            listener.close()

    def _dismiss_idle(self) -> None:
        """Close who waits for us; a request that has come whole meanwhile is still answered."""
        for conn in [*self.keepalived_conns]:
            if conn.has_request():
                super().on_client_socket_readable(conn, conn.sock)
                continue
            self.keepalived_conns.remove(conn)
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()
