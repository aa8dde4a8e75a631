"""Runs as many Celery workers as it is told, one a core by default: a Python process uses no more than one.

A worker that ends unasked is started again, unless it keeps ending as soon as it was started; a worker whose launcher
is gone ends (heartbeat.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import structlog

from rushes.shared import logs
from rushes.shared.services import load_prices
from rushes.shared.settings import SettingsError, load
from rushes.worker import broker

log = structlog.get_logger()

OPTIONS = ("--loglevel", "WARNING", "--queues", "work,enqueue", "--without-gossip", "--without-mingle")
LOOK_S = 0.5
# A worker that ends before this age was not able to start; after so many of those in a row there is no use in more.
YOUNG_S, YOUNG_MOST = 15, 3


def command(number: int) -> list[str]:
    """The Celery worker with this number."""
    celery = [sys.executable, "-m", "celery", "--app", "rushes.worker.app", "worker", "--without-heartbeat", *OPTIONS]
    return [*celery, "--hostname", f"rushes-{number}@%h"]


class WorkerProcesses:
    """The workers that are running."""

    def __init__(self, size: int) -> None:
        self._running = [self._started(number) for number in range(1, size + 1)]
        self._stillborn = 0
        self._stopping = False

    def pass_on(self, number: int, _: object) -> None:
        """Tell all of them what we were told; from now on none is started again."""
        self._stopping = True
        for process, _born_at in self._running:
            if process.poll() is None:
                process.send_signal(number)

    def look_after(self) -> int:
        """Start again what ended, until told to stop; the exit status."""
        while not (self._stopping and all(process.poll() is not None for process, _ in self._running)):
            time.sleep(LOOK_S)
            for at, (process, born_at) in enumerate(self._running):
                if process.poll() is not None and not self._stopping:
                    self._replace(at, process.returncode, born_at)
            if self._stillborn >= YOUNG_MOST:
                self.pass_on(signal.SIGTERM, None)
        return max(abs(process.wait()) for process, _ in self._running)

    def _replace(self, at: int, status: int, born_at: float) -> None:
        log.error("worker ended", number=at + 1, status=status)
        self._stillborn = self._stillborn + 1 if time.monotonic() - born_at < YOUNG_S else 0
        self._running[at] = self._started(at + 1)

    def _started(self, number: int) -> tuple[subprocess.Popen[bytes], float]:
        environ = {**os.environ, "RUSHES_LAUNCHER": str(os.getpid())}
        return subprocess.Popen(command(number), env=environ), time.monotonic()  # noqa: S603


def main() -> None:
    logs.configure_process()
    try:
        settings = load(os.environ)
        load_prices(settings)
        broker.check(settings)
    except SettingsError as error:
        sys.exit(str(error))
    if settings.worker_processes == 1:
        os.execv(sys.executable, command(1))  # noqa: S606
    crew = WorkerProcesses(settings.worker_processes)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, crew.pass_on)
    sys.exit(crew.look_after())


if __name__ == "__main__":
    main()
