"""A server for one file on loopback, with or without ranges; it counts the bytes that it sends."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

PIECE_BYTES = 65536


class FileServer(ThreadingHTTPServer):
    """Serves its file at every path.

    `stated_size` is the size in Content-Range, `max_range_bytes` the longest range, `range_status` the status of every
    range request. With `refuses_long_ranges` a range whose end is past the file is refused.
    """

    daemon_threads = True

    def __init__(
        self,
        content: bytes | Path,
        *,
        ranges: bool = True,
        length: bool = True,
        stated_size: str | None = None,
        max_range_bytes: int = 1 << 40,
        range_status: int | None = None,
        refuses_long_ranges: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.ranges, self.length, self.max_range_bytes = content, ranges, length, max_range_bytes
        self.range_status, self.refuses_long_ranges = range_status, refuses_long_ranges
        self.size = content.stat().st_size if isinstance(content, Path) else len(content)
        self.stated_size = stated_size or str(self.size)
        self.sent_bytes, self.requested_ranges = 0, []
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
    server: FileServer

    def do_GET(self) -> None:
        file_server = self.server
        file_server.requested_ranges.append(self.headers.get("Range"))
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        if not match or not file_server.ranges:
            self._head(200, file_server.size if file_server.length else None)
            self._body(0, file_server.size)
        elif file_server.range_status:
            self._head(file_server.range_status, 0)
        elif (int(match[2]) if file_server.refuses_long_ranges else int(match[1])) >= file_server.size:
            self._head(416, 0, f"bytes */{file_server.size}")
        else:
            start = int(match[1])
            end = min(int(match[2]) + 1, file_server.size, start + file_server.max_range_bytes)
            self._head(206, end - start, f"bytes {start}-{end - 1}/{file_server.stated_size}")
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
                self._send(file.read(min(PIECE_BYTES, end - at)))
        if self.is_chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _send(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.is_chunked else piece)
        self.server.sent_bytes += len(piece)

    def handle(self) -> None:
        with suppress(OSError):  # the other side has what it wanted
            super().handle()

    def log_message(self, *args: object) -> None:
        """Nothing."""
