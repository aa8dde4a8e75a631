"""Helpers of the HTTP client's tests."""

from __future__ import annotations

import contextlib
import socket
import traceback
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

from fault_server import FaultServer, Script, http_response
from patience import PATIENCE_S

from rushes.shared.domain.http_messages import Request

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
SECOND_ONLY = (ip_network("127.0.0.2/32"),)
SECRET = "hush"
LONG_S = PATIENCE_S  # a deadline that no test meets, save where something is broken
SHORT_S = 2.0  # long enough to connect and to send on a busy machine
HEAD = b"HTTP/1.1 200 OK\r\n"
CUT = HEAD + b"Content-Length: 200\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HELLO = http_response(b'{"hello":"world"}')
OURS, EVIL = http_response(b"ours"), http_response(b"evil")

Serve = Callable[..., FaultServer]


def get(url: str, **headers: str) -> Request:
    return Request("GET", url, headers)


def post(url: str, **headers: str) -> Request:
    return Request("POST", url, headers, {"prompt": "a pier at dawn"})


def greeting(script: Script) -> Script:
    """Answer the first call of a connection, then run the script."""

    def whole(peer: Any) -> None:
        peer.read_request()
        peer.send_bytes(HELLO)
        script(peer)

    return whole


def all_of(error: BaseException) -> str:
    """The text that a log with the traceback would show."""
    return "".join(traceback.format_exception(error))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port with a listener that accepts no further connection."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
