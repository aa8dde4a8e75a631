"""The gateways on a free port of this process, and somebody who receives their callbacks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateway_client import Client

from rushes.deploy.sandbox.gateways.app import Sandbox
from rushes.deploy.sandbox.gateways.server import SandboxServer
from rushes.deploy.sandbox.gateways.settings import Settings


class Running:
    """A sandbox that serves: its parts, and a client that speaks to it."""

    def __init__(self, data_dir: Path, settings: Settings) -> None:
        self.server = SandboxServer(port=0)
        self.sandbox = Sandbox(data_dir, f"http://127.0.0.1:{self.server.port}", settings)
        self.server.respond = self.sandbox.respond
        self.client = Client(self.server.port)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.sandbox.callback_sender.start()

    def stop(self) -> None:
        self.sandbox.callback_sender.stop()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="session")
def clips_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered clips, which all tests may share."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture
def open_sandbox(tmp_path: Path, clips_dir: Path) -> Iterator[Callable[..., Running]]:
    """open_sandbox(task_s=…, key=…): serve with these settings; tasks are done at once unless told otherwise."""
    opened: list[Running] = []
    (tmp_path / "clips").symlink_to(clips_dir)

    def open_(task_s: float = 0, **settings: Any) -> Running:
        opened.append(Running(tmp_path, replace(Settings(task_s=(task_s, task_s)), **settings)))
        return opened[-1]

    yield open_
    for running in opened:
        running.stop()


@pytest.fixture
def sandbox(open_sandbox: Callable[..., Running]) -> Running:
    return open_sandbox()


@pytest.fixture
def client(sandbox: Running) -> Client:
    return sandbox.client


class Receiver(ThreadingHTTPServer):
    """Keeps the bodies it is sent; `statuses` are its next answers, 200 afterwards."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receive)
        # Path, headers and body together: requests are answered by threads, which may end in another order.
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.statuses: list[int] = []
        self.origin = f"http://127.0.0.1:{self.server_address[1]}"
        self.url = f"{self.origin}/callbacks?token=t"

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.requests]

    @property
    def headers(self) -> list[dict[str, str]]:
        return [headers for _, headers, _ in self.requests]

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.requests]


class _Receive(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.requests.append((self.path, dict(self.headers), body))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        threading.Thread(target=receiver.serve_forever, args=(0.01,), daemon=True).start()
        yield receiver
        receiver.shutdown()
