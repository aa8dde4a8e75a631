"""Whoever is knocked at from outside: keeps what it is sent, and answers as it was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from patience import PATIENCE_S

LOOK_S = 0.005


@dataclass(frozen=True)
class Letter:
    """One POST as it came; header names are lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


class Listener(ThreadingHTTPServer):
    """Keeps its letters; `answers` are its next statuses, 200 afterwards."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Door)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.letters: list[Letter] = []
        self.answers: list[int] = []

    @classmethod
    @contextmanager
    def serving(cls) -> Iterator[Listener]:
        with cls() as listener:
            threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
            yield listener
            listener.shutdown()

    def letter(self, what: str, number: int = 1, words: str = "") -> Letter:
        """The first, second, … letter with these words in its path and in its body; waits for it."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            found = [letter for letter in list(self.letters) if what in letter.path and words.encode() in letter.body]
            if len(found) >= number:
                return found[number - 1]
            time.sleep(LOOK_S)
        raise AssertionError(f"no letter to {what} came")


class _Door(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.letters.append(Letter(self.path, headers, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass
