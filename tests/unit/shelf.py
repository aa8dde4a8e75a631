"""One file over HTTP on loopback, with ranges or without; counts what is sent of it."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 65536


class Shelf(ThreadingHTTPServer):
    """Serves its file at every path; `total` is what Content-Range calls its size, `most_bytes` the most in a range.

    `refuses` is what it answers to any range; one that is `strict` gives none whose end is past the file.
    """

    daemon_threads = True

    def __init__(
        self,
        content: bytes | Path,
        *,
        ranges: bool = True,
        length: bool = True,
        total: str | None = None,
        most_bytes: int = 1 << 40,
        refuses: int | None = None,
        strict: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.ranges, self.length, self.most_bytes = content, ranges, length, most_bytes
        self.refuses, self.strict = refuses, strict
        self.size = content.stat().st_size if isinstance(content, Path) else len(content)
        self.total = total or str(self.size)
        self.sent_bytes, self.asked = 0, []
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def open(self) -> BinaryIO:
        return self.content.open("rb") if isinstance(self.content, Path) else BytesIO(self.content)

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Shelf

    def do_GET(self) -> None:
        shelf = self.server
        shelf.asked.append(self.headers.get("Range"))
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if not found or not shelf.ranges:
            self._head(200, shelf.size if shelf.length else None)
            self._body(0, shelf.size)
        elif shelf.refuses:
            self._head(shelf.refuses, 0)
        elif (int(found[2]) if shelf.strict else int(found[1])) >= shelf.size:
            self._head(416, 0, f"bytes */{shelf.size}")
        else:
            start = int(found[1])
            end = min(int(found[2]) + 1, shelf.size, start + shelf.most_bytes)
            self._head(206, end - start, f"bytes {start}-{end - 1}/{shelf.total}")
            self._body(start, end)

    def _head(self, status: int, length: int | None, content_range: str = "") -> None:
        self.is_chunked = length is None
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")  # always wrong
        self.send_header(*("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def _body(self, start: int, end: int) -> None:
        with self.server.open() as file:
            file.seek(start)
            for at in range(start, end, PIECE_BYTES):
                self._say(file.read(min(PIECE_BYTES, end - at)))
        if self.is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _say(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.is_chunked else piece)
        self.server.sent_bytes += len(piece)

    def handle(self) -> None:
        with suppress(OSError):  # the other side has what it wanted
            super().handle()

    def log_message(self, *args: object) -> None:
        """Nothing."""
