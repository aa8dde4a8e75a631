"""A RabbitMQ of a test's own, of Debian's package `rabbitmq-server`; skipped where it is not installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from patience import wait_until

from rushes.deploy.sandbox.ports import free_ports

# Debian's script in /usr/sbin runs it as its own user; this one is what it calls.
EXECUTABLE = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitServer:
    """One server in its folder, which can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self.port, distribution, epmd = free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._folder = folder
        self._env = {
            **os.environ,
            "HOME": str(folder),  # for a cookie of its own
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd),
        }
        # RabbitMQ would start one that outlives it.
        self._names = subprocess.Popen(["epmd"], env=self._env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "out").open("ab") as out:
            self._server = subprocess.Popen(
                [EXECUTABLE], env=self._env, cwd=self._folder, stdout=out, stderr=out, start_new_session=True
            )
        wait_until(self._answers, "RabbitMQ")

    def kill(self) -> None:
        if self._server is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def close(self) -> None:
        self.kill()
        self._names.kill()
        self._names.wait()

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self._folder / "out").read_text("utf-8")
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as line:
            line.sendall(b"AMQP\x00\x00\x09\x01")
            return line.recv(1) != b""
        return False


@contextmanager
def running(folder: Path) -> Iterator[RabbitServer]:
    if not EXECUTABLE.exists() or shutil.which("epmd") is None:
        pytest.skip("no RabbitMQ: apt-get install rabbitmq-server")
    server = RabbitServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()
