"""Rushes and everything it needs on one machine: Redis, S3, the sandbox gateways, and the processes of the Procfile."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import shlex
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Self, TextIO

from rushes.deploy.sandbox import PROCFILE, redis, s3
from rushes.deploy.sandbox.ports import NotReady, free_ports, http_status, is_taken, wait_until
from rushes.deploy.sandbox.supervisor import Command, Supervisor, procfile

BUCKET = "rushes"
GATEWAYS = ("apimaster", "apimart", "evolink", "kling", "newapi", "apimodels")
# Settings of the caller must not reach the stack: a real key would cause real bills.
FOREIGN = ("RUSHES_", "AWS_", "REDIS_", *(f"{name.upper()}_" for name in GATEWAYS))
# So long only on a machine that is busy with other work.
PART_TIMEOUT_S = WEB_TIMEOUT_S = 180


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the parts listen on 127.0.0.1; 0 takes a free port."""

    web: int = 0
    gateways: int = 0
    s3: int = 0
    redis: int = 0

    def with_free_ports(self) -> Ports:
        """The same ports, with a free port for each 0."""
        ports = (self.web, self.gateways, self.s3, self.redis)
        return Ports(*(port or free for port, free in zip(ports, free_ports(len(ports)), strict=True)))


LOG_FILE = "stack.log"
ENV_FILE = "env"
# What of the processes' settings a caller or reader of the bucket needs too.
SHARED = (
    "REDIS_URL",
    "RUSHES_S3_BUCKET",
    *(f"AWS_{name}" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION")),
)
USUAL = Ports(web=8000, gateways=9100, s3=9000, redis=6390)


@dataclass(frozen=True, slots=True)
class Secrets:
    """Secrets that a stack generates once and keeps in its data directory."""

    secret_key: str
    demo_key: str
    admin_key: str


class Stack:
    """The whole stack. Its data is in `data_dir`; `data_dir/stack.log` has the lines of all processes.

    `data_dir/env` has what a caller needs, for a shell (`. data_dir/env`).

    `commands` is the Procfile. `extra_env` overrides the environment of all processes. The gateways serve the files of
    the directory `inputs` under `inputs_url`.
    """

    def __init__(
        self,
        data_dir: Path,
        ports: Ports = Ports(),
        *,
        commands: Path = PROCFILE,
        inputs: Path | None = None,
        extra_env: Mapping[str, str] | None = None,
        outputs: Iterable[TextIO] = (),
    ) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir, self.ports = data_dir.resolve(), ports.with_free_ports()
        self.secrets = _secrets(self.data_dir / "secrets.json")
        self.url = f"http://127.0.0.1:{self.ports.web}"
        self.gateways_url = f"http://127.0.0.1:{self.ports.gateways}"
        self.inputs_url = f"{self.gateways_url}/inputs"
        self.env = {**_without_foreign(os.environ), **self._settings(), **(extra_env or {})}
        self._log = (self.data_dir / LOG_FILE).open("a", encoding="utf-8", buffering=1)
        self._parts = Supervisor(self._part_commands(inputs), [self._log, *outputs])
        self._processes = Supervisor(procfile(commands, self.env), [self._log, *outputs])

    def start(self) -> None:
        """Start everything and return when all parts answer; otherwise stop it and raise NotReady with the log."""
        # Whoever listens there would be taken for our own part: two stacks would work on one ledger, with two secrets.
        if taken := [port for port in astuple(self.ports) if is_taken(port)]:
            raise NotReady(f"port {taken[0]} is taken: does another `rushes up` run?")
        self._write_callers_env()
        try:
            self._parts.start()
            self._await_parts()
            self._processes.start()
            wait_until(lambda: http_status(self.ports.web, "/readyz") == 200, WEB_TIMEOUT_S, "web")
        except NotReady as problem:
            self.stop()
            raise NotReady(f"{problem}\n{self._log_tail()}") from None

    def stop(self) -> None:
        """Stop the processes first, then the parts that they use."""
        self._processes.stop()
        self._parts.stop()

    def processes(self) -> dict[str, int]:
        """The pid of every running process, of the parts and of the Procfile, by name."""
        return {**self._parts.pids(), **self._processes.pids()}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _await_parts(self) -> None:
        ports = self.ports
        wait_until(lambda: redis.answers(ports.redis), PART_TIMEOUT_S, "redis")
        wait_until(lambda: s3.has_bucket(ports.s3, BUCKET), PART_TIMEOUT_S, "s3")
        wait_until(lambda: http_status(ports.gateways, "/_sandbox/health") == 200, PART_TIMEOUT_S, "gateways")

    def _part_commands(self, inputs: Path | None) -> dict[str, Command]:
        gateways = [sys.executable, "-m", "rushes.deploy.sandbox.gateways", "--port", str(self.ports.gateways)]
        gateways += [
            "--data",
            str(self.data_dir / "gateways"),
            *(["--inputs", str(inputs.resolve())] if inputs else []),
        ]
        commands = {
            "redis": redis.command(self.data_dir / "redis", self.ports.redis),
            "s3": s3.command(self.ports.s3, BUCKET),
            "gateways": Command(gateways),
        }
        return {name: replace(command, env=self.env) for name, command in commands.items()}

    def _settings(self) -> dict[str, str]:
        settings = {
            "REDIS_URL": f"redis://127.0.0.1:{self.ports.redis}/0",
            "RUSHES_S3_BUCKET": BUCKET,
            "RUSHES_PUBLIC_URL": self.url,
            "RUSHES_SECRET_KEY": self.secrets.secret_key,
            "RUSHES_API_KEYS": f"demo:{self.secrets.demo_key},admin:{self.secrets.admin_key}",
            "RUSHES_EGRESS_ALLOW": "127.0.0.0/8",
            "RUSHES_WORKER_PROCESSES": "1",
            "RUSHES_POLL_FIRST_S": "1",
            "RUSHES_POLL_MAX_S": "5",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.ports.s3}",
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "PORT": str(self.ports.web),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
        }
        settings["KLING_WEBHOOK_SECRET"] = settings["SANDBOX_WEBHOOK_SECRET"] = self._webhook_secret("kling")
        settings["RUSHES_WEBHOOK_SECRETS"] = f"demo:{self._webhook_secret('notifications')}"
        for name in GATEWAYS:
            settings[f"{name.upper()}_API_KEY"] = f"sandbox-{name}"
            settings[f"{name.upper()}_BASE_URL"] = f"{self.gateways_url}/{name}"
        return settings

    def _webhook_secret(self, use: str) -> str:
        """A secret that two share (Kling and the receiver, Rushes and a caller), the same after a restart."""
        digest = hmac.digest(self.secrets.secret_key.encode(), use.encode(), "sha256")
        return f"whsec_{b64encode(digest).decode()}"

    def _write_callers_env(self) -> None:
        endpoint = self.env["AWS_ENDPOINT_URL_S3"]
        values = {
            "RUSHES_URL": self.url,
            "RUSHES_API_KEY": self.secrets.demo_key,
            "RUSHES_ADMIN_KEY": self.secrets.admin_key,
            "RUSHES_WEBHOOK_SECRET": self.env["RUSHES_WEBHOOK_SECRETS"].removeprefix("demo:"),
            "SANDBOX_URL": self.gateways_url,
            **{name: self.env[name] for name in SHARED},
            "AWS_DEFAULT_REGION": self.env["AWS_REGION"],
            "AWS_ENDPOINT_URL_S3": endpoint,
            "AWS_ENDPOINT_URL_SQS": endpoint,  # the same server of moto
        }
        path = self.data_dir / ENV_FILE
        path.touch(mode=0o600)
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in values.items())
        path.write_text("".join(lines), encoding="utf-8")

    def _log_tail(self) -> str:
        return "\n".join((self.data_dir / LOG_FILE).read_text(encoding="utf-8").splitlines()[-30:])


def _without_foreign(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith(FOREIGN)}


def _secrets(path: Path) -> Secrets:
    if not path.exists():
        path.touch(mode=0o600)
        names = ("secret_key", "demo_key", "admin_key")
        path.write_text(json.dumps({name: secrets.token_urlsafe(32) for name in names}), encoding="utf-8")
    return Secrets(**json.loads(path.read_text(encoding="utf-8")))
