"""A reverse proxy that serves one site under a path, and knows nothing of what it passes."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from patience import PATIENCE_S

HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding")


class ReverseProxy(ThreadingHTTPServer):
    """`strays` are the paths outside of the prefix that somebody asked for."""

    daemon_threads = True

    def __init__(self, prefix: str, strips: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.prefix, self.strips = prefix, strips
        self.upstream_port = 0
        self.strays: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{self.prefix}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ReverseProxy

    def forward(self) -> None:
        if not self.path.startswith(f"{self.server.prefix}/"):
            self.server.strays.append(self.path)
            self.send_error(404)
            return
        path = self.path.removeprefix(self.server.prefix) if self.server.strips else self.path
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen = self.headers.get("X-Forwarded-For")
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        headers["X-Forwarded-For"] = ", ".join(filter(None, [seen, str(self.client_address[0])]))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=PATIENCE_S)
        try:
            upstream.request(self.command, path, body, headers)
            self._answer(upstream.getresponse())
        finally:
            upstream.close()

    def _answer(self, response: http.client.HTTPResponse) -> None:
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        while piece := response.read1():
            self.wfile.write(piece)

    do_GET = do_POST = do_HEAD = do_DELETE = forward  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxying(prefix: str, strips: bool) -> Iterator[ReverseProxy]:
    """A proxy on a port of this machine; set its `upstream_port` before you call it."""
    with ReverseProxy(prefix, strips) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()
