"""HTTP/1.1 by hand, on asyncio protocols: a server and a client that cost a few dozen microseconds a call.

The rig shares its two cores with what it measures, so neither may be a bottleneck; a framework would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from benchmarks.rig import tls

REASONS = {200: "OK", 204: "No Content", 404: "Not Found", 412: "Precondition Failed"}
JSON = {"Content-Type": "application/json"}


@dataclass(slots=True)
class Call:
    """A request as the server got it, its body whole; header names in small letters."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    """An answer: a body, or a file that is sent by the kernel; `lost`: the connection closes in its place."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    lost: bool = False


def json_reply(value: Any, status: int = 200) -> Reply:
    """An answer that is one JSON document."""
    return Reply(status, json.dumps(value).encode(), JSON)


class Served(asyncio.Protocol):
    """One connection of a server: calls `app` for each request, in order."""

    def __init__(self, app: Callable[[Call], Reply]) -> None:
        self._app = app
        self._head = bytearray()
        self._call: Call | None = None
        self._pieces: list[bytes] = []
        self._missing = 0
        self._sending: asyncio.Future[None]
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._call is None:
            self._head += data
            self._read_heads()
        else:
            self._take(data)

    def _read_heads(self) -> None:
        while self._call is None and (end := self._head.find(b"\r\n\r\n")) >= 0:
            head, rest = bytes(self._head[:end]), bytes(self._head[end + 4 :])
            self._head.clear()
            self._call = parsed(head)
            self._missing = int(self._call.headers.get("content-length", 0))
            if self._missing > len(rest) and "expect" in self._call.headers:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._take(rest)

    def _take(self, data: bytes) -> None:
        own, rest = data[: self._missing], data[self._missing :]
        self._pieces.append(own)
        self._missing -= len(own)
        if self._missing == 0 and self._call is not None:
            self._call.body = b"".join(self._pieces)
            self._pieces.clear()
            self._answer(self._call)
            self._call = None
            if rest:
                self._head += rest
                self._read_heads()

    def _answer(self, call: Call) -> None:
        reply = self._app(call)
        if reply.lost:
            self._transport.close()
            return
        size = reply.file.stat().st_size if reply.file else len(reply.body)
        lines = {"Content-Length": str(size), **reply.headers, **({"Connection": "close"} if reply.file else {})}
        head = f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Said')}\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
        self._transport.write(head.encode() + (b"" if call.method == "HEAD" else reply.body))
        if reply.file and call.method != "HEAD":
            self._sending = asyncio.ensure_future(self._send_file(reply.file))
        elif call.headers.get("connection") == "close":
            self._transport.close()

    async def _send_file(self, path: Path) -> None:
        with path.open("rb") as file, contextlib.suppress(ConnectionError, RuntimeError):
            await asyncio.get_running_loop().sendfile(self._transport, file)
            self._transport.close()


def parsed(head: bytes) -> Call:
    """The request of a head, its body still empty."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    values = dict(parse_qsl(query, keep_blank_values=True)) if query else {}
    return Call(method, unquote(path), values, headers, b"")


async def serve(app: Callable[[Call], Reply], port: int, tls_file: str | None = None) -> None:
    """Answer on 127.0.0.1 until the process ends; over TLS with the certificate in that file."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Served(app), "127.0.0.1", port, backlog=4096, ssl=tls.server_context(tls_file)
    )
    await server.serve_forever()


@dataclass(slots=True)
class Answer:
    """What a server said, whole; header names in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Line(asyncio.Protocol):
    """One kept connection of a client; carries one call at a time."""

    def __init__(self) -> None:
        self.alive = True
        self._buffer = bytearray()
        self._head_end = -1
        self._whole = 0
        self._answer: Answer | None = None
        self._told: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send; the answer comes as the future's result, or ConnectionError."""
        self._told = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._told

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is None and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            self._read_head(end)
        if self._answer is not None and len(self._buffer) >= self._whole:
            self._finish(self._answer)

    def _read_head(self, end: int) -> None:
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self._head_end = end + 4
        self._whole = self._head_end + int(headers.get("content-length", 0))
        self._answer = Answer(int(first.split(" ", 2)[1]), headers, b"")

    def _finish(self, answer: Answer) -> None:
        answer.body = bytes(self._buffer[self._head_end : self._whole])
        self._buffer.clear()
        self._answer = None
        if answer.headers.get("connection", "").lower() == "close":
            self.close()
        if self._told and not self._told.done():
            self._told.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.alive = False
        if self._told and not self._told.done():
            self._told.set_exception(ConnectionError("closed before the answer was whole"))

    def close(self) -> None:
        self.alive = False
        self._transport.close()


class Client:
    """Calls to one origin over at most `connections` kept connections; those over that wait."""

    def __init__(self, origin: str, connections: int = 64) -> None:
        parts = urlsplit(origin)
        self.host = f"{parts.hostname}:{parts.port}"
        self._address = (str(parts.hostname), parts.port or 80)
        self._tls = tls.client_context(parts.scheme)
        self._idle: list[Line] = []
        self._room = asyncio.Semaphore(connections)

    async def call(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """One call; raises OSError where it was not answered."""
        lines = {"Host": self.host, **(headers or {})}
        if body or method in ("POST", "PUT"):
            lines["Content-Length"] = str(len(body))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        async with self._room:
            return await self._sent(head.encode() + b"\r\n" + body)

    async def _sent(self, request: bytes) -> Answer:
        line = await self._line()
        answer = await line.ask(request)
        if line.alive:
            self._idle.append(line)
        return answer

    async def _line(self) -> Line:
        while self._idle:
            line = self._idle.pop()
            if line.alive:
                return line
        _, line = await asyncio.get_running_loop().create_connection(Line, *self._address, ssl=self._tls)
        return line

    def close(self) -> None:
        """Hang up."""
        for line in self._idle:
            line.close()
