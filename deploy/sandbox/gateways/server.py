"""The HTTP server of the sandbox: requests and responses as plain values, on kept-alive connections.

It is the server of the standard library, without a framework: a request costs a third of the CPU that it costs with
Flask on werkzeug (measured on two cores), and a load test of Rushes shares the machine with this server.
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
    """Close the connection without a response."""


class TooLarge(Exception):
    """A body over the cap, or without a Content-Length."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request with its whole body."""

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
    announces_length: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """One response: bytes, or a piece of a file."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    piece: Piece | None = None


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response that is one JSON document."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Response(status, body, {"Content-Type": "application/json", **(headers or {})})


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
        """Log nothing: the billing database holds what happened."""

    def serve(self) -> None:
        """Answer the request that was just read, or hang up where the app raises HangUp."""
        try:
            self._send(self.server.app(self._request()))
            self.wfile.flush()
        except TooLarge:
            self.close_connection = True
            self._send(Response(413))
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
        """Read the rest of the body: a client that still sends would lose the response."""
        while size_bytes > 0 and (chunk := self.rfile.read(min(size_bytes, BODY_CAP_BYTES))):
            size_bytes -= len(chunk)

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.piece:
            self._send_piece(response.piece)
        else:
            self._send_bytes(response.body)

    def _send_bytes(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_piece(self, piece: Piece) -> None:
        self.close_connection = self.close_connection or piece.send_bytes < piece.size_bytes
        if piece.announces_length:
            self.send_header("Content-Length", str(piece.size_bytes))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.flush()
            with piece.path.open("rb") as file:
                self.connection.sendfile(file, piece.start, piece.send_bytes)


class SandboxServer(ThreadingHTTPServer):
    """A thread for each connection; `app` is called for each request and its errors become a 500."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.port: int = self.server_address[1]
        self.respond: Callable[[Request], Response] = lambda request: Response(503)

    def app(self, request: Request) -> Response:
        """The response to a request; HangUp passes through, any other error is printed on stderr."""
        try:
            return self.respond(request)
        except HangUp:
            raise
        except Exception:
            traceback.print_exc()
            return json_response({"error": "the sandbox itself failed, see its log"}, 500)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that went away."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | socket.timeout):
            super().handle_error(request, client_address)
