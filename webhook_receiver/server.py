"""gunicorn's threaded worker, save that who sends nothing, or half a header, holds no thread for long."""

from __future__ import annotations

import errno
import selectors
import socket
from functools import partial

from gunicorn.workers.gthread import TConn, ThreadWorker

# For each piece of a header; a body has its own limit (body.py).
STALL_S = 5.0


class Connection(TConn):  # type: ignore[misc]
    """A connection whose reads come to an end."""

    def init(self) -> None:
        super().init()
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

    def handle(self, conn: TConn) -> bool:
        """Answer all that the connection has sent; gthread forgets what came in one piece with the body before it.

        It hands the connection back to wait for more, and closes it unanswered after `keepalive` (25.0.3 and 27.0.1).
        """
        kept = bool(super().handle(conn))
        while kept and conn.parser.unreader.buf.getvalue():
            kept = bool(super().handle(conn))
        return kept
