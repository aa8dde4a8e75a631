"""The sandbox's HTTP server: requests in and answers out as plain values, on kept-alive connections.

It is the standard library's server and no framework: a request costs a third of the CPU it costs through Flask on
werkzeug (measured, two cores), and a load test of Rushes shares the machine with this server.
"""

from __future__ import annotations

import json
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

BODY_CAP_BYTES = 1 << 20
IDLE_S = 75


class HangUp(Exception):
    """Close the connection without an answer."""


class TooLarge(Exception):
    """A body over the cap, or of a length that is not told."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came, its body read whole."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    peer: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file to send; `send_bytes` of `size_bytes` go out before the connection is cut."""

    path: Path
    start: int
    size_bytes: int
    send_bytes: int
    length_is_told: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: bytes, or a piece of a file."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    piece: Piece | None = None


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that is one JSON document."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Answer(status, body, {"Content-Type": "application/json", **(headers or {})})


class Handler(BaseHTTPRequestHandler):
    """Reads one request after another from a connection and lets the server's `app` answer."""

    protocol_version = "HTTP/1.1"
    server_version = "sandbox"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE_S
    server: SandboxServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the books show what came."""

    def serve(self) -> None:
        """Answer the request that was just read, or hang up where the app says so."""
        try:
            self._send(self.server.app(self._request()))
            self.wfile.flush()
        except TooLarge:
            self.close_connection = True
            self._send(Answer(413))
        except (HangUp, ConnectionError, TimeoutError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 (the base class looks for these)

    def _request(self) -> Request:
        path, _, query = self.path.partition("?")
        return Request(
            method=self.command,
            path=unquote(path),
            query=dict(parse_qsl(query)),
            headers=cast(Mapping[str, str], self.headers),
            body=self._body(),
            peer=self.client_address[0],
        )

    def _body(self) -> bytes:
        size_bytes = int(self.headers.get("Content-Length") or 0)
        if size_bytes > BODY_CAP_BYTES or "Transfer-Encoding" in self.headers:
            self._pass_over(size_bytes)
            raise TooLarge
        return self.rfile.read(size_bytes) if size_bytes else b""

    def _pass_over(self, size_bytes: int) -> None:
        """Read on to the body's end: to one who still sends, an answer would be lost."""
        while size_bytes > 0 and (chunk := self.rfile.read(min(size_bytes, BODY_CAP_BYTES))):
            size_bytes -= len(chunk)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.piece:
            self._send_piece(answer.piece)
        else:
            self._send_bytes(answer.body)

    def _send_bytes(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_piece(self, piece: Piece) -> None:
        self.close_connection = self.close_connection or piece.send_bytes < piece.size_bytes
        if piece.length_is_told:
            self.send_header("Content-Length", str(piece.size_bytes))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.flush()
            with piece.path.open("rb") as file:
                self.connection.sendfile(file, piece.start, piece.send_bytes)


class SandboxServer(ThreadingHTTPServer):
    """A thread for each connection; `app` is called for each request and its faults become a 500."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.port: int = self.server_address[1]
        self.answer: Callable[[Request], Answer] = lambda request: Answer(503)

    def app(self, request: Request) -> Answer:
        """The answer to a request; HangUp passes through, any other fault is shown on stderr."""
        try:
            return self.answer(request)
        except HangUp:
            raise
        except Exception:
            traceback.print_exc()
            return json_answer({"error": "the sandbox itself stumbled, see its log"}, 500)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | socket.timeout):
            super().handle_error(request, client_address)
