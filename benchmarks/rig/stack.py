"""Starts what is measured and what it stands on, each process under a guardian that ends it when we are gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from benchmarks.rig.measure import Meter, tree
from benchmarks.rig.tls import Authority
from rushes.deploy.sandbox import redis
from rushes.deploy.sandbox.ports import free_ports, http_status, wait_until
from rushes.deploy.sandbox.stack import FOREIGN
from rushes.deploy.sandbox.supervisor import ProcessReaper, procfile

ROOT = Path(__file__).resolve().parents[2]
BUCKET = "bench"
READY_S = 60
END_S = 15


class Processes:
    """Named child processes, their lines in files of one directory."""

    def __init__(self, logs_dir: Path) -> None:
        self._logs_dir = logs_dir
        self._reaper = ProcessReaper()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._restarts: dict[str, Callable[[], int]] = {}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdin: int = subprocess.DEVNULL,
        cwd: Path = ROOT,
    ) -> int:
        """Start one; its process id. It leads a group of its own."""
        with (self._logs_dir / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 (the commands are our own)
                argv, env=env, cwd=cwd, stdin=stdin, stdout=log, stderr=log, start_new_session=True
            )
        self._reaper.watch(child.pid)
        self._running[name] = child
        self._restarts[name] = partial(self.start, name, argv, env, stdin, cwd)
        return child.pid

    def kill_and_restart(self, name: str) -> None:
        """`kill -9` of a process with all its children, and the same again, as a supervisor does it."""
        child = self._running[name]
        for pid in tree(child.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.wait()
        self._restarts[name]()

    def log(self, name: str) -> str:
        """What a process has written so far."""
        return (self._logs_dir / f"{name}.log").read_text(errors="replace")

    def __getitem__(self, name: str) -> subprocess.Popen[bytes]:
        return self._running[name]

    def pids(self, names: Sequence[str]) -> dict[str, int]:
        """The process ids of these."""
        return {name: self._running[name].pid for name in names}

    def stop(self) -> None:
        """End all, last started first."""
        for child in reversed(self._running.values()):
            child.terminate()
        for child in self._running.values():
            try:
                child.wait(END_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._reaper.close()
        self._running.clear()


class Rig:
    """A Redis, a bucket and a gateway, fresh; and the processes of one measured system on top of them.

    `tls`: bucket and gateway speak HTTPS.
    """

    def __init__(self, clip_bytes: int = 200_000, clip_file: Path | None = None, tls: bool = False) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="rushes-bench-", ignore_cleanup_errors=True)
        self.dir = Path(self._scratch.name)
        self.redis_port, self.s3_port, self.gateway_port, self.web_port = free_ports(4)
        self.processes = Processes(self.dir)
        self._clip_bytes, self._clip_file = clip_bytes, clip_file
        self._authority = Authority.made(self.dir) if tls else None
        self._scheme = "https" if tls else "http"
        self.env = {**_clean(os.environ), **self._settings()}
        self.measured: tuple[str, ...] = ()
        self.uses_redis = True
        """Whether Redis belongs to the measured system."""

    def __enter__(self) -> Self:
        command = redis.command(self.dir / "redis", self.redis_port)
        self.processes.start("redis", command.argv, self.env)
        module = [sys.executable, "-m"]
        size = str(0 if self._clip_file else self._clip_bytes)
        tls = ["--tls-file", str(self._authority.server_file)] if self._authority else []
        s3 = [*module, "benchmarks.rig.s3", "--port", str(self.s3_port), "--clip-bytes", size, *tls]
        self.processes.start("s3", s3, self.env)
        gateway = [*module, "benchmarks.rig.gateway", "--port", str(self.gateway_port), *tls]
        gateway += ["--clip-bytes", str(self._clip_bytes)]
        gateway += ["--clip-file", str(self._clip_file)] if self._clip_file else []
        self.processes.start("gateway", gateway, self.env)
        wait_until(lambda: redis.answers(self.redis_port), READY_S, "redis")
        for port in (self.s3_port, self.gateway_port):
            wait_until(lambda port=port: self._answers(port), READY_S, "the rig")  # type: ignore[misc]
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.stop()
        if keep := os.environ.get("BENCH_LOGS"):
            for log in self.dir.glob("*.log"):
                Path(keep, log.name).write_bytes(log.read_bytes())
        self._scratch.cleanup()

    def start(
        self, commands: Mapping[str, Sequence[str]], ready_path: str | None, root: Path = ROOT, **env: str
    ) -> None:
        """Start the system to be measured; returns when its web process answers at `ready_path`."""
        for name, argv in commands.items():
            self.processes.start(name, argv, {**self.env, **env}, cwd=root)
        self.measured = tuple(commands)
        if ready_path:
            wait_until(lambda: http_status(self.web_port, ready_path) == 200, READY_S, "web")

    def start_rushes(self, root: Path = ROOT, **env: str) -> None:
        """Rushes of a checkout, by its own Procfile; BENCH_WORKERS says how many workers."""
        if root != ROOT:
            # An earlier commit has its packages at its top, a later one behind links.
            paths = [self.env.get("PYTHONPATH"), str(root / ".src"), str(root)]
            env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        full = {**self.env, **env}
        commands = {name: command.argv for name, command in procfile(root / "Procfile", full).items()}
        if "RUSHES_WORKER_RUNS_SCHEDULER" in full:
            del commands["scheduler"]
        more = range(2, 1 + int(os.environ.get("BENCH_WORKERS", "1")))
        commands |= {f"worker-{number}": commands["worker"] for number in more}
        self.start(commands, "/readyz", root, **env)

    def meter(self) -> Meter:
        """The meter of the measured system, its Redis included."""
        return Meter(self.processes.pids(self.measured), self.redis_port if self.uses_redis else None)

    def gateway(self, path: str, body: Any = None) -> Any:
        """A call to the gateway's own doors."""
        return self._said(self.gateway_port, path, body)

    def s3(self, path: str) -> Any:
        """A call to the bucket's own doors."""
        return self._said(self.s3_port, path, None)

    @property
    def gateway_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.gateway_port}"

    @property
    def web_url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}"

    def _settings(self) -> dict[str, str]:
        return {
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "RUSHES_S3_BUCKET": BUCKET,
            "RUSHES_SECRET_KEY": "a secret of the bench",
            "RUSHES_API_KEYS": "bench:bench-key,admin:admin-key",
            "RUSHES_REQUESTS_PER_MINUTE": "100000000",
            "RUSHES_EGRESS_ALLOW": "127.0.0.0/8",
            "APIMODELS_API_KEY": "bench",
            "APIMODELS_BASE_URL": self.gateway_url,
            "APIMODELS_MAX_IN_FLIGHT": "100000000",
            "APIMODELS_SUBMITS_PER_MINUTE": "100000000",
            "AWS_ENDPOINT_URL_S3": f"{self._scheme}://127.0.0.1:{self.s3_port}",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # over TLS boto sends aws-chunked bodies otherwise
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "TMPDIR": str(self.dir),  # where the directory of authorities is made
            "PORT": str(self.web_port),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            **(self._authority.environ() if self._authority else {}),
        }

    def _said(self, port: int, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        context = ssl.create_default_context(cafile=self._authority.ca_file) if self._authority else None
        url = f"{self._scheme}://127.0.0.1:{port}{path}"
        with urllib.request.urlopen(url, data, timeout=60, context=context) as answer:  # noqa: S310 (our own)
            return json.load(answer)

    def _answers(self, port: int) -> bool:
        try:
            self._said(port, "/_rig/counts", None)
        except OSError:
            return False
        return True


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    foreign = (*FOREIGN, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_", "AWS_CA_BUNDLE")
    return {name: value for name, value in environ.items() if not name.startswith(foreign)}
