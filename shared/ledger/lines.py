"""Single commands to Redis, by a shorter way than redis-py's own.

Its metrics, retries and pool cost more than the call itself (8.1.0: 60 to 100 µs of 20); here a call is sent once.
"""

from __future__ import annotations

import os
import select
from typing import Any

import redis


class Lines:
    """Connections of a pool, kept between calls, the last used first. Safe for threads."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._idle: list[Any] = []

    def call(self, *parts: str | bytes | int, raw: bool = False) -> Any:
        """Send a command and give its answer, as bytes where it is `raw`; raises as redis-py does."""
        command = packed(parts)
        line = self._taken()
        try:
            line.connect()  # where it is not; the next call takes the same line, and finds the server that is there now
            line.send_packed_command(command, check_health=False)
            return line.read_response(disable_decoding=raw)
        except redis.ResponseError:  # an answer like any other
            raise
        except BaseException:  # its answer may come yet, and would be taken for that to the next call
            line.disconnect()
            raise
        finally:
            self._idle.append(line)

    def _taken(self) -> Any:
        try:
            line = self._idle.pop()
        except IndexError:
            return self._pool.get_connection()
        if line.pid != os.getpid():  # our parent's, which goes on using it
            return self._pool.get_connection()
        # Sentinel's pool disowns those to a server that is no longer the master.
        if _spoiled(line) or not self._pool.owns_connection(line):
            line.disconnect()
        return line


def _spoiled(line: Any) -> bool:
    """Whether the server hung up, or said what nobody asked for."""
    if line._sock is None:
        return False
    news = select.poll()
    news.register(line._sock, select.POLLIN)
    return bool(news.poll(0))


def packed(parts: tuple[str | bytes | int, ...]) -> list[bytes]:
    """A command as Redis reads it."""
    pieces = [b"*%d\r\n" % len(parts)]
    for part in parts:
        piece = part if isinstance(part, bytes) else str(part).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(piece), piece))
    return [b"".join(pieces)]
