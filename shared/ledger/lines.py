"""Commands to Redis, by a shorter way than redis-py's own.

Its metrics, retries and pool cost more than the call itself (8.1.0: 60 to 100 µs of 20); here a call is sent once.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Any

import redis

Command = Sequence[str | bytes | int]
TIMEVAL = struct.Struct("ll")


class Lines:
    """Connections of a pool, kept between calls, the last used first. Safe for threads."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._idle: list[Any] = []

    def call(self, *parts: str | bytes | int, raw: bool = False) -> Any:
        """Send a command and give its answer, as bytes where it is `raw`; raises as redis-py does."""
        return self.call_all([parts], raw)[0]

    def call_all(self, commands: Sequence[Command], raw: bool = False) -> list[Any]:
        """Send commands together and give their answers; raises where one is refused, the others are carried out."""
        line = self._taken()
        try:
            line.connect()  # where it is not; the next call takes the same line, and finds the server that is there now
            self._ease(line)
            line.send_packed_command([b"".join(map(packed, commands))], check_health=False)
            answers = [_answer(line, raw) for _ in commands]
        except BaseException as error:  # an answer may come yet, and would be taken for that to the next call
            line.disconnect()
            if isinstance(error.__context__, BlockingIOError):  # the system's timeout
                raise redis.TimeoutError("Timeout reading from socket") from None
            raise
        finally:
            self._idle.append(line)
        for answer in answers:
            if isinstance(answer, redis.ResponseError):
                raise answer
        return answers

    def _ease(self, line: Any) -> None:
        """Let the system time a new socket out: under Python's own timeouts each call is two, with a poll before it."""
        if getattr(line, "eased", None) is not line._sock and not isinstance(line._sock, ssl.SSLSocket):
            told_s = line.socket_timeout or 0
            for what in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                line._sock.setsockopt(socket.SOL_SOCKET, what, TIMEVAL.pack(int(told_s), int(told_s % 1 * 1e6)))
            line._sock.settimeout(None)
            line.eased = line._sock

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


def _answer(line: Any, raw: bool) -> Any:
    try:
        return line.read_response(disable_decoding=raw)
    except redis.ResponseError as refused:  # an answer like any other
        return refused


def packed(command: Command) -> bytes:
    """A command as Redis reads it."""
    pieces = [b"*%d\r\n" % len(command)]
    for part in command:
        piece = part if isinstance(part, bytes) else str(part).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(piece), piece))
    return b"".join(pieces)
