"""Real processes from the Procfile, and calls to them that no polite client makes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from patience import PATIENCE_S, wait_until
from receiver_steps import AWS, KEYS, environment

from rushes.deploy.sandbox import PROCFILE
from rushes.deploy.sandbox.ports import free_ports, http_status
from rushes.deploy.sandbox.supervisor import procfile

PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def launch(name: str, env: Mapping[str, str], **pipes: Any) -> subprocess.Popen[bytes]:
    """A process of the Procfile, with this environment and nothing else."""
    command = procfile(PROCFILE, {"PATH": PATH, **env})[name]
    return subprocess.Popen(command.argv, env=command.env, cwd=command.cwd, **pipes)


@contextmanager
def running(name: str, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the Procfile for the length of a `with`; its lines go to the log."""
    with log.open("ab") as lines:
        process = launch(name, env, stdout=lines, stderr=lines)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(3)
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """The receiver as gunicorn serves it."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connected(self, timeout_s: float = PATIENCE_S) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout_s)

    def call(self, method: str, path: str, body: Any = None, tenant: str | None = "acme", **headers: str) -> Answer:
        """One call on a connection of its own, with JSON in it or bytes."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        length = {} if "Transfer-Encoding" in headers else {"Content-Length": str(len(raw))}
        return self.exchange([head(method, path, tenant, {**length, **headers}), raw])

    def exchange(self, pieces: Iterable[bytes], pause_s: float = 0, method: str = "POST") -> Answer:
        """Send in pieces, as far as the other side listens, and read the answer."""
        started = time.monotonic()
        with self.connected() as connection:
            with suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause_s)
            return answer(connection, started, method)


def answer(connection: socket.socket, started: float, method: str = "POST") -> Answer:
    with HTTPResponse(connection, method=method) as heard:
        heard.begin()
        headers = {name.lower(): value for name, value in heard.getheaders()}
        return Answer(heard.status, headers, heard.read(), time.monotonic() - started)


def head(method: str, path: str, tenant: str | None = "acme", headers: Mapping[str, str] | None = None) -> bytes:
    """A request up to its body."""
    given = {"Host": "rushes.example", "Content-Type": "application/json", "Connection": "close", **(headers or {})}
    if tenant:
        given["Authorization"] = f"Bearer {KEYS[tenant]}"
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    yield b"0\r\n\r\n"


@contextmanager
def serving(log: Path, **changes: str | None) -> Iterator[Server]:
    """gunicorn by its line of the Procfile; `changes` are variables of the environment."""
    (port,) = free_ports(1)
    env = {**AWS, **environment(PORT=str(port), **changes)}
    with running("web", env, log) as process:
        server = Server(port, log, process)
        wait_until(lambda: process.poll() is not None or http_status(port, "/healthz") == 200, "web")
        assert process.poll() is None, log.read_text("utf-8")
        yield server
